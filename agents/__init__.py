"""Who acts: restricted policies, the solvers that make them, and the agents they help.

The names below are looked up late, so that `import imm_rl.agents` pays for neither NumPy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not late: a late `solve` would be hidden by its own module once that is imported. The module is light.
from imm_rl.agents.solve import solve, solver_names

if TYPE_CHECKING:
    from imm_rl.agents.belief_policy import BeliefPolicy
    from imm_rl.agents.neighbours import Equal, Nearest
    from imm_rl.agents.reinforce import IMMReinforce
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.restricted.memoryless import MemorylessPolicy
    from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
    from imm_rl.agents.restricted.view_policy import FunctionPolicy
    from imm_rl.agents.sb3 import IMMCallback
    from imm_rl.agents.sb3_agents import IMMA2C, IMMPPO
    from imm_rl.agents.sb3_settings import A2CSettings, PPOSettings
    from imm_rl.agents.settings import ReinforceSettings

_LATE = {
    "A2CSettings": "imm_rl.agents.sb3_settings",
    "AlphaVectorPolicy": "imm_rl.agents.restricted.alpha_vectors",
    "BeliefPolicy": "imm_rl.agents.belief_policy",
    "Equal": "imm_rl.agents.neighbours",
    "FunctionPolicy": "imm_rl.agents.restricted.view_policy",
    "IMMA2C": "imm_rl.agents.sb3_agents",
    "IMMCallback": "imm_rl.agents.sb3",
    "IMMPPO": "imm_rl.agents.sb3_agents",
    "IMMReinforce": "imm_rl.agents.reinforce",
    "MemorylessPolicy": "imm_rl.agents.restricted.memoryless",
    "Nearest": "imm_rl.agents.neighbours",
    "PPOSettings": "imm_rl.agents.sb3_settings",
    "ReinforceSettings": "imm_rl.agents.settings",
    "SB3ViewPolicy": "imm_rl.agents.restricted.sb3_policy",
}

__all__ = [
    "IMMA2C",
    "IMMPPO",
    "A2CSettings",
    "AlphaVectorPolicy",
    "BeliefPolicy",
    "Equal",
    "FunctionPolicy",
    "IMMCallback",
    "IMMReinforce",
    "MemorylessPolicy",
    "Nearest",
    "PPOSettings",
    "ReinforceSettings",
    "SB3ViewPolicy",
    "solve",
    "solver_names",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'imm_rl.agents' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])

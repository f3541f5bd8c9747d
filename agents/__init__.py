"""Who acts: restricted policies, the solvers that make them, and the agents they help.

The names below are looked up late, so that `import imm_rl.agents` pays for neither NumPy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not late: a late `solve` would be hidden by its own module once that is imported. The module is light.
from imm_rl.agents.solve import solve, solver_names

if TYPE_CHECKING:
    from imm_rl.agents.reinforce import IMMReinforce
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.restricted.memoryless import MemorylessPolicy
    from imm_rl.agents.settings import ReinforceSettings

_LATE = {
    "AlphaVectorPolicy": "imm_rl.agents.restricted.alpha_vectors",
    "IMMReinforce": "imm_rl.agents.reinforce",
    "MemorylessPolicy": "imm_rl.agents.restricted.memoryless",
    "ReinforceSettings": "imm_rl.agents.settings",
}

__all__ = [
    "AlphaVectorPolicy",
    "IMMReinforce",
    "MemorylessPolicy",
    "ReinforceSettings",
    "solve",
    "solver_names",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'imm_rl.agents' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])

"""Induced Model Matching (IMM): train an agent that sees more, helped by a policy that sees less.

The top-level names below are looked up late, so that `import imm_rl` (and `imm-rl --help`) does not
pay for torch, SciPy or Gymnasium.

    import imm_rl
    pair = imm_rl.make("tiger")                      # envs: one model, two views
    policy = imm_rl.agents.solve(pair.restricted_model)
    agent = imm_rl.IMMReinforce(pair, restricted=policy, seeds=range(10))
    agent.learn(20_000)
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# `envs`, `agents` and `language` stand beside this folder in a checkout and inside it once installed.
# Python started in the checkout finds this folder first: let the sub-packages be found beside it.
if not (Path(__file__).parent / "envs").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

if TYPE_CHECKING:
    from imm_rl.agents.reinforce import IMMReinforce
    from imm_rl.agents.sb3 import IMMCallback
    from imm_rl.agents.sb3_agents import IMMA2C, IMMPPO
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair
    from imm_rl.envs.registry import make
    from imm_rl.matching import InducedModelMatching

_LATE = {
    "EnvPair": "imm_rl.envs.pair",
    "FeaturePair": "imm_rl.envs.feature_pair",
    "IMMA2C": "imm_rl.agents.sb3_agents",
    "IMMCallback": "imm_rl.agents.sb3",
    "IMMPPO": "imm_rl.agents.sb3_agents",
    "IMMReinforce": "imm_rl.agents.reinforce",
    "InducedModelMatching": "imm_rl.matching",
    "TabularPOMDP": "imm_rl.envs.model",
    "make": "imm_rl.envs.registry",
}
_MODULES = ("agents", "envs", "induced", "language", "losses", "matching", "runs", "schedules")

__all__ = [
    "IMMA2C",
    "IMMPPO",
    "EnvPair",
    "FeaturePair",
    "IMMCallback",
    "IMMReinforce",
    "InducedModelMatching",
    "TabularPOMDP",
    "make",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"imm_rl.{name}")
    raise AttributeError(f"module 'imm_rl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE, *_MODULES])

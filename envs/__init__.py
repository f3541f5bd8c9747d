"""POMDP/MDP environment pairs: one tabular model, a view that sees the state and one that does not.

Importing this package registers the Gymnasium ids (`imm_rl/Tiger-MDP-v0`, ...); models and solvers'
imports stay late, so it costs little more than Gymnasium itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imm_rl.envs import gym_ids

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.features import Features
    from imm_rl.envs.model import TabularPOMDP
    from imm_rl.envs.pair import EnvPair
    from imm_rl.envs.registry import make, names, register

_LATE = {
    "EnvPair": "imm_rl.envs.pair",
    "FeaturePair": "imm_rl.envs.feature_pair",
    "Features": "imm_rl.envs.features",
    "TabularPOMDP": "imm_rl.envs.model",
    "make": "imm_rl.envs.registry",
    "names": "imm_rl.envs.registry",
    "register": "imm_rl.envs.registry",
}

__all__ = ["EnvPair", "FeaturePair", "Features", "TabularPOMDP", "make", "names", "register"]

gym_ids.register_all()


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'imm_rl.envs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])

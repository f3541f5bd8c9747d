"""Small models that several tests of environments share."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.envs.model import TabularPOMDP


@pytest.fixture
def corridor() -> TabularPOMDP:
    """0 → 1 → 2 (terminal) by "go", with 10 on arrival at the end; "wait" stays. 1 looks like 0."""
    go = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    seen = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    return TabularPOMDP(
        transition=np.stack([go, np.eye(3)], axis=1),
        observation=np.stack([seen, seen]),
        reward=np.array([[0.0, -1.0], [10.0, -1.0], [0.0, 0.0]]),
        initial=np.array([1.0, 0.0, 0.0]),
        discount=0.9,
        terminal=np.array([False, False, True]),
        state_names=["near", "far", "end"],
        action_names=["go", "wait"],
        observation_names=["corridor", "exit"],
    )


@pytest.fixture
def blind() -> TabularPOMDP:
    """Two states that never change, look the same and pay the same: nothing may tell them apart."""
    return TabularPOMDP(
        transition=np.stack([np.eye(2)] * 2, axis=1),
        observation=np.ones((2, 2, 1)),
        reward=np.ones((2, 2)),
        initial=np.array([0.5, 0.5]),
        discount=0.9,
    )

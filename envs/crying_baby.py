"""The crying baby: feed it when its crying makes hunger likely enough, and not before.

The baby is full or hungry; it starts full. Each step it is fed or ignored. Fed, it is full after;
ignored, a full baby becomes hungry with probability 0.1 and a hungry one stays hungry. A hungry baby
cries with probability 0.8, a full one with 0.1. A step with a hungry baby costs 10, feeding costs 5
more. γ = 0.9. The problem goes on for ever; episodes are cut.

Source: M. J. Kochenderfer, "Decision Making Under Uncertainty: Theory and Application", MIT Press
2015, section 6.1. The optimum from a full baby is −16.3055.

Who sees the state feeds exactly the hungry baby.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import render_figures
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

STATES = ("full", "hungry")
ACTIONS = ("feed", "ignore")
OBSERVATIONS = ("quiet", "crying")


def crying_baby(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    fed = [[1.0, 0.0], [1.0, 0.0]]
    ignored = [[0.9, 0.1], [0.0, 1.0]]
    heard = [[0.9, 0.1], [0.2, 0.8]]
    model = TabularPOMDP(
        transition=np.stack([fed, ignored], axis=1),
        observation=np.stack([heard, heard]),
        reward=np.array([[-5.0, 0.0], [-15.0, -10.0]]),
        initial=np.array([1.0, 0.0]),
        discount=0.9,
        state_names=STATES,
        action_names=ACTIONS,
        observation_names=OBSERVATIONS,
    )
    return EnvPair(
        "crying-baby",
        model,
        max_steps=max_steps,
        source="Kochenderfer, Decision Making Under Uncertainty, MIT Press 2015, section 6.1",
        draw=render_figures.BABY,
    )

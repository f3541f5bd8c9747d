"""The tiger problem: listen until sure enough, then open the door without the tiger.

Two closed doors; a tiger is behind one, a prize behind the other, each way with probability 1/2.
Listening costs 1 and tells the tiger's side rightly with probability `accuracy`, 0.85. Opening the
door without the tiger pays 10, the tiger's door costs 100; either puts the tiger behind a fresh
random door, and the observation that comes with it says nothing. γ = 0.95. The problem goes on for
ever; episodes are cut.

Source: A. R. Cassandra, L. P. Kaelbling, M. L. Littman, "Acting optimally in partially observable
stochastic domains", AAAI 1994; the numbers are those of the archive's tiger.95.POMDP.

Who sees the state knows the tiger's side and earns 10 a step.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import options, render_figures
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

SIDES = ("tiger-left", "tiger-right")
ACTIONS = ("listen", "open-left", "open-right")


def tiger(*, accuracy: float = 0.85, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        accuracy: Probability that listening tells the right side.
        max_steps: Steps after which an episode is cut.
    """
    accuracy = options.probability("accuracy", accuracy)
    uniform = np.full((2, 2), 0.5)
    heard = np.array([[accuracy, 1.0 - accuracy], [1.0 - accuracy, accuracy]])
    model = TabularPOMDP(
        transition=np.stack([np.eye(2), uniform, uniform], axis=1),
        observation=np.stack([heard, uniform, uniform]),
        reward=np.array([[-1.0, -100.0, 10.0], [-1.0, 10.0, -100.0]]),
        initial=np.array([0.5, 0.5]),
        discount=0.95,
        state_names=SIDES,
        action_names=ACTIONS,
        observation_names=SIDES,
    )
    return EnvPair(
        "tiger",
        model,
        max_steps=max_steps,
        source="Cassandra, Kaelbling and Littman, AAAI 1994",
        draw=render_figures.TIGER,
    )

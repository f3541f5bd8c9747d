"""Whether a point-based policy may be executed by its vectors: it must earn what they promise.

A vector's value counts on the plan behind it being followed, and the best vector's action need not be
that plan's next one at beliefs that were not backed up: RockSample policies with a lower bound of 17.5
have been seen to earn 4.2. So the policy is simulated before it is handed out; `imm_rl.agents.solve`
calls this.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.simulation import NEGLIGIBLE, discounted_returns
from imm_rl.envs.model import TabularPOMDP
from imm_rl.statistics import mean_ci95

EPISODES = (400, 2000)
"""Simulated first, and again where these fall short of the bound: chance alone fails one in forty."""

STEPS_TIMES_STATES = 60_000_000
"""Models of more states are simulated in fewer episodes, at least 100."""


def accepted(model: TabularPOMDP, policy: AlphaVectorPolicy, *, seed: int) -> AlphaVectorPolicy:
    """The policy itself if it earns its lower bound, else one that looks ahead, with a note.

    Args:
        model: What was solved.
        policy: With a lower bound.
        seed: Of the simulation.
    """
    if earns_its_bound(model, policy, seed=seed):
        return policy
    careful = policy.with_(execution="lookahead")
    careful.notes += ("acts by look-ahead: its vectors alone earn less than their lower bound",)
    return careful


def earns_its_bound(model: TabularPOMDP, policy: AlphaVectorPolicy, *, seed: int) -> bool:
    """Whether the simulated discounted return reaches the lower bound within its 95 % interval."""
    assert policy.lower_bound is not None  # the caller sees to it
    # What simulations leave out at the end of an episode.
    largest = float(np.abs(model.reward).max())
    tail = NEGLIGIBLE * largest / (1.0 - model.discount) if model.discount < 1.0 else 0.0
    for attempt, most in enumerate(EPISODES):
        episodes = min(most, max(100, STEPS_TIMES_STATES // (200 * model.n_states)))
        returns = discounted_returns(model, policy, episodes=episodes, seed=seed + attempt)
        if mean_ci95(returns)[2] + tail >= policy.lower_bound - 1e-9:
            return True
    return False

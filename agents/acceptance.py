"""Whether a point-based policy may be executed by its vectors: it must earn what they promise.

A vector's value counts on the plan behind it being followed, and the best vector's action need not be
that plan's next one at beliefs that were not backed up: RockSample policies with a lower bound of 17.5
have been seen to earn 4.2. So the policy is simulated before it is handed out; `imm_rl.agents.solve`
calls this.

Small policies look ahead in any case: it costs little there and gives actions that are equally good
equal probabilities, which vectors cannot (on the paper's grid, matching such a policy takes 1,400 steps
to 90 % of the optimum, matching its vectors' choices 1,625; `scripts/gain_table.py --seeds 0-29`).
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.simulation import NEGLIGIBLE, discounted_returns
from imm_rl.agents.solvers.lookahead import possible_pairs
from imm_rl.envs.model import TabularPOMDP
from imm_rl.statistics import mean_ci95

EPISODES = (400, 2000)
"""Simulated first, and again where these fall short of the bound: chance alone fails one in forty."""

LOOK_AHEAD_ENTRIES = 200_000
"""A policy is small up to this many numbers: vectors times states times possible (action, observation)
pairs, which is what a look-ahead reads for a belief."""

EPISODE_STATES = 300_000
"""Episodes times states of a simulation: models of many states get fewer episodes, at least 100."""


def accepted(model: TabularPOMDP, policy: AlphaVectorPolicy, *, seed: int) -> AlphaVectorPolicy:
    """The policy as it is best executed, with a note where its vectors do not earn its lower bound.

    Args:
        model: What was solved.
        policy: With a lower bound.
        seed: Of the simulation.
    """
    if looks_ahead_cheaply(model, policy):
        ahead = policy.with_(execution="lookahead")
        if not earns_its_bound(model, ahead, seed=seed):
            ahead.notes += ("earns less than its lower bound in simulation",)
        return ahead
    if earns_its_bound(model, policy, seed=seed):
        return policy
    careful = policy.with_(execution="lookahead")
    careful.notes += ("acts by look-ahead: its vectors alone earn less than their lower bound",)
    return careful


def looks_ahead_cheaply(model: TabularPOMDP, policy: AlphaVectorPolicy) -> bool:
    """Whether the policy is small, see `LOOK_AHEAD_ENTRIES`."""
    n_vectors, n_states = policy.vectors.shape
    room = LOOK_AHEAD_ENTRIES // (n_vectors * n_states)
    return bool(possible_pairs(model) <= room)


def earns_its_bound(model: TabularPOMDP, policy: AlphaVectorPolicy, *, seed: int) -> bool:
    """Whether the simulated discounted return reaches the lower bound within its 95 % interval."""
    assert policy.lower_bound is not None  # the caller sees to it
    # What simulations leave out at the end of an episode.
    largest = float(np.abs(model.reward).max())
    tail = NEGLIGIBLE * largest / (1.0 - model.discount) if model.discount < 1.0 else 0.0
    for attempt, most in enumerate(EPISODES):
        episodes = min(most, max(100, EPISODE_STATES // model.n_states))
        returns = discounted_returns(model, policy, episodes=episodes, seed=seed + attempt)
        if mean_ci95(returns)[2] + tail >= policy.lower_bound - 1e-9:
            return True
    return False

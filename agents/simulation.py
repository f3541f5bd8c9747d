"""What a policy on beliefs earns in its own model: the simulated return that bounds are held against.

`imm_rl.agents.solve` accepts a policy by it, and `imm-rl solve` prints it. Unlike an episode of an
environment it is discounted and not cut at a number of steps, as the bounds are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imm_rl.agents.restricted.asking import restricted_episodes
from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair

NEGLIGIBLE = 1e-3
"""An episode is followed until its rewards count for less than this share of what they are."""

MOST_STEPS = 2000
"""Of an episode with γ = 1, or nearly so, that does not end."""


def horizon_of(discount: float) -> int:
    """Steps after which γ^t is `NEGLIGIBLE`."""
    if discount >= 1.0:
        return MOST_STEPS
    return min(MOST_STEPS, math.ceil(math.log(NEGLIGIBLE) / math.log(discount)))


def discounted_returns(
    model: TabularPOMDP,
    policy: Any,
    *,
    episodes: int = 1000,
    seed: int = 0,
    steps: int | None = None,
) -> FloatArray:
    """Σ_t γ^t r_t (B,) of episodes that start at b0, hidden states drawn, beliefs filtered.

    Args:
        model: What is played; the policy's beliefs are filtered by it too.
        policy: A restricted policy on beliefs.
        episodes: B.
        seed: Of all draws.
        steps: Of an episode; default: until γ^t is below 1/1000, 2,000 with γ = 1. A terminal state
            ends an episode.

    Raises:
        InvalidInputError: A count is no whole number, or the policy's answer is no distribution.
    """
    episodes = options.whole("episodes", episodes, at_least=1)
    seed = options.whole("seed", seed, at_least=0)
    limit = horizon_of(model.discount)
    n_steps = limit if steps is None else options.whole("steps", steps, at_least=1)
    pair, rng = EnvPair("simulated", model), np.random.default_rng(seed)
    totals, weight = np.zeros(episodes), 1.0
    for moment in restricted_episodes(pair, policy, episodes=episodes, n_steps=n_steps, rng=rng):
        totals[moment.episodes] += weight * moment.rewards
        weight *= model.discount
    return totals

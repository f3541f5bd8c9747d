"""Which beliefs a point-based solver backs up: those its policy meets, and those its bounds disagree on.

Index letters: B beliefs, S states, R trajectories, G possible (action, observation) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.sawtooth import UpperBound
from imm_rl.envs import belief as belief_filter
from imm_rl.envs.model import FloatArray, TabularPOMDP

ROUNDING = 4
"""Beliefs equal to this many decimals are taken for one."""


class BeliefSet:
    """Distinct beliefs in the order they were met.

    Attributes:
        beliefs: (B, S).
    """

    def __init__(self, n_states: int) -> None:
        self.beliefs = np.empty((0, n_states))
        self._keys: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.beliefs)

    def add(self, beliefs: FloatArray, most: int) -> FloatArray:
        """Adds up to `most` beliefs (B, S) that are new; returns those."""
        fresh: list[FloatArray] = []
        for row, rounded in zip(beliefs, beliefs.round(ROUNDING) + 0.0, strict=True):
            key = rounded.tobytes()
            if len(fresh) < most and key not in self._keys:
                self._keys.add(key)
                fresh.append(row)
        new = np.array(fresh).reshape(-1, beliefs.shape[1])
        self.beliefs = np.concatenate([self.beliefs, new])
        return new


def walk(
    model: TabularPOMDP,
    act: Callable[[FloatArray], IntArray],
    rng: np.random.Generator,
    *,
    walks: int,
    steps: int,
    explore: float,
) -> FloatArray:
    """Beliefs met from b0 on by a policy that takes a random action with probability `explore`.

    A walk starts anew where nearly all mass is on terminal states: nothing is left to decide there.

    Returns:
        (R·steps, S), first all at step 0, then all at step 1, and so on.
    """
    current = np.tile(model.initial, (walks, 1))
    met = []
    for _ in range(steps):
        actions = act(current)
        random = rng.random(walks) < explore
        actions = np.where(random, rng.integers(model.n_actions, size=walks), actions)
        seen = belief_filter.likelihood(current, actions, model)
        cumulative = np.cumsum(seen, axis=1)
        # Scaled by the sum, a draw below 1 never passes the last observation that is possible.
        drawn = rng.random(walks)[:, None] * cumulative[:, -1:]
        observations = (drawn >= cumulative).sum(axis=1)
        current = belief_filter.update(current, actions, observations, model)
        over = current[:, model.terminal].sum(axis=1) > 0.999
        current[over] = model.initial
        met.append(current)
    return np.concatenate(met)


def disputed(
    dynamics: Dynamics,
    upper: UpperBound,
    lower_vectors: FloatArray,
    *,
    width: int,
    depth: int,
    tolerance: float,
) -> Iterator[FloatArray]:
    """Beliefs that the gap at b0 comes from, as in HSVI (Smith and Simmons 2004), many at a time.

    From b0 on, the action that is best by the upper bound; of its successors those `width` that add
    most to the gap at b0, and on from there until none adds more than the tolerance.

    Args:
        dynamics: The model.
        upper: The upper bound.
        lower_vectors: (V, S), of the lower bound.
        width: How many beliefs are followed at each depth.
        depth: Steps at most.
        tolerance: Gap at b0 that is accepted.

    Yields:
        (B, S) of each depth, B ≤ width, b0 first.
    """
    model = dynamics.model
    frontier, reach, tolerated = model.initial[None, :], np.ones(1), tolerance
    yield frontier
    for _ in range(depth):
        q, successors, upper_values = upper.action_values(frontier)
        chosen = dynamics.pair_actions == q.argmax(axis=1)[:, None]  # (B, G)
        lower_values = (successors @ lower_vectors.T).max(axis=2)
        mass = successors.sum(axis=2)
        tolerated /= model.discount
        # HSVI's excess, weighted by the probability of getting there.
        excess = np.where(
            chosen & (mass > 0.0), upper_values - lower_values - tolerated * mass, 0.0
        )
        weight = (excess * reach[:, None]).reshape(-1)
        order = np.argsort(-weight, kind="stable")[:width]
        order = order[weight[order] > 0.0]
        if not order.size:
            return
        masses = mass.reshape(-1)[order]
        frontier = successors.reshape(-1, model.n_states)[order] / masses[:, None]
        reach = np.repeat(reach, mass.shape[1])[order] * masses
        yield frontier

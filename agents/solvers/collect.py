"""Which beliefs a point-based solver backs up: those its policy meets, and those its bounds disagree on.

Beliefs are kept on the states of their region.
Index letters: B beliefs, N states of a region, G outcomes of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics, joint, placed
from imm_rl.agents.solvers.lower_bound import LowerBound
from imm_rl.agents.solvers.sawtooth import UpperBound
from imm_rl.envs.model import FloatArray

ROUNDING = 4
"""Beliefs equal to this many decimals are taken for one."""


class Located(NamedTuple):
    """A belief and where it lies."""

    region: int
    belief: FloatArray  # (N,)


class BeliefSet:
    """Distinct beliefs of every region, in the order they were met.

    Attributes:
        sets: Of each region, (B, N).
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.sets = [np.empty((0, len(region.states))) for region in dynamics.regions]
        self._keys: set[tuple[int, bytes]] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, located: list[Located], most: int) -> list[Located]:
        """Adds up to `most` beliefs that are new; returns those."""
        fresh: list[Located] = []
        for item in located:
            if len(fresh) >= most:
                break
            key = (item.region, (item.belief.round(ROUNDING) + 0.0).tobytes())
            if key not in self._keys:
                self._keys.add(key)
                fresh.append(item)
        for region, rows in by_region(fresh):
            self.sets[region] = np.concatenate([self.sets[region], rows])
        return fresh


def by_region(located: list[Located]) -> Iterator[tuple[int, FloatArray]]:
    """The beliefs of each region that has some, (B, N)."""
    for region in sorted({item.region for item in located}):
        yield region, np.stack([item.belief for item in located if item.region == region])


class Walked(NamedTuple):
    """Walks from b0.

    Attributes:
        met: The beliefs after each step: all walks' after the first, then all after the second, ...
        earned: Expected discounted reward of each walk (R,), of the observations it met.
        weights: γ^T of each walk (R,), 0 where it had ended.
    """

    met: list[Located]
    earned: FloatArray
    weights: FloatArray


def walk(
    dynamics: Dynamics,
    act: Callable[[int, FloatArray], IntArray],
    rng: np.random.Generator,
    *,
    walks: int,
    steps: int,
    explore: float,
) -> Walked:
    """Walks by a policy that takes a random action with probability `explore`.

    `act` gives the actions (B,) at beliefs (B, N) of a region. A walk starts anew where nearly all mass
    is on terminal states: nothing is left to decide there.
    """
    model = dynamics.model
    ends = [model.terminal[region.states] for region in dynamics.regions]
    start = Located(0, dynamics.root)
    current = [start] * walks
    met: list[Located] = []
    earned, weights = np.zeros(walks), np.ones(walks)
    for _ in range(steps):
        following: list[Located] = list(current)
        for region in sorted({item.region for item in current}):
            rows = np.array([i for i, item in enumerate(current) if item.region == region])
            beliefs = np.stack([current[i].belief for i in rows])
            actions = act(region, beliefs)
            random = rng.random(len(rows)) < explore
            actions = np.where(random, rng.integers(model.n_actions, size=len(rows)), actions)
            rewards = beliefs @ dynamics.regions[region].reward
            earned[rows] += weights[rows] * rewards[np.arange(len(rows)), actions]
            for action in np.unique(actions):
                chosen = np.flatnonzero(actions == action)
                landed = _step(dynamics, region, beliefs[chosen], int(action), rng)
                for row, item in zip(rows[chosen], landed, strict=True):
                    over = item.belief[ends[item.region]].sum() > 0.999
                    following[row] = start if over else item
                    weights[row] *= 0.0 if over else model.discount
        current = following
        met += current
    return Walked(met, earned, weights)


def _step(
    dynamics: Dynamics,
    region: int,
    beliefs: FloatArray,
    action: int,
    rng: np.random.Generator,
) -> list[Located]:
    """Where beliefs (B, N) go by an action and an observation that is drawn for each."""
    step = dynamics.regions[region].steps[action]
    predicted = step.predict(beliefs)
    joints = [joint(outcome, predicted) for outcome in step.outcomes]
    cumulative = np.cumsum([j.sum(axis=1) for j in joints], axis=0)  # (O, B)
    # Scaled by the sum, a draw below 1 never passes the last observation that is possible.
    drawn = rng.random(len(beliefs)) * cumulative[-1]
    seen = (drawn >= cumulative).sum(axis=0)
    landed = []
    for row, o in enumerate(seen):
        outcome = step.outcomes[o]
        mass = joints[o][row : row + 1]
        width = len(dynamics.regions[outcome.region].states)
        landed.append(Located(outcome.region, placed(outcome, mass / mass.sum(), width)[0]))
    return landed


class _Candidate(NamedTuple):
    weight: float
    reach: float
    located: Located


def disputed(
    dynamics: Dynamics,
    upper: UpperBound,
    lower: LowerBound,
    *,
    width: int,
    depth: int,
    tolerance: float,
) -> Iterator[list[Located]]:
    """Beliefs that the gap at b0 comes from, as in HSVI (Smith and Simmons 2004), many at a time.

    From b0 on, the action that is best by the upper bound; of its successors those `width` that add
    most to the gap at b0, and on from there until none adds more than the tolerance.

    Args:
        dynamics: The model.
        upper: The upper bound.
        lower: The lower bound.
        width: How many beliefs are followed at each depth.
        depth: Steps at most.
        tolerance: Gap at b0 that is accepted.

    Yields:
        Up to `width` of each depth, b0 first.
    """
    frontier, reach, tolerated = [Located(0, dynamics.root)], [1.0], tolerance
    yield frontier
    for _ in range(depth):
        tolerated /= dynamics.model.discount
        candidates: list[_Candidate] = []
        for region in sorted({item.region for item in frontier}):
            rows = [i for i, item in enumerate(frontier) if item.region == region]
            beliefs = np.stack([frontier[i].belief for i in rows])
            reaches = np.array([reach[i] for i in rows])
            candidates += _followed(dynamics, upper, lower, region, beliefs, reaches, tolerated)
        candidates.sort(key=lambda candidate: -candidate.weight)
        frontier = [candidate.located for candidate in candidates[:width]]
        reach = [candidate.reach for candidate in candidates[:width]]
        if not frontier:
            return
        yield frontier


def _followed(
    dynamics: Dynamics,
    upper: UpperBound,
    lower: LowerBound,
    region: int,
    beliefs: FloatArray,
    reach: FloatArray,
    tolerated: float,
) -> Iterator[_Candidate]:
    """The successors of beliefs (B, N), of probability `reach` (B,), whose gap is not tolerated."""
    here = dynamics.regions[region]
    q, successors, upper_values = upper.action_values(region, beliefs)
    best = q.argmax(axis=1)
    actions = np.array([outcome.action for outcome in here.outcomes])
    for y, following in successors.items():
        members = here.targets[y]
        mass = following.sum(axis=2)
        low = lower.at(y, following.reshape(-1, following.shape[2])).reshape(mass.shape)
        # HSVI's excess, weighted by the probability of getting there.
        excess = (upper_values[:, members] - low - tolerated * mass) * reach[:, None]
        counts = (actions[members] == best[:, None]) & (mass > 0.0) & (excess > 0.0)
        for i, g in np.argwhere(counts):
            located = Located(y, following[i, g] / mass[i, g])
            yield _Candidate(float(excess[i, g]), float(reach[i] * mass[i, g]), located)

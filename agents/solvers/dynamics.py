"""The model arranged for belief-wise solvers, region by region, dense or CSR behind one face.

Index letters: B beliefs, N states of a region, M states that a region reaches by an action,
K of these where an observation is possible, A actions, G possible (action, observation) pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.regions import Regions, find_regions
from imm_rl.envs.model import FloatArray, TabularPOMDP

DENSE_STATES = 256
"""Up to this many states a dense product beats a CSR one, whatever the share of zeros."""

DENSE_SHARE = 0.05
"""So it does past that many where more than this share of the entries is not zero."""

MOST_DENSE = 20_000_000
"""Numbers in all dense products of a model; past it, products with few entries are CSR."""


class Outcome(NamedTuple):
    """One observation after one action in one region.

    Attributes:
        action: The action.
        observation: The observation.
        reached: Which of the M states reached (K,) it is possible in.
        region: The region that the belief is in then.
        places: Where these states (K,) stand in that region.
        likelihood: P(o | a, s') there (K,).
    """

    action: int
    observation: int
    reached: IntArray | slice
    region: int
    places: IntArray | slice
    likelihood: FloatArray


class Step:
    """One action in one region.

    Attributes:
        outcomes: The observations possible after it.
    """

    def __init__(self, forward: Any, outcomes: list[Outcome]) -> None:
        self._forward = forward  # (N, M)
        # B @ T is computed as (Tᵀ @ Bᵀ)ᵀ where T is CSR.
        self._backward = None if isinstance(forward, np.ndarray) else forward.T.tocsr()
        self.n_reached = int(forward.shape[1])
        self.outcomes = outcomes

    def predict(self, beliefs: FloatArray) -> FloatArray:
        """Σ_s b(s) T[s, a, ·]: (B, N) to (B, M)."""
        if self._backward is None:
            return np.asarray(beliefs @ self._forward)
        return np.ascontiguousarray((self._backward @ beliefs.T).T)

    def expect(self, values: FloatArray) -> FloatArray:
        """Σ_s' T[·, a, s'] v(s') for rows v: (B, M) to (B, N)."""
        return np.ascontiguousarray((self._forward @ values.T).T)


class Region(NamedTuple):
    """The model seen from beliefs over the states of one region.

    Attributes:
        states: (N,).
        reward: (N, A).
        steps: One an action.
        outcomes: Those of all actions, in order: G of them.
        starts: (A,), where each action's outcomes start.
        targets: For each region that is led to, which of the G outcomes do.
    """

    states: IntArray
    reward: FloatArray
    steps: list[Step]
    outcomes: list[Outcome]
    starts: IntArray
    targets: dict[int, IntArray]


class Dynamics:
    """T and O of one model as solvers use them; built once, then read only.

    Attributes:
        model: The model.
        sets: The regions as sets of states.
        regions: The model seen from each.
        root: (N,), b0 on the first region.

    Args:
        model: The model.
        regions: Default: those of `find_regions`.
    """

    def __init__(self, model: TabularPOMDP, regions: Regions | None = None) -> None:
        self.model = model
        self.sets = find_regions(model) if regions is None else regions
        sizes = sum(len(states) for states in self.sets.sets)
        largest = max(len(states) for states in self.sets.sets)
        roomy = sizes * largest * model.n_actions <= MOST_DENSE
        seen = [sp.csr_array(model.observation_of(a)) for a in range(model.n_actions)]
        self.regions = [self._region(states, seen, roomy) for states in self.sets.sets]
        self.root: FloatArray = model.initial[self.regions[0].states]

    @classmethod
    def whole(cls, model: TabularPOMDP) -> Dynamics:
        """With one region of all states, for any belief."""
        return cls(model, Regions(model.n_states, [np.arange(model.n_states)]))

    def __len__(self) -> int:
        return len(self.regions)

    def successors(self, region: int, beliefs: FloatArray) -> dict[int, FloatArray]:
        """P(o | b, a) b_o of beliefs (B, N): for each target region (B, outcomes that lead there, N')."""
        here = self.regions[region]
        found = {
            y: np.zeros((len(beliefs), len(members), len(self.regions[y].states)))
            for y, members in here.targets.items()
        }
        filled = dict.fromkeys(found, 0)
        for step in here.steps:
            predicted = step.predict(beliefs)
            for outcome in step.outcomes:
                y = outcome.region
                found[y][:, filled[y], outcome.places] = joint(outcome, predicted)
                filled[y] += 1
        return found

    def _region(self, states: IntArray, seen: list[sp.csr_array], roomy: bool) -> Region:
        steps = [
            self._step(states, action, observations, roomy)
            for action, observations in enumerate(seen)
        ]
        counts = np.array([len(step.outcomes) for step in steps])
        outcomes = [outcome for step in steps for outcome in step.outcomes]
        reward = np.ascontiguousarray(self.model.reward[states])
        led_to = np.array([outcome.region for outcome in outcomes])
        targets = {int(y): np.flatnonzero(led_to == y) for y in np.unique(led_to)}
        return Region(states, reward, steps, outcomes, np.cumsum(counts) - counts, targets)

    def _step(self, states: IntArray, action: int, observations: sp.csr_array, roomy: bool) -> Step:
        transition = self.model.transition_of(action)
        every = len(states) == self.model.n_states
        rows = transition if every else transition[states]
        if every:
            reached = np.arange(self.model.n_states)
        elif isinstance(rows, np.ndarray):
            reached = np.flatnonzero(rows.any(axis=0))
        else:
            reached = np.unique(rows.indices[rows.data != 0.0]).astype(np.int64)
        forward = rows if every else rows[:, reached]
        columns = sp.csc_array(observations[reached])
        columns.eliminate_zeros()
        columns.sort_indices()
        outcomes = []
        for o in range(columns.shape[1]):
            part = slice(columns.indptr[o], columns.indptr[o + 1])
            if part.stop > part.start:
                local = columns.indices[part].astype(np.int64)
                outcomes.append(
                    self._outcome(action, o, reached, local, np.asarray(columns.data[part]))
                )
        return Step(_arranged(forward, roomy), outcomes)

    def _outcome(
        self, action: int, o: int, reached: IntArray, local: IntArray, likelihood: FloatArray
    ) -> Outcome:
        region = self.sets.find(reached[local])
        assert region is not None  # the regions are closed under actions and observations
        places = np.searchsorted(self.sets.sets[region], reached[local])
        return Outcome(
            action,
            o,
            _slice(local, len(reached)),
            region,
            _slice(places, len(self.sets.sets[region])),
            likelihood,
        )


def joint(outcome: Outcome, predicted: FloatArray) -> FloatArray:
    """P(s', o | b, a) at the K states: (B, M) to (B, K)."""
    return np.asarray(predicted[:, outcome.reached] * outcome.likelihood)


def placed(outcome: Outcome, values: FloatArray, width: int) -> FloatArray:
    """Values (B, K) of an outcome's states as rows (B, N) over its region of `width` states."""
    if isinstance(outcome.places, slice):
        return values
    rows = np.zeros((len(values), width))
    rows[:, outcome.places] = values
    return rows


def _slice(indices: IntArray, size: int) -> IntArray | slice:
    """All of them, in order, are taken without a copy."""
    return slice(None) if len(indices) == size else indices


def _arranged(transition: Any, roomy: bool) -> Any:
    """Dense for few states or few zeros, else CSR, whichever form the model has."""
    small = max(transition.shape) <= DENSE_STATES and roomy
    if isinstance(transition, np.ndarray):
        few = np.count_nonzero(transition) < DENSE_SHARE * transition.size
        if few and not small:
            return sp.csr_array(transition)
        return np.ascontiguousarray(transition)
    return np.ascontiguousarray(transition.toarray()) if small else sp.csr_array(transition)

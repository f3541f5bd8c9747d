"""Which states a belief can be spread over: regions that beliefs move between, found from the model.

In many problems part of the state is always known: the rover's cell in RockSample, the robot's in Tag.
A belief is then spread over few of the states, and after an action and an observation over few others.
Solvers keep beliefs and alpha vectors on such a region alone, which is the idea of mixed observability
(Ong, Png, Hsu and Lee 2010, International Journal of Robotics Research 29) without a factored model:
here the regions are read off the transitions.

A region is a set of states. b0's support lies in one; the support that follows from a region by an
action and an observation lies in one again. Regions may overlap. Where nothing is gained there is a
single region of all states.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.model import TabularPOMDP

LEAST_STATES = 100
"""Models of fewer states stay whole: their products are small, and each region costs a loop."""

MOST_REGIONS, MOST_PAIRS = 1000, 20_000
"""Models that would need more regions, or (region, action, observation) triples, stay whole."""

PROBES = 8
"""About so many states of a set are looked up before it is compared with a region."""

LARGEST_SHARE = 0.5
"""Models with a region, other than the first, of more than this share of the states stay whole, too."""


class Regions:
    """Sets of states that beliefs keep to.

    Attributes:
        sets: States of each, ascending; the first one holds b0's support.
    """

    def __init__(self, n_states: int, sets: Iterable[IntArray] = ()) -> None:
        self.sets: list[IntArray] = []
        self._of_state: list[list[int]] = [[] for _ in range(n_states)]
        for states in sets:
            self.add(states)

    def __len__(self) -> int:
        return len(self.sets)

    def add(self, states: IntArray) -> None:
        """Adds a region."""
        for state in states:
            self._of_state[state].append(len(self.sets))
        self.sets.append(states)

    def find(self, states: IntArray) -> int | None:
        """The smallest region that holds all these states (ascending); None if none does."""
        # A few of the states rule most regions out, and are quicker looked up than all of them.
        probes = states[:: max(1, len(states) // PROBES)].tolist()
        likely = set(self._of_state[states[-1]]).intersection(
            *(self._of_state[state] for state in probes)
        )
        fitting = [
            region
            for region in sorted(likely)
            if len(self.sets[region]) >= len(states)
            and np.isin(states, self.sets[region], assume_unique=True).all()
        ]
        return min(fitting, key=lambda region: len(self.sets[region]), default=None)


def find_regions(model: TabularPOMDP) -> Regions:
    """The regions of a model; a single one of all states where more would gain nothing."""
    whole = Regions(model.n_states, [np.arange(model.n_states)])
    if model.n_states < LEAST_STATES:
        return whole
    reach = Reach(model)
    found = Regions(model.n_states, [np.flatnonzero(model.initial)])
    waiting: list[tuple[int, int, IntArray]] = []  # the largest support first: it may hold others
    pairs = grown = 0
    while grown < len(found):
        for following in reach.supports(found.sets[grown]):
            pairs += 1
            heapq.heappush(waiting, (-following.size, pairs, following))
        grown += 1
        while waiting and grown == len(found):
            states = heapq.heappop(waiting)[2]
            if found.find(states) is None:
                if states.size > LARGEST_SHARE * model.n_states:
                    return whole
                found.add(states)
        if len(found) > MOST_REGIONS or pairs > MOST_PAIRS:
            return whole
    return found


class Reach:
    """What can follow from a set of states: the patterns of T and O."""

    def __init__(self, model: TabularPOMDP) -> None:
        actions = range(model.n_actions)
        self._next = [_pattern(model.transition_of(a)) for a in actions]
        self._seen = [_pattern(model.observation_of(a)) for a in actions]

    def supports(self, states: IntArray) -> Iterator[IntArray]:
        """For each action and observation that is possible at these states, those (n,) possible then."""
        for moves, sights in zip(self._next, self._seen, strict=True):
            reached = np.unique(moves[states].indices)
            possible = sp.csc_array(sights[reached])
            for observation in np.flatnonzero(np.diff(possible.indptr)):
                part = slice(possible.indptr[observation], possible.indptr[observation + 1])
                yield reached[np.sort(possible.indices[part])]


def _pattern(matrix: np.ndarray | sp.csr_array) -> sp.csr_array:
    pattern = sp.csr_array(matrix, copy=True)
    pattern.eliminate_zeros()
    pattern.sort_indices()
    return pattern

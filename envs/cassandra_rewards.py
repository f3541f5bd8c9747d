"""The rewards R of a Cassandra `.POMDP` file: kept as rules, tabled in the smallest form.

R(a, s, s', o) of a real file mostly depends on (s, a) alone, while its full table would have S·A·S·O
numbers. So entries are kept as they are, wildcards and all, and looked up where outcomes can happen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.cassandra_preamble import ALL
from imm_rl.envs.cassandra_tables import IntArray
from imm_rl.envs.model import FloatArray

MAX_REWARD_ENTRIES = 20_000_000
"""The largest table of rewards by outcome, (S, A, S) or (S, A, S, O), that is built (160 MB)."""
_OUTCOMES_AT_ONCE = 1_000_000

NEXT_STATE, OBSERVATION = 2, 3
"""Axes of R(action, state, next state, observation)."""


class RewardRules:
    """The entries of R in file order; where several hold for an outcome the last one counts.

    Args:
        sizes: (A, S, S, O).
    """

    def __init__(self, sizes: tuple[int, int, int, int]) -> None:
        self.sizes = sizes
        self._values = [0.0]  # rule 0 is what is not given
        self._by_axes: dict[tuple[int, ...], tuple[list[int], list[int]]] = defaultdict(
            lambda: ([], [])
        )

    def add(self, head: Sequence[int], values: Sequence[float]) -> None:
        """Adds one entry of the file; all calls come before the first look-up.

        Args:
            head: Indices of the leading axes, some of them `ALL`.
            values: A number for each combination of the axes that follow, the last axis fastest.
        """
        axes = tuple(axis for axis, index in enumerate(head) if index != ALL)
        key = 0
        for axis in axes:
            key = key * self.sizes[axis] + head[axis]
        keys, rules = self._by_axes[axes + tuple(range(len(head), 4))]
        keys.extend(range(key * len(values), (key + 1) * len(values)))
        rules.extend(range(len(self._values), len(self._values) + len(values)))
        self._values.extend(values)

    def tells_apart(self, axis: int) -> bool:
        """Whether any entry holds for some indices of this axis alone."""
        return any(axis in axes for axes in self._by_axes)

    def rewards(
        self,
        action: npt.ArrayLike,
        state: npt.ArrayLike,
        next_state: npt.ArrayLike,
        observation: npt.ArrayLike,
    ) -> FloatArray:
        """R at outcomes; the index arrays are broadcast."""
        index = [np.asarray(i, dtype=np.int64) for i in (action, state, next_state, observation)]
        last = np.zeros(np.broadcast_shapes(*(i.shape for i in index)), dtype=np.int64)
        for axes, keys, rules in self._sorted:
            key: IntArray = np.zeros((), dtype=np.int64)
            for axis in axes:
                key = key * self.sizes[axis] + index[axis]
            at = np.minimum(np.searchsorted(keys, key), keys.size - 1)
            np.maximum(last, np.where(keys[at] == key, rules[at], 0), out=last)
        return np.array(self._values)[last]

    @cached_property
    def _sorted(self) -> list[tuple[tuple[int, ...], IntArray, IntArray]]:
        """By the axes that rules name: their keys, sorted, each with its last rule."""
        tables = []
        for axes, (key_list, rule_list) in self._by_axes.items():
            keys, rules = np.array(key_list, dtype=np.int64), np.array(rule_list, dtype=np.int64)
            order = np.argsort(keys, kind="stable")
            last = np.append(np.diff(keys[order]) != 0, [True])
            tables.append((axes, keys[order][last], rules[order][last]))
        return tables


class TooLargeReward(NamedTuple):
    """A reward that depends on outcomes, in a model too large for its table."""

    shape: tuple[int, ...]
    state: int
    action: int


def smallest_table(
    rules: RewardRules,
    transitions: Sequence[sp.csr_array],
    observations: Sequence[sp.csr_array],
) -> FloatArray | TooLargeReward:
    """The rewards in the smallest form that tells apart all outcomes that can happen.

    (S, A) where neither s' nor o matters, (S, A, S) where only s' does, else (S, A, S, O).

    Args:
        rules: The entries of the file.
        transitions: P(s' | s, a), one CSR array (S, S) an action, nonzeros only, no row empty.
        observations: P(o | a, s'), one CSR array (S, O) an action, likewise.
    """
    n_actions, n_states, _, n_observations = rules.sizes
    state = np.arange(n_states)
    n_axes, where = 2, (0, 0)
    if rules.tells_apart(NEXT_STATE) or rules.tells_apart(OBSERVATION):
        for a in range(n_actions):
            found, s = _axes_that_matter(rules, a, transitions[a], observations[a])
            if found > n_axes:
                n_axes, where = found, (s, a)
    # Where o does not matter, take one that can be observed: entries for others may say anything.
    likely = [part.indices[part.indptr[:-1]] for part in observations]
    if n_axes == 2:
        table = np.empty((n_states, n_actions))
        for a in range(n_actions):
            likely_next = transitions[a].indices[transitions[a].indptr[:-1]]
            table[:, a] = rules.rewards(a, state, likely_next, likely[a][likely_next])
        return table
    shape = (n_states, n_actions, n_states, n_observations)[:n_axes]
    if np.prod(shape, dtype=np.float64) > MAX_REWARD_ENTRIES:
        return TooLargeReward(shape, *where)
    table = np.empty(shape)
    for a in range(n_actions):
        if n_axes == 3:
            table[:, a] = rules.rewards(a, state[:, None], state, likely[a])
        else:
            every = np.arange(n_observations)
            table[:, a] = rules.rewards(a, state[:, None, None], state[:, None], every)
    return table


def _axes_that_matter(
    rules: RewardRules, action: int, transition: sp.csr_array, observation: sp.csr_array
) -> tuple[int, int]:
    """2, 3 or 4 axes for one action, and a state in which the last of them matters."""
    source = np.repeat(np.arange(transition.shape[0]), np.diff(transition.indptr))
    target = transition.indices
    widths = np.diff(observation.indptr)[target]
    of_transition = np.empty(source.size)
    ends = np.cumsum(widths)
    first = 0
    while first < source.size:
        # A stretch of transitions with about a million outcomes (s, s', o), so memory stays small.
        before = ends[first] - widths[first]
        stop = max(first + 1, int(np.searchsorted(ends, before + _OUTCOMES_AT_ONCE, "right")))
        width, goal = widths[first:stop], target[first:stop]
        start = np.cumsum(width) - width
        seen = observation.indices[
            np.repeat(observation.indptr[goal] - start, width) + np.arange(width.sum())
        ]
        each = np.repeat(np.arange(first, stop), width)
        paid = rules.rewards(action, source[each], target[each], seen)
        of_transition[first:stop] = paid[start]
        differs = paid != of_transition[each]
        if differs.any():
            return 4, int(source[each[int(np.argmax(differs))]])
        first = stop
    differs = of_transition != of_transition[transition.indptr[source]]
    return (3, int(source[int(np.argmax(differs))])) if differs.any() else (2, 0)


def find_terminal(reward: FloatArray, transitions: Sequence[sp.csr_array]) -> npt.NDArray[np.bool_]:
    """(S,) bool: states that no action leaves and in which nothing is paid.

    Args:
        reward: The table of `smallest_table`.
        transitions: P(s' | s, a), one CSR array (S, S) an action, nonzeros only, no row empty.
    """
    n_states = transitions[0].shape[0]
    terminal = np.ones(n_states, dtype=bool)
    for part in transitions:
        stays = part.indices[part.indptr[:-1]] == np.arange(n_states)
        terminal &= stays & (np.diff(part.indptr) == 1)
    state = np.flatnonzero(terminal)
    paid = reward[state] if reward.ndim == 2 else reward[state, :, state]  # (N, A) or (N, A, O)
    terminal[state] = (paid == 0.0).all(axis=tuple(range(1, paid.ndim)))
    return terminal

"""The Bayes filter along a rollout, all its episodes side by side; `contexts` calls it.

A step of the filter takes about as long for eight beliefs as for a hundred, and a rollout of 2,048 steps of
eight copies holds hundreds of episodes of fifty. So the filter does not go through the rollout step by
step: all episodes are at their first step together, then those that are longer at their second.

Index letters: R rows, T steps, G pieces (an episode, as far as it lies in the rollout), S states,
M beliefs that are asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.rollout import BoolArray
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.sampler import IntArray
from imm_rl.envs.sparse_belief import stacked

MOST_ROWS = 1024
"""Beliefs updated at a time, unless R is more: small models take S × S numbers for each."""


def beliefs_along(
    bayes: BeliefFilter,
    belief: Beliefs,
    actions: IntArray,
    observations: IntArray,
    going: BoolArray,
    wanted: IntArray,
) -> tuple[Beliefs, Beliefs]:
    """The beliefs before the steps of a rollout, and those after its last one.

    Args:
        bayes: The filter.
        belief: (R, S), before the first step.
        actions: (T, R).
        observations: (T, R), what is observed after each action.
        going: (T, R), whether the episode goes on after it; else the next step is at the start belief.
        wanted: (M,), which steps' beliefs are given: the numbers t·R + r, in the order of the answer.

    Returns:
        (M, S) and (R, S), dense or CSR as `belief` is.
    """
    n_steps, n_rows = going.shape
    pieces = _pieces(going)
    current = _first(bayes, belief, pieces)
    place = np.full((n_steps + 1) * n_rows, -1)  # in the answer; −1: not wanted
    place[wanted] = np.arange(len(wanted))
    found, after = _Placed(len(wanted), belief), _Placed(n_rows, belief)
    row, at = pieces.row, pieces.start * n_rows + pieces.row
    acted, seen = actions.reshape(-1), observations.reshape(-1)
    # How many pieces have more than 0, 1, 2, … updates.
    longer = len(row) - np.cumsum(np.bincount(pieces.updates))
    for n in longer.tolist():
        into = place[at]
        found.put(current, np.flatnonzero(into >= 0), into)
        if n < len(row):
            after.put(current, np.flatnonzero(at >= n_steps * n_rows), row)
            row, at, current = row[:n], at[:n], current[:n]
        if n:
            current = _updated(bayes, current, acted[at], seen[at], n_rows)
            at = at + n_rows
    ended = np.flatnonzero(~going[-1])
    if ended.size:
        after.put(bayes.start(ended.size), np.arange(ended.size), ended)
    return found.all(), after.all()


class _Pieces(NamedTuple):
    """The pieces of a rollout, those with the most updates first.

    Attributes:
        start: (G,), the first step.
        row: (G,).
        updates: (G,), how often the belief is updated: after each step but one that ends the episode.
    """

    start: IntArray
    row: IntArray
    updates: IntArray


def _pieces(going: BoolArray) -> _Pieces:
    n_steps, n_rows = going.shape
    begins = np.concatenate([np.ones((1, n_rows), dtype=bool), ~going[:-1]])
    row, start = np.nonzero(begins.T)  # by row, then by time
    follows = np.append(row[1:] == row[:-1], False)  # another piece of the same row
    end = np.where(follows, np.append(start[1:], 0), n_steps)
    updates = end - start - 1 + going[end - 1, row]
    order = np.argsort(-updates, kind="stable")
    return _Pieces(start[order], row[order], updates[order])


def _first(bayes: BeliefFilter, belief: Beliefs, pieces: _Pieces) -> Beliefs:
    """The belief (G, S) before the first step of each piece."""
    carried = pieces.start == 0
    if isinstance(belief, np.ndarray):
        first = bayes.start(len(carried))
        first[carried] = belief[pieces.row[carried]]
        return first
    place = np.where(carried, pieces.row, belief.shape[0])
    return sp.csr_array(stacked([belief, bayes.start(1)])[place])


class _Placed:
    """Rows that arrive in another order than they are wanted in."""

    def __init__(self, n: int, like: Beliefs) -> None:
        self._dense: FloatArray | None = None
        if isinstance(like, np.ndarray):
            self._dense = np.empty((n, like.shape[1]))
        self._empty = sp.csr_array((0, like.shape[1]))
        self._parts: list[Beliefs] = []
        self._places: list[IntArray] = []

    def put(self, beliefs: Beliefs, rows: IntArray, places: IntArray) -> None:
        """These rows of beliefs, each to its place: `places[rows]`."""
        if not rows.size:
            return
        some: Any = beliefs if rows.size == beliefs.shape[0] else beliefs[rows]  # all: no copy
        if self._dense is not None:
            self._dense[places[rows]] = some
        else:
            self._parts.append(some)
            self._places.append(places[rows])

    def all(self) -> Beliefs:
        if self._dense is not None:
            return self._dense
        if not self._parts:
            return self._empty
        return sp.csr_array(stacked(self._parts)[np.argsort(np.concatenate(self._places))])


def _updated(
    bayes: BeliefFilter, beliefs: Beliefs, actions: IntArray, observations: IntArray, n_rows: int
) -> Beliefs:
    """Beliefs (n, S) after actions and observations (n,), some of them at a time."""
    most = max(n_rows, MOST_ROWS)
    if len(actions) <= most:
        return bayes.update(beliefs, actions, observations)
    cuts = [slice(i, i + most) for i in range(0, len(actions), most)]
    parts = [bayes.update(beliefs[cut], actions[cut], observations[cut]) for cut in cuts]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return stacked(parts)

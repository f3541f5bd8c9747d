"""One-step look-ahead on alpha vectors, for many beliefs at once.

    Q(b, a) = r(b, a) + γ Σ_o max_i Σ_s b(s) Σ_s' T[s, a, s'] O[a, s', o] α_i(s')

Beliefs may be dense or CSR, and so may what follows from them.
Index letters: B beliefs, S states, A actions, O observations, V vectors, C columns of the table.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.restricted.vector_values import VectorValues
from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.pruning import undominated
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.model import FloatArray, TabularPOMDP

TABLE_ENTRIES = 20_000_000
"""A table of more numbers than this (before pruning) is not built; the observations are looped over."""

BLOCK_BELIEFS, BLOCK_COLUMNS, BLOCK_ENTRIES = 64, 1000, 250_000
"""Scores are computed in blocks of no fewer beliefs and about as many columns as this, 2 MB where the
table allows: products are then large enough to be quick and maxima are taken from the cache."""


class LookAhead:
    """Q values of beliefs under one set of alpha vectors.

    For each action and observation the vectors are projected back through the model beforehand,
    g_i(s) = γ Σ_s' T[s, a, s'] O[a, s', o] α_i(s'), and dominated projections are dropped: an
    observation often leaves few states, and then most projections go. What remains to be done for a
    batch is one matrix product, a maximum and a sum. Large models go without the table.

    Attributes:
        table: (C, S), the projected vectors of all pairs (action, observation), or None without a table.
        pair_starts: Where each pair begins in the table.
        action_starts: Which pair is the first of each action.

    Args:
        model: The model looked ahead in.
        vectors: (V, S); tabulated where they are not too many.
        values: What the vectors are worth at beliefs.
        table: Whether to tabulate dense vectors; None decides by size.
    """

    def __init__(
        self,
        model: TabularPOMDP,
        vectors: FloatArray | sp.csr_array,
        values: VectorValues,
        *,
        table: bool | None = None,
    ) -> None:
        self._model = model
        self._values = values
        self._seen = [_columns(model, action) for action in range(model.n_actions)]
        self.table: FloatArray | None = None
        self.pair_starts: IntArray = np.zeros(0, dtype=np.int64)
        self.action_starts: IntArray = np.zeros(0, dtype=np.int64)
        if isinstance(vectors, np.ndarray):
            fits = possible_pairs(model) * vectors.size <= TABLE_ENTRIES
            if fits if table is None else table:
                self._tabulate(Dynamics.whole(model), vectors)

    def action_values(self, beliefs: Beliefs) -> FloatArray:
        """Q (B, A) of beliefs (B, S)."""
        values: FloatArray = np.asarray(beliefs @ self._model.reward)
        if self.table is None:
            for action in range(self._model.n_actions):
                values[:, action] += self._model.discount * self._after(beliefs, action)
            return values
        block = max(BLOCK_BELIEFS, BLOCK_ENTRIES // len(self.table))
        for start in range(0, beliefs.shape[0], block):
            part = slice(start, start + block)
            rows = beliefs[part]
            columns = (rows if isinstance(rows, np.ndarray) else rows.toarray()).T
            best = np.empty((self._n_pairs, columns.shape[1]))
            for pairs, group, starts in self._blocks:
                scores = self.table[group] @ columns  # (C, B) of these pairs
                np.maximum.reduceat(scores, starts, axis=0, out=best[pairs])
            values[part] += np.add.reduceat(best, self.action_starts, axis=0).T
        return values

    def _after(self, beliefs: Beliefs, action: int) -> FloatArray:
        predicted = beliefs @ self._model.transition_of(action)
        columns = self._seen[action]
        total = np.zeros(beliefs.shape[0])
        for o in np.flatnonzero(np.diff(columns.indptr)):
            part = slice(columns.indptr[o], columns.indptr[o + 1])
            likelihood = np.zeros(self._model.n_states)
            likelihood[columns.indices[part]] = columns.data[part]
            if isinstance(predicted, np.ndarray):
                total += self._values.best(predicted * likelihood)
            else:
                total += self._values.best(_scaled(predicted, likelihood))
        return total

    def _tabulate(self, dynamics: Dynamics, vectors: FloatArray) -> None:
        columns: list[FloatArray] = []
        (whole,) = dynamics.regions
        for outcome in whole.outcomes:
            seen = np.zeros_like(vectors)
            seen[:, outcome.reached] = vectors[:, outcome.places] * outcome.likelihood
            projected = self._model.discount * whole.steps[outcome.action].expect(seen)
            columns.append(projected[undominated(projected)])
        self._n_pairs, self.action_starts = len(whole.outcomes), whole.starts
        self.table = np.ascontiguousarray(np.concatenate(columns))
        counts = np.array([len(part) for part in columns])
        self.pair_starts = np.cumsum(counts) - counts
        self._blocks = _blocks(self.pair_starts, len(self.table))


def possible_pairs(model: TabularPOMDP) -> int:
    """How many (action, observation) pairs some state makes possible: what a look-ahead sums over."""
    counts = (np.diff(_columns(model, action).indptr) for action in range(model.n_actions))
    return sum(int(np.count_nonzero(count)) for count in counts)


def _columns(model: TabularPOMDP, action: int) -> sp.csc_array:
    """O[a, ·, ·] (S, O) by observation, possible ones alone."""
    columns = sp.csc_array(model.observation_of(action))
    columns.eliminate_zeros()
    return columns


def _scaled(rows: sp.csr_array, factors: FloatArray) -> sp.csr_array:
    """Rows (B, S) times factors (S,), without the entries that are 0 then."""
    data = rows.data * factors[rows.indices]
    scaled = sp.csr_array((data, rows.indices.copy(), rows.indptr.copy()), shape=rows.shape)
    scaled.eliminate_zeros()
    return scaled


def _blocks(starts: IntArray, n_columns: int) -> list[tuple[slice, slice, IntArray]]:
    """Cuts the table between pairs: which pairs, which columns, where each pair starts among those."""
    block = starts // BLOCK_COLUMNS
    firsts = np.flatnonzero(np.diff(block, prepend=-1))
    found = []
    for first, after in zip(firsts, [*firsts[1:], len(starts)], strict=True):
        end = starts[after] if after < len(starts) else n_columns
        own = starts[first:after] - starts[first]
        found.append((slice(first, after), slice(starts[first], end), own))
    return found

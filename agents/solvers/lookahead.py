"""One-step look-ahead on alpha vectors, for many beliefs at once.

    Q(b, a) = r(b, a) + γ Σ_o max_i Σ_s b(s) Σ_s' T[s, a, s'] O[a, s', o] α_i(s')

Index letters: B beliefs, S states, A actions, O observations, V vectors, C columns of the table.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.pruning import undominated
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

    Args:
        model: The model looked ahead in.
        vectors: (V, S).
        table: Whether to tabulate; None decides by size.
    """

    def __init__(
        self, model: TabularPOMDP, vectors: FloatArray, *, table: bool | None = None
    ) -> None:
        self._model = model
        self._vectors = vectors
        self._dynamics = Dynamics(model)
        if table is None:
            table = self._dynamics.n_pairs * vectors.size <= TABLE_ENTRIES
        self._table: FloatArray | None = None
        if table:
            self._tabulate()

    def action_values(self, beliefs: FloatArray) -> FloatArray:
        """Q (B, A) of beliefs (B, S)."""
        values: FloatArray = beliefs @ self._model.reward
        if self._table is None:
            for action in range(self._model.n_actions):
                values[:, action] += self._model.discount * self._after(beliefs, action)
            return values
        block = max(BLOCK_BELIEFS, BLOCK_ENTRIES // len(self._table))
        for start in range(0, len(beliefs), block):
            part = slice(start, start + block)
            columns = beliefs[part].T
            best = np.empty((self._dynamics.n_pairs, columns.shape[1]))
            for pairs, rows, starts in self._blocks:
                scores = self._table[rows] @ columns  # (C, B) of these pairs
                np.maximum.reduceat(scores, starts, axis=0, out=best[pairs])
            values[part] += np.add.reduceat(best, self._dynamics.action_starts, axis=0).T
        return values

    def _after(self, beliefs: FloatArray, action: int) -> FloatArray:
        predicted = self._dynamics.predict(beliefs, action)
        total = np.zeros(len(beliefs))
        for _, states, likelihood in self._dynamics.outcomes[action]:
            joint = predicted[:, states] * likelihood
            total += (joint @ self._vectors[:, states].T).max(axis=1)
        return total

    def _tabulate(self) -> None:
        columns: list[FloatArray] = []
        for action, outcomes in enumerate(self._dynamics.outcomes):
            for _, states, likelihood in outcomes:
                seen = np.zeros_like(self._vectors)
                seen[:, states] = self._vectors[:, states] * likelihood
                projected = self._model.discount * self._dynamics.expect(seen, action)
                columns.append(projected[undominated(projected)])
        self._table = np.ascontiguousarray(np.concatenate(columns))
        counts = np.array([len(part) for part in columns])
        self._blocks = _blocks(np.cumsum(counts) - counts, len(self._table))


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

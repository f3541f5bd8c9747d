"""The Bayes filter for beliefs that are mostly zeros: rows of a CSR array, nothing of size B × S.

`BeliefFilter` uses it on models with many states; the formulas are those of `envs.belief`. In
rocksample(7,8) a belief holds at most 256 of 12,545 states. Index letters: B beliefs, S states, A
actions, O observations.

One sparse product serves all rows, whatever their actions: row i of the beliefs is moved to the columns
a_i·S … a_i·S + S − 1 and multiplied with the transitions of all actions stacked, (A·S, S).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import invalid

SparseBeliefs: TypeAlias = sp.csr_array
"""Beliefs (B, S): float64, sorted indices, no explicit zeros, rows sum to 1."""

MOST_LIKELIHOODS = 1 << 24
"""Up to this many numbers P(o | a, s') they are kept as a dense table (128 MiB), else looked up."""


class SparseBayes:
    """Bayes updates of sparse beliefs of one model.

    Args:
        model: The POMDP, dense or of CSR arrays.
        goes_on: Whether an update is told that the episode goes on, so that no terminal state was
            reached (see `BeliefFilter`).
        truncate: Entries of an updated belief below this share of its largest are dropped, and the
            rest is normalised again. 0 drops nothing.
    """

    def __init__(
        self, model: TabularPOMDP, *, goes_on: bool = False, truncate: float = 0.0
    ) -> None:
        self._n_states = model.n_states
        self._truncate = truncate
        self._transition = stacked([model.transition_of(a) for a in range(model.n_actions)])
        self._likelihood = _Likelihood(model, goes_on=goes_on)

    def predict(self, beliefs: SparseBeliefs, actions: IntArray) -> SparseBeliefs:
        """Σ_s b(s) T[s, a, ·] (B, S) of beliefs (B, S) after actions (B,), before any observation."""
        self._check(beliefs, actions)
        product: Any = self._moved(beliefs, actions) @ self._transition
        product.sort_indices()
        return sp.csr_array(product)

    def likelihood(self, beliefs: SparseBeliefs, actions: IntArray) -> FloatArray:
        """P(o | b, a) (B, O) of beliefs (B, S) and actions (B,)."""
        predicted = self.predict(beliefs, actions)
        return np.asarray((self._moved(predicted, actions) @ self._likelihood.rows).toarray())

    def update(
        self, beliefs: SparseBeliefs, actions: IntArray, observations: IntArray
    ) -> tuple[SparseBeliefs, FloatArray, FloatArray]:
        """Beliefs (B, S) after actions (B,) and observations (B,).

        Returns:
            The posteriors; the probability (B,) of what was observed: where it is 0 the row is empty;
            and the probability (B,) that truncation took away from each posterior.
        """
        after: Any = self.predict(beliefs, actions)
        rows = np.repeat(np.arange(after.shape[0]), np.diff(after.indptr))
        after.data *= self._likelihood.at(actions[rows], after.indices, observations[rows])
        evidence: FloatArray = after @ np.ones(self._n_states)
        with np.errstate(divide="ignore", invalid="ignore"):  # in rows that are dropped just below
            after.data *= (1.0 / evidence)[rows]
        lost = np.zeros(len(evidence))
        least = np.zeros(len(evidence))
        if self._truncate > 0.0:
            np.maximum.at(least, rows, after.data)
            least *= self._truncate
        keep = (after.data > 0.0) & (after.data >= least[rows])  # NaN is not kept
        if not keep.all():
            after = _filtered(after, rows, keep)
            if self._truncate > 0.0:
                kept = after @ np.ones(self._n_states)
                lost = np.where(evidence > 0.0, np.maximum(1.0 - kept, 0.0), 0.0)
                after.data /= np.repeat(kept, np.diff(after.indptr))
        return after, evidence, lost

    def _moved(self, beliefs: SparseBeliefs, actions: IntArray) -> sp.csr_array:
        """Row i in the columns of its action: (B, A·S)."""
        columns = beliefs.indices + np.repeat(actions * self._n_states, np.diff(beliefs.indptr))
        shape = (beliefs.shape[0], self._transition.shape[0])
        return sp.csr_array((beliefs.data, columns, beliefs.indptr), shape=shape)

    def _check(self, beliefs: SparseBeliefs, actions: IntArray) -> None:
        wanted = (len(actions), self._n_states)
        if beliefs.shape != wanted:
            raise invalid("belief", f"have shape (B, S) = {wanted}", beliefs.shape)


class _Likelihood:
    """P(o | a, s') at many (a, s', o): a table of all of them, or a search among those above 0."""

    def __init__(self, model: TabularPOMDP, *, goes_on: bool) -> None:
        self.rows = stacked([model.observation_of(a) for a in range(model.n_actions)])
        self._n_states, self._n_observations = model.n_states, model.n_observations
        gone = np.tile(model.terminal, model.n_actions) if goes_on else None
        self._table: FloatArray | None = None
        if self.rows.shape[0] * self.rows.shape[1] <= MOST_LIKELIHOODS:
            table = np.asarray(self.rows.toarray())
            if gone is not None:
                table[gone] = 0.0
            self._table = table.reshape(-1)
            return
        place = np.repeat(np.arange(self.rows.shape[0]), np.diff(self.rows.indptr))
        self._keys = place * self._n_observations + self.rows.indices  # ascending
        self._values = (
            self.rows.data if gone is None else np.where(gone[place], 0.0, self.rows.data)
        )

    def at(self, actions: IntArray, states: IntArray, observations: IntArray) -> FloatArray:
        """P(o | a, s') of arrays (n,) each."""
        keys = (actions * self._n_states + states) * self._n_observations + observations
        if self._table is not None:
            return self._table.take(keys)
        places = np.minimum(np.searchsorted(self._keys, keys), self._keys.size - 1)
        return np.where(self._keys[places] == keys, self._values[places], 0.0)


def repeated(belief: FloatArray, count: int) -> SparseBeliefs:
    """One belief (S,) in `count` rows."""
    (states,) = np.nonzero(belief)
    data, indices = np.tile(belief[states], count), np.tile(states, count)
    indptr = np.arange(count + 1) * states.size
    return sp.csr_array((data, indices, indptr), shape=(count, belief.size))


def stacked(parts: Sequence[Any]) -> sp.csr_array:
    """Matrices (R, C), dense or CSR, one below the other, with sorted indices and no explicit zeros."""
    whole = sp.csr_array(sp.vstack([sp.csr_array(part) for part in parts], format="csr"))
    whole.eliminate_zeros()
    whole.sort_indices()
    return whole


def _filtered(beliefs: SparseBeliefs, rows: IntArray, keep: np.ndarray) -> SparseBeliefs:
    """The entries that `keep` (nnz,) says, each of the row that `rows` (nnz,) says."""
    counts = np.bincount(rows[keep], minlength=beliefs.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((beliefs.data[keep], beliefs.indices[keep], indptr), shape=beliefs.shape)

"""`BeliefFilter`: beliefs along episodes that go on, for many rows at once.

Two things set it apart from `belief.update`. It knows that an episode that goes on has not reached a
terminal state, so that no belief is left there: whoever acts sees that much, and without it a good
agent's belief, which takes its actions as given, would drift to "already over". And it keeps beliefs in
the form that suits the model: a table of all updates for a few states, dense rows for some, rows of a
CSR array for many. Callers start with `start`, and need not know which.

Index letters: R rows, S states.
"""

from __future__ import annotations

from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import belief, sparse_belief
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError

Beliefs: TypeAlias = "FloatArray | sp.csr_array"
"""Beliefs (R, S), dense or CSR (float64, sorted indices, no explicit zeros)."""

MOST_TABLE_STATES = 32
"""Gathering an (S, S) matrix a row is faster than `belief.update` up to about here, and slower past it."""

MOST_DENSE_STATES = 256
"""Past this many states beliefs are sparse, where transitions are."""

SPARSE_SHARE = 0.05
"""Transitions are sparse if no more than this share of them is above 0."""


class BeliefFilter:
    """Bayes updates of many beliefs of one model, given that the episode goes on.

    Attributes:
        is_sparse: Whether `start` gives CSR arrays.

    Args:
        model: The POMDP.
        truncate: Entries of a sparse belief below this share of its largest are dropped after each
            update; 0, the default, keeps all. Dense beliefs are never truncated.
    """

    def __init__(self, model: TabularPOMDP, *, truncate: float = 0.0) -> None:
        self._model = model
        self._truncate = truncate
        self._lost = np.zeros(3)  # largest, sum, number of updates
        self._ends = bool(model.terminal.any())
        self._joint = _joint(model) if model.n_states <= MOST_TABLE_STATES else None
        self.is_sparse = model.n_states > MOST_DENSE_STATES and _is_sparse(model)
        self._sparse: sparse_belief.SparseBayes | None = None

    @property
    def lost_mass(self) -> tuple[float, float]:
        """The largest and the mean probability that truncation took from a belief in one update."""
        largest, total, count = self._lost.tolist()
        return largest, total / max(count, 1.0)

    def start(self, n: int) -> Beliefs:
        """The start belief in n rows: a CSR array if `is_sparse`, else (n, S) dense."""
        if self.is_sparse:
            return sparse_belief.repeated(self._model.initial, n)
        return np.tile(self._model.initial, (n, 1))

    @overload
    def update(
        self, beliefs: FloatArray, actions: IntArray, observations: IntArray
    ) -> FloatArray: ...

    @overload
    def update(
        self, beliefs: sp.csr_array, actions: IntArray, observations: IntArray
    ) -> sp.csr_array: ...

    def update(self, beliefs: Beliefs, actions: IntArray, observations: IntArray) -> Beliefs:
        """Beliefs (R, S) after actions (R,) and observations (R,) that did not end the episode.

        b'(s') ∝ [s' not terminal] · O[a, s', o] · Σ_s b(s) T[s, a, s'].

        Returns:
            CSR for CSR, dense for dense.

        Raises:
            InvalidInputError: An observation, or going on, has probability 0 under its belief.
        """
        if not isinstance(beliefs, np.ndarray):
            return self._update_sparse(beliefs, actions, observations)
        if self._joint is not None:
            matrices = self._joint[actions * self._model.n_observations + observations]
            after: FloatArray = np.matmul(beliefs[:, None, :], matrices)[:, 0, :]
            likelihood = after.sum(axis=1, keepdims=True)
            if likelihood.all():
                after /= likelihood
                return after
        # Past the table, and where something is impossible: this says what.
        after = belief.update(beliefs, actions, observations, self._model)
        return self._going_on(after) if self._ends else after

    def follow(
        self,
        beliefs: Beliefs,
        actions: IntArray,
        observations: IntArray,
        going: npt.NDArray[np.bool_],
    ) -> Beliefs:
        """`update` in the rows that go on (R,), the start belief in the others."""
        if going.all():
            return self.update(beliefs, actions, observations)
        if isinstance(beliefs, np.ndarray):
            after: FloatArray = np.tile(self._model.initial, (len(going), 1))
            if going.any():
                after[going] = self.update(beliefs[going], actions[going], observations[going])
            return after
        start = sparse_belief.repeated(self._model.initial, 1)
        on = np.flatnonzero(going)
        updated = self.update(beliefs[on], actions[on], observations[on])
        # Rows 0 … n − 1 are the updated ones, row n the start belief.
        place = np.where(going, np.cumsum(going) - 1, len(on))
        return sp.csr_array(sparse_belief.stacked([updated, start])[place])

    def _update_sparse(
        self, beliefs: sp.csr_array, actions: IntArray, observations: IntArray
    ) -> sp.csr_array:
        if self._sparse is None:
            self._sparse = sparse_belief.SparseBayes(
                self._model, goes_on=self._ends, truncate=self._truncate
            )
        after, evidence, lost = self._sparse.update(beliefs, actions, observations)
        if not evidence.min(initial=1.0) > 0.0:
            row = int(np.flatnonzero(~(evidence > 0.0))[0])
            one = slice(row, row + 1)  # the dense update of this row says what is impossible
            self._going_on(
                belief.update(
                    beliefs[[row]].toarray(), actions[one], observations[one], self._model
                )
            )
        if self._truncate > 0.0:
            self._lost[0] = max(self._lost[0], lost.max(initial=0.0))
            self._lost[1:] += lost.sum(), lost.size
        return after

    def _going_on(self, beliefs: FloatArray) -> FloatArray:
        left = np.where(self._model.terminal, 0.0, beliefs)
        mass = left.sum(axis=1, keepdims=True)
        if not mass.all():
            row = int(np.flatnonzero(mass[:, 0] == 0.0)[0])
            raise InvalidInputError(
                f"an episode goes on, but the belief {belief.shown(beliefs[row])} says that it has "
                "ended."
            )
        going: FloatArray = left / mass
        return going


def _is_sparse(model: TabularPOMDP) -> bool:
    counts = [
        t.nnz if sp.issparse(t) else np.count_nonzero(t)
        for t in map(model.transition_of, range(model.n_actions))
    ]
    return bool(sum(counts) <= SPARSE_SHARE * model.n_actions * model.n_states**2)


def _joint(model: TabularPOMDP) -> FloatArray:
    """P(s', o | s, a) as (A·O, S, S'), rows a·O + o, with nothing on terminal s'."""
    dense = [
        [
            m.toarray() if sp.issparse(m) else m
            for m in (model.transition_of(a), model.observation_of(a))
        ]
        for a in range(model.n_actions)
    ]
    joint = np.stack([t[None, :, :] * o.T[:, None, :] for t, o in dense])
    joint[..., model.terminal] = 0.0
    return joint.reshape(-1, model.n_states, model.n_states)

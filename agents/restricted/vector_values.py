"""What alpha vectors are worth at beliefs, dense or sparse, for any number of them at once.

`AlphaVectorPolicy` and its look-ahead ask here. Vectors of a model that falls into regions
(`imm_rl.agents.solvers.regions`) may be given as what each adds to a base that all share: a belief then
needs only the vectors of its own region.

Index letters: B beliefs, V vectors, S states, A actions; G vectors and N states of a group.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.model import FloatArray


class _Group(NamedTuple):
    """Vectors over the same states."""

    states: IntArray  # (N,)
    vectors: FloatArray  # (G, N), what they add to the base
    actions: IntArray  # (G,)


class VectorValues:
    """max_i Σ_s b(s) α_i(s), over all vectors or over those of each action.

    Beliefs need not be normalised: values are homogeneous.

    Args:
        vectors: (V, S), or a CSR array of what each vector adds to base, ≥ 0.
        actions: (V,).
        base: (S,) with a CSR array.
        n_actions: A.
    """

    def __init__(
        self,
        vectors: FloatArray | sp.csr_array,
        actions: IntArray,
        base: FloatArray | None,
        n_actions: int,
    ) -> None:
        self._vectors, self._actions, self._n_actions = vectors, actions, n_actions
        self._owned = np.isin(np.arange(n_actions), actions)
        self._base = np.zeros(0) if base is None else base  # asked for with a CSR array alone
        if isinstance(vectors, sp.csr_array):
            self._groups = _grouped(vectors, actions)
            self._members = _members(self._groups, int(vectors.shape[1]))

    def best(self, beliefs: Beliefs) -> FloatArray:
        """Values (B,) of beliefs (B, S), dense or CSR."""
        if isinstance(self._vectors, np.ndarray):
            return np.asarray((beliefs @ self._vectors.T).max(axis=1))
        return np.asarray(self._spread(beliefs).max(axis=1))

    def by_action(self, beliefs: Beliefs) -> FloatArray:
        """The same over each action's vectors, (B, A); −inf for an action that no vector has."""
        if not isinstance(self._vectors, np.ndarray):
            return self._spread(beliefs)
        scores = np.asarray(beliefs @ self._vectors.T)
        return _by_action(scores, self._actions, self._n_actions)

    def _spread(self, beliefs: Beliefs) -> FloatArray:
        """Values (B, A) by the groups that each belief has mass on."""
        rows = sp.csr_array(beliefs)
        base = np.asarray(rows @ self._base)
        # A vector that shares no state with a belief adds nothing to the base there.
        added = np.where(self._owned, 0.0, -np.inf) + np.zeros((rows.shape[0], 1))
        touched = sp.csc_array(rows @ self._members)
        for index, group in enumerate(self._groups):
            part = touched.indices[touched.indptr[index] : touched.indptr[index + 1]]
            if part.size:
                scores = _compact(rows[part], group.states) @ group.vectors.T
                found = _by_action(scores, group.actions, self._n_actions)
                added[part] = np.maximum(added[part], found)
        return np.asarray(base[:, None] + added)


def _by_action(scores: FloatArray, actions: IntArray, n_actions: int) -> FloatArray:
    values = np.full((len(scores), n_actions), -np.inf)
    for action in np.unique(actions):
        values[:, action] = scores[:, actions == action].max(axis=1)
    return values


def _grouped(vectors: sp.csr_array, actions: IntArray) -> list[_Group]:
    """Rows by the states they hold an entry for, zeros included."""
    found: dict[bytes, list[int]] = {}
    for row in range(vectors.shape[0]):
        held = vectors.indices[vectors.indptr[row] : vectors.indptr[row + 1]]
        found.setdefault(held.tobytes(), []).append(row)
    groups = []
    for rows in found.values():
        spans = [slice(vectors.indptr[row], vectors.indptr[row + 1]) for row in rows]
        states = vectors.indices[spans[0]].astype(np.int64)
        data = np.stack([vectors.data[span] for span in spans])
        order = np.argsort(states)
        groups.append(_Group(states[order], data[:, order], actions[rows]))
    return groups


def _members(groups: list[_Group], n_states: int) -> sp.csr_array:
    """Which groups each state is in, (S, groups)."""
    states = np.concatenate([group.states for group in groups])
    index = np.repeat(np.arange(len(groups)), [len(group.states) for group in groups])
    shape = (n_states, len(groups))
    return sp.csr_array((np.ones(len(states)), (states, index)), shape=shape)


def _compact(rows: sp.csr_array, states: IntArray) -> FloatArray:
    """The entries of rows (B, S) at ascending states, dense (B, N)."""
    dense = np.zeros((rows.shape[0], len(states)))
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    place = np.minimum(np.searchsorted(states, rows.indices), len(states) - 1)
    held = states[place] == rows.indices
    dense[row[held], place[held]] = rows.data[held]
    return dense

"""The model arranged for belief-wise solvers, dense or CSR behind one face.

Index letters: B beliefs, S states, A actions, O observations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.model import FloatArray, TabularPOMDP

DENSE_STATES = 256
"""Up to this many states a dense product beats a CSR one, whatever the share of zeros."""


class Outcome(NamedTuple):
    """One observation after one action: the states (n,) it is possible in and P(o | a, s') there (n,)."""

    observation: int
    states: IntArray
    likelihood: FloatArray


class Dynamics:
    """T and O of one model as solvers use them; built once, then read only.

    Attributes:
        model: The model.
        outcomes: For each action its possible observations; G pairs of both in all.
        n_pairs: G.
        pair_actions: (G,), the action of each pair; pairs of one action stand together.
        action_starts: (A,), where each action starts among the G pairs.
    """

    def __init__(self, model: TabularPOMDP) -> None:
        self.model = model
        actions = range(model.n_actions)
        self._forward: list[Any] = [_arranged(model.transition_of(a)) for a in actions]
        # B @ T is computed as (Tᵀ @ Bᵀ)ᵀ where T is CSR.
        self._backward = [None if isinstance(t, np.ndarray) else t.T.tocsr() for t in self._forward]
        self.outcomes = [_outcomes(model.observation_of(a)) for a in actions]
        counts = np.array([len(outcomes) for outcomes in self.outcomes])
        self.n_pairs = int(counts.sum())
        self.pair_actions: IntArray = np.repeat(np.arange(model.n_actions), counts)
        self.action_starts: IntArray = np.cumsum(counts) - counts

    def predict(self, beliefs: FloatArray, action: int) -> FloatArray:
        """Σ_s b(s) T[s, a, ·]: (B, S) to (B, S)."""
        transposed = self._backward[action]
        if transposed is None:
            return np.asarray(beliefs @ self._forward[action])
        return np.ascontiguousarray((transposed @ beliefs.T).T)

    def expect(self, values: FloatArray, action: int) -> FloatArray:
        """Σ_s' T[·, a, s'] v(s') for rows v: (B, S) to (B, S)."""
        return np.ascontiguousarray((self._forward[action] @ values.T).T)

    def successors(self, beliefs: FloatArray) -> FloatArray:
        """P(o | b, a) b_o for each of the G pairs: (B, S) to (B, G, S), not normalised."""
        found = np.zeros((len(beliefs), self.n_pairs, self.model.n_states))
        pair = 0
        for action, outcomes in enumerate(self.outcomes):
            predicted = self.predict(beliefs, action)
            for _, states, likelihood in outcomes:
                found[:, pair, states] = predicted[:, states] * likelihood
                pair += 1
        return found


def _arranged(transition: Any) -> Any:
    """Dense for few states or few zeros, else CSR, whichever form the model has."""
    n_states = transition.shape[0]
    if isinstance(transition, np.ndarray):
        few = np.count_nonzero(transition) < 0.05 * transition.size
        if n_states > DENSE_STATES and few:
            return sp.csr_array(transition)
        return np.ascontiguousarray(transition)
    return transition.toarray() if n_states <= DENSE_STATES else transition


def _outcomes(observation: Any) -> list[Outcome]:
    columns = sp.csc_array(observation)
    columns.eliminate_zeros()
    found = []
    for o in range(columns.shape[1]):
        part = slice(columns.indptr[o], columns.indptr[o + 1])
        if part.stop > part.start:
            states = columns.indices[part].astype(np.int64)
            found.append(Outcome(o, states, np.asarray(columns.data[part])))
    return found

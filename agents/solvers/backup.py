"""Point-based backups: the best one-step improvement of a set of alpha vectors at given beliefs.

    α = r(·, a) + γ Σ_o T_a diag(O[a, ·, o]) α_{j(o)}

with a the best action and j(o) the best vector after a and o. Each result is the value of a plan (do a,
then follow the plan of α_{j(o)}), so lower bounds stay true.
Index letters: B beliefs, S states, A actions, V vectors, G possible (action, observation) pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.envs.model import FloatArray

TABLE_ENTRIES = 1_000_000
"""Projections are tabulated up to this many numbers; beyond, the loop over observations is as quick."""


class BackedUp(NamedTuple):
    """The best plan at each of B beliefs."""

    vectors: FloatArray  # (B, S)
    actions: IntArray  # (B,)
    values: FloatArray  # (B,)


class Backup:
    """Backs beliefs up against one set of vectors, as many times as wanted.

    Args:
        dynamics: The model.
        vectors: (V, S).
    """

    def __init__(self, dynamics: Dynamics, vectors: FloatArray) -> None:
        self._dynamics = dynamics
        self._vectors = vectors
        fits = dynamics.n_pairs * vectors.size <= TABLE_ENTRIES
        self._table = self._tabulated() if fits else None

    def __call__(self, beliefs: FloatArray) -> BackedUp:
        """The best plans at beliefs (B, S)."""
        model = self._dynamics.model
        q = beliefs @ model.reward
        picks = []
        start = 0
        for action, outcomes in enumerate(self._dynamics.outcomes):
            after, pick = self._best(beliefs, action, slice(start, start + len(outcomes)))
            q[:, action] += model.discount * after
            picks.append(pick)
            start += len(outcomes)
        actions = q.argmax(axis=1)
        vectors = np.empty_like(beliefs)
        for action in np.unique(actions):
            rows = np.flatnonzero(actions == action)
            vectors[rows] = self._plan(int(action), picks[action][:, rows])
        return BackedUp(vectors, actions, q[np.arange(len(q)), actions])

    def _best(self, beliefs: FloatArray, action: int, groups: slice) -> tuple[FloatArray, IntArray]:
        """Expected value after an action (B,), and the vector picked at each observation (O, B)."""
        if self._table is not None:
            scores = beliefs @ self._table[groups]  # (O, B, V)
            pick = scores.argmax(axis=2)
            return np.take_along_axis(scores, pick[..., None], 2).sum(axis=(0, 2)), pick
        predicted = self._dynamics.predict(beliefs, action)
        picks, total = [], np.zeros(len(beliefs))
        for _, states, likelihood in self._dynamics.outcomes[action]:
            scores = (predicted[:, states] * likelihood) @ self._vectors[:, states].T
            picks.append(scores.argmax(axis=1))
            total += scores.max(axis=1)
        return total, np.stack(picks)

    def _plan(self, action: int, picks: IntArray) -> FloatArray:
        """The vectors (B, S) of doing action and then following picks (O, B)."""
        model = self._dynamics.model
        after = np.zeros((picks.shape[1], model.n_states))
        for (_, states, likelihood), pick in zip(
            self._dynamics.outcomes[action], picks, strict=True
        ):
            after[:, states] += self._vectors[np.ix_(pick, states)] * likelihood
        values: FloatArray = model.reward[:, action] + model.discount * self._dynamics.expect(
            after, action
        )
        return values

    def _tabulated(self) -> FloatArray:
        """Σ_s' T[s, a, s'] O[a, s', o] α_i(s') as (G, S, V)."""
        parts = []
        for action, outcomes in enumerate(self._dynamics.outcomes):
            for _, states, likelihood in outcomes:
                seen = np.zeros_like(self._vectors)
                seen[:, states] = self._vectors[:, states] * likelihood
                parts.append(self._dynamics.expect(seen, action).T)
        return np.stack(parts)

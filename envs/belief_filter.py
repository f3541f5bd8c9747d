"""`BeliefFilter`: beliefs along episodes that go on, for many rows at once.

Two things set it apart from `belief.update`. It knows that an episode that goes on has not reached a
terminal state, so that no belief is left there: whoever acts sees that much, and without it a good
agent's belief, which takes its actions as given, would drift to "already over". And for small models it
keeps one table of all updates, since in a hot loop the time goes into the number of array operations.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import belief
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError

MOST_TABLE_STATES = 32
"""Gathering an (S, S) matrix a row is faster than `belief.update` up to about here, and slower past it."""


class BeliefFilter:
    """Bayes updates of many beliefs of one model, given that the episode goes on."""

    def __init__(self, model: TabularPOMDP) -> None:
        self._model = model
        self._ends = bool(model.terminal.any())
        self._joint = _joint(model) if model.n_states <= MOST_TABLE_STATES else None

    def update(self, beliefs: FloatArray, actions: IntArray, observations: IntArray) -> FloatArray:
        """Beliefs (R, S) after actions (R,) and observations (R,) that did not end the episode.

        b'(s') ∝ [s' not terminal] · O[a, s', o] · Σ_s b(s) T[s, a, s'].

        Raises:
            InvalidInputError: An observation, or going on, has probability 0 under its belief.
        """
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

    def _going_on(self, beliefs: FloatArray) -> FloatArray:
        left = np.where(self._model.terminal, 0.0, beliefs)
        mass = left.sum(axis=1, keepdims=True)
        if not mass.all():
            row = int(np.flatnonzero(mass[:, 0] == 0.0)[0])
            raise InvalidInputError(
                f"an episode goes on, but the belief {beliefs[row]} says that it has ended."
            )
        going: FloatArray = left / mass
        return going


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

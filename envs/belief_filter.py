"""`BeliefFilter`: `belief.update` for a hot loop, with one table of all updates for small models.

Used along rollouts, where the same model filters some hundred beliefs at every step and the time goes
into the number of array operations, not into their size.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import belief
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.sampler import IntArray

MOST_TABLE_ENTRIES = 250_000
"""A·O·S·S up to which the table is made; past it, gathering a matrix a row costs more than it saves."""


class BeliefFilter:
    """Bayes updates of many beliefs of one model."""

    def __init__(self, model: TabularPOMDP) -> None:
        self._model = model
        self._joint: FloatArray | None = None
        entries = model.n_actions * model.n_observations * model.n_states**2
        if entries <= MOST_TABLE_ENTRIES:
            self._joint = _joint(model)

    def update(self, beliefs: FloatArray, actions: IntArray, observations: IntArray) -> FloatArray:
        """Beliefs (R, S) after actions (R,) and observations (R,); rows of the result sum to 1.

        Raises:
            InvalidInputError: An observation that has probability 0 under its belief.
        """
        if self._joint is None:
            return belief.update(beliefs, actions, observations, self._model)
        matrices = self._joint[actions * self._model.n_observations + observations]
        after: FloatArray = np.matmul(beliefs[:, None, :], matrices)[:, 0, :]
        likelihood = after.sum(axis=1, keepdims=True)
        if not likelihood.all():
            return belief.update(
                beliefs, actions, observations, self._model
            )  # which says what is wrong
        after /= likelihood
        return after


def _joint(model: TabularPOMDP) -> FloatArray:
    """P(s', o | s, a) as (A·O, S, S'), rows a·O + o."""
    dense = [
        [
            m.toarray() if sp.issparse(m) else m
            for m in (model.transition_of(a), model.observation_of(a))
        ]
        for a in range(model.n_actions)
    ]
    joint = np.stack([t[None, :, :] * o.T[:, None, :] for t, o in dense])
    return joint.reshape(-1, model.n_states, model.n_states)

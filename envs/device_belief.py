"""`DeviceFilter`: the Bayes filter of `BeliefFilter` for dense beliefs, as tensors of a device.

As there, an episode that goes on has reached no terminal state. What `BeliefFilter` says at once, that an
observation is impossible under its belief, is kept in a flag here: looking at it would make the host wait.

Index letters: R rows, S states, A actions, O observations.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP


class DeviceFilter:
    """Bayes updates of many beliefs of one model on one device.

    Attributes:
        impossible: () booleans on the device, whether an update met an observation, or an episode that
            goes on, of probability 0. Beliefs are NaN from there on.

    Args:
        model: The POMDP; its tables are made dense.
        device: Where they lie.
    """

    def __init__(self, model: TabularPOMDP, device: torch.device) -> None:
        actions = range(model.n_actions)
        transition = np.stack([_dense(model.transition_of(a)) for a in actions])
        seen = np.stack([_dense(model.observation_of(a)).T for a in actions])  # (A, O, S')
        seen = np.where(model.terminal, 0.0, seen)
        self._transition = torch.from_numpy(transition).to(device)
        self._likelihood = torch.from_numpy(seen.reshape(-1, model.n_states)).to(device)
        self._initial = torch.from_numpy(model.initial.copy()).to(device)
        self._n_observations = model.n_observations
        self.impossible = torch.zeros((), dtype=torch.bool, device=device)

    def start(self, n: int) -> Tensor:
        """The start belief in n rows, (n, S)."""
        return self._initial.expand(n, -1).clone()

    def follow(
        self, beliefs: Tensor, actions: Tensor, observations: Tensor, going: Tensor
    ) -> Tensor:
        """Beliefs (R, S) after actions and observations (R,); the start belief where not `going` (R,).

        b'(s') ∝ [s' not terminal] · O[a, s', o] · Σ_s b(s) T[s, a, s'].
        """
        # A product for each action, and the rows that took it: no sorting, nothing of R × S × S.
        predicted = beliefs @ self._transition[0]
        for action in range(1, len(self._transition)):
            taken = (actions == action).unsqueeze(-1)
            predicted = torch.where(taken, beliefs @ self._transition[action], predicted)
        joint = predicted * self._likelihood[actions * self._n_observations + observations]
        evidence = joint.sum(-1)
        self.impossible = self.impossible | ((evidence <= 0.0) & going).any()
        return torch.where(going.unsqueeze(-1), joint / evidence.unsqueeze(-1), self._initial)


def _dense(matrix: Matrix) -> FloatArray:
    dense: FloatArray = np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix)
    return dense

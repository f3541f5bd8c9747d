"""The policy-gradient loss of many runs at once, over tables of states and actions, for `IMMReinforce`.

Index letters: N runs, E copies a run, T steps, S states, A actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.advantages import Advantages
from imm_rl.agents.device_advantages import DeviceAdvantages, counted, summed
from imm_rl.agents.device_rollout import DeviceRollout
from imm_rl.agents.rollout import Rollout
from imm_rl.envs.model import FloatArray


class PolicyLoss:
    """−mean_t A_t log π(a_t|s_t) − c·(mean entropy at the states visited), (N,).

    A sum over the batch is a sum over the table of states and actions with the batch's advantages added up
    in each cell, which costs the same for any number of steps.

    Args:
        advantages: What a step is weighed by; of the same side, host or device, as the rollouts.
        shape: (N, S, A).
        n_envs: E.
        batch_steps: E·T.
        entropy_coef: c.
        device: Of the loss.
    """

    def __init__(
        self,
        advantages: Advantages | DeviceAdvantages,
        shape: tuple[int, int, int],
        *,
        n_envs: int,
        batch_steps: int,
        entropy_coef: float,
        device: torch.device,
    ) -> None:
        self._advantages, self._shape = advantages, shape
        self._n_envs, self._batch_steps = n_envs, batch_steps
        self._entropy_coef, self._device = entropy_coef, device

    def __call__(self, log_probs: Tensor, rollout: Rollout | DeviceRollout) -> Tensor:
        """The losses (N,), with gradients.

        Args:
            log_probs: (N, S, A), log π(a|s); nats.
            rollout: The batch.
        """
        shares, visits = self._sums(rollout)
        loss = -(shares.view_as(log_probs) * log_probs).sum(dim=(1, 2))
        if visits is not None:
            entropy = -(log_probs.exp() * log_probs).sum(dim=2)
            bonus = (visits.view_as(entropy) * entropy).sum(dim=1)
            loss = loss - self._entropy_coef * bonus
        return loss

    def _sums(self, rollout: Rollout | DeviceRollout) -> tuple[Tensor, Tensor | None]:
        """Advantages by run, state and action (N·S·A,); visits by run and state where asked for.

        Both are divided by the steps of the batch.
        """
        n_runs, n_states, n_actions = self._shape
        size, wanted = n_runs * n_states, self._entropy_coef > 0.0
        visits: Any = None
        if isinstance(self._advantages, DeviceAdvantages) and isinstance(rollout, DeviceRollout):
            rows = self._advantages.run(rollout) * n_states + rollout.states
            cells = rows * n_actions + rollout.actions
            table = summed(cells, self._advantages(rollout), size * n_actions) / self._batch_steps
            if wanted:
                visits = (counted(rows, size) / self._batch_steps).float()
            return table.float(), visits
        advantages: Any = self._advantages(rollout)  # type: ignore[arg-type]  # both are of the host
        run = np.arange(rollout.states.shape[1]) // self._n_envs
        state_cells = (run * n_states + rollout.states).ravel()
        places = state_cells * n_actions + rollout.actions.ravel()
        sums = np.bincount(places, weights=advantages.ravel(), minlength=size * n_actions)
        if wanted:
            visits = np.bincount(state_cells, minlength=size) / self._batch_steps
            visits = self._tensor(visits)
        return self._tensor(sums / self._batch_steps), visits

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self._device)

"""The `Sampler` of a model as tensors of a device: the same outcomes of the same uniform numbers.

`agents.device_rollout` steps with it; nothing in it makes the host wait for the device.

Index letters: R copies, S states, A actions, K outcomes of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imm_rl.envs.sampler import Sampler, Table

MOST_COMPARED = 1 << 24
"""Comparisons of uniforms with cumulative probabilities that are held at a time: 128 MiB of float64."""


class DeviceSampler:
    """Draws transitions, observations and rewards of one model on one device.

    Attributes:
        terminal: (S,) booleans.
        ends: Whether a state is terminal.

    Args:
        sampler: Of the model.
        device: Where the tables lie.
    """

    def __init__(self, sampler: Sampler, device: torch.device) -> None:
        model = sampler.model
        self._n_states, self._n_observations = model.n_states, model.n_observations
        self._n_actions = model.n_actions
        self._next = _DeviceTable(sampler.next_table, device)
        self._seen = _DeviceTable(sampler.seen_table, device)
        self._first = _DeviceTable(sampler.first_table, device)
        self._reward = torch.from_numpy(sampler.reward_table).to(device)
        self.terminal = torch.from_numpy(model.terminal.copy()).to(device)
        self.ends = bool(model.terminal.any())
        self._outcome: Tensor | None = None
        self.pays_by_sight = False
        if model.outcome_reward is not None:
            self.pays_by_sight = model.outcome_reward.ndim == 4
            self._outcome = torch.from_numpy(model.outcome_reward.reshape(-1).copy()).to(device)

    def initial(self, uniforms: Tensor) -> Tensor:
        """Start states of uniforms in [0, 1), of their shape."""
        return self._first.draw(torch.zeros_like(uniforms, dtype=torch.int64), uniforms)

    def transition(self, states: Tensor, actions: Tensor, uniforms: Tensor) -> Tensor:
        """Next states (R,)."""
        return self._next.draw(actions * self._n_states + states, uniforms)

    def observe(self, actions: Tensor, next_states: Tensor, uniforms: Tensor) -> Tensor:
        """Observations (T, R) made on arriving in next_states (T, R) by actions (T, R)."""
        rows = actions * self._n_states + next_states
        if rows.numel() * (self._seen.width - 1) <= MOST_COMPARED:
            return self._seen.draw(rows, uniforms)
        return torch.stack([self._seen.draw(r, u) for r, u in zip(rows, uniforms, strict=True)])

    def reward(
        self, states: Tensor, actions: Tensor, next_states: Tensor, sights: Tensor
    ) -> Tensor:
        """Rewards of these outcomes, all of one shape.

        Args:
            states: Where the actions were taken.
            actions: Which.
            next_states: Reached.
            sights: Uniforms that draw the observation where the model pays by it.
        """
        if self._outcome is None:
            return self._reward[actions * self._n_states + states]
        place = (states * self._n_actions + actions) * self._n_states + next_states
        if self.pays_by_sight:
            seen = self.observe(actions, next_states, sights)
            place = place * self._n_observations + seen
        return self._outcome[place]


class _DeviceTable:
    def __init__(self, table: Table, device: torch.device) -> None:
        self.width = table.width
        self._outcomes = torch.from_numpy(table.outcomes).to(device)
        self._cumulative = torch.from_numpy(table.cumulative).to(device)

    def draw(self, rows: Tensor, uniforms: Tensor) -> Tensor:
        """As `Table.draw`, of any shape."""
        if self.width == 1:
            return self._outcomes[rows]
        picked = (uniforms.unsqueeze(-1) >= self._cumulative[rows]).sum(-1)
        return self._outcomes[rows * self.width + picked]

"""`Advantages` and the policy gradient's sums as tensors of a device; formulas as in `advantages`.

Sums over the cells of a table are made by `index_put_` with `accumulate`, which on a GPU sorts first and
so gives the same bits every time; `index_add_` and `bincount` do not, or wait for the device.

Index letters: N runs, E copies a run, R = N·E rows, T steps, S states, A actions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.device_rollout import DeviceRollout
from imm_rl.device import uploaded


def summed(cells: Tensor, values: Tensor, size: int) -> Tensor:
    """The sum of the values (...) of each cell, (size,), in float64; cells (...) in 0..size−1."""
    sums = torch.zeros(size, dtype=torch.float64, device=values.device)
    return sums.index_put_((cells.flatten(),), values.double().flatten(), accumulate=True)


def counted(cells: Tensor, size: int) -> Tensor:
    """How often each cell is named, (size,), in float64; whole numbers, so any order gives the same."""
    ones = torch.ones(cells.numel(), dtype=torch.float64, device=cells.device)
    return ones.new_zeros(size).index_add_(0, cells.flatten(), ones)


def rewards_to_go(rollout: DeviceRollout, gamma: float, values: Tensor | None = None) -> Tensor:
    """Discounted rewards-to-go (T, R), as `advantages.rewards_to_go`."""
    cut = 0.0 if values is None else torch.where(rollout.terminated, 0.0, values)
    gained = rollout.rewards + gamma * torch.where(rollout.over, cut, 0.0)
    kept = torch.where(rollout.over, 0.0, gamma).double()
    following = torch.zeros_like(gained[0]) if values is None else values[-1]
    returns = []
    for t in range(len(gained) - 1, -1, -1):
        following = torch.addcmul(gained[t], kept[t], following)
        returns.append(following)
    return torch.stack(returns[::-1])


class DeviceAdvantages:
    """Turns rollouts into advantages (T, R) of N runs; owns the table of state values, if any.

    Args:
        n_runs: N.
        n_states: S.
        gamma: Discount.
        baseline: `none`, `mean` or `value`.
        normalize: Scale each run's batch to mean 0 and deviation 1.
        bootstrap: Go on with the table's value where a time limit cuts.
        least_rate: Of the table's running means.
        device: Of all tensors.
    """

    def __init__(
        self,
        n_runs: int,
        n_states: int,
        *,
        gamma: float,
        baseline: str,
        normalize: bool,
        bootstrap: bool,
        least_rate: float,
        device: torch.device,
    ) -> None:
        self._n_runs, self._n_states = n_runs, n_states
        self._gamma, self._baseline = gamma, baseline
        self._normalize, self._bootstrap = normalize, bootstrap
        self._least_rate, self._device = least_rate, device
        size = n_runs * n_states
        self.values = torch.zeros(size, dtype=torch.float64, device=device)
        self.updates = torch.zeros_like(self.values)

    def __call__(self, rollout: DeviceRollout) -> Tensor:
        """Advantages (T, R) of a rollout; the table learns from it afterwards."""
        if self._baseline != "value":
            returns = rewards_to_go(rollout, self._gamma)
            advantages = returns if self._baseline == "none" else returns - self._mean(returns)
        else:
            run = self.run(rollout)
            here = run * self._n_states + rollout.states
            following = None
            if self._bootstrap:
                following = self._values_at(run * self._n_states + rollout.next_states, run)
            returns = rewards_to_go(rollout, self._gamma, following)
            known = self.updates[here] > 0.0
            advantages = returns - torch.where(known, self.values[here], self._mean(returns))
            self._learn(here, returns)
        if self._normalize:
            advantages = advantages - self._mean(advantages)
            advantages = advantages / (self._mean(advantages**2).sqrt() + 1e-8)
        return advantages

    def run(self, rollout: DeviceRollout) -> Tensor:
        """The run (R,) of each row."""
        rows = rollout.states.shape[1]
        return torch.arange(rows, device=self._device) // (rows // self._n_runs)

    def _values_at(self, cells: Tensor, run: Tensor) -> Tensor:
        known = (self.updates > 0.0).view(self._n_runs, -1)
        sums = (self.values.view(self._n_runs, -1) * known).sum(1)
        means = sums / known.sum(1).clamp_min(1)
        return torch.where(self.updates[cells] > 0.0, self.values[cells], means[run])

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over each run's batch, (T, R) -> (R,), repeated for its copies."""
        by_run = values.view(len(values), self._n_runs, -1)
        return by_run.mean(dim=(0, 2)).unsqueeze(-1).expand(-1, by_run.shape[2]).reshape(-1)

    def _learn(self, cells: Tensor, returns: Tensor) -> None:
        size = self.values.numel()
        counts, sums = counted(cells, size), summed(cells, returns, size)
        met = counts > 0.0
        self.updates = self.updates + met
        rate = (1.0 / self.updates).clamp_min(self._least_rate)  # 1/0 in cells that are left alone
        moved = self.values + rate * (sums / counts - self.values)
        self.values = torch.where(met, moved, self.values)

    def state(self) -> dict[str, np.ndarray]:
        """The table of values and how often each was moved; `Advantages` takes it as well."""
        return {name: getattr(self, name).cpu().numpy().copy() for name in ("values", "updates")}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the table where `state` says."""
        self.values = uploaded(state["values"], self._device)
        self.updates = uploaded(state["updates"], self._device)

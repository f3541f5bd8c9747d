"""`DeviceRollouts`: `TabularRollouts` as tensors of a device, for `IMMReinforce` on a GPU.

The same streams and tables give the same states, actions and rewards; the host asks for each step and
waits for none. Nobody advises here (`jsrl` trains on the host).

Index letters: N runs, E copies a run, R = N·E rows, T steps, S states, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.device_streams import DeviceStreams
from imm_rl.device import uploaded
from imm_rl.envs.device_sampler import DeviceSampler
from imm_rl.envs.model import FloatArray


class DeviceRollout(NamedTuple):
    """T steps of R rows, as `Rollout`; every tensor is (T, R).

    Attributes:
        over: A step that ended an episode, by termination or truncation.
    """

    states: Tensor
    actions: Tensor
    next_states: Tensor
    rewards: Tensor
    terminated: Tensor
    over: Tensor


class DeviceRollouts:
    """R rows of one model that carry their states from one rollout to the next.

    Args:
        sampler: Draws the model's outcomes.
        streams: The rows' random numbers for the environment.
        action_streams: The same for actions.
        n_runs: N.
        n_envs: E.
        n_states: S.
        max_steps: Steps after which an episode is cut.
        device: Of all tensors.
    """

    def __init__(
        self,
        sampler: DeviceSampler,
        streams: DeviceStreams,
        action_streams: DeviceStreams,
        *,
        n_runs: int,
        n_envs: int,
        n_states: int,
        max_steps: int,
        device: torch.device,
    ) -> None:
        self._sampler, self._device = sampler, device
        self._streams, self._action_streams = streams, action_streams
        self._n_envs, self._max_steps = n_envs, max_steps
        runs = torch.arange(n_runs, device=device)
        self._run_offset = runs.repeat_interleave(n_envs) * n_states
        self.restart()

    def restart(self) -> None:
        """Starts a new episode in every row."""
        (uniforms,) = self._streams.uniforms(1, 1, self._n_envs)
        self.states = self._sampler.initial(uniforms[0])
        self._place(np.zeros(self.states.shape[0], dtype=np.int64))
        self.earned = torch.zeros_like(self.states, dtype=torch.float64)
        self.finished = self.earned.new_zeros(2, self.states.shape[0])

    def _place(self, elapsed: np.ndarray) -> None:
        """Puts the rows so many steps (R,) into their episodes.

        Where no state is terminal and all rows began together, they end together: then the host knows
        when, and most steps need no look at the rows.
        """
        self._together: int | None = None
        if not self._sampler.ends and (elapsed == elapsed[0]).all():
            self._together = int(elapsed[0])
        self._elapsed = uploaded(elapsed, self._device)

    def collect(self, log_probs: Tensor, n_steps: int) -> DeviceRollout:
        """Steps every row n_steps times.

        Args:
            log_probs: (N, S, A), without gradients.
            n_steps: T.
        """
        # In float64 from the first sum on, as `rollout.action_cdf`.
        cdf = log_probs.exp().double().cumsum(-1)[..., :-1].flatten(0, 1)
        moves, starts, sights = self._streams.uniforms(3, n_steps, self._n_envs)
        choices = self._action_streams.uniforms(1, n_steps, self._n_envs)[0].unsqueeze(-1)
        states, actions, next_states, ended, over = [], [], [], [], []
        current = self.states
        for t in range(n_steps):
            states.append(current)
            thresholds = cdf.index_select(0, self._run_offset + current)
            chosen = (choices[t] >= thresholds).sum(-1)
            current = self._sampler.transition(current, chosen, moves[t])
            actions.append(chosen)
            next_states.append(current)
            current, terminated, done = self._begun_anew(current, starts[t])
            ended.append(terminated)
            over.append(done)
        self.states = current
        rollout = DeviceRollout(
            states=torch.stack(states),
            actions=torch.stack(actions),
            next_states=torch.stack(next_states),
            rewards=torch.zeros(0),
            terminated=torch.stack(ended),
            over=torch.stack(over),
        )
        rewards = self._sampler.reward(rollout.states, rollout.actions, rollout.next_states, sights)
        self._add_up(rewards, rollout.over)
        return rollout._replace(rewards=rewards)

    def _begun_anew(self, reached: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States (R,) to go on from, and which rows terminated and which are over, (R,)."""
        if self._together is not None:
            self._together += 1
            cut = self._together == self._max_steps
            if cut:
                reached, self._together = self._sampler.initial(starts), 0
            never = torch.zeros_like(reached, dtype=torch.bool)
            return reached, never, torch.full_like(never, cut)
        elapsed = self._elapsed + 1
        terminated = self._sampler.terminal[reached]
        over = terminated | (elapsed >= self._max_steps)
        self._elapsed = elapsed.masked_fill(over, 0)
        return torch.where(over, self._sampler.initial(starts), reached), terminated, over

    def _add_up(self, rewards: Tensor, over: Tensor) -> None:
        """Keeps `earned`, each row's return so far, and `finished`, the sum and number of those done."""
        sums = rewards.cumsum(0)
        steps = torch.arange(1, len(over) + 1, device=over.device).unsqueeze(-1)
        last = (over * steps).amax(0)  # 1 + the last step that ended an episode; 0 if none did
        some = last > 0
        until = sums.gather(0, (last - 1).clamp_min(0).unsqueeze(0)).squeeze(0)
        done = torch.where(some, self.earned + until, 0.0)
        self.finished = self.finished + torch.stack([done, over.sum(0).double()])
        self.earned = torch.where(some, sums[-1] - until, self.earned + sums[-1])

    def finished_returns(self) -> FloatArray:
        """Mean undiscounted return (N,) of the episodes that ended since the last call; NaN if none.

        The host waits for the device.
        """
        sums, counts = self.finished.cpu().numpy().reshape(2, -1, self._n_envs).sum(axis=2)
        self.finished = torch.zeros_like(self.finished)
        means = np.full(sums.shape, np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    def state(self) -> dict[str, np.ndarray]:
        """Where every row and its streams stand; `TabularRollouts` takes it as well."""
        elapsed = self._elapsed.cpu().numpy().copy()
        if self._together is not None:
            elapsed[:] = self._together
        return {
            "environment": np.array(self._streams.state()),
            "action": np.array(self._action_streams.state()),
            "states": self.states.cpu().numpy().copy(),
            "elapsed": elapsed,
            "earned": self.earned.cpu().numpy().copy(),
            "finished": self.finished.cpu().numpy().copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts every row and its streams where `state` says."""
        self._streams.restore(str(state["environment"]))
        self._action_streams.restore(str(state["action"]))
        self.states = uploaded(state["states"], self._device)
        self._place(state["elapsed"])
        self.earned = uploaded(state["earned"], self._device)
        self.finished = uploaded(state["finished"], self._device)

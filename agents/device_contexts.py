"""The contexts of `contexts` as tensors of a device: beliefs, the restricted policy's answers, weights.

They are those that the sources of `contexts` would give, drawn by the same numbers; a checkpoint of either
can be taken up by the other. Sources hand them out in parts, some runs at a time, so that the beliefs of
thousands of runs need not be held together.

Index letters: N runs (n of a part), E copies a run, R = N·E rows, T steps, M contexts of a run, S states,
A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.context_weights import TensorWeigh
from imm_rl.agents.contexts import Contexts, ObservationContexts
from imm_rl.agents.device_advantages import counted, summed
from imm_rl.agents.device_rollout import DeviceRollout
from imm_rl.agents.device_streams import DeviceStreams
from imm_rl.agents.restricted.asking import NOTHING_SEEN
from imm_rl.agents.restricted.on_device import TensorPolicy
from imm_rl.device import uploaded
from imm_rl.envs.device_belief import DeviceFilter
from imm_rl.envs.device_sampler import DeviceSampler
from imm_rl.envs.model import FloatArray

MOST_BELIEFS = 1 << 26
"""Numbers of beliefs that are held at a time, 512 MiB of float64, unless a single run has more."""


class DeviceContexts(NamedTuple):
    """Where and how much to match, of n runs.

    Attributes:
        beliefs: (M, S) common to the runs, or (n, M, S).
        targets: (M, A) or (n, M, A).
        weights: (n, M) or (1, M).
        steps: As in `Contexts`.
        by_state: (n, S, A) target mass on the states that the agent was in, for naive KL; else None.
    """

    beliefs: Tensor
    targets: Tensor
    weights: Tensor
    steps: int
    by_state: Tensor | None = None

    @property
    def support_weights(self) -> Tensor:
        """The beliefs, as the matching term asks for them."""
        return self.beliefs

    def shares(self) -> Tensor:
        """Weights (n, M) that sum to 1 in each run, or to 0 where no context has weight."""
        sums = self.weights.sum(-1, keepdim=True)
        return self.weights / sums.masked_fill(sums == 0.0, 1.0)


Part = tuple[slice, DeviceContexts]
"""Some runs, and their contexts."""


class DeviceSource(Protocol):
    """Where the beliefs to match at come from; `restart`, `state` and `restore` as in `ContextSource`."""

    def parts(self, rollout: DeviceRollout) -> Iterator[Part]:
        """The contexts of the update after this rollout, to be taken to the last part."""

    def skip(self, rollout: DeviceRollout) -> None:
        """Goes past a rollout whose contexts nobody asks for."""

    def failed(self) -> Tensor | None:
        """Whether something impossible was observed, () on the device; None where nothing can be."""

    def restart(self) -> None:
        """Every row starts an episode."""

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the source where `state` says."""


class DeviceObservationContexts:
    """`ObservationContexts` on a device.

    Args:
        host: What it is a copy of.
        sampler: Draws observations.
        streams: As the host's.
        n_runs: N.
        n_envs: E.
        visited: Whether the target mass on the states visited is asked for.
        device: Of all tensors.
    """

    def __init__(
        self,
        host: ObservationContexts,
        sampler: DeviceSampler,
        streams: DeviceStreams,
        *,
        n_runs: int,
        n_envs: int,
        visited: bool,
        device: torch.device,
    ) -> None:
        def on(array: FloatArray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device)

        self._beliefs, self._targets = on(host.beliefs), on(host.targets)
        self._factor, self._by_state = on(host.factor), host.by_state
        self._sampler, self._streams, self._device = sampler, streams, device
        self._n_runs, self._n_envs, self._visited = n_runs, n_envs, visited
        runs = torch.arange(n_runs, device=device)
        self._run = runs.repeat_interleave(n_envs)
        self.restart()

    def restart(self) -> None:
        """Nothing is seen yet in any row."""
        self._last = torch.full_like(self._run, NOTHING_SEEN)

    def parts(self, rollout: DeviceRollout) -> Iterator[Part]:
        """Every observation's belief, weighted by each run's visits, of all runs at once."""
        seen = self._seen(rollout)
        some, width = seen != NOTHING_SEEN, len(self._beliefs)
        size = self._n_runs * width
        cells = torch.where(some, self._run * width + seen, size)  # the last cell is thrown away
        weights = counted(cells, size + 1)[:size].view(self._n_runs, width) * self._factor
        table = self._table(seen, some, rollout.states, weights) if self._visited else None
        steps = seen.numel() // self._n_runs
        found = DeviceContexts(self._beliefs, self._targets, weights, steps, table)
        yield slice(0, self._n_runs), found

    def _table(self, seen: Tensor, some: Tensor, states: Tensor, weights: Tensor) -> Tensor:
        """Target mass (N, S, A): each step adds its context's share to the state it was met in."""
        n_states, n_actions = self._beliefs.shape[1], self._targets.shape[1]
        at = seen.clamp_min(0)
        mass = (self._factor[at] * some).unsqueeze(-1) * self._targets[at]  # (T, R, A)
        table = _by_state(self._run * n_states + states, mass, self._n_runs * n_states)
        sums = weights.sum(-1).view(-1, 1, 1)
        return table.view(self._n_runs, n_states, n_actions) / sums.masked_fill(sums == 0.0, 1.0)

    def skip(self, rollout: DeviceRollout) -> None:
        """See `DeviceSource`."""
        self._seen(rollout)

    def _seen(self, rollout: DeviceRollout) -> Tensor:
        uniforms = self._streams.uniforms(1, len(rollout.states), self._n_envs)[0]
        if self._by_state:
            return self._sampler.observe(torch.zeros_like(rollout.states), rollout.states, uniforms)
        after = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        after = after.masked_fill(rollout.over, NOTHING_SEEN)
        seen = torch.cat([self._last.unsqueeze(0), after[:-1]])
        self._last = after[-1]
        return seen

    def failed(self) -> None:
        """Nothing is filtered."""

    def state(self) -> dict[str, np.ndarray]:
        """See `DeviceSource`."""
        return {
            "stream": np.array(self._streams.state()),
            "last": self._last.cpu().numpy().copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """See `DeviceSource`."""
        self._streams.restore(str(state["stream"]))
        self._last = uploaded(state["last"], self._device)


class DeviceFilteredContexts:
    """`FilteredContexts` on a device, for dense beliefs.

    Args:
        bayes: The filter.
        policy: The restricted policy.
        weigh: Maps beliefs and its answers to weights.
        sampler: Draws observations.
        streams: As the host's.
        n_runs: N.
        n_envs: E.
        visited: Whether the target mass on the states visited is asked for.
        device: Of all tensors.
    """

    def __init__(
        self,
        bayes: DeviceFilter,
        policy: TensorPolicy,
        weigh: TensorWeigh,
        sampler: DeviceSampler,
        streams: DeviceStreams,
        *,
        n_runs: int,
        n_envs: int,
        visited: bool,
        device: torch.device,
    ) -> None:
        self._filter, self._policy, self._weigh = bayes, policy, weigh
        self._sampler, self._streams, self._device = sampler, streams, device
        self._n_runs, self._n_envs, self._visited = n_runs, n_envs, visited
        self.restart()

    def restart(self) -> None:
        """Every row is at the start belief."""
        self._belief = self._filter.start(self._n_runs * self._n_envs)

    def parts(self, rollout: DeviceRollout) -> Iterator[Part]:
        """The belief before each action of the rollout, E·T of them a run."""
        seen, n_steps = self._observed(rollout), len(rollout.states)
        n_states = self._belief.shape[1]
        size = max(MOST_BELIEFS // (n_steps * self._n_envs * n_states), 1)
        carried: list[Tensor] = []
        for first in range(0, self._n_runs, size):
            runs = slice(first, min(first + size, self._n_runs))
            met = self._along(rollout, seen, self._rows(runs), carried)
            beliefs = self._by_run(torch.stack(met))
            targets = self._policy(beliefs)
            weights = self._weigh(beliefs, targets)
            found = DeviceContexts(beliefs, targets, weights, weights.shape[1])
            if self._visited:
                states = self._by_run(rollout.states[:, self._rows(runs)].unsqueeze(-1)).squeeze(-1)
                found = found._replace(by_state=_visited(found, states))
            yield runs, found
        self._belief = torch.cat(carried)

    def skip(self, rollout: DeviceRollout) -> None:
        """See `DeviceSource`."""
        carried: list[Tensor] = []
        self._along(rollout, self._observed(rollout), slice(None), carried, keep=False)
        self._belief = carried[0]

    def _observed(self, rollout: DeviceRollout) -> Tensor:
        uniforms = self._streams.uniforms(1, len(rollout.states), self._n_envs)[0]
        return self._sampler.observe(rollout.actions, rollout.next_states, uniforms)

    def _along(
        self,
        rollout: DeviceRollout,
        seen: Tensor,
        rows: slice,
        carried: list[Tensor],
        *,
        keep: bool = True,
    ) -> list[Tensor]:
        """The beliefs before each of T steps in some rows; those after the last go to `carried`."""
        belief, met = self._belief[rows], []
        for t in range(len(seen)):
            if keep:
                met.append(belief)
            actions, going = rollout.actions[t, rows], ~rollout.over[t, rows]
            belief = self._filter.follow(belief, actions, seen[t, rows], going)
        carried.append(belief)
        return met

    def _rows(self, runs: slice) -> slice:
        return slice(runs.start * self._n_envs, runs.stop * self._n_envs)

    def _by_run(self, values: Tensor) -> Tensor:
        """(T, n·E, ...) as (n, E·T, ...): by run, then by copy, then by step."""
        by_row = values.transpose(0, 1)
        return by_row.reshape(-1, self._n_envs * len(values), *values.shape[2:])

    def failed(self) -> Tensor:
        """Whether an impossible observation was met."""
        return self._filter.impossible

    def state(self) -> dict[str, np.ndarray]:
        """See `DeviceSource`."""
        return {
            "stream": np.array(self._streams.state()),
            "belief": self._belief.cpu().numpy().copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """See `DeviceSource`."""
        self._streams.restore(str(state["stream"]))
        self._belief = uploaded(state["belief"], self._device)


class FixedDeviceContexts:
    """Contexts that are the same at every update (`RestrictedRolloutContexts`).

    Args:
        contexts: Common to all runs.
        n_runs: N.
        device: Of all tensors.
    """

    def __init__(self, contexts: Contexts, n_runs: int, device: torch.device) -> None:
        beliefs, targets, weights = (
            torch.from_numpy(np.array(part)).to(device)
            for part in (contexts.beliefs, contexts.targets, contexts.weights)
        )
        self._part = slice(0, n_runs), DeviceContexts(beliefs, targets, weights, contexts.steps)

    def parts(self, rollout: DeviceRollout) -> Iterator[Part]:  # noqa: ARG002  see DeviceSource
        """The same at every update."""
        yield self._part

    def skip(self, rollout: DeviceRollout) -> None:
        """Nothing to go past."""

    def failed(self) -> None:
        """Nothing is filtered."""

    def restart(self) -> None:
        """Nothing: no row has a say."""

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the contexts are a function of pair and policy."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""


def _visited(contexts: DeviceContexts, states: Tensor) -> Tensor:
    """Target mass (n, S, A) of contexts that were met in states (n, M)."""
    n_states = contexts.beliefs.shape[-1]
    run = torch.arange(len(states), device=states.device).unsqueeze(-1)
    mass = contexts.shares().unsqueeze(-1) * contexts.targets
    return _by_state(run * n_states + states, mass, len(states) * n_states).view(
        len(states), n_states, -1
    )


def _by_state(cells: Tensor, mass: Tensor, size: int) -> Tensor:
    """Each mass (..., A) added to its cell's row, (size, A); cells (...)."""
    n_actions = mass.shape[-1]
    places = cells.unsqueeze(-1) * n_actions + torch.arange(n_actions, device=cells.device)
    return summed(places, mass, size * n_actions).view(size, n_actions)

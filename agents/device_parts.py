"""What `IMMReinforce` is made of on a device, and what has to stay on the host.

On a GPU rollouts, observations, Bayes filter, advantages and loss are tensors of the device for as many
updates as lie between two evaluations: the host hands out the work and waits at evaluations alone. What
cannot be there (`refusal`) trains on the GPU as well, with rollouts and filter in NumPy: a round trip an
update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from imm_rl.agents.advantages import Advantages
from imm_rl.agents.context_weights import tensor_weighing, weight_name
from imm_rl.agents.contexts import FilteredContexts, ObservationContexts
from imm_rl.agents.device_advantages import DeviceAdvantages
from imm_rl.agents.device_contexts import (
    DeviceFilteredContexts,
    DeviceObservationContexts,
    DeviceSource,
    FixedDeviceContexts,
)
from imm_rl.agents.device_matching import DeviceMatchingTerm
from imm_rl.agents.device_rollout import DeviceRollouts
from imm_rl.agents.device_streams import DeviceStreams
from imm_rl.agents.matching_term import MatchingTerm
from imm_rl.agents.restricted.asking import policy_name
from imm_rl.agents.restricted.on_device import on_device
from imm_rl.agents.restricted_contexts import RestrictedRolloutContexts
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.device_belief import DeviceFilter
from imm_rl.envs.device_sampler import DeviceSampler
from imm_rl.envs.pair import EnvPair

MOST_TABLE = 1 << 27
"""Numbers of a model's transitions and observations that are made dense: 1 GiB of float64."""


def refusal(pair: EnvPair, policy: Any, method: str, term: MatchingTerm | None) -> str:
    """Why a training cannot have its rollouts on the device; "" if it can.

    Args:
        pair: The problem.
        policy: The restricted policy, or None.
        method: A name of `methods.METHODS`.
        term: The matching term, as it would be on the host.
    """
    if method == "jsrl":
        return "with method 'jsrl' the restricted policy acts in the rollouts, and it is asked on the host"
    if term is None:
        return ""
    source = term.source
    if isinstance(source, ObservationContexts):
        return ""
    if isinstance(source, RestrictedRolloutContexts):
        beliefs = source.contexts(None).beliefs
        return "" if isinstance(beliefs, np.ndarray) else "its beliefs are sparse"
    if not isinstance(source, FilteredContexts):
        return f"restricted policy {policy_name(policy)!r} acts on what it observes, with a memory"
    model = pair.restricted_model
    entries = model.n_actions * model.n_states * (model.n_states + model.n_observations)
    if BeliefFilter(model).is_sparse or entries > MOST_TABLE:
        return f"{pair.name} has {model.n_states} states, and its beliefs are sparse or large"
    if on_device(policy, torch.device("cpu")) is None:
        return f"restricted policy {policy_name(policy)!r} is no function of tensors"
    return ""


class DeviceParts:
    """The rollouts, advantages and matching term of N runs on a device.

    Attributes:
        rollouts: See `DeviceRollouts`.
        advantages: See `DeviceAdvantages`.
        term: See `DeviceMatchingTerm`; None without one.

    Args:
        pair: The problem.
        policy: The restricted policy, or None.
        term: The matching term as it would be on the host, or None.
        settings: Of the agent.
        seeds: Its seeds.
        n_variants: Weights that each seed is trained with.
        gamma: Discount of the return.
        device: Of all tensors.
    """

    def __init__(
        self,
        pair: EnvPair,
        policy: Any,
        term: MatchingTerm | None,
        *,
        settings: ReinforceSettings,
        seeds: Sequence[int],
        n_variants: int,
        gamma: float,
        device: torch.device,
    ) -> None:
        self._pair, self._policy, self._settings = pair, policy, settings
        self._seeds, self._n_variants, self._device = seeds, n_variants, device
        self._n_runs = len(seeds) * n_variants
        self._sampler = DeviceSampler(pair.sampler, device)
        n_states = pair.model.n_states
        self.rollouts = DeviceRollouts(
            self._sampler,
            self._streams("environment"),
            self._streams("action"),
            n_runs=self._n_runs,
            n_envs=settings.n_envs,
            n_states=n_states,
            max_steps=pair.max_steps,
            device=device,
        )
        self.advantages = DeviceAdvantages(
            self._n_runs,
            n_states,
            gamma=gamma,
            baseline=settings.baseline,
            normalize=settings.normalize_advantage,
            bootstrap=settings.bootstraps,
            least_rate=Advantages.LEAST_RATE,
            device=device,
        )
        self.term: DeviceMatchingTerm | None = None
        if term is not None:
            self.term = DeviceMatchingTerm(term, self._source(term))

    def _streams(self, purpose: str) -> DeviceStreams:
        return DeviceStreams(self._seeds, purpose, self._n_variants, self._device)

    def _source(self, term: MatchingTerm) -> DeviceSource:
        host, device, settings = term.source, self._device, self._settings
        if isinstance(host, RestrictedRolloutContexts):
            return FixedDeviceContexts(host.contexts(None), self._n_runs, device)
        sizes: dict[str, Any] = {
            "n_runs": self._n_runs,
            "n_envs": settings.n_envs,
            "visited": term.visits,
            "device": device,
        }
        streams = self._streams("context")
        if isinstance(host, ObservationContexts):
            return DeviceObservationContexts(host, self._sampler, streams, **sizes)
        policy = on_device(self._policy, device)
        assert policy is not None  # `refusal` was asked
        name = weight_name(settings.context_weight, self._policy)
        return DeviceFilteredContexts(
            DeviceFilter(self._pair.restricted_model, device),
            policy,
            tensor_weighing(name, self._policy, device),
            self._sampler,
            streams,
            **sizes,
        )

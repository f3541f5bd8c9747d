"""The log-probabilities of an SB3 policy at many numbered observations, without their one-hot vectors.

Stable-Baselines3 shows a policy a `Discrete` observation s as a one-hot vector, so that the first layer's
product picks column s of its weights. Taking the column is the same up to rounding, and where matching
asks for a thousand states at once it is ten times as quick. `belief_matcher` uses it.

Index letters: S observations, A actions.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import Tensor, nn

from imm_rl.agents.sb3_policies import as_policy_tensor, log_probs, unvalidated


def log_probs_at(policy: Any, observations: Any, masks: Tensor | None = None) -> Tensor:
    """What `sb3_policies.log_probs` gives, sooner where observations are numbers.

    Policies of other observations, and those not built as Stable-Baselines3 builds them, are asked as
    they stand.

    Args:
        policy: An actor-critic policy of SB3 or sb3-contrib.
        observations: S of them, arrays.
        masks: (S, A), which actions are allowed, for a maskable policy; log Q of the others is −inf.

    Returns:
        (S, A), in nats, with gradients.
    """
    layers = _layers(policy)
    if layers is None:
        return log_probs(policy, observations, masks)
    first, *rest = layers
    latent = first.weight.index_select(1, as_policy_tensor(policy, observations).long()).t()
    if first.bias is not None:
        latent = latent + first.bias
    for layer in rest:
        latent = layer(latent)
    with unvalidated():
        distribution = policy._get_action_dist_from_latent(latent)
        if masks is not None:
            distribution.apply_masking(masks)
    logits: Tensor = distribution.distribution.logits
    return logits if masks is None else logits.masked_fill(~masks, -torch.inf)  # as `log_probs`


def _layers(policy: Any) -> list[Any] | None:
    """The layers that a one-hot vector goes through, a linear one first; None for any other policy."""
    extractor = getattr(policy, "mlp_extractor", None)
    if (
        not isinstance(policy.observation_space, gymnasium.spaces.Discrete)
        or not all(_is_theirs(policy, name) for name in ("get_distribution", "extract_features"))
        or type(policy.pi_features_extractor) is not FlattenExtractor
        or type(extractor) is not MlpExtractor
        or type(extractor.policy_net) is not nn.Sequential
    ):
        return None
    layers = list(extractor.policy_net)
    looked_into = [policy.pi_features_extractor, extractor, extractor.policy_net, *layers[:1]]
    # Weight normalisation and the like change the layer's type, or hook into it.
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in looked_into)
    return layers if layers and type(layers[0]) is nn.Linear and not hooked else None


def _is_theirs(policy: Any, method: str) -> bool:
    """Whether a method is the library's own, and no class of the user's has changed it."""
    module = getattr(type(policy), method).__module__
    return str(module).startswith(("stable_baselines3.", "sb3_contrib."))

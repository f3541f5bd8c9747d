"""What a network of stable-baselines3 or sb3-contrib says of views: `SB3ViewPolicy` asks here.

Which is read how is told by what a policy has, not by its class, as sb3-contrib need not be installed:

PPO, A2C, TRPO, MaskablePPO   its action distribution
RecurrentPPO                  the same, its LSTM led along the steps and emptied at every start
DQN, QRDQN                    the values of actions
SAC, TQC, CrossQ              its squashed normal: the action of the mean, and the standard deviation
TD3, DDPG                     its action; the noise that it was trained with is not kept in it

Index letters: B rows; A actions; d entries of a continuous action.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from imm_rl.envs.options import FloatArray
from imm_rl.errors import invalid

_NODES = np.linspace(-8.0, 8.0, 161)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_LEAST_STD = 1e-6


class Said(NamedTuple):
    """What a network says of B views; float64.

    Attributes:
        values: (B, A), values of discrete actions, or logits of their probabilities.
        mean: (B, d), the action without noise, in the bounds of the action space where it is squashed.
        std: (B, d), or None if the network has no noise.
        states: (2, layers, E, units) of an LSTM after the last step.
    """

    values: FloatArray | None = None
    mean: FloatArray | None = None
    std: FloatArray | None = None
    states: Any = None


def kind_of(policy: Any, name: str) -> str:
    """How a policy is read: one of the words that `ask` knows.

    Raises:
        InvalidInputError: It is of none of the kinds above.
    """
    # What has a part that extracts features is the policy; the part has a plain net of the same name.
    actor, q_net, quantile_net = (
        getattr(policy, part, None) for part in ("actor", "q_net", "quantile_net")
    )
    found = (
        ("recurrent", hasattr(policy, "lstm_actor")),
        ("stochastic", hasattr(policy, "get_distribution")),
        ("values", hasattr(q_net, "extract_features")),
        ("quantiles", hasattr(quantile_net, "extract_features")),
        ("squashed", hasattr(actor, "get_action_dist_params")),
        ("deterministic", hasattr(actor, "mu")),
    )
    for kind, is_it in found:
        if is_it:
            return kind
    raise invalid(
        f"restricted policy {name!r}",
        "be of PPO, A2C, TRPO, MaskablePPO, RecurrentPPO, DQN, QRDQN, SAC, TQC, CrossQ, TD3 or DDPG",
        type(policy).__name__,
        "Give a function that answers for it",
    )


def takes_masks(policy: Any) -> bool:
    """Whether it is MaskablePPO's."""
    return hasattr(getattr(policy, "action_dist", None), "apply_masking")


def ask(
    policy: Any, kind: str, rows: Any, *, starts: Any = None, states: Any = None, masks: Any = None
) -> Said:
    """What the network says. Call it within `left_as_it_was`.

    Args:
        policy: The network.
        kind: Of `kind_of`.
        rows: Views (B, ...); for a recurrent one environment by environment, each in order of time.
        starts: (B,) booleans, for a recurrent one.
        states: (2, layers, E, units), likewise.
        masks: (B, A) booleans or None, for MaskablePPO.
    """
    seen, _ = policy.obs_to_tensor(rows)
    if kind == "recurrent":
        device = policy.device
        before = tuple(torch.as_tensor(s, device=device) for s in states)
        first = torch.as_tensor(starts, dtype=torch.float32, device=device)
        distribution, after = policy.get_distribution(seen, before, first)
        said = _of_distribution(policy, distribution)
        return said._replace(states=torch.stack(after).cpu().numpy())
    if kind == "stochastic":
        distribution = policy.get_distribution(seen)
        if masks is not None:
            distribution.apply_masking(masks)
        return _of_distribution(policy, distribution)
    if kind == "values":
        return Said(values=_array(policy.q_net(seen)))
    if kind == "quantiles":
        return Said(values=_array(policy.quantile_net(seen).mean(dim=1)))
    if kind == "squashed":
        actor = policy.actor
        mean, log_std, more = actor.get_action_dist_params(seen)
        normal = actor.action_dist.proba_distribution(mean, log_std, **more)
        return _of_distribution(policy, normal)
    return Said(mean=_unscaled(policy, _array(policy.actor(seen))))


def _of_distribution(policy: Any, distribution: Any) -> Said:
    inner = distribution.distribution
    if isinstance(policy.action_space, spaces.Discrete):
        return Said(values=_array(inner.logits))
    mean, std = _array(inner.mean), _array(inner.stddev)
    if not policy.squash_output:
        return Said(mean=mean, std=std)
    half = np.ptp(_bounds(policy.action_space), axis=0) / 2.0
    return Said(mean=_unscaled(policy, np.tanh(mean)), std=squashed_std(mean, std) * half)


def _unscaled(policy: Any, actions: FloatArray) -> FloatArray:
    """Actions (B, d) of a squashed policy, which are in [−1, 1], in the bounds of the action space."""
    if not policy.squash_output:
        return actions
    low, high = _bounds(policy.action_space)
    unscaled: FloatArray = low + 0.5 * (actions + 1.0) * (high - low)
    return unscaled


def squashed_std(mean: FloatArray, std: FloatArray) -> FloatArray:
    """Standard deviation of tanh(x) for normal x of mean and std (B, d).

    By the trapezoidal rule, which is precise for smooth functions and unlike sampling draws no random
    numbers. At least 1e-6: where tanh is saturated it underflows, and matching needs a density.
    """
    centre, first, second = np.tanh(mean), np.zeros_like(mean), np.zeros_like(mean)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        off = np.tanh(mean + std * node) - centre
        first += weight * off
        second += weight * off**2
    spread: FloatArray = np.sqrt(np.maximum(second - first**2, _LEAST_STD**2))
    return spread


@contextmanager
def left_as_it_was(policy: Any) -> Iterator[None]:
    """Evaluation mode without gradients; after it, modes and torch's random numbers are as before."""
    modes = [(module, module.training) for module in policy.modules()]
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        policy.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.cpu().numpy().astype(np.float64)


def _bounds(space: Any) -> FloatArray:
    """Lowest and highest actions (2, d)."""
    return np.stack([space.low.reshape(-1), space.high.reshape(-1)]).astype(np.float64)

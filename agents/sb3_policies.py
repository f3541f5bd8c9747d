"""What IMM asks of an SB3 algorithm: which are served, and the log-probabilities of its policy.

`sb3` and the matchers use it. Nothing here draws random numbers or writes into a `.grad`.

Index letters: S observations, A actions, d dimensions of a continuous action.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from imm_rl.device import uploaded
from imm_rl.envs import space_arrays
from imm_rl.errors import InvalidInputError

_SERVED = "PPO, A2C and MaskablePPO are served, and classes derived from them"

_REASONS = {
    "TRPO": (
        "it moves its policy by a line search and uses its optimizer for the critic only, so that a "
        "gradient added there would never reach the policy"
    ),
    "RecurrentPPO": (
        "its policy acts on the hidden state of an LSTM, and the hidden states that a restricted "
        "context may stand for cannot be told from one rollout"
    ),
    "ARS": "it searches without gradients",
}


def checked_algorithm(model: Any) -> OnPolicyAlgorithm:
    """The algorithm, if a gradient added before its optimizer's step trains its policy.

    Raises:
        InvalidInputError: It does not; the error gives the algorithm's name and the reason.
    """
    name = type(model).__name__
    if not isinstance(model, BaseAlgorithm):
        raise InvalidInputError(
            f"IMMCallback is for an algorithm of stable-baselines3, not for {name}."
        )
    ancestors = {parent.__name__ for parent in type(model).__mro__}
    reason = next((why for parent, why in _REASONS.items() if parent in ancestors), None)
    if isinstance(model, OffPolicyAlgorithm):
        reason = (
            "it is trained off-policy from replayed steps by values of actions, and no loss of its holds "
            "the log-probabilities of a policy that a matching term could be added to"
        )
    elif reason is None and not isinstance(model, OnPolicyAlgorithm):
        reason = "it is no on-policy algorithm"
    elif reason is None and not callable(getattr(model.policy, "get_distribution", None)):
        reason = f"its policy {type(model.policy).__name__} has no method get_distribution"
    elif reason is None and not isinstance(
        getattr(model.policy, "optimizer", None), torch.optim.Optimizer
    ):
        reason = f"its policy {type(model.policy).__name__} has no optimizer"
    if reason is not None:
        raise InvalidInputError(f"{name} cannot be matched: {reason}. {_SERVED}.")
    assert isinstance(model, OnPolicyAlgorithm)  # or there was a reason
    checked_action_space(model.action_space)
    if isinstance(model.action_space, gymnasium.spaces.Box) and model.policy.squash_output:
        raise InvalidInputError(
            f"{name} squashes its actions (squash_output=True), and the density of a squashed mixture is "
            "not served. Leave squash_output at False."
        )
    return model


def checked_action_space(space: Any) -> None:
    """Refuses all but Discrete actions and vectors of real ones.

    Raises:
        InvalidInputError: It is neither.
    """
    discrete = isinstance(space, gymnasium.spaces.Discrete) and space.start == 0
    vector = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
    if not (discrete or vector):
        raise InvalidInputError(
            f"actions in {space} cannot be matched: Discrete(n) and Box of shape (d,) are served."
        )


def log_probs(policy: Any, observations: Any, masks: Tensor | None = None) -> Tensor:
    """Gives log Q(a|x) in nats, (S, A), of discrete actions; with gradients.

    Args:
        policy: An actor-critic policy of SB3 or sb3-contrib.
        observations: S of them: an array, a tensor on the policy's device, or a dict of these.
        masks: (S, A), which actions are allowed, for a maskable policy; log Q of the others is −inf.
    """
    tensor = as_policy_tensor(policy, observations)
    with unvalidated():
        distribution = (
            policy.get_distribution(tensor)
            if masks is None
            else policy.get_distribution(tensor, action_masks=masks)
        )
    logits: Tensor = distribution.distribution.logits
    # sb3-contrib gives masked actions a logit of −1e8, which would count in a mean of log-probabilities.
    return logits if masks is None else logits.masked_fill(~masks, -torch.inf)


def gaussian(policy: Any, observations: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (S, d) of continuous actions, with gradients."""
    tensor = as_policy_tensor(policy, observations)
    with unvalidated():
        distribution = policy.get_distribution(tensor).distribution
    return distribution.mean, distribution.stddev


def as_policy_tensor(policy: Any, observations: Any) -> Any:
    """Observations on the policy's device."""
    if isinstance(observations, torch.Tensor):
        return observations
    if isinstance(observations, dict):
        return {key: uploaded(value, policy.device) for key, value in observations.items()}
    return uploaded(observations, policy.device)


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions made inside are not checked: each check looks at a value and waits for the device.

    What is not finite is told by `TermGradient.check`, once a rollout.
    """
    kind = torch.distributions.Distribution
    before = kind._validate_args
    kind.set_default_validate_args(False)
    try:
        yield
    finally:
        kind.set_default_validate_args(before)


@contextmanager
def evaluation_mode(policy: Any) -> Iterator[None]:
    """Dropout off and batch statistics frozen, so that looking at a policy changes nothing in it."""
    before = policy.training
    policy.set_training_mode(False)
    try:
        yield
    finally:
        policy.set_training_mode(before)


def take(observations: Any, rows: np.ndarray) -> Any:
    """Some rows of observations, an array or a dict of arrays."""
    return space_arrays.each(lambda array: array[rows], observations)

"""The matching term of an SB3 policy at one batch of completed views; `ViewMatcher` calls these.

Discrete actions: the mean over completions of the policy's probabilities is matched. Continuous ones:
Q̄ is a mixture of Gaussians, and the term is its negative log-density at actions drawn from the
restricted policy; a mean over the draws stands for the sum over targets.

Index letters: B contexts, K completions, S observations, A actions, d dimensions of an action, J draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.sb3_policies import gaussian, log_probs
from imm_rl.agents.sb3_term import PolicyTerm
from imm_rl.device import uploaded
from imm_rl.envs.model import FloatArray
from imm_rl.matching import InducedModelMatching, Sampled


@dataclass(frozen=True)
class Completed:
    """A batch of contexts and what they may stand for.

    Attributes:
        index: (B, K), places in `observations`.
        log_weights: (B, K), −inf drops a completion.
        observations: S of them, as the policy sees them: an array or a dict of arrays.
        answers: (B, A), the restricted policy's probabilities; or (B, 2, d), its mean and deviation.
        masks: (S, A), the actions allowed, or None.
    """

    index: np.ndarray
    log_weights: FloatArray
    observations: Any
    answers: FloatArray
    masks: np.ndarray | None


@dataclass(frozen=True)
class _Placed:
    """A batch on the policy's device, in the form in which `new_matching` takes it."""

    index: Tensor
    log_weights: Tensor
    targets: Tensor


class _Targets:
    """The restricted model of `InducedModelMatching`: the policy was asked along the rollout."""

    def probs(self, context: _Placed, /) -> Tensor:
        return context.targets


def new_matching() -> InducedModelMatching:
    """The matching that the terms below share; it checks the values of its first batch."""
    return InducedModelMatching(
        _Targets(), Sampled(lambda placed: (placed.index, placed.log_weights))
    )


def discrete_term(imm: InducedModelMatching, policy: Any, batch: Completed) -> PolicyTerm | None:
    """The term of discrete actions; None where no context has an action that its completions allow."""
    targets, weights, allowed = batch.answers, None, None
    if batch.masks is not None:
        counted = np.isfinite(batch.log_weights)[..., None]
        targets, weights = within(targets, (batch.masks[batch.index] & counted).any(axis=1))
        if not weights.any():
            return None
        allowed = uploaded(batch.masks, policy.device)
    found = log_probs(policy, batch.observations, allowed)
    placed = _placed(batch, targets, found)
    term = imm.term(lambda index: found[index], placed, weights=weights)

    def measures() -> dict[str, Tensor]:
        # π(x|x̄) over the batch, which is what `naive_kl` is a mean over.
        support = found.new_zeros(len(placed.index), len(found))
        support.scatter_add_(1, placed.index, placed.log_weights.softmax(-1).to(found.dtype))
        return imm.measures(term, weights, log_probs=found.detach(), support_weights=support)

    return PolicyTerm(term.loss, measures)


def continuous_term(
    imm: InducedModelMatching, policy: Any, batch: Completed, normals: FloatArray
) -> PolicyTerm:
    """The term of continuous actions.

    Args:
        imm: Of `new_matching`.
        policy: The trained policy.
        batch: The contexts.
        normals: (B, J, d), standard normal numbers, by which the restricted policy's actions are drawn.
    """
    means, deviations = gaussian(policy, batch.observations)
    answers, noise = (
        uploaded(part, means.device, means.dtype) for part in (batch.answers, normals)
    )
    mean, deviation = answers[:, None, 0], answers[:, None, 1]  # (B, 1, d)
    drawn = mean + deviation * noise  # (B, J, d)
    even = np.full(drawn.shape[:2], 1.0 / drawn.shape[1])
    placed = _placed(batch, even, means)

    def densities(index: Tensor) -> Tensor:
        """Log-densities (B, K, J) of the drawn actions at each completion."""
        at = means[index].unsqueeze(2), deviations[index].unsqueeze(2)
        return _log_density(drawn.unsqueeze(1), *at)

    term = imm.term(densities, placed)

    @torch.no_grad()
    def measures() -> dict[str, Tensor]:
        # KL(P̂‖Q̄), estimated at the drawn actions; `agreement` has no meaning here.
        entropy = -_log_density(drawn, mean, deviation).mean()
        shares = placed.log_weights.softmax(-1).to(means.dtype).unsqueeze(-1)
        each = densities(placed.index).masked_fill(shares == 0.0, 0.0)
        return {
            "kl": term.loss.detach() - entropy,
            "naive_kl": -(shares * each).sum(dim=1).mean() - entropy,
        }

    return PolicyTerm(term.loss, measures)


def within(targets: FloatArray, possible: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Targets (B, A) over the actions that are possible (B, A), and weights (B,): 0 where none is."""
    kept = targets * possible
    sums = kept.sum(axis=1, keepdims=True)
    some = sums > 0.0
    matched = np.where(some, kept / np.where(some, sums, 1.0), 1.0 / kept.shape[1])
    return matched, some[:, 0].astype(np.float64)


def _placed(batch: Completed, targets: FloatArray, like: Tensor) -> _Placed:
    return _Placed(
        uploaded(batch.index, like.device),
        uploaded(batch.log_weights, like.device),
        uploaded(targets, like.device),
    )


def _log_density(actions: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Of independent Gaussians, summed over the last axis; nats."""
    scaled = (actions - mean) / deviation
    each = -0.5 * scaled.square() - deviation.log() - 0.5 * math.log(2.0 * math.pi)
    return each.sum(dim=-1)

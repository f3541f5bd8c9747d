"""Losses that pull a full model towards what a restricted model knows. Pure functions of tensors.

`imm_loss` is the method; `noising_loss`, `naive_kl_loss` and `interpolate` are what it is compared
with. `serialized_backward` (Algorithm 2) gives the gradient of `imm_loss` in memory that does not
grow with the number of completions. Training code adds λ times a loss to its own; `matching` does
that for it.

Index letters: N items (restricted contexts), K completions of an item, Y targets (classes, tokens,
actions). Leading axes (...) are independent runs: each has its own loss, the same as if it were
computed alone; an argument without them is shared by the runs. Losses are in nats, means over the
items (weighted means where weights are given; 0 where all weights of a run are 0). A target of
probability 0 adds nothing, even where the model's log-probability is −inf. `check=False` skips the
checks of values, not those of shapes.

Source: Muneeb and Ohannessian, "Induced Model Matching", NeurIPS 2024 (arXiv 2402.12513).
"""

from __future__ import annotations

import torch

from imm_rl import checks
from imm_rl.cross_entropy import check_target, cross_entropy, item_shares, sizes
from imm_rl.induced import completion_log_shares
from imm_rl.serialized import serialized_backward

__all__ = [
    "entropy",
    "imm_loss",
    "interpolate",
    "naive_kl_loss",
    "noising_loss",
    "serialized_backward",
]


def imm_loss(
    induced_log_probs: torch.Tensor,
    target_probs: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    check: bool = True,
) -> torch.Tensor:
    """The IMM term: cross-entropy of the induced model under the restricted one.

    Σ_n weights[n] · (−Σ_y P̂[n, y] log Q̄[n, y]) / Σ_n weights[n]; KL(P̂‖Q̄) plus a constant.

    Args:
        induced_log_probs: (..., N, Y), log Q̄(y|x̄); nats, from `imm_rl.induced`.
        target_probs: (..., N, Y), P̂(y|x̄) of the restricted model; rows sum to 1, zeros allowed.
        weights: (..., N), at least 0; equal where not given.
        check: Checks the values of the targets and weights, which makes the host wait for the
            device.

    Returns:
        (...), one loss a run; a scalar for a single run.

    Raises:
        InvalidInputError: A rank, shape, dtype, target row or weight is wrong.
    """
    checks.floats("induced_log_probs", induced_log_probs, "(..., N, Y)")
    runs, own = sizes(induced_log_probs, 2)
    check_target("target_probs", target_probs, runs, own, check=check)
    shares = item_shares(induced_log_probs, weights, runs, own[0], check=check)
    joint = shares.unsqueeze(-1) * target_probs.to(induced_log_probs.dtype)
    return cross_entropy(induced_log_probs, joint, 2)


def noising_loss(
    log_probs: torch.Tensor,
    log_weights: torch.Tensor,
    target_probs: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    check: bool = True,
) -> torch.Tensor:
    """The mean over completions of each one's own cross-entropy: noising, IMM with one completion.

    Σ_n weights[n] · Σ_k w[n, k] (−Σ_y P̂[n, y] log Q(y|x_k)) / Σ_n weights[n], never below
    `imm_loss` of the same completions (Jensen); equal only where all of them agree.

    Args:
        log_probs: (..., N, K, Y), log Q(y|x) at completion k of item n; nats.
        log_weights: (..., N, K), unnormalised log-weights of the completions, as in
            `induced.sampled`.
        target_probs: (..., N, Y), P̂(y|x̄); rows sum to 1.
        weights: (..., N), at least 0; equal where not given.
        check: Checks values too, which makes the host wait for the device.

    Returns:
        (...), one loss a run, in nats.

    Raises:
        InvalidInputError: A rank, shape, dtype, target row or weight is wrong.
    """
    completion_shares = completion_log_shares(log_probs, log_weights, check=check).exp()
    runs, (items, _, targets) = sizes(log_probs, 3)
    check_target("target_probs", target_probs, runs, (items, targets), check=check)
    shares = item_shares(log_probs, weights, runs, items, check=check).unsqueeze(-1)
    target_probs = target_probs.to(log_probs.dtype).unsqueeze(-2)
    return cross_entropy(
        log_probs, (shares * completion_shares).unsqueeze(-1) * target_probs, axes=3
    )


def naive_kl_loss(
    log_probs: torch.Tensor,
    restricted_probs: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    check: bool = True,
) -> torch.Tensor:
    """KL(P̂‖Q) item by item: the full model is asked to act as if it saw no more than P̂ does.

    Σ_n weights[n] · Σ_y P̂[n, y] (log P̂[n, y] − log Q(y|x_n)) / Σ_n weights[n].

    Args:
        log_probs: (..., N, Y), log Q(y|x) at the full context of each item; nats.
        restricted_probs: (..., N, Y), P̂(y|x̄) at its restricted context; rows sum to 1.
        weights: (..., N), at least 0; equal where not given.
        check: Checks values too, which makes the host wait for the device.

    Returns:
        (...), one loss a run, in nats.

    Raises:
        InvalidInputError: A rank, shape, dtype, target row or weight is wrong.
    """
    checks.floats("log_probs", log_probs, "(..., N, Y)")
    runs, own = sizes(log_probs, 2)
    check_target("restricted_probs", restricted_probs, runs, own, check=check)
    shares = item_shares(log_probs, weights, runs, own[0], check=check)
    restricted_probs = restricted_probs.to(log_probs.dtype)
    joint = shares.unsqueeze(-1) * restricted_probs
    return cross_entropy(log_probs, joint, 2) - (shares * entropy(restricted_probs)).sum(-1)


def interpolate(probs: torch.Tensor, restricted_probs: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mixes the two models at prediction time, with no term in training: (1 − r)·Q + r·P̂.

    Args:
        probs: (..., Y), Q(y|x).
        restricted_probs: P̂(y|x̄), of the same shape or one that broadcasts to it.
        ratio: r in [0, 1].

    Returns:
        (..., Y), of the dtype of `probs`.

    Raises:
        InvalidInputError: A rank, shape or dtype is wrong, or the ratio is no number in [0, 1].
    """
    checks.floats("probs", probs, "(..., Y)")
    runs, own = sizes(probs, 1)
    checks.shaped("restricted_probs", restricted_probs, "(..., Y)", runs, own)
    checks.share("ratio", ratio)
    return torch.lerp(probs, restricted_probs.to(probs.dtype), float(ratio))


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """−Σ_y p log p in nats, with 0 log 0 = 0.

    Args:
        probs: (..., Y), distributions over the last axis.

    Returns:
        (...), of the dtype of `probs`.

    Raises:
        InvalidInputError: The rank or dtype is wrong.
    """
    checks.floats("probs", probs, "(..., Y)")
    terms: torch.Tensor = torch.special.entr(probs)
    return terms.sum(-1)

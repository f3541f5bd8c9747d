"""The induced model: what a full model amounts to for one who sees only the restricted context.

    log Q̄(y|x̄) = log Σ_x π(x|x̄) Q(y|x)

The three functions differ in how the completions x of a restricted context x̄ are given: drawn for
each item (`sampled`), a distribution over one common set of full contexts (`shared_support`), or
the items of the batch that share a restricted context (`grouped`). `matching` calls them; all are
pure and differentiable.

Index letters: N items (restricted contexts), K completions of an item, S full contexts of a common
support, Y targets (classes, tokens, actions), M items of a batch, G groups. Leading axes (...) are
independent runs. Log-probabilities are in nats, float32 or float64. An entry of −inf (a target that
is ruled out) is allowed; where every completion has it, the result is −inf and passes no gradient.

Source: Muneeb and Ohannessian, "Induced Model Matching", NeurIPS 2024 (arXiv 2402.12513).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from imm_rl import checks
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.sparse_rows import SparseRows

_SMALLEST_MIXTURE = 1e-290
"""A float64 mixture up to this counts as zero, so that 1/mixture in its gradient stays finite."""


def sampled(
    log_probs: torch.Tensor, log_weights: torch.Tensor, *, check: bool = True
) -> torch.Tensor:
    """Averages the full model over each item's own completions (Algorithm 1).

    log Q̄[n, y] = log Σ_k w[n, k] exp(log_probs[n, k, y]), with w = softmax over k of
    `log_weights`.

    Args:
        log_probs: (..., N, K, Y), log Q(y|x) at completion k of item n; nats.
        log_weights: (..., N, K), or (N, K) shared by all runs; unnormalised log-weights of the
            completions (zeros where they were drawn from π itself). −inf drops a completion; not
            all of an item's.
        check: Checks the values of `log_weights` too, which makes the host wait for the device.

    Returns:
        (..., N, Y), log Q̄(y|x̄) in nats, of the dtype of `log_probs`.

    Raises:
        InvalidInputError: A rank, shape, dtype or log-weight is wrong.
    """
    log_shares = completion_log_shares(log_probs, log_weights, check=check)
    terms = log_probs + log_shares.unsqueeze(-1)
    # Not torch.logsumexp: its gradient is NaN where all terms are −inf.
    shift = _finite(terms.detach().amax(-2, keepdim=True))
    return (_log((terms - shift).exp().sum(-2, keepdim=True)) + shift).squeeze(-2)


def completion_log_shares(
    log_probs: torch.Tensor, log_weights: torch.Tensor, *, check: bool = True
) -> torch.Tensor:
    """Checks the pair that `sampled` takes and normalises the weights.

    Returns:
        log w of the shape of `log_weights`; exp sums to 1 over K.
    """
    checks.floats("log_probs", log_probs, "(..., N, K, Y)")
    runs, own = tuple(log_probs.shape[:-3]), tuple(log_probs.shape[-3:-1])
    checks.shaped("log_weights", log_weights, "(..., N, K)", runs, own)
    if check:
        checks.log_weights("log_weights", log_weights)
    return log_weights.to(log_probs.dtype).log_softmax(-1)


def shared_support(
    log_probs: torch.Tensor, weights: torch.Tensor | SparseRows, *, check: bool = True
) -> torch.Tensor:
    """Averages the full model over one common set of full contexts, weighted by item (a belief).

    log Q̄[n, y] = log Σ_s weights[n, s] exp(log_probs[s, y]): one matrix product.

    The product is taken in float64 whatever the inputs are, after the largest value for each y has
    been subtracted: an item whose completions all lie far below the largest of the support keeps
    its value and its gradient down to about 660 nats below it; further down counts as probability
    zero.

    Args:
        log_probs: (..., S, Y), log Q(y|x_s); nats.
        weights: (..., N, S), or (N, S) shared by all runs; weights[n, s] = π(x_s|x̄_n), rows sum to
            1. float64 avoids a conversion. `SparseRows` where most of them are zero and S is large.
        check: Checks that the rows of `weights` are distributions, which makes the host wait for
            the device. Training loops that have checked once pass False.

    Returns:
        (..., N, Y), log Q̄(y|x̄_n) in nats, of the dtype of `log_probs`.

    Raises:
        InvalidInputError: A rank, shape, dtype or row of weights is wrong.
    """
    checks.floats("log_probs", log_probs, "(..., S, Y)")
    if isinstance(weights, SparseRows):
        weights.check("weights", log_probs, check=check)
    else:
        checks.floats("weights", weights, "(..., N, S)")
        own = (weights.shape[-2], log_probs.shape[-2])
        checks.shaped("weights", weights, "(..., N, S)", tuple(log_probs.shape[:-2]), own)
        if check:
            checks.distributions("weights", weights)
    # float32 would do only down to about 80 nats below the largest: a state that no weight reaches
    # may hold that maximum, and the weighted ones would vanish beside it.
    shift = _finite(log_probs.detach().amax(-2, keepdim=True))
    scaled = (log_probs - shift).double().exp_()
    mixture = (
        weights.product(scaled) if isinstance(weights, SparseRows) else weights.double() @ scaled
    )
    return _log(mixture, _SMALLEST_MIXTURE).to(log_probs.dtype) + shift


def grouped(
    log_probs: torch.Tensor,
    groups: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    n_groups: int | None = None,
    check: bool = True,
) -> torch.Tensor:
    """Averages the full model over the items of one batch that share a restricted context.

    log Q̄[g, y] = log ( Σ_{m in g} weights[m] exp(log_probs[m, y]) / Σ_{m in g} weights[m] ).

    Args:
        log_probs: (M, Y), log Q(y|x_m); nats.
        groups: (M,) integers in 0..G−1, the group of each item; every group must have an item.
        weights: (M,), at least 0 and constants (no gradient passes to them), a positive sum in each
            group; equal where not given.
        n_groups: G, where the caller knows it; otherwise the host waits for the device to see it.
        check: Checks the values of `groups`, `n_groups` and `weights`, which makes the host wait
            for the device.

    Returns:
        (G, Y), log Q̄(y|x̄_g) in nats, G = groups.max() + 1.

    Raises:
        InvalidInputError: A rank, shape or dtype is wrong, a group is empty or has no weight.
    """
    checks.floats("log_probs", log_probs, "(M, Y)")
    items = log_probs.shape[0]
    _check_groups(groups, items)
    groups = groups.long()
    if n_groups is None:
        n_groups = int(groups.max()) + 1
    elif check and n_groups != int(groups.max()) + 1:
        raise invalid("n_groups", f"be the number of groups, {int(groups.max()) + 1}", n_groups)
    if weights is None:
        shares = log_probs.new_ones(items)
    else:
        checks.shaped("weights", weights, "(M,)", (), (items,))
        shares = weights.detach().to(log_probs.dtype)
        if check:
            checks.item_weights("weights", shares)
    if check:
        _check_totals(groups, shares, n_groups)

    log_mixtures: torch.Tensor = _Grouped.apply(  # type: ignore[no-untyped-call]
        log_probs, groups, shares, n_groups, weights is not None
    )
    return log_mixtures


class _Grouped(torch.autograd.Function):
    """`grouped` after its checks, in as few passes over (M, Y) as there can be.

    Language models have thousands of targets: such a pass is what the term costs there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: torch.Tensor,
        groups: torch.Tensor,
        shares: torch.Tensor,
        n_groups: int,
        weighted_items: bool,
    ) -> torch.Tensor:
        lowest = log_probs.new_full((n_groups, log_probs.shape[1]), -torch.inf)
        index = groups.unsqueeze(-1).expand_as(log_probs)
        terms = log_probs + shares.log().unsqueeze(-1) if weighted_items else log_probs
        # Each group's own largest term: one that is common to all could leave a group with zeros.
        shift = _finite(lowest.scatter_reduce_(0, index, terms, "amax"))
        weighted = shift.index_select(0, groups)
        torch.sub(terms, weighted, out=weighted).exp_()
        summed = torch.zeros_like(shift).index_add_(0, groups, weighted)
        totals = shares.new_zeros(n_groups).index_add_(0, groups, shares)
        ctx.save_for_backward(weighted, groups, summed)
        return summed.log().add_(shift - totals.log().unsqueeze(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        weighted, groups, summed = ctx.saved_tensors
        # The largest term of a sum is 1, so it is at least that; or 0, and then so is each term.
        per_group = grad / summed.clamp_min(0.5)
        return per_group.index_select(0, groups).mul_(weighted), None, None, None, None


def _check_groups(groups: object, items: int) -> None:
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if not isinstance(groups, torch.Tensor) or groups.dtype not in integers:
        raise invalid("groups", "be a tensor of integers, shape (M,)", checks.describe(groups))
    if tuple(groups.shape) != (items,) or items == 0:
        raise invalid(
            "groups", f"have the shape (M,) = ({items},), M at least 1", checks.describe(groups)
        )


def _check_totals(groups: torch.Tensor, weights: torch.Tensor, n_groups: int) -> None:
    if int(groups.min()) < 0:
        raise invalid("groups", "be at least 0", int(groups.min()))
    totals = weights.new_zeros(n_groups).index_add(0, groups, weights)
    if not bool((totals > 0).all()):
        group = int((totals <= 0).nonzero()[0])
        raise InvalidInputError(
            f"groups must leave no group of 0..{n_groups - 1} empty or without weight; "
            f"received none in group {group}."
        )


def _finite(shift: torch.Tensor) -> torch.Tensor:
    """Lifts −inf to the lowest finite number, so that subtracting it gives −inf and not NaN."""
    return shift.clamp_min(torch.finfo(shift.dtype).min)


def _log(mixture: torch.Tensor, smallest: float = 0.0) -> torch.Tensor:
    """The logarithm; −inf with zero gradient, and not NaN, where at most `smallest`."""
    zero = mixture <= smallest  # False for NaN, which must come out as NaN
    return torch.where(zero, 1.0, mixture).log().masked_fill(zero, -torch.inf)

"""The one formula that all losses share: cross-entropy summed over items with normalised weights.

`losses` and `serialized` build on it. Index letters as there: N items, Y targets, leading axes are
runs.
"""

from __future__ import annotations

import torch

from imm_rl import checks


def cross_entropy(log_probs: torch.Tensor, joint: torch.Tensor, axes: int) -> torch.Tensor:
    """−Σ joint · log_probs over the last axes, with 0 · (−inf) = 0 and no gradient there.

    Args:
        log_probs: (..., N, Y) or (..., N, K, Y), nats.
        joint: Of that shape or one that broadcasts to it: target probability times item weight
            (times completion weight).
        axes: How many of the last axes to sum over.
    """
    kept = log_probs.masked_fill(joint == 0, 0.0)
    return -(joint * kept).sum(tuple(range(-axes, 0)))


def item_shares(
    like: torch.Tensor,
    weights: torch.Tensor | None,
    runs: tuple[int, ...],
    items: int,
    *,
    check: bool = True,
) -> torch.Tensor:
    """Checks item weights and normalises them within each run.

    Args:
        like: Gives the dtype and device.
        weights: (..., N), or None for equal weights.
        runs: The sizes of the leading axes.
        items: N.
        check: Checks the values of the weights.

    Returns:
        (..., N), or (N,) for equal weights; sums to 1 over N, or to 0 where all weights of a run
        are 0.

    Raises:
        InvalidInputError: The rank, shape, dtype or a value is wrong.
    """
    if weights is None:
        return like.new_full((items,), 1 / max(items, 1))
    checks.shaped("weights", weights, "(..., N)", runs, (items,))
    if check:
        checks.item_weights("weights", weights)
    weights = weights.to(like.dtype)
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


def sizes(tensor: torch.Tensor, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The leading sizes (the runs) and the last `axes` sizes."""
    return tuple(tensor.shape[:-axes]), tuple(tensor.shape[-axes:])


def check_target(
    name: str,
    target: torch.Tensor,
    runs: tuple[int, ...],
    own: tuple[int, ...],
    *,
    check: bool = True,
) -> None:
    """Refuses a restricted model's output that is not (..., N, Y) distributions, own = (N, Y)."""
    checks.shaped(name, target, "(..., N, Y)", runs, own)
    if check:
        checks.distributions(name, target)

"""Completions of table rows: which hidden features a row's restricted features may go with.

The completions of a row keep its restricted features x̄ and take the hidden ones from rows whose own
x̄ is near: π(hidden|x̄) as the data have it, under a Gaussian kernel or the nearest neighbours. (The paper
averages Q over near rows as they are; keeping x̄ takes out the error of their different x̄, and leaves the
kernel free to be wide where few rows are near.)

Index letters: R data sets, N rows, r restricted features, K completions of a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from imm_rl.errors import invalid

BLOCK = 4_000_000
"""Entries of a distance matrix that are held at a time."""

WIDTH = 2.0
"""The default bandwidth in units of Silverman's rule, which aims at densities; averages of a smooth
function over hidden features bear a wider kernel, and few rows need one."""

_EXACT = "donot_use_mm_for_euclid_dist"


def bandwidths(restricted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The default kernel width of each restricted feature.

    2 · σ · (4 / ((r + 2) n))^(1/(r + 4)), n the sum of the weights: twice Silverman's rule ("Density
    Estimation for Statistics and Data Analysis", 1986, equation 4.14).

    Args:
        restricted: (R, N, r).
        weights: (R, N), at least 0.

    Returns:
        (R, r), positive; 1 for a feature that does not vary.
    """
    r = restricted.shape[2]
    total = weights.sum(1, keepdim=True)
    spread = _spread(restricted, weights)
    width = WIDTH * spread * (4 / ((r + 2) * total)) ** (1 / (r + 4))
    return torch.where(width > 0, width, 1.0)


def kernel(
    restricted: torch.Tensor,
    weights: torch.Tensor,
    bandwidth: torch.Tensor,
    at: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-weights of every row as completion of every row, (R, N, N), unnormalised.

    log w[i, j] = −½ Σ_f ((x̄[i, f] − x̄[j, f]) / h[f])² + log weights[j].

    Args:
        restricted: (R, N, r).
        weights: (R, N); rows of weight 0 lend nothing.
        bandwidth: (R, r).
        at: (R, M, r), restricted features to be completed, for log-weights (R, M, N); the rows' own
            where not given.
    """
    width = bandwidth.unsqueeze(1)
    scaled = restricted / width
    return _log_kernel(scaled if at is None else at / width, scaled, weights)


def drawn_kernel(
    restricted: torch.Tensor,
    weights: torch.Tensor,
    bandwidth: torch.Tensor,
    k: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draws k rows for each row with the kernel's weights, (N, k) integers.

    Systematic draws: one uniform number a row, then steps of 1/k; the weights of what is drawn are
    equal.

    Args:
        restricted: (N, r).
        weights: (N,).
        bandwidth: (r,).
        k: How many.
        generator: On the CPU; the same numbers on every device.
    """
    scaled = restricted / bandwidth
    drawn = []
    for rows in _blocks(len(scaled), len(scaled)):
        log_weights = _log_kernel(scaled[None, rows], scaled[None], weights[None])[0]
        ends = log_weights.softmax(1).cumsum(1)
        offsets = torch.rand(ends.shape[0], 1, generator=generator, dtype=ends.dtype)
        at = (torch.arange(k, dtype=ends.dtype) + offsets) / k
        # Exactly 0 would draw the first row, whatever its weight.
        at = at.clamp_min(torch.finfo(at.dtype).tiny)
        # The last end is 1 but for rounding.
        found = torch.searchsorted(ends, at.to(ends.device) * ends[:, -1:])
        drawn.append(found.clamp_max(len(scaled) - 1))
    return torch.cat(drawn)


def neighbours(
    restricted: torch.Tensor, weights: torch.Tensor, k: int, at: torch.Tensor | None = None
) -> torch.Tensor:
    """The k rows with the nearest restricted features, each scaled to unit spread, (N, k) integers.

    Args:
        restricted: (N, r).
        weights: (N,); rows of weight 0 are nobody's neighbour.
        k: At most the number of rows with a positive weight.
        at: (M, r), restricted features whose neighbours are wanted, for (M, k); the rows' own where
            not given.

    Raises:
        InvalidInputError: k is larger than that.
    """
    lenders = int((weights > 0).sum())
    if not 1 <= k <= lenders:
        raise invalid("k", f"be in 1..{lenders}, the rows with a positive weight", k)
    width = _spread(restricted[None], weights[None])[0]
    width = torch.where(width > 0, width, 1.0)
    scaled, wanted = restricted / width, (restricted if at is None else at) / width
    found = []
    for rows in _blocks(len(wanted), len(scaled)):
        # By matrix products, the default for many rows, near rows would be told apart by rounding.
        distance = torch.cdist(wanted[rows], scaled, compute_mode=_EXACT)
        distance = distance.masked_fill(weights == 0, torch.inf)
        found.append(distance.topk(k, 1, largest=False).indices)
    return torch.cat(found)


def _spread(restricted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted standard deviation of each feature, (R, r); 0 where it is rounding alone."""
    shares = (weights / weights.sum(1, keepdim=True)).unsqueeze(2)
    mean = (shares * restricted).sum(1, keepdim=True)
    spread = (shares * (restricted - mean) ** 2).sum(1).sqrt()
    noise = 100 * torch.finfo(restricted.dtype).eps * mean.squeeze(1).abs()
    return torch.where(spread > noise, spread, 0.0)


def _log_kernel(at: torch.Tensor, scaled: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    distance = sum(
        (at[..., f].unsqueeze(2) - scaled[..., f].unsqueeze(1)) ** 2 for f in range(at.shape[2])
    )
    return weights.log().unsqueeze(1) - 0.5 * distance


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)

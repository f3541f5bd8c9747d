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

BLOCK = 4_000_000
"""Entries of a distance matrix that are held at a time."""

WIDTH = 2.0
"""The default bandwidth in units of Silverman's rule, which aims at densities; averages of a smooth function
over hidden features bear a wider kernel, and few rows need one."""


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
    shares = (weights / total).unsqueeze(2)
    mean = (shares * restricted).sum(1, keepdim=True)
    spread = (shares * (restricted - mean) ** 2).sum(1).sqrt()
    width = WIDTH * spread * (4 / ((r + 2) * total)) ** (1 / (r + 4))
    return torch.where(width > 0, width, 1.0)


def kernel(
    restricted: torch.Tensor, weights: torch.Tensor, bandwidth: torch.Tensor
) -> torch.Tensor:
    """Log-weights of every row as completion of every row, (R, N, N), unnormalised.

    log w[i, j] = −½ Σ_f ((x̄[i, f] − x̄[j, f]) / h[f])² + log weights[j].

    Args:
        restricted: (R, N, r).
        weights: (R, N); rows of weight 0 lend nothing.
        bandwidth: (R, r).
    """
    scaled = restricted / bandwidth.unsqueeze(1)
    return _log_kernel(scaled, scaled, weights)


def drawn_kernel(
    restricted: torch.Tensor,
    weights: torch.Tensor,
    bandwidth: torch.Tensor,
    k: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """k rows drawn for each row with the kernel's weights, (N, k) integers.

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
    for rows in _blocks(len(scaled)):
        log_weights = _log_kernel(scaled[None, rows], scaled[None], weights[None])[0]
        ends = log_weights.softmax(1).cumsum(1)
        offsets = torch.rand(ends.shape[0], 1, generator=generator, dtype=ends.dtype)
        at = (torch.arange(k, dtype=ends.dtype) + offsets) / k
        # The last end is 1 but for rounding.
        found = torch.searchsorted(ends, at.to(ends.device) * ends[:, -1:])
        drawn.append(found.clamp_max(len(scaled) - 1))
    return torch.cat(drawn)


def neighbours(restricted: torch.Tensor, weights: torch.Tensor, k: int) -> torch.Tensor:
    """The k rows with the nearest restricted features, each scaled to unit spread, (N, k) integers.

    Args:
        restricted: (N, r).
        weights: (N,); rows of weight 0 are nobody's neighbour.
        k: At most N.
    """
    width = restricted.std(0, correction=0)
    scaled = restricted / torch.where(width > 0, width, 1.0)
    found = []
    for rows in _blocks(len(scaled)):
        distance = torch.cdist(scaled[rows], scaled).masked_fill(weights == 0, torch.inf)
        found.append(distance.topk(k, 1, largest=False).indices)
    return torch.cat(found)


def _log_kernel(at: torch.Tensor, scaled: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    distance = sum(
        (at[..., f].unsqueeze(2) - scaled[..., f].unsqueeze(1)) ** 2 for f in range(at.shape[2])
    )
    return weights.log().unsqueeze(1) - 0.5 * distance


def _blocks(rows: int) -> Iterator[slice]:
    step = max(1, BLOCK // rows)
    for start in range(0, rows, step):
        yield slice(start, start + step)

"""The bootstrap that all intervals here share: fixed resamples, and ends that few values need wider.

Index letters: K values (one a seed), B resamples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid

FloatArray: TypeAlias = npt.NDArray[np.float64]
RESAMPLES = 4000


@functools.lru_cache(maxsize=8)
def indices(n: int, stream: int = 0) -> npt.NDArray[np.int32]:
    """Which of n values each resample has, (B, n): always the same, so that equal input gives equal output.

    Args:
        n: Values.
        stream: Another number gives other resamples, for a second, independent sample.
    """
    drawn = np.random.default_rng([stream, n]).integers(n, size=(RESAMPLES, n), dtype=np.int32)
    drawn.flags.writeable = False  # it is shared
    return drawn


@functools.lru_cache(maxsize=8)
def counts(n: int, stream: int = 0) -> FloatArray:
    """How often each of n values is in each resample of `indices`, (B, n)."""
    cells = np.arange(RESAMPLES)[:, None] * n + indices(n, stream)
    found = np.bincount(cells.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n)
    made: FloatArray = found.astype(np.float64)
    made.flags.writeable = False
    return made


def ends(n: int) -> tuple[float, float]:
    """The two quantiles of the bootstrap distribution that bound a 95 % interval from n values.

    The plain percentile interval (2.5 %, 97.5 %) is too narrow for few values, as a normal interval with
    the variance's biased estimate would be. These are the expanded percentiles of Hesterberg 2015, "What
    Teachers Should Know About the Bootstrap", section 4.3.3: Φ(±√(n/(n−1)) · t(0.975; n−1)).
    """
    from scipy.special import ndtr, stdtrit  # late: `imm-rl --help` needs no SciPy

    if n < 2:
        return 0.0, 1.0
    low = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)))
    return low, 1.0 - low


def interval(
    values: npt.ArrayLike, statistic: Callable[[FloatArray], FloatArray]
) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic of K values.

    Args:
        values: (K,), finite or +inf.
        statistic: Maps (B, K) to (B,).

    Returns:
        Lower and upper end; NaN for a single value. An end may be inf where the statistic is.

    Raises:
        InvalidInputError: There is no value.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise invalid("values", "be at least one number", array.tolist())
    if array.size == 1:
        return math.nan, math.nan
    return quantiles(statistic(array[indices(array.size)]), array.size)


def quantiles(found: FloatArray, n: int) -> tuple[float, float]:
    """The interval's ends among a statistic's values in all resamples (B,) of n values."""
    low, high = ends(n)
    ordered = np.sort(found)  # taken from the values themselves: inf cannot be interpolated
    last = len(ordered) - 1
    return float(ordered[math.floor(low * last)]), float(ordered[math.ceil(high * last)])

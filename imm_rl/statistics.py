"""Mean, interquartile mean and their 95 % intervals: what summaries, tables and scripts report.

Called with one value a seed (or one an episode where there is a single seed).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid
from imm_rl.resampling import FloatArray, interval

FEW, MANY = 20, 1000
"""Bootstrap intervals of fewer values are too narrow, and of more no better than Student's t."""


def mean_ci95(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values and the 95 % confidence interval of that mean.

    From `FEW` to `MANY` values the interval is the bootstrap's with expanded percentiles
    (`resampling.ends`), always with the same resamples, so that equal values give equal intervals.
    Outside that range it is Student's t. One value alone says nothing of its spread:
    its interval is (nan, nan).

    Args:
        values: (n,), finite.

    Returns:
        Mean, lower end, upper end.

    Raises:
        InvalidInputError: There is no value, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise invalid("values", "be finite numbers, at least one", array.tolist())
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan, math.nan
    if np.ptp(array) == 0.0:
        return mean, mean, mean
    if FEW <= array.size <= MANY:
        return mean, *interval(array, _mean)
    half = _t_quantile(array.size - 1) * float(array.std(ddof=1)) / math.sqrt(array.size)
    return mean, mean - half, mean + half


def finite_mean_ci95(values: npt.ArrayLike) -> tuple[float, float, float]:
    """As `mean_ci95`; three NaN where a value is missing or not finite, as of a run that diverged."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        return math.nan, math.nan, math.nan
    return mean_ci95(array)


def iqm(values: npt.ArrayLike) -> FloatArray:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter.

    Of K values ⌊K/4⌋ are left out at each end, as `scipy.stats.trim_mean` and rliable do. Source:
    Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".

    Args:
        values: (..., K).

    Raises:
        InvalidInputError: There is no value.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise invalid("values", "have shape (..., K), K ≥ 1", array.shape)
    n = array.shape[-1]
    cut = n // 4
    if cut:
        array = np.partition(array, (cut, n - cut - 1), axis=-1)[..., cut : n - cut]
    found: FloatArray = array.mean(axis=-1)
    return found


def iqm_ci95(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Interquartile mean of (K,) values, and its 95 % bootstrap interval; NaN ends for one value.

    Below 4 values it is the mean, with the mean's interval.

    Raises:
        InvalidInputError: There is no value, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise invalid("values", "be finite numbers, at least one", array.tolist())
    if array.size < 4:  # nothing is left out: it is the mean
        return mean_ci95(array)
    return float(iqm(array)), *interval(array, iqm)


def _mean(values: FloatArray) -> FloatArray:
    found: FloatArray = values.mean(axis=-1)
    return found


def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # late: `imm-rl --help` needs no SciPy

    return float(stdtrit(degrees, 0.975))

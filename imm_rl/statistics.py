"""Mean and 95 % interval of a few numbers: what summaries, tables and scripts report.

Called with one value a seed (or one an episode where there is a single seed).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid

FEW, MANY = 20, 1000
"""Bootstrap intervals of fewer values are too narrow, and of more no better than Student's t."""

RESAMPLES = 4000


def mean_ci95(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values and the 95 % confidence interval of that mean.

    From `FEW` to `MANY` values the interval is the percentile bootstrap (Efron 1979, "Bootstrap
    methods: another look at the jackknife"), always with the same resamples, so that equal values give
    equal intervals. Outside that range it is Student's t. One value alone says nothing of its spread:
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
        return mean, *_bootstrap(array)
    half = _t_quantile(array.size - 1) * float(array.std(ddof=1)) / math.sqrt(array.size)
    return mean, mean - half, mean + half


def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit  # late: `imm-rl --help` needs no SciPy

    return float(stdtrit(degrees, 0.975))


def _bootstrap(array: npt.NDArray[np.float64]) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(array.size, size=(RESAMPLES, array.size))
    low, high = np.quantile(array[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)

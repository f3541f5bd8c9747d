"""How two arms of a comparison differ: mean difference, probability of improvement, permutation p-values.

Arms whose seeds are the same met the same random numbers (common random numbers), so they are compared
seed by seed; arms with other seeds are compared as two independent samples.

Index letters: K, L seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid
from imm_rl.resampling import FloatArray
from imm_rl.statistics import mean_ci95

PERMUTATIONS = 9_999


class Difference(NamedTuple):
    """The mean of a − b, its 95 % confidence interval, and the p-value of no difference."""

    mean: float
    low: float
    high: float
    p_value: float


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Difference:
    """The difference of two arms with the same seeds.

    The interval is that of the mean of the K differences (`statistics.mean_ci95`); the two-sided p-value
    is that of flipping their signs (`scipy.stats.permutation_test`): exact up to 13 seeds, else of
    `PERMUTATIONS` drawn ones with the given one among them, so that it is never 0.

    Args:
        a: (K,), a number a seed.
        b: (K,), of the same seeds in the same order.

    Raises:
        InvalidInputError: Shapes differ, or a value is not finite.
    """
    from scipy import stats

    first, second = _finite("a", a), _finite("b", b)
    if first.shape != second.shape:
        raise invalid("a and b", "be of the same seeds", (first.shape, second.shape))
    differences = first - second
    mean, low, high = mean_ci95(differences)
    if len(differences) == 1 or not differences.any():
        return Difference(mean, low, high, 1.0)
    test = stats.permutation_test(
        (differences,),
        _mean,
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return Difference(mean, low, high, float(test.pvalue))


def difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Difference:
    """The difference of the means of two arms with seeds of their own.

    The interval is Welch's; the p-value that of dealing the values out to two arms anew.

    Args:
        a: (K,).
        b: (L,).

    Raises:
        InvalidInputError: An arm is empty, or a value is not finite.
    """
    from scipy import stats

    first, second = _finite("a", a), _finite("b", b)
    mean = float(first.mean() - second.mean())
    if min(first.size, second.size) < 2:
        return Difference(mean, math.nan, math.nan, 1.0)
    if np.ptp(np.concatenate([first, second])) == 0.0:
        return Difference(mean, mean, mean, 1.0)
    if np.ptp(first) == np.ptp(second) == 0.0:
        low = high = mean
    else:
        low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    test = stats.permutation_test(
        (first, second),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="independent",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return Difference(mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, so that those ≤ α hold together with error α.

    Of M sorted ones the i-th is multiplied by M − i + 1 and is no less than the one before; at most 1. No
    assumption on how the tests depend on each other. Source: Holm 1979, "A Simple Sequentially
    Rejective Multiple Test Procedure".

    Args:
        p_values: (M,), in [0, 1].

    Returns:
        (M,), in the order given.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min((len(p_values) - place) * p_values[i], 1.0))
        adjusted[i] = largest
    return adjusted


def probability_of_improvement(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, float, float]:
    """P(A > B) + P(A = B)/2 for one training of each arm, and its 95 % interval.

    It is U/(KL) of Mann and Whitney. The interval is Wilson's of a share θ that was seen among
    min(K, L) independent trials: the variance of U/(KL) is θ(1 − θ)/min(K, L) at most, whatever the two
    distributions are. So it holds with few seeds too, also where every pair is ordered alike and a
    bootstrap has no spread; where the two distributions are nearly the same it is about a fifth wider
    than it need be.

    Sources: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice";
    Birnbaum and Klose 1957, "Bounds for the Variance of the Mann-Whitney Statistic"; Wilson 1927,
    "Probable Inference, the Law of Succession, and Statistical Inference".

    Args:
        a: (K,).
        b: (L,).

    Returns:
        The probability, lower and upper end; NaN ends where an arm has a single seed.

    Raises:
        InvalidInputError: An arm is empty, or a value is not finite.
    """
    first, second = _finite("a", a), _finite("b", b)
    wins = (first[:, None] > second) + 0.5 * (first[:, None] == second)
    share, trials = float(wins.mean()), min(wins.shape)
    if trials == 1:
        return share, math.nan, math.nan
    return share, *_wilson(share, trials)


def _wilson(share: float, trials: int) -> tuple[float, float]:
    """The shares θ for which the one seen is within z √(θ(1 − θ)/n), z that of 95 %."""
    z2 = NormalDist().inv_cdf(0.975) ** 2 / trials
    middle = (share + z2 / 2.0) / (1.0 + z2)
    half = math.sqrt(z2 * share * (1.0 - share) + z2 * z2 / 4.0) / (1.0 + z2)
    # Rounding must not put an end beyond the share itself, which is 0 or 1 in the extreme.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def _mean(x: FloatArray, axis: int) -> FloatArray:
    found: FloatArray = x.mean(axis=axis)
    return found


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise invalid(name, "be finite numbers (K,), at least one", array.tolist())
    return array

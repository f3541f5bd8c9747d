"""Learning curves of many seeds as a few numbers: areas, bands, and steps to a return, with censoring.

Called by comparisons and pictures. Arrays in, arrays out: nothing here knows of runs or files.

Index letters: K seeds, P points of a curve, B resamples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl import resampling
from imm_rl.errors import invalid
from imm_rl.resampling import FloatArray
from imm_rl.statistics import iqm_ci95, mean_ci95


def area_under_curve(env_steps: npt.ArrayLike, returns: npt.ArrayLike) -> FloatArray:
    """Mean return over the training, of each seed: the trapezoid area over the steps that it spans.

    Args:
        env_steps: (P,), increasing.
        returns: (P, K), finite.

    Returns:
        (K,), in units of return; of a single point, its return.

    Raises:
        InvalidInputError: Shapes do not fit, a value is not finite, or steps do not increase.
    """
    steps, values = _curves(env_steps, returns)
    if len(steps) == 1:
        only: FloatArray = values[0]
        return only
    shares = np.diff(steps)[:, None] / (steps[-1] - steps[0])
    area: FloatArray = (shares * (values[1:] + values[:-1]) / 2.0).sum(axis=0)
    return area


def bands(
    returns: npt.ArrayLike, *, interquartile: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean (or interquartile mean) over seeds at each point, with a pointwise 95 % band.

    At each point the band is the interval that tables have there, `statistics.mean_ci95` or `iqm_ci95`:
    of a mean of fewer than 20 seeds (and an interquartile mean of fewer than 4) Student's t, else the
    bootstrap, whose resamples are the same at every point, so that seeds keep their whole curves.

    Args:
        returns: (P, K), finite.
        interquartile: Of the interquartile mean (`statistics.iqm`) in place of the mean.

    Returns:
        Centre, lower and upper end, (P,) each. One seed has no band: its ends are NaN.

    Raises:
        InvalidInputError: It is no (P, K) array of finite numbers.
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0 or not np.isfinite(values).all():
        raise invalid("returns", "be finite numbers (P, K), K ≥ 1", values.shape)
    found = np.array([(iqm_ci95 if interquartile else mean_ci95)(row) for row in values])
    centre, low, high = found.reshape(-1, 3).T  # of no points too
    return centre, low, high


FEWEST = 5
"""Seeds from which on the bootstrap says something of a median: all it can reach is the smallest and the
largest of the values, between which the median of 2, 3 or 4 lies with 50, 75 or 88 % alone."""


class CensoredSteps(NamedTuple):
    """When K seeds got to a return. A seed that never did is right-censored at its last step.

    Attributes:
        steps: (K,), environment steps to the first evaluation at or above it, or to the last one.
        reached: (K,), whether it got there.
    """

    steps: FloatArray
    reached: npt.NDArray[np.bool_]

    @property
    def median(self) -> float:
        """Kaplan-Meier median; inf where not half of the seeds got there."""
        return float(_medians(self, np.ones((1, len(self.steps))))[0])

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % bootstrap interval of the median; an end may be inf. NaN below `FEWEST` seeds."""
        n = len(self.steps)
        if n < FEWEST:
            return math.nan, math.nan
        return resampling.quantiles(_medians(self, resampling.counts(n)), n)

    def ratio_to(self, other: CensoredSteps) -> tuple[float, float, float]:
        """The other's median divided by this one's, and its 95 % bootstrap interval.

        Above 1: this one needs fewer steps. NaN where neither is finite. Seeds of the two are resampled
        apart; below `FEWEST` seeds of either the ends are NaN.
        """
        n = min(len(self.steps), len(other.steps))
        with np.errstate(invalid="ignore"):
            ratio = float(np.float64(other.median) / np.float64(self.median))
            theirs = _medians(other, resampling.counts(len(other.steps), 1))
            found = theirs / _medians(self, resampling.counts(len(self.steps)))
        found = found[~np.isnan(found)]
        if n < FEWEST or found.size < resampling.RESAMPLES / 2:
            return ratio, math.nan, math.nan
        return ratio, *resampling.quantiles(found, n)


def steps_to(env_steps: npt.ArrayLike, returns: npt.ArrayLike, threshold: float) -> CensoredSteps:
    """When each seed's curve is at or above a return for the first time.

    Args:
        env_steps: (P,), increasing.
        returns: (P, K), finite.
        threshold: The return.

    Raises:
        InvalidInputError: Shapes do not fit, a value is not finite, or steps do not increase.
    """
    steps, values = _curves(env_steps, returns)
    there = values >= threshold
    reached = np.asarray(there.any(axis=0))
    return CensoredSteps(np.where(reached, steps[there.argmax(axis=0)], steps[-1]), reached)


def _medians(sample: CensoredSteps, counts: FloatArray) -> FloatArray:
    """Kaplan-Meier medians (B,) of B samples that hold each seed so many times, counts (B, K).

    The estimate of the share S(t) that is not there yet falls at each arrival by the factor 1 − d/n, d
    those who arrive and n those still under way; the median is where it falls to 1/2 or, where it stays
    at exactly 1/2 for a while, the middle of that while (so that without censoring it is the sample's
    median). inf where it stays above.

    Source: Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations".
    """
    # At equal steps arrivals come before those that were cut off.
    order = np.lexsort((~sample.reached, sample.steps))
    steps, arrives, each = sample.steps[order], sample.reached[order], counts[:, order]
    under_way = each[:, ::-1].cumsum(axis=1)[:, ::-1]
    lost = np.where(arrives, each, 0.0) / np.maximum(under_way, 1.0)
    left = np.cumprod(1.0 - lost, axis=1)
    first, beyond = (_first(steps, left <= 0.5 + margin) for margin in (1e-9, -1e-9))
    return np.where(np.isinf(first), np.inf, 0.5 * (first + beyond))


def _first(steps: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    """The first of the steps (K,) at which each row of (B, K) is true; inf where none is."""
    return np.where(where.any(axis=1), steps[where.argmax(axis=1)], np.inf)


def log_rank(a: CensoredSteps, b: CensoredSteps) -> float:
    """Two-sided p-value of the log-rank test that two arms get there alike (`scipy.stats.logrank`).

    1 where no seed of either arm gets there: nothing was seen to differ.
    """
    from scipy import stats

    if not (a.reached.any() or b.reached.any()):
        return 1.0
    if np.array_equal(a.steps, b.steps) and np.array_equal(a.reached, b.reached):
        return 1.0
    first, second = (
        stats.CensoredData(x.steps[x.reached], right=x.steps[~x.reached]) for x in (a, b)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        p = float(stats.logrank(first, second).pvalue)
    return 1.0 if math.isnan(p) else p


def _curves(env_steps: npt.ArrayLike, returns: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    steps = np.asarray(env_steps, dtype=np.float64)
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0 or steps.shape != values.shape[:1]:
        raise invalid(
            "env_steps and returns", "have shapes (P,) and (P, K)", (steps.shape, values.shape)
        )
    if steps.size == 0 or not (np.diff(steps) > 0.0).all():
        raise invalid("env_steps", "increase, at least one", steps.tolist())
    if not np.isfinite(values).all():
        raise invalid("returns", "be finite", values.tolist())
    return steps, values

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from imm_rl.errors import InvalidInputError
from imm_rl.statistics import FEW, MANY, mean_ci95


def test_mean_ci95_is_students_t_when_values_are_few() -> None:
    # Mean 2, deviation 1, t(0.975; 2 degrees) = 4.302653: half a width of 4.302653 / √3.
    mean, low, high = mean_ci95([1.0, 2.0, 3.0])

    assert mean == 2.0
    assert (low, high) == pytest.approx((2.0 - 2.484138, 2.0 + 2.484138), abs=1e-5)


def test_mean_ci95_agrees_with_scipys_bootstrap() -> None:
    values = np.random.default_rng(3).exponential(size=200)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000
    ).confidence_interval

    mean, low, high = mean_ci95(values)

    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


@pytest.mark.parametrize("n", [FEW, 40, MANY, MANY + 1])
def test_mean_ci95_is_near_students_t_for_normal_values(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values)

    mean, low, high = mean_ci95(values)

    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.15)


@pytest.mark.parametrize("n", [5, 30])
def test_mean_ci95_covers_the_mean_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_ci95(rng.normal(loc=1.0, size=n))[1:] for _ in range(300)]

    covered = np.mean([low <= 1.0 <= high for low, high in intervals])

    assert 0.90 <= covered <= 0.985


@pytest.mark.parametrize("n", [7, 50])
def test_mean_ci95_moves_with_the_values(n: int) -> None:
    values = np.random.default_rng(1).normal(size=n)

    moved = mean_ci95(3.0 * values + 10.0)

    assert moved == pytest.approx([3.0 * v + 10.0 for v in mean_ci95(values)])


def test_mean_ci95_is_the_same_each_time() -> None:
    values = np.random.default_rng(1).normal(size=50)

    assert mean_ci95(values) == mean_ci95(values)


@pytest.mark.parametrize("n", [2, 30, 2000])
def test_mean_ci95_has_no_width_when_values_are_equal(n: int) -> None:
    assert mean_ci95(np.full(n, 4.5)) == (4.5, 4.5, 4.5)


def test_mean_ci95_gives_no_interval_for_one_value() -> None:
    mean, low, high = mean_ci95([4.5])

    assert mean == 4.5
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_mean_ci95_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="finite numbers, at least one"):
        mean_ci95(values)

"""Areas, bands and censored steps, on curves made by hand and against second implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from imm_rl.curve_statistics import (
    FEWEST,
    CensoredSteps,
    area_under_curve,
    bands,
    log_rank,
    steps_to,
)
from imm_rl.errors import InvalidInputError
from imm_rl.statistics import iqm, iqm_ci95, mean_ci95

STEPS = [100, 200, 400, 500]
RETURNS = np.array([[0.0, 5.0, 1.0], [2.0, 1.0, 1.0], [4.0, 9.0, 1.0], [3.0, 9.0, 1.0]])


def _censored(steps: list[float], reached: list[bool]) -> CensoredSteps:
    return CensoredSteps(np.array(steps, dtype=float), np.array(reached))


def test_area_under_curve_is_the_mean_return_over_the_training() -> None:
    # (100·(0+2)/2 + 200·(2+4)/2 + 100·(4+3)/2) / 400 = (100 + 600 + 350) / 400, and so on.
    found = area_under_curve(STEPS, RETURNS)

    assert found.tolist() == [1050 / 400, (300 + 1000 + 900) / 400, 1.0]
    np.testing.assert_allclose(found, np.trapezoid(RETURNS, STEPS, axis=0) / 400)
    assert area_under_curve([7], RETURNS[:1]).tolist() == [0.0, 5.0, 1.0]


def test_steps_to_is_the_first_evaluation_that_is_there() -> None:
    found = steps_to(STEPS, RETURNS, 4.0)

    assert found.steps.tolist() == [400.0, 100.0, 500.0]
    assert found.reached.tolist() == [True, True, False]
    assert found.median == 400.0


@pytest.mark.parametrize(
    ("steps", "reached", "median"),
    [
        ([10, 20, 30], [True, True, True], 20.0),
        ([10, 20, 30, 40], [True] * 4, 25.0),  # S stays at 1/2 from 20 to 30
        ([10, 20, 50, 50], [True, True, False, False], math.inf),
        ([10, 50, 50], [True, False, False], math.inf),
        ([10, 20, 50], [True, True, False], 20.0),
        # Cut off at 15: S = 3/4 after 10, then 2 under way: 3/8 after 20.
        ([10, 15, 20, 30], [True, False, True, True], 20.0),
        # Cut off at 20 as another arrives: the arrival counts first. 2/3, 1/3.
        ([10, 20, 20], [True, True, False], 20.0),
        ([50, 50], [False, False], math.inf),
    ],
)
def test_median_counts_who_never_got_there_as_censored(
    steps: list[float], reached: list[bool], median: float
) -> None:
    assert _censored(steps, reached).median == median


def _kaplan_meier_median(steps: np.ndarray, reached: np.ndarray) -> float:
    """The definition, step by step; no flat part at 1/2 is expected."""
    left = 1.0
    for t in np.unique(steps):
        under_way = (steps >= t).sum()
        left *= 1.0 - (reached & (steps == t)).sum() / under_way
        if left < 0.5:
            return float(t)
    return math.inf


def test_median_equals_a_plain_loop_and_scipy_on_random_censoring() -> None:
    rng = np.random.default_rng(0)
    infinite = 0
    for _ in range(200):
        n = int(rng.choice([5, 11, 23]))
        steps = rng.integers(1, 12, size=n) * 10.0 + rng.random(n).round(2)
        reached = rng.random(n) < 0.6
        found = CensoredSteps(steps, reached).median
        expected = _kaplan_meier_median(steps, reached)
        infinite += math.isinf(expected)
        curve = stats.ecdf(stats.CensoredData(steps[reached], right=steps[~reached])).sf
        below = curve.quantiles[curve.probabilities < 0.5 - 1e-9]
        assert expected == (below[0] if below.size else math.inf)
        if not np.isclose(curve.probabilities, 0.5, atol=1e-9).any():
            assert found == expected
    assert 10 < infinite < 190


def test_interval_of_the_median_is_a_bootstrap_over_seeds() -> None:
    rng = np.random.default_rng(1)
    steps = rng.gamma(5.0, 100.0, size=30)
    low, high = CensoredSteps(steps, np.ones(30, dtype=bool)).ci95

    drawn = rng.integers(30, size=(20_000, 30))
    expected = np.quantile(np.median(steps[drawn], axis=1), [0.02, 0.98])
    assert (low, high) == pytest.approx(expected, rel=0.06)


def test_interval_of_the_median_may_be_open_above() -> None:
    steps = np.array([100.0] * 6 + [900.0] * 5)
    low, high = CensoredSteps(steps, np.array([True] * 6 + [False] * 5)).ci95

    assert low == 100.0
    assert math.isinf(high)
    assert all(math.isnan(end) for end in _censored([5.0], [True]).ci95)


def test_ratio_says_how_many_times_as_fast() -> None:
    rng = np.random.default_rng(2)
    slow = CensoredSteps(rng.normal(1000.0, 50.0, 30), np.ones(30, dtype=bool))
    quick = CensoredSteps(rng.normal(250.0, 10.0, 30), np.ones(30, dtype=bool))

    ratio, low, high = quick.ratio_to(slow)

    assert ratio == slow.median / quick.median
    assert 3.7 < low < ratio < high < 4.3


def test_log_rank_is_small_where_one_arm_gets_there_sooner() -> None:
    rng = np.random.default_rng(3)
    quick = CensoredSteps(rng.normal(250.0, 40.0, 20), np.ones(20, dtype=bool))
    slow = CensoredSteps(rng.normal(400.0, 40.0, 20), rng.random(20) < 0.7)

    assert log_rank(quick, slow) < 1e-4
    assert log_rank(quick, quick) == 1.0
    never = _censored([500.0] * 3, [False] * 3)
    assert log_rank(never, never) == 1.0


def test_log_rank_is_the_hand_worked_one() -> None:
    """Two arms of three: observed minus expected arrivals of the first, and its variance."""
    a, b = _censored([1, 3, 5], [True, True, False]), _censored([2, 4, 5], [True, True, False])

    # At 1: 3 of 6 under way are of a; at 2: 2 of 5; at 3: 2 of 4; at 4: 1 of 3.
    shares = np.array([3 / 6, 2 / 5, 2 / 4, 1 / 3])
    z = (2 - shares.sum()) / np.sqrt((shares * (1 - shares)).sum())
    assert log_rank(a, b) == pytest.approx(2 * stats.norm.sf(abs(z)))


@pytest.mark.parametrize("interquartile", [False, True])
def test_bands_agree_with_scipys_bootstrap_and_resample_whole_curves(interquartile: bool) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal([[0.0], [3.0]], [[1.0], [2.0]], size=(2, 24))
    values = np.concatenate([values, values[1:] + 10.0])
    statistic = iqm if interquartile else np.mean

    centre, low, high = bands(values, interquartile=interquartile)

    np.testing.assert_allclose(centre, [statistic(row) for row in values])
    np.testing.assert_allclose([low[2], high[2]], [low[1] + 10.0, high[1] + 10.0])
    for row, lowest, highest in zip(values, low, high, strict=True):
        theirs = stats.bootstrap(
            (row,),
            lambda x, axis: iqm(np.moveaxis(x, axis, -1)) if interquartile else x.mean(axis=axis),
            method="percentile",
            confidence_level=0.96,  # ours is widened for 24 values
            rng=np.random.default_rng(0),
        ).confidence_interval
        width = theirs.high - theirs.low
        assert lowest == pytest.approx(theirs.low, abs=0.12 * width)
        assert highest == pytest.approx(theirs.high, abs=0.12 * width)


@pytest.mark.parametrize("seeds", [2, 4])
def test_median_of_very_few_seeds_has_no_interval(seeds: int) -> None:
    few, more = (_censored(100.0 * np.arange(1, n + 1), [True] * n) for n in (seeds, FEWEST))

    assert np.isnan(few.ci95).all()
    assert more.ci95 == (100.0, 500.0)
    assert np.isnan(few.ratio_to(more)[1:]).all()
    assert np.isnan(more.ratio_to(few)[1:]).all()
    assert np.isfinite(more.ratio_to(more)).all()


@pytest.mark.parametrize("interquartile", [False, True])
@pytest.mark.parametrize("seeds", [2, 3, 10, 19, 20, 30])
def test_bands_are_the_intervals_of_the_tables(seeds: int, interquartile: bool) -> None:
    values = np.random.default_rng(seeds).exponential(size=(4, seeds))
    values[2] = 5.0  # all seeds alike

    centre, low, high = bands(values, interquartile=interquartile)

    tables = [(iqm_ci95 if interquartile else mean_ci95)(row) for row in values]
    np.testing.assert_allclose(np.stack([centre, low, high], axis=1), tables)
    assert low[2] == high[2] == 5.0


def test_band_of_two_seeds_is_students() -> None:
    # Mean 2, deviation √2, t(0.975; 1 degree) = 12.7062: half a width of 12.7062.
    _, low, high = bands([[1.0, 3.0]])

    assert (low[0], high[0]) == pytest.approx((2.0 - 12.7062, 2.0 + 12.7062), abs=1e-3)


def test_bands_of_one_seed_are_no_bands() -> None:
    centre, low, high = bands([[1.0], [2.0]])

    assert centre.tolist() == [1.0, 2.0]
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize(
    ("steps", "returns", "message"),
    [
        ([1, 2], [[1.0]], "have shapes"),
        ([2, 1], [[1.0], [2.0]], "env_steps must increase"),
        ([], np.empty((0, 2)), "env_steps must increase"),
        ([1, 2], [[1.0], [math.nan]], "returns must be finite"),
        ([1], [1.0], "have shapes"),
    ],
)
def test_curves_that_are_none_are_refused(steps: object, returns: object, message: str) -> None:
    for function in (area_under_curve, lambda s, r: steps_to(s, r, 0.0)):
        with pytest.raises(InvalidInputError, match=message):
            function(steps, returns)  # type: ignore[operator]

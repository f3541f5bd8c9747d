"""Differences of two arms: against SciPy's own tests and enumeration by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from imm_rl.differences import difference, holm, paired_difference, probability_of_improvement
from imm_rl.errors import InvalidInputError
from imm_rl.statistics import iqm, iqm_ci95, mean_ci95


def test_paired_difference_enumerates_the_signs_of_few_seeds() -> None:
    a, b = np.array([3.0, 5.0, 4.0, 6.0, 9.0]), np.array([1.0, 4.5, 4.5, 2.0, 3.0])
    d = a - b

    found = paired_difference(a, b)

    means = [np.mean(d * signs) for signs in itertools.product((1, -1), repeat=5)]
    at_least = sum(m >= d.mean() - 1e-12 for m in means) / 32
    assert found.p_value == pytest.approx(min(2 * at_least, 1.0))
    assert (found.mean, found.low, found.high) == mean_ci95(d)


def test_difference_enumerates_the_arms_of_few_seeds() -> None:
    a, b = [5.0, 6.0, 9.0], [1.0, 2.0, 4.0, 3.0]

    found = difference(a, b)

    values = np.array(a + b)
    means = []
    for chosen in itertools.combinations(range(7), 3):
        mask = np.isin(np.arange(7), chosen)
        means.append(values[mask].mean() - values[~mask].mean())
    at_least = np.mean(np.array(means) >= found.mean - 1e-12)
    assert found.p_value == pytest.approx(2 * at_least)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))


def test_p_values_of_many_seeds_are_small_and_never_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(5.0, 1.0, 30), rng.normal(0.0, 1.0, 30)

    for found in (paired_difference(a, b), difference(a, b)):
        assert 0.0 < found.p_value <= 2e-4 + 1e-12
        assert found.low < found.mean < found.high


@pytest.mark.parametrize("test", [paired_difference, difference])
def test_no_difference_has_the_p_value_one(test: object) -> None:
    same = [1.0, 2.0, 3.0]
    constant = [2.0, 2.0, 2.0]
    if test is paired_difference:
        assert paired_difference(same, same) == (0.0, 0.0, 0.0, 1.0)
    else:
        assert difference(constant, constant) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("paired", [True, False])
def test_p_values_are_uniform_under_no_effect(paired: bool) -> None:
    """Skewed returns that share random numbers, 150 comparisons of 10 seeds without an effect."""
    rng = np.random.default_rng(6)
    test = paired_difference if paired else difference
    found = []
    for _ in range(150):
        shared = rng.gamma(1.5, 2.0, size=10) * paired
        a, b = (shared + rng.gamma(1.5, 1.0, size=10) for _ in range(2))
        found.append(test(a, b).p_value)

    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert stats.kstest(np.array(found) ** 2, "uniform").pvalue < 1e-6  # what wrong ones would give


def test_holm_multiplies_by_the_hypotheses_that_are_left() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; the last two would fall below the one before.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_nothing_that_is_null_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    wrong = [min(holm(list(rng.uniform(size=6)))) <= 0.05 for _ in range(4000)]
    raw = [rng.uniform(size=6).min() <= 0.05 for _ in range(4000)]

    assert np.mean(wrong) < 0.06
    assert np.mean(raw) > 0.2  # what it is for


def test_probability_of_improvement_is_that_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 8, 12) + 1.0, rng.integers(0, 8, 15) + 0.0  # with ties

    p, low, high = probability_of_improvement(a, b)

    assert p == pytest.approx(stats.mannwhitneyu(a, b).statistic / (12 * 15))
    assert low < p < high
    other, *ends = probability_of_improvement(b, a)
    assert other == pytest.approx(1.0 - p)
    assert ends == pytest.approx([1.0 - high, 1.0 - low])
    # Wilson's of so many trials as the smaller arm has seeds; scipy's takes whole numbers of wins.
    evenly = probability_of_improvement([1.0, 1.0, 1.0, 3.0], [2.0] * 7)
    theirs = stats.binomtest(1, 4).proportion_ci(method="wilson")
    assert evenly == pytest.approx((0.25, theirs.low, theirs.high))


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_probability_of_improvement_is_not_certain_where_all_seeds_agree(seeds: int) -> None:
    better, worse = np.arange(seeds) + 100.0, np.arange(seeds) + 0.0

    p, low, high = probability_of_improvement(better, worse)

    # Where all of n trials succeed, Wilson's lower end is n / (n + z²).
    assert (p, high) == (1.0, 1.0)
    assert low == pytest.approx(seeds / (seeds + 1.959964**2), abs=1e-6)
    q, lowest, highest = probability_of_improvement(worse, better)
    assert (q, lowest, highest) == (0.0, 0.0, pytest.approx(1.0 - low))


@pytest.mark.parametrize("seeds", [2, 5, 10, 30])
@pytest.mark.parametrize("shift", [0.0, 0.8, 2.5])
def test_interval_of_the_probability_of_improvement_holds_the_truth(
    seeds: int, shift: float
) -> None:
    """At least 93 % but for two standard errors of the simulation; normal returns, P = Φ(shift/√2)."""
    rng = np.random.default_rng(seeds)
    truth = stats.norm.cdf(shift / math.sqrt(2.0))
    held = 0
    for _ in range(1000):
        _, low, high = probability_of_improvement(
            rng.normal(shift, 1.0, seeds), rng.normal(size=seeds)
        )
        held += low <= truth <= high

    assert held / 1000 >= 0.93 - 0.0161


def test_iqm_is_scipys_trimmed_mean() -> None:
    rng = np.random.default_rng(2)
    for n in (1, 3, 4, 10, 30):
        values = rng.normal(size=(5, n)) ** 3
        np.testing.assert_allclose(iqm(values), stats.trim_mean(values, 0.25, axis=1))
    mean, low, high = iqm_ci95(values[0])
    assert low < mean < high
    assert math.isnan(iqm_ci95([1.0])[1])


def _coverage(statistic: str, draw: object, truth: float, seeds: int, samples: int) -> float:
    rng = np.random.default_rng([seeds, samples])
    held = 0
    for _ in range(samples):
        values = draw(rng, seeds)  # type: ignore[operator]
        _, low, high = mean_ci95(values) if statistic == "mean" else iqm_ci95(values)
        held += low <= truth <= high
    return held / samples


@pytest.mark.parametrize("seeds", [20, 30])
@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_intervals_hold_what_they_should(statistic: str, seeds: int) -> None:
    """Between 93 and 97 % with two standard errors of the simulation; `scripts/coverage.py` has more."""
    found = _coverage(statistic, lambda rng, n: rng.normal(size=n), 0.0, seeds, 1200)

    assert 0.93 - 0.0126 <= found <= 0.97 + 0.0126


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [[1.0]]])
def test_arms_that_are_none_are_refused(values: object) -> None:
    for function in (paired_difference, difference, probability_of_improvement):
        with pytest.raises(InvalidInputError, match="must be finite numbers"):
            function(values, [1.0, 2.0])  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match="be of the same seeds"):
        paired_difference([1.0, 2.0], [1.0])

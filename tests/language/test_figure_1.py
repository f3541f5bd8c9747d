"""Figure 1 and the search for its weights, small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imm_rl.language import cube, figure_1, figure_1_search
from imm_rl.language.cube_trials import METHODS, Cube, Trial
from imm_rl.language.figure_1_search import RULES, Rule, fitted_rule, ratio_search
from imm_rl.statistics import mean_ci95


def test_rule_falls_with_the_logarithm_between_its_ends() -> None:
    rule = Rule(1.2, 0.4)
    assert rule.ratio(1) == 0.95
    assert rule.ratio(10) == pytest.approx(1.2 - 0.4 * np.log(10))
    assert rule.ratio(1000) == 0.0


def test_fitted_rule_finds_the_rule_that_peaks_were_made_with() -> None:
    truth, sizes = Rule(0.9, 0.2), (2, 5, 10, 20, 50)
    ratios = np.linspace(0, 0.95, 96)
    means = np.stack([-((ratios - truth.ratio(n)) ** 2) for n in sizes])
    found = fitted_rule(sizes, ratios.tolist(), means)
    for n in sizes:
        assert found.ratio(n) == pytest.approx(truth.ratio(n), abs=0.02)


def test_fitted_rule_is_not_misled_by_the_peak_of_a_flat_curve() -> None:
    ratios, sizes = [0.0, 0.2, 0.4, 0.6, 0.8], (2, 10, 50)
    steep = [0.5, 0.6, 0.7, 0.6, 0.5]
    flat = [0.9, 0.9, 0.9, 0.9, 0.9001]  # its peak is far from the others' 0.4
    rule = fitted_rule(sizes, ratios, np.array([steep, steep, flat]))
    assert rule.ratio(2) == pytest.approx(0.4, abs=0.05)
    assert rule.ratio(10) == pytest.approx(0.4, abs=0.05)


def test_ratio_search_has_every_point_and_says_whether_the_rules_agree() -> None:
    told: list[tuple[int, int]] = []
    search = ratio_search(
        3, 1, sizes=(2, 6), ratios=(0.0, 0.5), progress=lambda *done: told.append(done)
    )
    assert len(search.points) == 3 * 2 * 2
    assert told[-1] == (36, 36)
    data = Cube.drawn(3, 6, 1)
    again = data.accuracies("imm", [Trial(run, 6, 0.5) for run in range(3)])
    point = next(p for p in search.points if (p.method, p.rows, p.ratio) == ("imm", 6, 0.5))
    assert point.mean == pytest.approx(float(again.mean()), abs=1e-3)
    assert point.error == pytest.approx(float(again.std()) / 3**0.5, abs=1e-3)
    best = search.best("imm", 6)
    assert best.mean == max(p.mean for p in search.points if (p.method, p.rows) == ("imm", 6))
    assert [found.method for found in search.found] == list(figure_1_search.METHODS)
    for found in search.found:
        assert found.constant == RULES[found.method]
        assert found.loss >= -1e-12
        assert found.agrees == (found.loss <= 2 * found.error)


def test_figure_1_sums_up_paired_runs() -> None:
    sizes, runs = (3, 8), 5
    figure = figure_1.figure_1(runs, sizes, seed=2)
    assert [(p.curve, p.rows) for p in figure.points] == [(m, n) for m in METHODS for n in sizes]
    data = Cube.drawn(runs, max(sizes), 2)
    found = {
        method: torch.stack(
            [
                data.accuracies(method, [Trial(r, n, RULES[method].ratio(n)) for r in range(runs)])
                for n in sizes
            ]
        ).numpy()
        for method in METHODS
    }
    for point in figure.points:
        mine = found[point.curve][sizes.index(point.rows)]
        plain = found["none"][sizes.index(point.rows)]
        assert point.mean == pytest.approx(mine.mean(), abs=1e-3)
        assert (point.p10, point.p90) == pytest.approx(np.percentile(mine, [10, 90]), abs=2e-3)
        expected = mean_ci95(mine - plain)
        assert (point.gain, point.gain_low, point.gain_high) == pytest.approx(expected, abs=3e-3)
        assert point.ratio == RULES[point.curve].ratio(point.rows)
    for lead in figure.leads:
        expected = mean_ci95((found["imm"] - found[lead.other]).mean(0))
        assert lead[1:] == pytest.approx(expected, abs=3e-3)


def test_figure_1_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    figure_1.figure_1(2, (2,), seed=0)
    assert torch.get_num_threads() == before


def test_qualities_have_the_weight_of_imm_and_nothing_beside_none() -> None:
    points = figure_1.qualities(3, (4, 9), seed=1)
    assert [p.curve for p in points[::2]] == ["none", "high", "medium", "low"]
    assert {p.ratio for p in points if p.curve == "none"} == {0.0}
    assert {p.ratio for p in points if p.curve == "low"} == {RULES["imm"].ratio(n) for n in (4, 9)}
    assert len({p.mean for p in points if p.rows == 9}) > 2
    assert all(p.gain == p.gain_low == p.gain_high == 0.0 for p in points if p.curve == "none")


def test_fixed_lambda_has_fewer_runs_where_fewer_are_asked_for() -> None:
    points = figure_1.fixed_lambda(4, {5: 9, 30: 2}, seed=0)
    assert [(p.method, p.rows, p.runs) for p in points[:2]] == [("none", 5, 4), ("none", 30, 2)]
    noising = next(p for p in points if (p.method, p.rows) == ("noising", 30))
    plain = next(p for p in points if (p.method, p.rows) == ("none", 30))
    assert noising.gain == pytest.approx(noising.mean - plain.mean)
    assert noising.gain < -0.03


def test_induced_scores_improve_with_some_weight_and_never_pass_the_bound() -> None:
    told: list[tuple[int, int]] = []
    points = figure_1.induced_scores(
        8, (5,), (0.0, 0.4), seed=0, progress=lambda *done: told.append(done)
    )
    without, matched = points
    assert matched.loss < without.loss
    assert cube.restricted_score()[0] < matched.loss
    assert told[-1] == (16, 16)


def test_figure_1_imm_is_above_the_others_where_rows_are_few() -> None:
    figure = figure_1.figure_1(150, (5, 10, 20), seed=11)
    assert all(lead.low > 0 for lead in figure.leads)
    assert all(p.gain_low > 0 for p in figure.points if p.curve == "imm")


def test_fixed_lambda_imm_is_consistent_and_noising_is_not() -> None:
    points = figure_1.fixed_lambda(6, {2000: 6}, seed=4)
    by_method = {p.method: p for p in points}
    assert abs(by_method["imm"].gain) < 0.002
    assert by_method["noising"].gain_high < -0.1

"""The paper's experiments as data: the rule for λ, the plan of trainings, and the published curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import imm_rl
from imm_rl.agents import paper
from imm_rl.cli import paper_report


@pytest.mark.parametrize(
    ("epochs", "ratio"), [(10, 0.2), (175, 0.2), (200, 0.1), (400, 0.1), (500, 0.1)]
)
def test_ratio_rule_is_the_papers(epochs: int, ratio: float) -> None:
    assert paper.ratio_rule(epochs) == ratio


def test_restricted_policies_take_the_first_maximum_or_a_temperature() -> None:
    pair = imm_rl.make("grid")
    policies = paper.restricted_policies(pair)
    assert list(policies) == list(paper.CURVES)
    hard = policies["imm_argmax"].probs(pair.observation_beliefs)
    # Left of the peak go right, right of it left (shorter way round the torus), in its column UP.
    np.testing.assert_array_equal(hard.argmax(axis=1), [3, 3, 3, 3, 3, 0, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(np.sort(hard, axis=1)[:, -1], 1.0)
    soft = policies["imm_softmax_1.0"].probs(pair.observation_beliefs)
    assert (soft.max(axis=1) < 0.6).all()
    np.testing.assert_allclose(soft[:, 0], soft[:, 1])  # UP and DOWN lead to the same belief


def test_figure_2_has_a_point_a_curve_and_size_and_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    points = paper.figure_2(
        imm_rl.make("grid(size=3)"),
        epochs=(2, 5),
        seeds=range(3),
        device="cpu",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [(p.curve, p.epochs) for p in points] == [(c, e) for c in paper.CURVES for e in (2, 5)]
    assert all(p.runs == 3 and p.p10 <= p.mean <= p.p90 for p in points)
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_figure_2_splits_a_curve_where_the_rule_changes_the_weight() -> None:
    points = paper.figure_2(
        imm_rl.make("grid(size=2)"), epochs=(3, 200), seeds=range(2), device="cpu"
    )
    assert [p.lambda_ratio for p in points] == [0.0, 0.0] + [0.2, 0.1] * 3


def test_lambda_search_has_a_point_a_ratio_and_size_and_starts_from_plain() -> None:
    pair = imm_rl.make("grid(size=3)")
    points = paper.lambda_search(
        pair, ratios=(0.0, 0.5), epochs=(2, 4), seeds=range(3), device="cpu"
    )
    assert [(p.epochs, p.lambda_ratio) for p in points] == [(2, 0.0), (2, 0.5), (4, 0.0), (4, 0.5)]
    plain = paper.figure_2(pair, epochs=(2, 4), seeds=range(3), device="cpu")
    assert points[0].mean == next(p.mean for p in plain if p.curve == "none" and p.epochs == 2)


@pytest.mark.slow
def test_figure_2_meets_the_published_curves(shared_data: Path) -> None:
    published = paper_report.read_published(shared_data / "paper_rl_curves.csv")
    points = paper.figure_2(imm_rl.make("grid"), device="cpu")
    scores = [abs(paper_report.standard_errors(p, published[(p.curve, p.epochs)])) for p in points]
    assert len(scores) == 60
    assert sum(score <= 3.0 for score in scores) >= 57
    assert max(scores) <= 4.5

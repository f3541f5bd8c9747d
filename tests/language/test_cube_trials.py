"""Trainings in blocks: equal to single ones, and different by method."""

from __future__ import annotations

import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language import cube, cube_trials
from imm_rl.language.cube_trials import METHODS, Cube, Trial
from imm_rl.language.hidden_completions import bandwidths, kernel
from imm_rl.language.logistic_batch import Matching, Problems, fit


@pytest.fixture(scope="module")
def data() -> Cube:
    return Cube.drawn(4, 12, 5)


def parameters(data: Cube, method: str, trials: list[Trial]) -> torch.Tensor:
    """(P, 4), in the order of the trials."""
    found = torch.empty(len(trials), 4, dtype=torch.float64)
    for block, fitted in data.trained(method, trials):
        found[block] = torch.cat([fitted.coefficients[:, 0], fitted.intercepts], 1)
    return found


def test_drawn_is_the_same_for_the_same_seed_alone() -> None:
    first, again, other = Cube.drawn(2, 3, 1), Cube.drawn(2, 3, 1), Cube.drawn(2, 3, 2)
    assert torch.equal(first.points, again.points)
    assert torch.equal(first.test_points, again.test_points)
    assert not torch.equal(first.points, other.points)
    assert not torch.equal(first.test_points, other.test_points)


def test_drawn_test_points_fill_the_cube_evenly() -> None:
    data = Cube.drawn(1, 2, 0, test_points=4096)
    assert data.test_points.shape == (4096, 3)
    assert data.test_points.abs().max() <= 1
    # Every eighth of the cube has its share, which random points would miss by about 20.
    octants = ((data.test_points > 0).long() * torch.tensor([1, 2, 4])).sum(1).bincount()
    assert (octants - 512).abs().max() <= 2


@pytest.mark.parametrize("method", METHODS)
def test_trained_in_padded_blocks_equals_single_trainings(data: Cube, method: str) -> None:
    trials = [Trial(run, n, ratio) for run, n, ratio in ((0, 3, 0.5), (1, 12, 0.2), (2, 7, 0.6))]
    together = parameters(data, method, trials)
    alone = torch.cat([parameters(data, method, [trial]) for trial in trials])
    assert torch.allclose(together, alone, rtol=0, atol=1e-8)


def test_trained_equals_the_definition_of_imm(data: Cube) -> None:
    trial = Trial(1, 9, 0.6)
    points, labels = data.points[1:2, :9], data.labels[1:2, :9]
    weights = torch.ones(1, 9, dtype=torch.float64)
    seen = points[..., :1]
    term = Matching(
        cube.restricted_probs(points[..., 0], "medium"),
        torch.tensor([1.5], dtype=torch.float64),
        None,
        kernel(seen, weights, bandwidths(seen, weights)),
        torch.tensor([cube.SEEN]),
    )
    ridge = torch.full((1,), cube_trials.RIDGE, dtype=torch.float64)
    expected = fit(Problems(points, labels, weights, 2, ridge, term), max_iter=300)
    ((_, found),) = data.trained("imm", [trial], "medium")
    assert torch.allclose(found.coefficients, expected.coefficients, rtol=0, atol=1e-8)


def test_trained_makes_small_blocks_where_many_completions_are_held(
    data: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [Trial(run, 10, 0.4) for run in range(4)]
    whole = data.accuracies("imm", trials)
    monkeypatch.setattr(cube_trials, "BLOCK", 200)  # two problems of 10 × 10
    assert [len(block) for block, _ in data.trained("imm", trials)] == [2, 2]
    assert torch.equal(data.accuracies("imm", trials), whole)


def test_accuracies_differ_by_method_and_agree_without_weight(data: Cube) -> None:
    weighted = [Trial(run, 8, 0.6) for run in range(4)]
    plain = data.accuracies("none", weighted)
    for method in METHODS[1:]:
        assert not torch.equal(data.accuracies(method, weighted), plain), method
        without = data.accuracies(method, [t._replace(ratio=0.0) for t in weighted])
        assert torch.allclose(without, plain, rtol=0, atol=1e-3), method


def test_accuracies_come_in_the_order_of_the_trials(data: Cube) -> None:
    trials = [Trial(0, 12, 0.0), Trial(1, 3, 0.0), Trial(2, 6, 0.0)]
    single = torch.cat([data.accuracies("none", [trial]) for trial in trials])
    assert torch.allclose(data.accuracies("none", trials), single, rtol=0, atol=1e-3)


def test_accuracies_tell_progress_up_to_the_total(data: Cube) -> None:
    told: list[tuple[int, int]] = []
    trials = [Trial(run, 4, 0.0) for run in range(3)]
    data.accuracies("none", trials, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)


def test_trained_draws_completions_above_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Cube.drawn(2, 80, 3)
    trials = [Trial(run, 80, 0.6) for run in range(2)]
    exact = parameters(data, "imm", trials)
    monkeypatch.setattr(cube_trials, "ALL_ROWS", 20)
    monkeypatch.setattr(cube_trials, "MOST_COMPLETIONS", 40)
    drawn = parameters(data, "imm", trials)
    assert torch.equal(drawn, parameters(data, "imm", trials))
    assert not torch.equal(drawn, exact)
    assert torch.allclose(drawn, exact, rtol=0.05, atol=0.2)


def test_trained_with_noising_is_biased_where_imm_is_not() -> None:
    data = Cube.drawn(4, 150, 0)
    trials = [Trial(run, 150, 0.6) for run in range(4)]
    plain, noising, imm = (
        float(data.accuracies(m, trials).mean()) for m in ("none", "noising", "imm")
    )
    assert noising < 0.9 < plain
    assert imm == pytest.approx(plain, abs=0.01)


def test_trained_refuses_an_unknown_method(data: Cube) -> None:
    with pytest.raises(InvalidInputError, match="unknown method 'noisy'. Did you mean 'noising'"):
        data.accuracies("noisy", [Trial(0, 3, 0.0)])

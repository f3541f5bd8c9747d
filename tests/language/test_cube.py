"""The cube: what the restricted model knows, accuracies and induced scores, against brute force."""

from __future__ import annotations

import math

import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language import cube
from imm_rl.language.logistic_batch import Fitted


def models(rows: list[list[float]]) -> Fitted:
    """Models with the given (w1, w2, w3, b)."""
    table = torch.tensor(rows, dtype=torch.float64)
    done = torch.ones(len(rows), dtype=torch.long)
    return Fitted(table[:, None, :3], table[:, 3:], done, done.bool())


@pytest.fixture
def points() -> tuple[torch.Tensor, torch.Tensor]:
    drawn, labels = cube.sample(1, 400_000, torch.Generator().manual_seed(0))
    return drawn[0], labels[0]


def test_sample_is_in_the_cube_and_labelled_by_the_plane() -> None:
    points, labels = cube.sample(2, 500, torch.Generator().manual_seed(1))
    assert points.shape == (2, 500, 3)
    assert points.abs().max() <= 1
    assert torch.equal(labels == 1, points[..., 0] + points[..., 1] + points[..., 2] > 0)


@pytest.mark.parametrize(
    ("first", "positive"),
    [(-1.0, 1 / 8), (-0.5, 1.5**2 / 8), (0.0, 1 / 2), (0.5, 1 - 1.5**2 / 8), (1.0, 7 / 8)],
)
def test_restricted_probs_have_the_values_worked_out_by_hand(first: float, positive: float) -> None:
    found = cube.restricted_probs(torch.tensor([first], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx([1 - positive, positive])


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ("low", [7 / 24, 7 / 24, 17 / 24, 17 / 24]),
        ("medium", [19 / 96, 37 / 96, 59 / 96, 77 / 96]),
    ],
)
def test_restricted_probs_of_bins_are_means_of_the_exact_ones(
    quality: str, expected: list[float]
) -> None:
    inside = torch.tensor([-0.9, -0.1, 0.1, 0.9], dtype=torch.float64)
    assert cube.restricted_probs(inside, quality)[:, 1].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("quality", cube.QUALITIES)
def test_restricted_probs_are_what_drawn_labels_show(
    points: tuple[torch.Tensor, torch.Tensor], quality: str
) -> None:
    first, labels = points[0][:, 0], points[1]
    said = cube.restricted_probs(first, quality)[:, 1]
    for low in (-1.0, -0.5, 0.0, 0.5):
        here = (first >= low) & (first < low + 0.5)
        if quality == "low":
            here = (first >= 0) == (low >= 0)
        # Calibrated on every union of its bins; 3.5 standard errors of about 100,000 labels.
        assert float(said[here].mean()) == pytest.approx(
            float(labels[here].double().mean()), abs=0.006
        )


def test_restricted_probs_refuse_an_unknown_quality() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'medium'"):
        cube.restricted_probs(torch.zeros(1), "mediun")


def test_accuracy_is_the_share_of_points_right(points: tuple[torch.Tensor, torch.Tensor]) -> None:
    few, labels = points[0][:500], points[1][:500]
    rows = [[0.3, -1.0, 2.0, 0.1], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, -1.0]]
    expected = [
        sum(
            (w1 * float(x[0]) + w2 * float(x[1]) + w3 * float(x[2]) + b > 0) == bool(y)
            for x, y in zip(few, labels, strict=True)
        )
        / 500
        for w1, w2, w3, b in rows
    ]
    assert cube.accuracy(models(rows), few, labels).tolist() == pytest.approx(expected)
    assert expected[1] == 1.0


def test_accuracy_of_more_models_than_a_block_is_that_of_each(
    points: tuple[torch.Tensor, torch.Tensor],
) -> None:
    few, labels = points[0][:50], points[1][:50]
    table = torch.randn(600, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ratios = torch.linspace(0, 0.9, 600, dtype=torch.float64)
    restricted = cube.restricted_probs(few[:, 0])
    found = cube.mixed_accuracy(models(table.tolist()), few, labels, restricted, ratios)
    for i in (0, 255, 256, 599):
        one = models([table[i].tolist()])
        mixed = (1 - ratios[i]) * one.log_probs(few)[0].exp() + ratios[i] * restricted
        expected = (mixed.argmax(1) == labels).double().mean()
        assert float(found[i]) == pytest.approx(float(expected))


def test_mixed_accuracy_is_the_restricted_models_at_a_ratio_of_one(
    points: tuple[torch.Tensor, torch.Tensor],
) -> None:
    restricted = cube.restricted_probs(points[0][:, 0])
    one = torch.ones(1, dtype=torch.float64)
    found = cube.mixed_accuracy(models([[1.0, 1, 1, 0]]), *points, restricted, one)
    assert float(found) == pytest.approx(17 / 24, abs=0.003)


def test_induced_score_agrees_with_monte_carlo(points: tuple[torch.Tensor, torch.Tensor]) -> None:
    rows = [[1.5, -0.5, 2.0, 0.3], [-4.0, 8.0, 1.0, 1.0]]
    losses, shares = cube.induced_score(models(rows))
    hidden = points[0][:20_000, 1:]
    first = (torch.arange(100, dtype=torch.float64) + 0.5) / 50 - 1
    truth = cube.restricted_probs(first)
    for (w1, w2, w3, b), loss, share in zip(rows, losses, shares, strict=True):
        logits = w1 * first[:, None] + w2 * hidden[:, 0] + w3 * hidden[:, 1] + b
        induced = logits.sigmoid().mean(1)
        both = torch.stack([1 - induced, induced], 1)
        assert float(loss) == pytest.approx(float(-(truth * both.log()).sum(1).mean()), abs=0.003)
        right = truth.gather(1, both.argmax(1, keepdim=True)).mean()
        assert float(share) == pytest.approx(float(right), abs=0.006)


def test_induced_score_of_the_planes_own_normal_nears_the_best_possible() -> None:
    steep = models([[1e3, 1e3, 1e3, 0.0]])
    best_loss, best_share = cube.restricted_score()
    losses, shares = cube.induced_score(steep)
    # Integrated on 60 × 60 midpoints: a step is seen to within a sixtieth or so.
    assert float(losses) == pytest.approx(best_loss, abs=2e-4)
    assert float(shares) == pytest.approx(best_share)
    assert float(losses) >= best_loss


def test_induced_score_of_no_information_is_log_two_and_a_half() -> None:
    losses, shares = cube.induced_score(models([[0.0, 0.0, 0.0, 0.0]]))
    assert (float(losses), float(shares)) == pytest.approx((math.log(2), 0.5))


def test_restricted_score_gets_worse_with_coarser_bins() -> None:
    losses = [cube.restricted_score(quality)[0] for quality in ("high", "medium", "low")]
    assert losses == sorted(losses)
    low = 17 / 24
    entropy = -low * math.log(low) - (1 - low) * math.log(1 - low)
    assert losses[2] == pytest.approx(entropy, abs=1e-4)
    assert all(cube.restricted_score(q)[1] == pytest.approx(low, abs=1e-3) for q in cube.QUALITIES)

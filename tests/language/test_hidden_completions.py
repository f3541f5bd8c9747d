from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from imm_rl.errors import InvalidInputError
from imm_rl.language import hidden_completions as hidden


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def table(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns)))


def test_bandwidths_of_three_rows_are_twice_silvermans_rule() -> None:
    rows = double([[[0.0, 5.0], [1.0, 5.0], [5.0, 5.0]]])
    # Mean 2, variance (4 + 1 + 9)/3; n = 3 and r = 2: (4/(4·3))^(1/6). The other does not vary.
    expected = 2 * math.sqrt(14 / 3) * (1 / 3) ** (1 / 6)
    assert hidden.bandwidths(rows, double([[1, 1, 1]]))[0].tolist() == pytest.approx([expected, 1])


def test_bandwidths_count_weights_as_repeated_rows() -> None:
    rows, weights = table(6, 2), double([1, 3, 2, 0, 1, 4])
    repeated = rows.repeat_interleave(weights.long(), 0)
    found = hidden.bandwidths(rows[None], weights[None])
    expected = hidden.bandwidths(repeated[None], torch.ones(1, 11, dtype=torch.float64))
    torch.testing.assert_close(found, expected)


def test_bandwidths_are_one_where_a_feature_varies_by_rounding_alone() -> None:
    rows = torch.full((1, 7, 1), 0.1, dtype=torch.float64)
    assert hidden.bandwidths(rows, double([[0.3] * 7])).tolist() == [[1.0]]


def test_kernel_of_three_rows_has_hand_values() -> None:
    rows, weights = double([[[0.0], [1.0], [3.0]]]), double([[1, 2, 0]])
    found = hidden.kernel(rows, weights, double([[0.5]]))
    two = math.log(2)
    expected = [
        [0.0, two - 2.0, -math.inf],
        [-2.0, two, -math.inf],
        [-18.0, two - 8.0, -math.inf],
    ]
    assert found[0].numpy() == pytest.approx(np.array(expected))


def test_kernel_adds_up_features_in_their_own_width() -> None:
    rows = double([[[0.0, 0.0], [1.0, 10.0]]])
    found = hidden.kernel(rows, double([[1, 1]]), double([[1.0, 5.0]]))
    assert found[0, 0].tolist() == pytest.approx([0.0, -0.5 - 2.0])
    asked = hidden.kernel(rows, double([[1, 1]]), double([[1.0, 5.0]]), double([[[2.0, 5.0]]]))
    assert asked.shape == (1, 1, 2)
    assert asked[0, 0].tolist() == pytest.approx([-2.0 - 0.5, -0.5 - 0.5])


def test_drawn_kernel_draws_as_often_as_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "BLOCK", 30)  # blocks of three rows
    rows, weights, width = table(10, 2), table(10, 1)[:, 0].abs(), double([0.7, 1.5])
    weights[3] = 0.0
    generator = torch.Generator().manual_seed(3)

    drawn = hidden.drawn_kernel(rows, weights, width, 2000, generator)

    assert drawn.shape == (10, 2000)
    found = torch.stack([torch.bincount(row, minlength=10) for row in drawn]) / 2000
    expected = hidden.kernel(rows[None], weights[None], width[None])[0].softmax(1)
    # Systematic draws: no count is further than 1 from its expectation.
    assert (found - expected).abs().max() <= 1.01 / 2000
    assert (found[:, 3] == 0).all()


def test_drawn_kernel_is_unbiased_with_few_draws() -> None:
    rows, weights, width = table(5, 1), torch.ones(5, dtype=torch.float64), double([1.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat(
        [hidden.drawn_kernel(rows, weights, width, 2, generator) for _ in range(3000)], 1
    )
    found = torch.stack([torch.bincount(row, minlength=5) for row in drawn]) / 6000
    expected = hidden.kernel(rows[None], weights[None], width[None])[0].softmax(1)
    assert (found - expected).abs().max() < 0.03


def test_drawn_kernel_repeats_with_the_seed_and_differs_between_seeds() -> None:
    rows, weights, width = table(30, 1), torch.ones(30, dtype=torch.float64), double([0.5])

    def draw(seed: int) -> Tensor:
        return hidden.drawn_kernel(rows, weights, width, 5, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_drawn_kernel_never_draws_a_first_row_without_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        torch, "rand", lambda *size, generator, dtype: torch.zeros(*size, dtype=dtype)
    )
    drawn = hidden.drawn_kernel(table(3, 1), double([0, 1, 1]), double([1.0]), 4, torch.Generator())
    assert int(drawn.min()) == 1


def test_neighbours_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "BLOCK", 200)
    rows, weights = table(40, 3) * double([1.0, 100.0, 0.01]), table(40, 1, 1)[:, 0].abs()
    weights[:5] = 0.0

    found = hidden.neighbours(rows, weights, 4)

    points, shares = rows.numpy(), (weights / weights.sum()).numpy()
    mean = shares @ points
    scaled = (points - mean) / np.sqrt(shares @ (points - mean) ** 2)
    distance = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    distance[:, :5] = np.inf
    assert np.array_equal(found.numpy(), np.argsort(distance, 1)[:, :4])
    asked = hidden.neighbours(rows, weights, 4, rows[7:9])
    assert torch.equal(asked, found[7:9])


def test_neighbours_tell_near_rows_apart_far_from_zero() -> None:
    rows = (1e9 + torch.arange(50.0, dtype=torch.float64)).unsqueeze(1)
    found = hidden.neighbours(rows, torch.ones(50, dtype=torch.float64), 1)
    assert found[:, 0].tolist() == list(range(50))


def test_neighbours_take_a_feature_that_does_not_vary() -> None:
    rows = double([[7.0, 0.0], [7.0, 1.0], [7.0, 5.0]])
    found = hidden.neighbours(rows, double([1, 1, 1]), 2)
    assert found.tolist() == [[0, 1], [1, 0], [2, 1]]


@pytest.mark.parametrize("k", [0, 3])
def test_neighbours_refuse_more_than_there_are(k: int) -> None:
    with pytest.raises(InvalidInputError, match=r"k must be in 1\.\.2, .*received"):
        hidden.neighbours(table(3, 1), double([1, 0, 1]), k)

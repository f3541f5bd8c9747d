"""Completions of one data set's rows: the user's function, and the induced model at new rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

from imm_rl.errors import InvalidInputError
from imm_rl.language import hidden_completions
from imm_rl.language.logistic import IMMLogisticRegression
from imm_rl.language.row_completions import RowCompletions, bandwidths

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
WEIGHTS = RNG.uniform(0.5, 2, size=12)
ASKED = RNG.normal(size=(5, 3))
SLOPES, INTERCEPTS = np.array([[0.5, -1.0, 2.0]]), np.array([0.3])
CPU = torch.device("cpu")


def lending(kind: Any, count: int = 4) -> RowCompletions:
    return RowCompletions(kind, count, X, WEIGHTS, np.array([1]), np.array([0.8]), 3)


def by_hand(row: Array, which: Array, weights: Array) -> float:
    """The probability of class 1: rows that lend keep their columns 0 and 2."""
    contexts = X[which].copy()
    contexts[:, 1] = row[1]
    found: float = np.average(expit(contexts @ SLOPES[0] + 0.3), weights=weights)
    return found


def test_induced_by_kernel_averages_over_all_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_completions, "BLOCK", 50)  # two rows a block
    found = np.exp(lending("kernel").induced(ASKED, SLOPES, INTERCEPTS))
    for row, (_, positive) in zip(ASKED, found, strict=True):
        shares = WEIGHTS * np.exp(-0.5 * ((row[1] - X[:, 1]) / 0.8) ** 2)
        assert positive == pytest.approx(by_hand(row, np.arange(12), shares))
    assert found.sum(1) == pytest.approx(1.0)


def test_induced_by_neighbors_averages_over_the_nearest_by_weight() -> None:
    found = np.exp(lending("neighbors").induced(ASKED, SLOPES, INTERCEPTS))
    for row, (_, positive) in zip(ASKED, found, strict=True):
        which = np.argsort(abs(row[1] - X[:, 1]))[:4]
        assert positive == pytest.approx(by_hand(row, which, WEIGHTS[which]))


def test_induced_by_a_function_averages_over_what_it_draws() -> None:
    def sampler(seen: Array, rng: np.random.Generator) -> Array:
        rows = np.zeros((len(seen), 2, 3))
        rows[:, :, 1] = seen
        rows[:, 1, 0] = rng.normal()
        return rows

    found = np.exp(lending(sampler).induced(ASKED, SLOPES, INTERCEPTS))[:, 1]
    drawn = np.random.default_rng(3).normal()
    expected = (expit(0.3 - ASKED[:, 1]) + expit(0.3 - ASKED[:, 1] + 0.5 * drawn)) / 2
    assert found == pytest.approx(expected)


def test_induced_of_three_classes_agrees_with_two_in_their_place() -> None:
    two = lending("kernel").induced(ASKED, SLOPES, INTERCEPTS)
    slopes, intercepts = np.vstack([SLOPES * 0, SLOPES]), np.array([0.0, 0.3])
    assert lending("kernel").induced(ASKED, slopes, intercepts) == pytest.approx(two)


@pytest.mark.parametrize(("kind", "shape"), [("kernel", (1, 12, 4)), ("neighbors", (1, 12, 4))])
def test_matching_takes_no_more_completions_than_asked(kind: str, shape: tuple[int, ...]) -> None:
    target = np.full((12, 2), 0.5)
    term = lending(kind).matching(target, 2.0, CPU)
    assert term.completions is not None
    assert term.completions.shape == term.log_weights.shape == shape
    assert term.restricted.tolist() == [[False, True, False]]
    assert lending("kernel", 12).matching(target, 2.0, CPU).completions is None
    own = lending(kind).matching(target, 2.0, CPU, own=True)
    assert own.completions is not None
    assert own.completions.flatten().tolist() == list(range(12))


def test_bandwidths_take_one_for_all_or_one_each() -> None:
    seen = X[:, :2]
    assert bandwidths(0.5, seen, WEIGHTS).tolist() == [0.5, 0.5]
    assert bandwidths(np.array([1, 2]), seen, WEIGHTS).tolist() == [1.0, 2.0]
    default = hidden_completions.bandwidths(torch.tensor(seen[None]), torch.tensor(WEIGHTS[None]))
    assert bandwidths(None, seen, WEIGHTS).tolist() == default[0].tolist()


@pytest.mark.parametrize("given", [0.0, -1.0, np.inf, np.nan, True, [1.0], [1.0, 0.0], "wide", 1j])
def test_bandwidths_refuse_what_is_not_positive(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="bandwidth must be a positive number, or 2 of the"):
        bandwidths(given, X[:, :2], WEIGHTS)


def moved(seen: Array, _: np.random.Generator) -> Array:
    rows = np.zeros((len(seen), 2, 3))
    rows[:, :, 0] = seen
    rows[4, 1, 0] += 0.5
    return rows


def endless(seen: Array, _: np.random.Generator) -> Array:
    return np.full((len(seen), 2, 3), np.inf)


SAMPLERS: list[tuple[Callable[..., Any], str]] = [
    (lambda seen, _: seen, r"whole rows of the shape \(12, completions, 3\); received \(12, 1\)"),
    (lambda seen, _: np.zeros((12, 0, 3)), r"received \(12, 0, 3\)"),
    (lambda seen, _: np.zeros((12, 2, 2)), r"received \(12, 2, 2\)"),
    (lambda seen, _: "rows", r"completions\(...\) must be numbers; received 'str'"),
    (endless, r"completions\(...\) must be finite"),
    (moved, r"keep the restricted features; received .*\(row 4, completion 1, feature 0\).*Draw"),
]


@pytest.mark.parametrize(("sampler", "message"), SAMPLERS)
def test_functions_must_draw_whole_rows(sampler: Callable[..., Any], message: str) -> None:
    model = IMMLogisticRegression(
        restricted=lambda seen: np.full((len(seen), 2), 0.5), completions=sampler
    )
    with pytest.raises(InvalidInputError, match=message):
        model.fit(X, np.arange(12) % 2)

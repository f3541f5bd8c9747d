"""Restricted contexts of masked positions, and drawing training positions that have them."""

from __future__ import annotations

import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.masked_positions import TrainingPositions, contexts_at

CLS, SEP = 0, 1
ROWS = [[CLS, 5, 6, 7, SEP], [CLS, 5, 6, 8, SEP, 5, 9, SEP], [CLS, 6, 7, SEP]]


def test_contexts_at_takes_the_neighbours() -> None:
    row = torch.tensor([[CLS, 5, 6, 7, SEP]] * 2)
    at = torch.tensor([1, 3])
    assert contexts_at(row, at, "left").tolist() == [[CLS], [6]]
    assert contexts_at(row, at, "both").tolist() == [[CLS, 6], [6, SEP]]


def test_counts_are_those_of_the_text() -> None:
    left = TrainingPositions(ROWS, [CLS, SEP])
    # 5 and 6 follow [CLS]; 6, 6 and 9 follow 5; 7, 8 and 7 follow 6; one 5 follows [SEP]
    counted = left.counts(torch.tensor([[CLS], [5], [6], [SEP], [7], [99]]))
    assert counted.tolist() == [3, 3, 3, 1, 0, 0]
    assert len(left) == 10
    both = TrainingPositions(ROWS, [CLS, SEP], "both")
    pairs = torch.tensor([[CLS, 6], [5, 7], [5, 8], [6, SEP], [6, 5], [5, SEP]])
    assert both.counts(pairs).tolist() == [2, 1, 1, 3, 0, 1]


@pytest.mark.parametrize("kind", ["left", "both"])
def test_draw_gives_positions_with_the_context_each_as_likely(kind: str) -> None:
    positions = TrainingPositions(ROWS, [CLS, SEP], kind)
    context = torch.tensor([[6] if kind == "left" else [6, SEP]])
    torch.manual_seed(0)
    sentences, places = positions.draw(context, 3000)
    assert sentences.shape == (1, 3000)
    found = list(zip(sentences[0].tolist(), places[0].tolist(), strict=True))
    assert set(found) == {(0, 3), (1, 3), (2, 2)}
    assert all(abs(found.count(one) / 3000 - 1 / 3) < 0.04 for one in set(found))


def test_segments_stay_with_their_sentences() -> None:
    segments = [[0] * 5, [0] * 5 + [1] * 3, [0] * 4]
    positions = TrainingPositions(ROWS, [CLS, SEP], segments=segments)
    assert positions.segments[1].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(InvalidInputError, match="rows of the same lengths"):
        TrainingPositions(ROWS, [CLS, SEP], segments=segments[:2])


@pytest.mark.parametrize("rows", [[], [[CLS, SEP]], [[5, 6]]])
def test_texts_without_a_position_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises(InvalidInputError, match="at least one|none can be masked"):
        TrainingPositions(rows, [CLS, SEP])


def test_unknown_context_gets_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'both'"):
        TrainingPositions(ROWS, [CLS], "booth")

from __future__ import annotations

import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.text_streams import IGNORED, Streams


def test_streams_equal_hand_values() -> None:
    tokens = torch.arange(100, 111)
    streams = Streams(tokens, 2, 3)

    first, second = list(streams)

    # 10 pairs of a word and the next: two streams of 5.
    assert (len(streams), streams.n_streams, streams.length) == (2, 2, 5)
    assert first.inputs.tolist() == [[100, 101, 102], [105, 106, 107]]
    assert first.targets.tolist() == [[101, 102, 103], [106, 107, 108]]
    assert first.positions.tolist() == [[0, 1, 2], [5, 6, 7]]
    assert second.inputs.tolist() == [[103, 104], [108, 109]]
    assert second.targets.tolist() == [[104, 105], [109, 110]]
    assert second.positions.tolist() == [[3, 4], [8, 9]]
    assert torch.equal(streams.piece(1).inputs, second.inputs)


def test_streams_leave_out_the_rest_of_the_division() -> None:
    inputs = torch.cat([piece.inputs for piece in Streams(torch.arange(13), 5, 2)], 1)
    assert inputs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize("streams", [1, 2, 4, 7, 50])
@pytest.mark.parametrize("length", [2, 6, 11, 24])
@pytest.mark.parametrize("unroll", [1, 3, 100])
def test_whole_streams_score_every_word_but_the_first_once(
    length: int, streams: int, unroll: int
) -> None:
    tokens = torch.arange(length) + 7
    scored: dict[int, int] = {}
    for inputs, targets, positions in Streams(tokens, streams, unroll, whole=True):
        assert torch.equal(tokens[positions], inputs)
        counts = targets != IGNORED
        for position, target in zip(
            positions[counts].tolist(), targets[counts].tolist(), strict=True
        ):
            assert position not in scored
            scored[position] = target
    assert scored == {position: position + 8 for position in range(length - 1)}


def test_whole_streams_are_no_more_than_there_are_words() -> None:
    assert Streams(torch.arange(4), 10, 5, whole=True).n_streams == 3


@pytest.mark.parametrize(
    ("length", "streams", "whole", "least"),
    [(1, 1, True, 2), (0, 3, True, 2), (5, 5, False, 6), (1, 1, False, 2)],
)
def test_streams_refuse_a_text_that_is_too_short(
    length: int, streams: int, whole: bool, least: int
) -> None:
    with pytest.raises(InvalidInputError, match=f"the text must have at least {least} words"):
        Streams(torch.arange(length), streams, 3, whole=whole)
    assert len(list(Streams(torch.arange(least), streams, 3, whole=whole))) == 1

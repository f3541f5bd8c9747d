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
    assert second.inputs.tolist() == [[103, 104], [108, 109]]
    assert second.targets.tolist() == [[104, 105], [109, 110]]
    assert torch.equal(streams.piece(1).inputs, second.inputs)
    places = streams.laid_out(torch.arange(11))
    assert places[:, streams.span(0)].tolist() == [[0, 1, 2], [5, 6, 7]]
    assert places[:, streams.span(1)].tolist() == [[3, 4], [8, 9]]


def test_streams_of_two_readers_are_those_of_one() -> None:
    tokens = torch.arange(100, 120)
    for whole in (False, True):
        alone = Streams(tokens, 5, 2, whole=whole)
        halves = [
            Streams(tokens, 5, 2, whole=whole, share=lambda n, part=part: part)
            for part in (slice(0, 2), slice(2, 5))
        ]
        assert [half.own for half in halves] == [slice(0, 2), slice(2, 5)]
        for index, piece in enumerate(alone):
            parts = [half.piece(index) for half in halves]
            assert torch.equal(torch.cat([part.inputs for part in parts]), piece.inputs)
            assert torch.equal(torch.cat([part.targets for part in parts]), piece.targets)
        assert torch.equal(halves[0].laid_out(tokens), alone.laid_out(tokens))


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
    cut = Streams(tokens, streams, unroll, whole=True)
    places = cut.laid_out(torch.arange(length))
    for index, (inputs, targets) in enumerate(cut):
        positions = places[:, cut.span(index)]
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

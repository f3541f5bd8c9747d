from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from imm_rl.errors import InvalidInputError
from imm_rl.language.vocabulary import END, UNKNOWN, Vocabulary

TEXT = ["b", "a", "c", "a", "b", "a", "<eos>", "d", "c", "<eos>"]


def test_of_takes_the_most_frequent_first_and_ties_as_they_appear() -> None:
    assert Vocabulary.of(TEXT).words == ("a", "b", "c", END, "d", UNKNOWN)
    assert Vocabulary.of(TEXT, min_count=2).words == ("a", "b", "c", END, UNKNOWN)
    assert Vocabulary.of(TEXT, min_count=3).words == ("a", END, UNKNOWN)
    assert Vocabulary.of(TEXT, max_size=4).words == ("a", "b", END, UNKNOWN)
    assert Vocabulary.of([], max_size=2).words == (UNKNOWN, END)


def test_of_keeps_the_place_of_an_unknown_word_that_the_text_has() -> None:
    assert Vocabulary.of(["x", UNKNOWN, UNKNOWN], min_count=2).words == (UNKNOWN, END)


def test_encode_turns_words_that_are_not_there_into_unknown() -> None:
    vocabulary = Vocabulary(("a", END, UNKNOWN))

    ids = vocabulary.encode(iter(["a", "never", "a", END]))

    assert ids.dtype == np.int64
    assert ids.tolist() == [0, vocabulary.unknown, 0, vocabulary.end]
    assert vocabulary.encode([]).shape == (0,)
    assert vocabulary.decode(ids) == ["a", UNKNOWN, "a", END]
    assert "a" in vocabulary
    assert "never" not in vocabulary


@given(st.lists(st.text(min_size=1).filter(lambda word: word.split() == [word]), max_size=30))
def test_text_is_read_back_and_known_words_survive(words: list[str]) -> None:
    vocabulary = Vocabulary.of(words)

    assert Vocabulary.from_text(vocabulary.text()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(words)) == words
    assert len(vocabulary) == len({*words, UNKNOWN, END})


def test_fingerprint_changes_with_words_and_their_order() -> None:
    first = Vocabulary(("a", "b", UNKNOWN, END))

    assert first.fingerprint() == Vocabulary(first.words).fingerprint()
    assert first.fingerprint() != Vocabulary(("b", "a", UNKNOWN, END)).fingerprint()
    assert first.fingerprint() != Vocabulary(("a", UNKNOWN, END)).fingerprint()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "b", END), "must have the word '<unk>'"),
        (("a", "b", UNKNOWN), "must have the word '<eos>'"),
        (("a", UNKNOWN, END, "a"), "have each word once; received 'a'"),
        ((UNKNOWN, END, "a b"), "without blanks; received 'a b'"),
        ((UNKNOWN, END, ""), "without blanks; received ''"),
    ],
)
def test_vocabulary_refuses_words_it_cannot_have(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Vocabulary(words)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_decode_refuses_ids_out_of_range(wrong: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"in 0 \.\.\. 2; received {wrong}"):
        Vocabulary(("a", UNKNOWN, END)).decode([0, wrong])

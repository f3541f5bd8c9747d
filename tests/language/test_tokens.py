from __future__ import annotations

import pytest

from imm_rl.language.tokens import sentences, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Let there be light: and", "let there be light : and"),
        ("It’s 3.5 of 10,000, e.g. the 2nd", "it 's N of N , e.g. the 2nd"),
        ("A built-in (os.path) isn't __init__.", "a built-in ( os.path ) isn't __init__ ."),
        ("they're <unk> ... utf-8!", "they 're <unk> ... utf-8 !"),
        ("LORD'S", "lord 's"),
        ("  \n", ""),
    ],
)
def test_words_are_in_lower_case_and_apart_from_punctuation(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_sentences_end_where_a_capital_follows_a_stop() -> None:
    text = 'One, i.e. a Two. (Three!) Four, e.g. Five of 3.5 six? "Seven" eight'

    assert sentences(text) == [
        "One, i.e. a Two.",
        "(Three!)",
        "Four, e.g. Five of 3.5 six?",
        '"Seven" eight',
    ]
    assert sentences(" ") == []

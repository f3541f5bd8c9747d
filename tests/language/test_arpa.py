"""ARPA files: values by hand, round trips, other vocabularies, each way a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.language.arpa import read_arpa, write_arpa
from imm_rl.language.ngram import KneserNey

# Powers of ten, so that the values can be read off: a 0.1, b 0.01, the unknown word the rest.
TEXT = r"""a comment

\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-99 <s>	-1
-1	a	-0.30102999566398120
-2	b
-99	</s>
-0.5 <unk>

\2-grams:
-0.5	a b	-1
-1 <s> a
-99	b b

\3-grams:
-0.25	a b a

\end\
whatever follows
"""
WORDS = ["<s>", "a", "b", "</s>", "<unk>"]
REST = 1 - 0.1 - 0.01  # the listed 10 ** -0.5 of <unk> leaves a part over, which <unk> gets


def save(folder: Path, text: str | bytes) -> Path:
    path = folder / "model.arpa"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def contexts(vocab_size: int, length: int) -> np.ndarray:
    return np.indices((vocab_size,) * length).reshape(length, -1).T


def corpus(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(6, size=90)


# --- reading --------------------------------------------------------------------------------------


def test_read_arpa_equals_hand_values(tmp_path: Path) -> None:
    model, words = read_arpa(save(tmp_path, TEXT))
    # </s> is neither predicted nor in a longer n-gram: <s> alone becomes <eos>.
    assert words == ["<eos>", "a", "b", "<unk>"]
    assert (model.order, model.vocab_size, model.unknown) == (3, 4, 3)
    half = 10**-0.3010299956639812
    expected = {
        (1, 1): [0, half * 0.1, 10**-0.5, half * REST],  # a a: backs off to a, which has weight 1/2
        (1, 2): [0, 10**-0.25, 0, 0.1 * REST],  # a b has weight 1/10; b b is listed with zero
        (0, 0): [0, 0.1, 0.1 * 0.01, 0.1 * REST],  # <eos>: a is listed, weight 1/10
        (0, 2): [0, 0.1, 0, REST],  # <eos> b is not listed, b has no weight: 1
    }
    rows = model.probs(list(expected))
    np.testing.assert_allclose(rows, list(expected.values()), rtol=1e-12, atol=1e-16)


def test_read_arpa_takes_windows_lines_and_byte_order_marks(tmp_path: Path) -> None:
    plain, _ = read_arpa(save(tmp_path, TEXT))
    text = "\ufeff" + TEXT.removeprefix("a comment\n\n").replace("\n", "\r\n")
    other, words = read_arpa(save(tmp_path, text))
    assert words == ["<eos>", "a", "b", "<unk>"]
    assert (other.probs(contexts(4, 2)) == plain.probs(contexts(4, 2))).all()


def test_read_arpa_takes_the_begin_of_a_sentence_at_probability_1_as_never_predicted(
    tmp_path: Path,
) -> None:
    model, _ = read_arpa(save(tmp_path, TEXT.replace("-99 <s>", "0 <s>")))
    np.testing.assert_allclose(model.unigram, [0, 0.1, 0.01, REST])


def test_read_arpa_keeps_a_smaller_sum_when_there_is_no_unknown_word(tmp_path: Path) -> None:
    model, words = read_arpa(save(tmp_path, TEXT.replace("<unk>", "c")))
    assert model.unknown is None
    assert model.unigram[words.index("c")] == 10**-0.5


# --- for a given vocabulary -----------------------------------------------------------------------


def test_read_arpa_follows_the_order_of_the_words_given(tmp_path: Path) -> None:
    path = save(tmp_path, TEXT)
    model, words = read_arpa(path, ["b", "new", "<unk>", "a", "<s>"])
    assert words == ["b", "new", "<unk>", "a", "<s>"]
    plain, _ = read_arpa(path)
    own = np.array([4, 3, 0, 2])  # the new ids of <s>, a, b, <unk>
    asked = contexts(4, 2)
    rows = model.probs(own[asked])
    np.testing.assert_allclose(rows[:, own], plain.probs(asked), rtol=1e-15)
    assert (rows[:, 1] == 0).all()  # "new" is not in the file
    assert model.unknown == 2


def test_read_arpa_drops_sentence_marks_that_are_never_predicted(tmp_path: Path) -> None:
    model, _ = read_arpa(save(tmp_path, TEXT), ["a", "b", "<unk>"])
    np.testing.assert_allclose(model.unigram, [0.1, 0.01, REST])
    model, _ = read_arpa(save(tmp_path, TEXT.replace("<unk>", "c")), ["a", "b", "c"])
    np.testing.assert_allclose(model.unigram, [0.1, 0.01, 10**-0.5])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_read_arpa_sums_the_words_that_become_the_unknown_word(tmp_path: Path, order: int) -> None:
    model = KneserNey(order).fit(corpus(order), vocab_size=7)
    write_arpa(model, tmp_path / "m.arpa", list("abcdefg"))
    fewer, _ = read_arpa(tmp_path / "m.arpa", ["c", "<unk>", "a"])
    asked = contexts(2, order - 1) if order > 1 else np.zeros((1, 0), np.int64)
    rows = model.probs(asked * 2)  # contexts of a and c
    expected = np.stack([rows[:, 2], rows[:, [1, 3, 4, 5, 6]].sum(1), rows[:, 0]], axis=1)
    np.testing.assert_allclose(fewer.probs(2 - asked * 2), expected, rtol=1e-9)


def test_read_arpa_refuses_a_word_outside_the_vocabulary_without_an_unknown_word(
    tmp_path: Path,
) -> None:
    message = r"model.arpa, line 11: the word 'b' must be in the vocabulary. Add it, or '<unk>'"
    with pytest.raises(InvalidInputError, match=message):
        read_arpa(save(tmp_path, TEXT.replace("<unk>", "a2")), ["<s>", "a", "a2"])


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["arpa", "arpa.gz"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_write_arpa_round_trip_keeps_the_probabilities(
    tmp_path: Path, order: int, suffix: str
) -> None:
    model = KneserNey(order).fit(corpus(), vocab_size=7)
    names = ["the", "é", "\u3000x", "日本", "<unk>", "\\data\\", "7"]
    path = tmp_path / f"model.{suffix}"
    write_arpa(model, path, names)
    again, words = read_arpa(path)
    assert words == names
    assert (again.order, again.unknown) == (order, 4)
    asked = contexts(7, order - 1) if order > 1 else np.zeros((1, 0), np.int64)
    np.testing.assert_allclose(again.probs(asked), model.probs(asked), rtol=1e-10)
    assert path.read_bytes().startswith(b"\x1f\x8b" if suffix == "arpa.gz" else b"\\data\\\n")


def test_write_arpa_keeps_probability_zero(tmp_path: Path) -> None:
    model = KneserNey(2, uniform=False).fit([0, 1, 0, 2, 0, 1], vocab_size=4)
    write_arpa(model, tmp_path / "m.arpa", list("abcd"))
    again, _ = read_arpa(tmp_path / "m.arpa")
    assert again.unigram[3] == 0
    assert (again.probs([0, 3])[:, 3] == 0).all()


def test_write_arpa_writes_this_text(tmp_path: Path) -> None:
    # a b a c a b, order 2: P(a) = 1/2, P(b) = P(c) = 1/4, γ = 1/2; P(b|a) = 11/24, P(c|a) = 7/24.
    model = KneserNey(2).fit([0, 1, 0, 2, 0, 1], vocab_size=3)
    write_arpa(model, tmp_path / "m.arpa", list("abc"))
    lines = (tmp_path / "m.arpa").read_text().splitlines()
    assert lines == [
        "\\data\\",
        "ngram 1=5",
        "ngram 2=4",
        "",
        "\\1-grams:",
        "-0.301029995664\ta\t-0.301029995664",
        "-0.602059991328\tb\t-0.301029995664",
        "-0.602059991328\tc\t-0.301029995664",
        "-99\t<s>",
        "-99\t</s>",
        "",
        "\\2-grams:",
        "-0.338818556553\ta b",
        "-0.535113201697\ta c",
        "-0.124938736608\tb a",
        "-0.124938736608\tc a",
        "",
        "\\end\\",
    ]


def test_write_arpa_lists_every_context_as_an_ngram(tmp_path: Path) -> None:
    # The start 5 4 3 comes nowhere else: as bigrams and trigrams those have no left neighbour.
    model = KneserNey(4).fit([5, 4, 3, 0, 1, 0, 2, 0, 1, 0, 1], vocab_size=6)
    write_arpa(model, tmp_path / "m.arpa", list("abcdef"))
    lines = (tmp_path / "m.arpa").read_text().splitlines()
    grams = {tuple(line.split("\t")[1].split()) for line in lines if "\t" in line}
    assert ("f", "e", "d", "a") in grams
    assert all(gram[:-1] in grams for gram in grams if len(gram) > 1)
    again, _ = read_arpa(tmp_path / "m.arpa")
    asked = contexts(6, 3)
    np.testing.assert_allclose(again.probs(asked), model.probs(asked), rtol=1e-10)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-1	a	", "-1x	a	", "line 10: a number must stand here; received '-1x'"),
        ("a	-0.3", "a	nan-0.3", "line 10: a number must stand here; received 'nan-0.3"),
        ("-2	b", "nan	b", "line 11: a number must stand here; received 'nan'"),
        ("-2	b", "0.5	b", "line 11: a log10 probability must be at most 0; received 0.5"),
        ("-2	b", "-2	b -1 c", "line 11: .* 1 word and perhaps a weight must stand here"),
        ("-2	b", "-2	a", "line 11: each n-gram must be listed once; received 'a' again"),
        ("-1 <s> a", "-1 <s>", "line 17: a log10 probability, 2 words and perhaps a weight"),
        ("-1 <s> a", "-1 a b", "line 17: each n-gram must be listed once; received 'a b' again"),
        ("-1 <s> a", "-1 <s> zoo", "line 17: the word 'zoo' must be among the 1-grams"),
        ("a b a", "a b a -1", "line 21: a log10 probability, 3 words must stand here; .*'-0.25"),
        ("1=5", "1=6", r"line 15: .*1-grams: lists 5 n-grams .* 'ngram 1=6' stands in .data"),
        ("3=1", "3=2", r"line 23: .*3-grams: lists 1 n-grams"),
        ("ngram 2=3", "ngram 2 3", "line 5: 'ngram 2=COUNT' must stand here; received 'ngram 2 3'"),
        ("ngram 2=3\n", "", "line 5: 'ngram 2=COUNT' must stand here"),
        ("ngram 1=5\nngram 2=3\nngram 3=1\n", "", "line 5: .*number of 1-grams, at least 1"),
        ("ngram 1=5", "ngram 1=0", "number of 1-grams, at least 1"),
        ("\\2-grams:", "\\3-grams:", r"line 15: .2-grams: must stand here; received .*3-grams"),
        ("\\end\\", "\\4-grams:", r"line 23: .end. must follow the 3-grams; received .*4-grams"),
        ("\\end\\\nwhatever follows\n", "", r"line 22: the file ends without .end.; it is cut"),
        ("\\data\\", "", "the file ends without .data.; it is cut short or no ARPA file"),
        ("-2	b", "-0.02	b", r"1-grams must add up to 1; received 1.37"),
    ],
)
def test_read_arpa_refuses_a_wrong_file_and_names_the_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in TEXT
    with pytest.raises(InvalidInputError, match=f"model.arpa.*{message}"):
        read_arpa(save(tmp_path, TEXT.replace(old, new, 1)))


def test_read_arpa_refuses_text_that_is_not_utf_8(tmp_path: Path) -> None:
    text = TEXT.encode().replace(b"-2\tb", b"-2\t\xe9")
    with pytest.raises(InvalidInputError, match=r"line 11: the text must be UTF-8; .*xe9"):
        read_arpa(save(tmp_path, text))


def test_read_arpa_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.arpa cannot be read: there is no such"):
        read_arpa(tmp_path / "none.arpa")
    with pytest.raises(InvalidInputError, match="cannot be read: it is a folder"):
        read_arpa(tmp_path)
    packed = gzip.compress(TEXT.encode())
    for data in (TEXT.encode(), packed[:-20], packed[:12] + b"\xff" + packed[13:]):
        (tmp_path / "m.arpa.gz").write_bytes(data)
        with pytest.raises(InvalidInputError, match=r"m\.arpa\.gz cannot be read: "):
            read_arpa(tmp_path / "m.arpa.gz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "words must be the 3 words of the model; received 2"),
        (["a", "b", "a"], "words must be distinct; received 'a'. It comes twice"),
        (["a", "b c", "d"], "words must be text without white space; received \"'b c' at 1\""),
        (["a", "", "d"], "words must be text without white space; received \"'' at 1\""),
        (["a", "b", 3], "words must be text without white space; received '3 at 2'"),
        (["a", "b", "\ud800"], "words must be text without white space"),
    ],
)
def test_write_arpa_refuses_wrong_words(tmp_path: Path, words: list[str], message: str) -> None:
    model = KneserNey(2).fit([0, 1, 2], vocab_size=3)
    with pytest.raises(InvalidInputError, match=message):
        write_arpa(model, tmp_path / "m.arpa", words)
    assert not list(tmp_path.iterdir())


def test_write_arpa_refuses_a_model_that_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"Call fit\(tokens, vocab_size"):
        write_arpa(KneserNey(2), tmp_path / "m.arpa", ["a"])

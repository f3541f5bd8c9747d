"""ARPA files of KenLM and SRILM: sentences scored by hand with their rule, and by what is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.language.arpa import read_arpa, write_arpa
from imm_rl.language.ngram import KneserNey

# As KenLM writes it: <s> with the log10 probability 0; the others add up to 1 (0.1, 0.2, 0.4, 0.3). The
# weight -7 of "a </s>" must not matter: no sentence goes on after </s>.
KENLM = r"""\data\
ngram 1=5
ngram 2=5
ngram 3=2

\1-grams:
-1	<unk>	0
0	<s>	-0.3
-0.6989700043360188	</s>	0
-0.3979400086720376	a	-0.2
-0.5228787452803376	b	-0.4

\2-grams:
-0.2	<s> a	-0.1
-0.4	a b	-0.15
-0.3	b </s>	0
-0.9	a </s>	-7
-0.8	b a	-0.05

\3-grams:
-0.1	<s> a b
-0.25	a b </s>

\end\
"""
UNKNOWN, CLOSE, A, B = (math.log10(p) for p in (0.1, 0.2, 0.4, 0.3))

# A word's log10 probability is the longest listed n-gram's, plus the weights of the longer contexts that
# are listed: log P(w | u v) = [u v w], or weight[u v] + [v w], or weight[u v] + weight[v] + [w].
SENTENCES = {
    "a b": [-0.2, -0.1, -0.25],  # <s> a; <s> a b; a b </s>
    "b a a": [
        -0.3 + B,  # <s> b is not listed: the weight of <s>
        -0.8,  # <s> b is no listed context: b a
        -0.05 - 0.2 + A,  # b a a, a a are not listed: the weights of b a and of a
        -0.9,  # a a is no listed context: a </s>
    ],
    "zebra b": [-0.3 + UNKNOWN, B, -0.3],  # <s> <unk>; <unk> b; b </s>
    "": [-0.3 + CLOSE],
}


def save(folder: Path, text: str) -> Path:
    path = folder / "model.arpa"
    path.write_text(text)
    return path


def line_logs(path: Path, lines: list[str], words: list[str] | None = None) -> list[list[float]]:
    """log10 of the probability of each word and of the end, by line but the first (two words at least)."""
    model, names = read_arpa(path, words)
    texts = [[*line.split(), "<eos>"] for line in lines]
    ids = [names.index(w) if w in names else names.index("<unk>") for text in texts for w in text]
    found = (model.log_prob(ids) / math.log(10)).tolist()[len(texts[0]) - model.order + 1 :]
    return [[found.pop(0) for _ in text] for text in texts[1:]]


@pytest.mark.parametrize("before", ["a b", "b a", "a zebra"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_has_the_probability_that_kenlm_gives_it_whatever_stands_before(
    tmp_path: Path, sentence: str, before: str
) -> None:
    path = save(tmp_path, KENLM)
    for between in ([], [""], ["b"]):  # an empty line, a short one
        *_, logs = line_logs(path, [before, *between, sentence])
        assert logs == pytest.approx(SENTENCES[sentence], abs=1e-12)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0	<s>	", "-99	<s>	"),  # SRILM
        ("<unk>	0", "<UNK>	0"),
        (" </s>	0", " </s>"),
        # N-grams that no sentence has.
        ("ngram 2=5", "ngram 2=7"),
    ],
)
def test_other_files_of_the_same_model_give_the_same(tmp_path: Path, old: str, new: str) -> None:
    assert old in KENLM
    text = KENLM.replace(old, new)
    if "=7" in new:
        text = text.replace("-0.8	b a", "-0.1	a <s>	-3\n-0.1	</s> b	-2\n-0.8	b a")
    lines = ["a b", *SENTENCES]
    logs = line_logs(save(tmp_path, text), lines)
    assert logs == [pytest.approx(each, abs=1e-12) for each in SENTENCES.values()]


def test_read_for_a_vocabulary_of_ours_it_gives_the_same(tmp_path: Path) -> None:
    words = ["b", "<eos>", "a", "<unk>"]
    logs = line_logs(save(tmp_path, KENLM), ["a b", *SENTENCES], words)
    assert logs == [pytest.approx(each, abs=1e-9) for each in SENTENCES.values()]


def test_the_end_of_a_line_takes_the_place_of_the_first_mark(tmp_path: Path) -> None:
    model, words = read_arpa(save(tmp_path, KENLM))
    assert words == ["<unk>", "<eos>", "a", "b"]
    assert (model.order, model.unknown) == (3, 0)
    np.testing.assert_allclose(model.unigram, [0.1, 0.2, 0.4, 0.3], rtol=1e-12)


def test_a_file_with_one_mark_alone_is_read(tmp_path: Path) -> None:
    text = r"""\data\
ngram 1=3
ngram 2=1

\1-grams:
-0.3010299956639812	a	-0.1
-0.3010299956639812	</s>
-99	<unk>

\2-grams:
-0.05	a </s>

\end\
"""
    (logs,) = line_logs(save(tmp_path, text), ["a a", "a"])
    assert logs == pytest.approx([math.log10(0.5), -0.05], abs=1e-12)


def test_a_length_without_ngrams_is_read(tmp_path: Path) -> None:
    """As a pruned model has it, or one whose n-grams of that length no sentence has."""
    start, end = KENLM.split("-0.1	<s> a b\n")
    for text in (
        KENLM.replace("3=2", "3=0").replace("-0.1	<s> a b\n-0.25	a b </s>\n", ""),
        start.replace("3=2", "3=1") + end.replace("-0.25	a b </s>", "-0.25	a </s> b"),
    ):
        (logs,) = line_logs(save(tmp_path, text), ["a b", "a b"])
        assert logs == pytest.approx([-0.2, -0.1 - 0.4, -0.15 - 0.3], abs=1e-12)


def test_marks_stay_words_where_the_file_or_the_vocabulary_has_them_as_words(
    tmp_path: Path,
) -> None:
    _, words = read_arpa(
        save(tmp_path, KENLM.replace("	b", "	<eos>").replace(" b", " <eos>"))
    )
    assert words == ["<unk>", "<s>", "</s>", "a", "<eos>"]
    asked = ["<unk>", "<s>", "</s>", "a", "b"]
    model, words = read_arpa(save(tmp_path, KENLM), asked)
    assert words == asked
    np.testing.assert_allclose(model.prob([[1, 1]], [3]), 10**-0.2)
    np.testing.assert_allclose(model.prob([[4, 2]], [3]), 0.4)  # </s> is no context of KenLM's


def test_a_word_like_the_unknown_one_stays_where_it_is_asked_for(tmp_path: Path) -> None:
    both = KENLM.replace("1=5", "1=6").replace(
        "-1	<unk>	0", "-1.3	<unk>	0\n-1.3	<UNK>	0"
    )
    model, words = read_arpa(save(tmp_path, both))
    assert words == ["<unk>", "<UNK>", "<eos>", "a", "b"]
    assert model.unknown == 0
    path = save(tmp_path, KENLM.replace("<unk>", "<UNK>"))
    assert read_arpa(path, ["<UNK>", "<eos>", "a", "b"])[0].unigram[0] == pytest.approx(0.1)
    assert read_arpa(path, unknown="<UNK>")[0].unknown == 0


def test_our_own_files_keep_their_words(tmp_path: Path) -> None:
    tokens = [1, 2, 0, 2, 1, 0, 1, 1, 0, 2, 0]
    for words in (["<eos>", "a", "b"], ["x", "a", "b"]):
        model = KneserNey(3).fit(tokens, vocab_size=3)
        write_arpa(model, tmp_path / "m.arpa", words)
        again, names = read_arpa(tmp_path / "m.arpa")
        assert names == words
        contexts = np.indices((3, 3)).reshape(2, -1).T
        np.testing.assert_allclose(again.probs(contexts), model.probs(contexts), rtol=1e-10)


# --- written as a model of sentences --------------------------------------------------------------

TOKENS = [1, 2, 0, 2, 1, 0, 1, 1, 2, 0, 0, 2, 2, 1, 0]
"""Lines of the words 1 and 2, one of them empty; 0 ends a line."""


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_model_written_as_one_of_sentences_keeps_what_stands_within_a_line(
    tmp_path: Path, order: int
) -> None:
    model = KneserNey(order).fit(TOKENS, vocab_size=3)
    write_arpa(model, tmp_path / "m.arpa", ["<eos>", "a", "b"], sentences=True)
    lines = (tmp_path / "m.arpa").read_text().splitlines()
    ngrams = [line.split("\t")[1].split() for line in lines if "\t" in line]
    assert ["<s>", "</s>"] in ngrams or order == 1  # the empty line
    assert all("<s>" not in ngram[1:] and "</s>" not in ngram[:-1] for ngram in ngrams)
    assert not any("<eos>" in ngram for ngram in ngrams)
    again, words = read_arpa(tmp_path / "m.arpa")
    assert sorted(words) == ["<eos>", "a", "b"]
    own = np.array([words.index(word) for word in ("<eos>", "a", "b")])
    asked = np.indices((3,) * (order - 1)).reshape(order - 1, 3 ** (order - 1)).T
    within = asked[(asked[:, 1:] != 0).all(1)]  # <eos> stands before them or is not there
    np.testing.assert_allclose(
        again.probs(own[within])[:, own], model.probs(within), rtol=1e-10, atol=1e-15
    )
    if order > 2:  # after the end of a line, what stood before it is forgotten
        after = asked[(asked[:, -1] == 0) & (asked[:, 0] == 1)]
        begin = own[[[2] * (order - 2) + [0]]]
        np.testing.assert_allclose(
            again.probs(own[after]), again.probs(begin).repeat(len(after), 0), rtol=1e-12
        )


def test_a_model_of_sentences_is_this_text(tmp_path: Path) -> None:
    # <eos> a <eos> b <eos> a, order 2: P(<eos>) = 1/2, P(a) = P(b) = 1/4; as in test_arpa's text.
    model = KneserNey(2).fit([0, 1, 0, 2, 0, 1], vocab_size=3)
    write_arpa(model, tmp_path / "m.arpa", ["<eos>", "a", "b"], sentences=True)
    assert (tmp_path / "m.arpa").read_text().splitlines() == [
        "\\data\\",
        "ngram 1=4",
        "ngram 2=4",
        "",
        "\\1-grams:",
        "-0.602059991328\ta\t-0.301029995664",
        "-0.602059991328\tb\t-0.301029995664",
        "-99\t<s>\t-0.301029995664",
        "-0.301029995664\t</s>",
        "",
        "\\2-grams:",
        "-0.338818556553\t<s> a",
        "-0.535113201697\t<s> b",
        "-0.124938736608\ta </s>",
        "-0.124938736608\tb </s>",
        "",
        "\\end\\",
    ]


@pytest.mark.parametrize("words", [["x", "a", "b"], ["<eos>", "<s>", "b"]])
def test_a_model_of_sentences_needs_the_end_of_a_line(tmp_path: Path, words: list[str]) -> None:
    model = KneserNey(2).fit(TOKENS, vocab_size=3)
    with pytest.raises(InvalidInputError, match="words must have '<eos>', and not '<s>' or '</s>'"):
        write_arpa(model, tmp_path / "m.arpa", words, sentences=True)
    assert not list(tmp_path.iterdir())

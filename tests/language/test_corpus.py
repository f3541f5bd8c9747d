from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.language.corpus import FORMS, Corpus, load_corpus
from imm_rl.language.pydoc_corpus import pydoc_lines
from imm_rl.language.vocabulary import Vocabulary

TRAIN, VALID, TEST = "the cat sat\n\n  the dog \t ran\n", "the cow sat\n", "a dog\n"


def _write(folder: Path, names: tuple[str, ...] = FORMS[1]) -> Path:
    for name, text in zip(names, (TRAIN, VALID, TEST), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def embedded() -> Corpus:
    return load_corpus()


def test_embedded_corpus_is_large_enough_and_split_80_10_10(embedded: Corpus) -> None:
    sizes = np.array([len(part) for part in (embedded.train, embedded.valid, embedded.test)])

    assert sizes[0] >= 30_000
    np.testing.assert_allclose(sizes / sizes.sum(), [0.8, 0.1, 0.1], atol=0.01)
    assert np.mean(embedded.valid == embedded.vocabulary.unknown) < 0.08
    assert all(part[-1] == embedded.vocabulary.end for part in (embedded.train, embedded.valid))


def test_embedded_corpus_is_the_same_each_time(embedded: Corpus) -> None:
    again = load_corpus("pydoc", min_count=2)

    assert again.fingerprint() == embedded.fingerprint()
    assert load_corpus(min_count=1).fingerprint() != embedded.fingerprint()


def test_embedded_corpus_has_words_and_no_markup(embedded: Corpus) -> None:
    lines = [line for part in pydoc_lines() for line in part]

    assert all(word.split() == [word] for line in lines for word in line)
    assert {"::=", ">>>", "**", "``", "====="}.isdisjoint(word for line in lines for word in line)
    assert min(len(line) for line in lines) >= 3
    assert "statement" in embedded.vocabulary


def test_embedded_corpus_tests_on_sentences_it_was_not_trained_on() -> None:
    """Topics repeat each other's paragraphs, which must not come back in another part."""
    train, valid, test = ([" ".join(line) for line in part] for part in pydoc_lines())

    for part in (valid, test):
        long = {line for line in part if line.count(" ") >= 12}
        assert len(long) > 50
        assert long.isdisjoint(train)


def test_embedded_corpus_says_when_this_python_lacks_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pydoc_data"):
            raise ModuleNotFoundError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(RunFailedError, match="without the module pydoc_data.*--corpus DIR"):
        load_corpus()


@pytest.mark.parametrize("names", FORMS)
def test_load_corpus_reads_each_form_of_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    corpus = load_corpus(_write(tmp_path, names))

    assert corpus.name == tmp_path.name
    assert corpus.vocabulary.words == ("the", "<eos>", "cat", "sat", "dog", "ran", "<unk>")
    assert corpus.vocabulary.decode(corpus.train) == [
        "the",
        "cat",
        "sat",
        "<eos>",
        "the",
        "dog",
        "ran",
        "<eos>",
    ]
    assert corpus.vocabulary.decode(corpus.valid) == ["the", "<unk>", "sat", "<eos>"]
    assert corpus.vocabulary.decode(corpus.test) == ["<unk>", "dog", "<eos>"]
    assert corpus.train.dtype == np.int64
    assert corpus.about() == (
        f"{tmp_path.name}: 8 / 4 / 3 words, vocabulary 7, 25.0 % unknown in valid"
    )


def test_load_corpus_keeps_the_unknown_word_of_a_corpus(tmp_path: Path) -> None:
    (_write(tmp_path) / "train.txt").write_text("<unk> <unk> the\n")

    corpus = load_corpus(str(tmp_path))

    assert corpus.vocabulary.words == ("<unk>", "the", "<eos>")
    assert corpus.train.tolist() == [0, 0, 1, 2]


def test_load_corpus_splits_one_file_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(b"w%d x\r\n\r\n" % i for i in range(20)))

    corpus = load_corpus(path, max_vocab=3)

    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [48, 6, 6]
    assert corpus.vocabulary.words == ("x", "<eos>", "<unk>")
    path.write_text("a\nb\nc\n")
    small = load_corpus(path)
    assert [len(part) for part in (small.train, small.valid, small.test)] == [2, 2, 2]


def test_fingerprint_changes_with_every_part_and_not_with_the_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write_in(tmp_path / name)
    first = load_corpus(tmp_path / "a").fingerprint()

    assert load_corpus(tmp_path / "b").fingerprint() == first
    (tmp_path / "b" / "test.txt").write_text("the dog\n")
    assert load_corpus(tmp_path / "b").fingerprint() != first


def _write_in(folder: Path) -> Path:
    folder.mkdir()
    return _write(folder)


def _bytes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "valid.txt").unlink(),
            r"has no valid\.txt; looked for are train",
        ),
        (_bytes("test.txt", b" \n\n"), r"test\.txt has no words"),
        (_bytes("train.txt", b"a b\nc \xff d\n"), r"train\.txt is no UTF-8 text: line 2 .*0xff"),
        (
            lambda f: [(f / name).unlink() for name in FORMS[1]],
            r"has no text: one of .*wiki\.train",
        ),
    ],
)
def test_load_corpus_refuses_a_folder_it_cannot_use(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(_write(tmp_path))

    with pytest.raises(InvalidInputError, match=message):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "pydok"}, "unknown corpus 'pydok'. Did you mean 'pydoc'.* Or the path"),
        ({"spec": "no/such"}, "corpus no/such: there is no such file or folder"),
        ({"spec": Path("nosuch")}, "corpus nosuch: there is no such file or folder"),
        ({"spec": "text.txt"}, r"corpus text\.txt: there is no such"),
        ({"spec": 3}, "be a name or a path; received 3"),
        ({"min_count": 0}, "min_count must be a whole number ≥ 1; received 0"),
        ({"min_count": True}, "min_count must be a whole number ≥ 1; received True"),
        ({"max_vocab": 1}, "max_vocab must be a whole number ≥ 2, or None; received 1"),
        ({"max_vocab": 2.5}, "max_vocab must be a whole number ≥ 2"),
    ],
)
def test_load_corpus_refuses_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_corpus(**arguments)


def test_load_corpus_refuses_a_file_of_too_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a\n\nb\n")

    with pytest.raises(InvalidInputError, match="have 3 lines with words or more.*received 2"):
        load_corpus(path)


def test_load_corpus_reads_a_text_in_the_words_of_a_given_vocabulary(tmp_path: Path) -> None:
    for part, text in (("train", "sun rain"), ("valid", "sun wind snow"), ("test", "snow")):
        (tmp_path / f"{part}.txt").write_text(text)
    vocabulary = Vocabulary(("<eos>", "wind", "<unk>", "sun"))
    corpus = load_corpus(tmp_path, vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert corpus.valid.tolist() == [3, 1, 2, 0]
    with pytest.raises(InvalidInputError, match="one is given"):
        load_corpus(tmp_path, vocabulary=vocabulary, max_vocab=3)

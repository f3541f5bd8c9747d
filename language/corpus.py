"""Corpora for language models: text as ids of words, in a training, a validation and a test part.

corpus = load_corpus()                # the embedded one, nothing is downloaded
corpus = load_corpus("ptb")           # downloaded once; see public_corpora.py
corpus = load_corpus("path/of/text")  # a folder with train, valid and test, or one file
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from imm_rl.errors import InvalidInputError, invalid, unknown_name
from imm_rl.files import user_path
from imm_rl.language import public_corpora, pydoc_corpus
from imm_rl.language.vocabulary import END, IntArray, Vocabulary, check_sizes

Line = list[str]
Parts = tuple[list[Line], list[Line], list[Line]]

EMBEDDED = "pydoc"
FORMS = (
    ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
    ("train.txt", "valid.txt", "test.txt"),
    ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    ("train.tokens", "valid.tokens", "test.tokens"),
)
"""Names of the training, validation and test file that a folder may have; the first that fits is read."""

MIN_COUNT = 1
"""Every word of a folder's training part is in the vocabulary, as in published results on PTB."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Ids of words; each line ends in `<eos>`.

    Attributes:
        name: What it is called in tables.
        vocabulary: Of the training part alone.
        train: (T,) int64; likewise valid and test.
        valid: What to choose settings by.
        test: What to report.
    """

    name: str
    vocabulary: Vocabulary
    train: IntArray = field(repr=False)
    valid: IntArray = field(repr=False)
    test: IntArray = field(repr=False)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any word of any part, and not with the name."""
        found = hashlib.sha256(self.vocabulary.text().encode())
        for part in (self.train, self.valid, self.test):
            found.update(len(part).to_bytes(8, "little"))
            found.update(part.astype("<i8").tobytes())
        return found.hexdigest()[:16]

    def about(self) -> str:
        """One line: name, words of the parts, vocabulary, share of `<unk>` in the validation part."""
        sizes = " / ".join(f"{len(part):,}" for part in (self.train, self.valid, self.test))
        unknown = float(np.mean(self.valid == self.vocabulary.unknown))
        return (
            f"{self.name}: {sizes} words, vocabulary {len(self.vocabulary):,}, "
            f"{100.0 * unknown:.1f} % unknown in valid"
        )


def load_corpus(
    spec: str | Path = EMBEDDED,
    *,
    min_count: int | None = None,
    max_vocab: int | None = None,
    vocabulary: Vocabulary | None = None,
    cache: str | Path | None = None,
) -> Corpus:
    """Reads a corpus.

    Args:
        spec: "pydoc": embedded, the prose of Python's own documentation; its text is that of the
            Python that runs, so note `fingerprint()` with results. "ptb" or "wikitext-2": downloaded
            at first use. Anything else is a path: of a folder with files named as in `FORMS`, or of
            one text file, which is split 80/10/10 by lines, in contiguous blocks. UTF-8, one
            sentence a line, words between blanks; blank lines are dropped. A folder whose name is
            that of a corpus is written "./ptb".
        min_count: Words that occur less often in the training part become `<unk>`. None: 2 for
            "pydoc", else 1.
        max_vocab: At most so many words, `<unk>` and `<eos>` among them; the most frequent stay.
        vocabulary: Of a model that exists; every word that it lacks becomes `<unk>`. None: that of
            the training part.
        cache: Folder of downloads; None: `$IMM_RL_CACHE`, or else `~/.cache/imm-rl`.

    Raises:
        InvalidInputError: There is no such corpus, a part is missing or empty, a file is no UTF-8
            text, a number is out of its range, or a vocabulary is given with numbers that shape one.
        RunFailedError: A download or the disk failed, or this Python lacks `pydoc_data`.
    """
    if not isinstance(spec, str | os.PathLike):
        raise invalid("a corpus", "be a name or a path", spec)
    check_sizes(MIN_COUNT if min_count is None else min_count, max_vocab)
    if vocabulary is not None and not (min_count is None and max_vocab is None):
        raise InvalidInputError(
            "min_count and max_vocab shape a vocabulary, and one is given. Give up one of them."
        )
    name, parts = _named_parts(spec, cache)
    if vocabulary is None:
        usual = pydoc_corpus.MIN_COUNT if spec == EMBEDDED else MIN_COUNT
        least = usual if min_count is None else min_count
        vocabulary = Vocabulary.of(_flat(parts[0]), min_count=least, max_size=max_vocab)
    train, valid, test = (vocabulary.encode(_flat(part)) for part in parts)
    return Corpus(name, vocabulary, train, valid, test)


def _named_parts(spec: str | Path, cache: str | Path | None) -> tuple[str, Parts]:
    if spec == EMBEDDED:
        return EMBEDDED, pydoc_corpus.pydoc_lines()
    if isinstance(spec, str) and spec in public_corpora.names():
        return spec, _folder(public_corpora.folder(spec, cache))
    path = _existing(spec)
    return path.resolve().name, _folder(path) if path.is_dir() else _single(path)


def _flat(lines: Iterable[Line]) -> Iterable[str]:
    return chain.from_iterable((*line, END) for line in lines)


def _existing(spec: str | Path) -> Path:
    path = user_path(spec)
    if path.exists():
        return path
    text = str(spec)
    if isinstance(spec, Path) or os.sep in text or "/" in text or path.suffix or text[:1] in "~.":
        raise InvalidInputError(f"corpus {text}: there is no such file or folder.")
    unknown = unknown_name("corpus", text, (EMBEDDED, *public_corpora.names()))
    raise InvalidInputError(
        f"{unknown} Or the path of a folder or file of text; there is no {text}."
    )


def _folder(folder: Path) -> Parts:
    """The parts of a folder, by the first of the forms it has a file of all three parts of."""
    there = [[(folder / name).is_file() for name in names] for names in FORMS]
    form = max(range(len(FORMS)), key=lambda i: sum(there[i]))  # the first of those with most
    if not any(there[form]):
        forms = "; ".join(", ".join(names) for names in FORMS)
        raise InvalidInputError(f"{folder} has no text: one of these is looked for: {forms}.")
    if not all(there[form]):
        missing = [name for name, found in zip(FORMS[form], there[form], strict=True) if not found]
        raise InvalidInputError(
            f"{folder} has no {' and no '.join(missing)}; looked for are {', '.join(FORMS[form])}."
        )
    train, valid, test = (_lines(folder / name) for name in FORMS[form])
    return train, valid, test


def _single(path: Path) -> Parts:
    """The parts of one file: 80 %, 10 % and 10 % of its lines, at least one each."""
    lines = _lines(path)
    if len(lines) < 3:
        raise invalid(f"{path}", "have 3 lines with words or more, to be split", len(lines))
    first = min(max(round(0.8 * len(lines)), 1), len(lines) - 2)
    second = min(max(round(0.9 * len(lines)), first + 1), len(lines) - 1)
    return lines[:first], lines[first:second], lines[second:]


def _lines(path: Path) -> list[Line]:
    """The words of each line that has any."""
    lines = [line.split() for line in _text(path).split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise InvalidInputError(f"{path} has no words; a corpus needs some in every part.")
    return found


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"{path} is no UTF-8 text: line {line} has the byte 0x{content[error.start]:02x}. "
            "Save it as UTF-8, e.g. with iconv."
        ) from None

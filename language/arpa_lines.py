r"""Reads the lines of an ARPA file: \data\, \1-grams:, \2-grams:, ..., \end\.

Source: the format's description in SRILM's manual, ngram-format(5). Numbers are log10.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imm_rl.errors import InvalidInputError

ZERO = -99.0
"""A log10 probability or weight up to this stands for zero."""

DATA, END = b"\\data\\", b"\\end\\"
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)$")
_SECTION = re.compile(rb"\\(\d+)-grams:$")


@dataclass
class Section:
    """The K listed n-grams of one length m, in the file's order.

    Attributes:
        length: m.
        ids: K · m word ids, n-gram after n-gram.
        logs: K log10 probabilities.
        backoffs: K log10 weights, 0 where the line has none.
        lines: K line numbers, from 1.
    """

    length: int
    ids: array[int] = field(default_factory=lambda: array("q"))
    logs: array[float] = field(default_factory=lambda: array("d"))
    backoffs: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def ngrams(self) -> NDArray[np.int64]:
        """(K, m) int64."""
        return np.array(self.ids, dtype=np.int64).reshape(len(self.logs), self.length)


def read(path: Path) -> tuple[list[str], list[Section]]:
    """The words, numbered as their unigrams are listed, and one section for each length.

    Raises:
        InvalidInputError: The path is no file that can be read, or a line is wrong; names the line.
    """
    if not os.path.isfile(path):
        why = "it is a folder" if os.path.isdir(path) else "there is no such file"
        raise InvalidInputError(f"{path} cannot be read: {why}.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _Parser(path, enumerate(file, start=1)).parse()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}.") from error


class _Parser:
    """Goes through the lines once; `line` is the current one without surrounding space."""

    def __init__(self, path: Path, lines: Iterator[tuple[int, bytes]]) -> None:
        self.path, self.lines = path, lines
        self.number, self.line = 0, b""
        self.words: dict[bytes, int] = {}
        self.names: list[str] = []

    def parse(self) -> tuple[list[str], list[Section]]:
        while self.advance() != DATA:
            pass  # whatever stands before it is a comment
        counts = self.counts()
        sections = [self.section(m, count, m < len(counts)) for m, count in enumerate(counts, 1)]
        if self.line != END:
            raise self.wrong(rf"\end\ must follow the {len(counts)}-grams; received {self.shown()}")
        for _ in self.lines:
            pass  # the checksum of a compressed file stands at its very end
        _require_distinct(self.path, sections, self.names)
        return self.names, sections

    def advance(self) -> bytes:
        """Goes to the next line that is not blank."""
        for number, raw in self.lines:
            self.number = number
            self.line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
            if self.line:
                return self.line
        missing = "\\end\\" if self.names else "\\data\\"
        raise self.wrong(f"the file ends without {missing}; it is cut short or no ARPA file")

    def counts(self) -> list[int]:
        """The numbers of n-grams that the header promises, for the lengths 1, 2, ..."""
        counts: list[int] = []
        while not self.advance().startswith(b"\\"):
            match = _COUNT.match(self.line)
            if match is None or int(match[1]) != len(counts) + 1:
                raise self.wrong(
                    f"'ngram {len(counts) + 1}=COUNT' must stand here; received {self.shown()}"
                )
            counts.append(int(match[2]))
        if not counts or not counts[0]:
            raise self.wrong(r"\data\ must give the number of 1-grams, at least 1: 'ngram 1=COUNT'")
        return counts

    def section(self, length: int, count: int, has_backoffs: bool) -> Section:
        """The n-grams of one length; leaves `line` at the marker that follows."""
        match = _SECTION.match(self.line)
        if match is None or int(match[1]) != length:
            raise self.wrong(rf"\{length}-grams: must stand here; received {self.shown()}")
        section = Section(length)
        # A line of a section begins with a number, so a backslash begins the next marker.
        while not self.advance().startswith(b"\\"):
            self.ngram(section, length, has_backoffs)
        if len(section.logs) != count:
            raise self.wrong(
                rf"\{length}-grams: lists {len(section.logs)} n-grams before this line, but "
                rf"'ngram {length}={count}' stands in \data" + "\\"
            )
        return section

    def ngram(self, section: Section, length: int, has_backoffs: bool) -> None:
        fields = self.line.split()
        extra = len(fields) - 1 - length
        if extra not in ((0, 1) if has_backoffs else (0,)):
            more = " and perhaps a weight" if has_backoffs else ""
            raise self.wrong(
                f"a log10 probability, {length} word{'s' * (length > 1)}{more} must stand here; "
                f"received {self.shown()}"
            )
        log = self.as_number(fields[0])
        if log > 0:
            raise self.wrong(f"a log10 probability must be at most 0; received {log!r}")
        section.logs.append(log)
        section.backoffs.append(self.as_number(fields[-1]) if extra else 0.0)
        section.lines.append(self.number)
        if length == 1:
            self.add_word(fields[1])
        try:
            section.ids.extend([self.words[word] for word in fields[1 : length + 1]])
        except KeyError as error:
            word = self.decoded(error.args[0])
            raise self.wrong(f"the word {word!r} must be among the 1-grams; it is not") from error

    def add_word(self, word: bytes) -> None:
        if word in self.words:
            raise self.wrong(
                f"each n-gram must be listed once; received {self.decoded(word)!r} again"
            )
        self.words[word] = len(self.names)
        self.names.append(self.decoded(word))

    def as_number(self, text: bytes) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not value < float("inf"):
            raise self.wrong(f"a number must stand here; received {self.decoded(text)!r}")
        return value

    def decoded(self, text: bytes) -> str:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wrong(f"the text must be UTF-8; received the bytes {text!r}") from error

    def shown(self) -> str:
        text = self.decoded(self.line)
        return repr(text if len(text) <= 60 else text[:57] + "...")

    def wrong(self, what: str) -> InvalidInputError:
        """Builds (does not raise) the error about the current line."""
        return InvalidInputError(f"{self.path}, line {self.number}: {what}.")


def _require_distinct(path: Path, sections: list[Section], names: list[str]) -> None:
    for section in sections[1:]:
        ngrams = section.ngrams()
        order = np.lexsort(ngrams.T[::-1])  # stable: of two equal ones the later comes second
        again = order[1:][(ngrams[order[1:]] == ngrams[order[:-1]]).all(1)]
        if len(again):
            row = int(again.min())
            text = " ".join(names[i] for i in ngrams[row].tolist())
            raise InvalidInputError(
                f"{path}, line {section.lines[row]}: each n-gram must be listed once; received "
                f"{text!r} again."
            )

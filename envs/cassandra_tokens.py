"""The words of a Cassandra `.POMDP` file and their places, of which the reader's errors are made.

White space only separates, `#` begins a comment, `:` and `*` are words of their own. Words are kept
as plain strings, for speed; line and column are looked up only when an error is built.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from imm_rl.errors import InvalidInputError

PREAMBLE = ("discount", "values", "states", "actions", "observations")
SECTIONS = (*PREAMBLE, "start", "T", "O", "R")
RESERVED = frozenset(
    (*SECTIONS, "include", "exclude", "uniform", "identity", "reset", "reward", "cost")
)
"""The format's own words: none may be the name of a state, an action or an observation."""

_KEYWORDS = frozenset(SECTIONS)
_COMMENT = re.compile(r"#[^\n]*")
_WORD = re.compile(r"[:*]|[^\s:*]+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def is_name(word: str) -> bool:
    """Whether the format allows the word as a name: a letter, then letters, digits, `_` and `-`."""
    return _NAME.fullmatch(word) is not None


def is_integer(word: str) -> bool:
    """Whether the word is a whole number, such as an index or a count."""
    return _INTEGER.fullmatch(word) is not None


def is_number(word: str) -> bool:
    """Whether the word is a number as files write them; it may still be too large for a float."""
    return _NUMBER.fullmatch(word) is not None


class Section(NamedTuple):
    """One entry: `words[first]` is its keyword, `words[body:end]` is what follows the colon."""

    keyword: str
    first: int
    body: int
    end: int


class Tokens:
    """The words of one file; every method that raises names the file, the line and the column.

    Attributes:
        path: The file, as the user wrote it.
        words: Every word in order.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        text = _read_text(self.path)
        # A comment ends its line, so taking it out moves no other word.
        self._text = _COMMENT.sub("", text)
        self.words: list[str] = _WORD.findall(self._text)
        if not self.words:
            what = "holds nothing but comments" if text.strip() else "is empty"
            raise InvalidInputError(f"{self.path}:1:1: the file {what}; expected a .POMDP model.")

    def place(self, index: int) -> str:
        """`path:line:column` of a word; past the last word, of the end of the file."""
        match = next(islice(_WORD.finditer(self._text), index, None), None)
        at = match.start() if match else len(self._text.rstrip())
        line = self._text.count("\n", 0, at) + 1
        return f"{self.path}:{line}:{at - self._text.rfind(chr(10), 0, at)}"

    def error(self, index: int, expected: str, hint: str = "") -> InvalidInputError:
        """Builds the error for a word that is not what the grammar wants there."""
        found = "the end of the file"
        if index < len(self.words):
            word = self.words[index]
            found = repr(word if len(word) <= 60 else word[:57] + "...")
        return self.problem(index, f"expected {expected}; found {found}.{hint and ' ' + hint}")

    def problem(self, index: int, text: str) -> InvalidInputError:
        """Builds an error at the place of a word."""
        return InvalidInputError(f"{self.place(index)}: {text}")

    def sections(self) -> Iterator[Section]:
        """Cuts the file at its keywords. They are reserved: none can be a name inside an entry."""
        words = self.words
        starts = [i for i, word in enumerate(words) if word in _KEYWORDS]
        if not starts or starts[0] != 0:
            raise self._unknown_keyword(0)
        for first, end in pairwise([*starts, len(words)]):
            keyword, body = words[first], first + 1
            if keyword == "start" and body < end and words[body] in ("include", "exclude"):
                keyword, body = f"start {words[body]}", body + 1
            if body >= end or words[body] != ":":
                hint = f"{words[first]!r} is a word of the format and cannot be a name."
                misused = not self._first_on_line(first)
                raise self.error(body, f"':' after {keyword!r}", hint if misused else "")
            yield Section(keyword, first, body + 1, end)

    def table(self, section: Section, first: int, shape: tuple[int, ...], what: str) -> list[float]:
        """The numbers `words[first:section.end]`, which must fill the shape.

        Args:
            section: The entry that the numbers belong to.
            first: Index of the first number.
            shape: Lengths of the axes; () for one number.
            what: What is expected, for the message, e.g. "a row of 3 probabilities".
        """
        words, wanted = self.words[first : section.end], math.prod(shape)
        if not all(map(_NUMBER.fullmatch, words)):
            bad = next(i for i, word in enumerate(words) if not _NUMBER.fullmatch(word))
            raise self.stray(first + bad, what)
        if not words:
            raise self.error(section.end, what)
        if len(words) > wanted:
            hint = f"There are {len(words)} numbers.{self._odd_line(first, section.end, shape)}"
            raise self.error(first + wanted, f"{what} and no number more", hint)
        if len(words) < wanted:
            hint = self._odd_line(first, section.end, shape)
            raise self.problem(
                section.first, f"expected {what}; found {len(words)} of {wanted} numbers.{hint}"
            )
        values = list(map(float, words))
        if not all(map(math.isfinite, values)):
            bad = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise self.error(first + bad, "a finite number")
        return values

    def stray(self, index: int, expected: str) -> InvalidInputError:
        """Builds the error for a word that fits nowhere: perhaps a keyword written wrongly."""
        follows = self.words[index + 1 : index + 2] == [":"]
        if follows and is_name(self.words[index]) and self._first_on_line(index):
            return self._unknown_keyword(index)
        return self.error(index, expected)

    def _unknown_keyword(self, index: int) -> InvalidInputError:
        return self.problem(
            index,
            f"unknown keyword {self.words[index]!r}.{did_you_mean(self.words[index], SECTIONS)} "
            f"Known: {', '.join(SECTIONS)}.",
        )

    def _first_on_line(self, index: int) -> bool:
        if index == 0:
            return True
        before, word = islice(_WORD.finditer(self._text), index - 1, index + 1)
        return "\n" in self._text[before.end() : word.start()]

    def _odd_line(self, first: int, end: int, shape: tuple[int, ...]) -> str:
        """Points at the line whose count of numbers is off, where a matrix is laid out by lines."""
        if len(shape) < 2:
            return ""
        matches = islice(_WORD.finditer(self._text), first, end)
        counts = Counter(self._text.count("\n", 0, match.start()) + 1 for match in matches)
        odd = [line for line, count in counts.items() if count != shape[-1]]
        if len(odd) != 1 or len(counts) == 1:
            return ""
        return f" Line {odd[0]} has {counts[odd[0]]} numbers, the others have {shape[-1]}."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known word, case apart; empty where none is near."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.5)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def _read_text(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InvalidInputError(f"{path}: is a folder; expected a .POMDP file.") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}.") from None
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\0" in data:
        place = _place_in(data, data.index(b"\0"))
        raise InvalidInputError(
            f"{path}:{place}: found a zero byte; expected a text file in UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:  # its object is the data without a byte order mark
        found = f"found the byte 0x{error.object[error.start]:02x}, which is not UTF-8"
        place = _place_in(error.object, error.start)
        raise InvalidInputError(f"{path}:{place}: {found}; save the file as UTF-8.") from None


def _place_in(data: bytes, at: int) -> str:
    """Line and column of a byte in a file that is no text; a column counts bytes."""
    before = data[:at].split(b"\n")
    return f"{len(before)}:{len(before[-1]) + 1}"

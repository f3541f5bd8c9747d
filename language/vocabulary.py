"""The words of a corpus and their ids, most frequent first."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imm_rl.errors import InvalidInputError, invalid

IntArray = npt.NDArray[np.int64]

UNKNOWN = "<unk>"
"""Stands for every word that is not in the vocabulary."""
END = "<eos>"
"""Stands at the end of every line."""


@dataclass(frozen=True)
class Vocabulary:
    """V words; the id of a word is its place.

    Attributes:
        words: Each once, without blanks; `<unk>` and `<eos>` are among them.

    Raises:
        InvalidInputError: A word is missing, stands twice, is empty or has a blank in it.
    """

    words: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {word: i for i, word in enumerate(self.words)}
        if len(ids) < len(self.words):
            twice = next(word for i, word in enumerate(self.words) if ids[word] != i)
            raise invalid("a vocabulary", "have each word once", twice)
        for special in (UNKNOWN, END):
            if special not in ids:
                raise InvalidInputError(f"a vocabulary must have the word {special!r}; it has not.")
        blank = next((word for word in self.words if word.split() != [word]), None)
        if blank is not None:
            raise invalid("a word of a vocabulary", "be a text without blanks", blank)
        object.__setattr__(self, "_ids", ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    @classmethod
    def of(
        cls, words: Iterable[str], *, min_count: int = 1, max_size: int | None = None
    ) -> Vocabulary:
        """The vocabulary of a text: most frequent first, ties in order of first appearance.

        `<unk>` and `<eos>` are kept in any case, at their place where the text has them, else at the
        end.

        Args:
            words: The text.
            min_count: Words that occur less often are left out; ≥ 1.
            max_size: At most so many words, those that `<unk>` and `<eos>` are among; ≥ 2.

        Raises:
            InvalidInputError: A number is out of its range.
        """
        check_sizes(min_count, max_size)
        # most_common sorts stably, and a Counter keeps the order of first appearance.
        counted = Counter(words).most_common()
        room = len(counted) if max_size is None else max_size - 2  # what <unk> and <eos> leave
        kept = []
        for word, count in counted:
            special = word in (UNKNOWN, END)
            if special or (count >= min_count and room > 0):
                kept.append(word)
                room -= not special
        kept += [word for word in (UNKNOWN, END) if word not in kept]
        return cls(tuple(kept))

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The vocabulary that `text` wrote down.

        Raises:
            InvalidInputError: It is none.
        """
        return cls(tuple(text.removesuffix("\n").split("\n")))

    def text(self) -> str:
        """One word a line, in the order of their ids, for a file such as `vocabulary.txt`."""
        return "".join(f"{word}\n" for word in self.words)

    @property
    def unknown(self) -> int:
        """Id of `<unk>`."""
        return self._ids[UNKNOWN]

    @property
    def end(self) -> int:
        """Id of `<eos>`."""
        return self._ids[END]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def encode(self, words: Iterable[str]) -> IntArray:
        """Ids (T,) of T words; of `<unk>` for words that are not in the vocabulary."""
        ids, unknown = self._ids, self.unknown
        return np.fromiter((ids.get(word, unknown) for word in words), dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of some ids.

        Raises:
            InvalidInputError: An id is not in 0 ... V - 1.
        """
        found = [int(i) for i in ids]
        wrong = next((i for i in found if not 0 <= i < len(self)), None)
        if wrong is not None:
            raise invalid("a word's id", f"be in 0 ... {len(self) - 1}", wrong)
        return [self.words[i] for i in found]

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the words or their order."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]


def check_sizes(min_count: object, max_size: object) -> None:
    """Refuses numbers that no vocabulary can be made with.

    Raises:
        InvalidInputError: min_count is no whole number ≥ 1, or max_size neither None nor one ≥ 2.
    """
    if not _whole(min_count, 1):
        raise invalid("min_count", "be a whole number ≥ 1", min_count)
    if not (max_size is None or _whole(max_size, 2)):
        remedy = f"{UNKNOWN} and {END} are always words"
        raise invalid("max_vocab", "be a whole number ≥ 2, or None", max_size, remedy)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

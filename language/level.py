"""One order of an n-gram model in backoff form: its contexts, their weights and listed n-grams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from imm_rl.errors import InvalidInputError, invalid

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one length m: C contexts of m − 1 words, `nnz` listed n-grams.

    Attributes:
        contexts: (C, m − 1) int64, distinct, sorted lexicographically; oldest word first.
        backoff: (C,) float64, weight of the next lower order's probabilities.
        indptr: (C + 1,) int64; context c owns the entries indptr[c] up to indptr[c + 1].
        words: (nnz,) int64, the last word of each n-gram; ascending within a context.
        probs: (nnz,) float64, the whole P(word | context): it replaces the lower order's value.

    Raises:
        InvalidInputError: The shapes do not fit together, or the order of rows or words is wrong.
    """

    contexts: Ints
    backoff: Floats
    indptr: Ints
    words: Ints
    probs: Floats

    def __post_init__(self) -> None:
        if self.contexts.ndim != 2 or self.contexts.shape[1] < 1:
            raise invalid(
                "contexts", "have the shape (C, m - 1), m at least 2", self.contexts.shape
            )
        shapes = (self.backoff.shape, self.indptr.shape, self.words.shape, self.probs.shape)
        n_contexts, n_entries = len(self.contexts), len(self.words)
        fitting = ((n_contexts,), (n_contexts + 1,), (n_entries,), (n_entries,))
        if shapes != fitting:
            raise invalid("backoff, indptr, words and probs", f"have the shapes {fitting}", shapes)
        if self.indptr[0] != 0 or self.indptr[-1] != n_entries or (np.diff(self.indptr) < 0).any():
            raise invalid("indptr", f"ascend from 0 to {n_entries}", self.indptr)
        self._require_sorted()

    @property
    def order(self) -> int:
        """m, the length of the n-grams."""
        return int(self.contexts.shape[1]) + 1

    @classmethod
    def from_ngrams(cls, ngrams: Ints, probs: Floats, contexts: Ints, backoff: Floats) -> Level:
        """Builds a level from n-grams and contexts in any order.

        Args:
            ngrams: (K, m) int64, distinct.
            probs: (K,) float64, P(last word | the words before it).
            contexts: (C', m − 1) int64, distinct: contexts whose weight is known. Those of `ngrams`
                that are not among them get weight 1.
            backoff: (C',) float64, their weights.

        Raises:
            InvalidInputError: N-grams or contexts are not distinct.
        """
        order = _lexicographic(ngrams)
        ngrams, probs = ngrams[order], probs[order]
        # The known contexts come first: the sort is stable, so a run of equal rows starts with one.
        rows = np.concatenate([contexts, ngrams[:, :-1]])
        weights = np.concatenate([backoff, np.ones(len(ngrams))])
        order = _lexicographic(rows)
        first = _first_of_runs(rows[order])
        at = np.cumsum(first) - 1  # the context of each sorted row
        owned = at[order >= len(contexts)]
        if len(contexts) > np.count_nonzero(first & (order < len(contexts))):
            raise InvalidInputError("contexts must be distinct; received one twice.")
        sizes = np.bincount(owned, minlength=int(first.sum()))
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        order = order[first]
        return cls(rows[order], weights[order], indptr, ngrams[:, -1].copy(), probs)

    def find(self, contexts: Ints) -> Ints:
        """The row of each context.

        Args:
            contexts: (N, m − 1) int64.

        Returns:
            (N,) int64 in 0..C−1, or −1 where the context is not listed.
        """
        found = np.zeros(len(contexts), dtype=np.int64)
        for column, keys in enumerate(self._prefix_keys):
            found = self._search(keys, found, contexts[:, column])
        return found

    def find_words(self, found: Ints, words: Ints) -> Ints:
        """The entry of each n-gram.

        Args:
            found: (N,) rows as `find` gives them.
            words: (N,) int64, the word after each context.

        Returns:
            (N,) int64 into `words` and `probs`, or −1 where the n-gram is not listed.
        """
        return self._search(self._entry_keys, found, words)

    def weights(self, found: Ints) -> Floats:
        """(N,) float64, the backoff weights of rows as `find` gives them; 1 where not listed."""
        if not len(self.backoff):
            return np.ones(len(found))
        return np.where(found >= 0, self.backoff[found], 1.0)

    def entries(self, found: Ints) -> tuple[Ints, Ints]:
        """All entries of the contexts in rows as `find` gives them.

        Returns:
            (E,) int64, the item each entry belongs to, in 0..N−1; and (E,) int64, the entry.
        """
        items = np.flatnonzero(found >= 0)
        starts = self.indptr[found[items]]
        sizes = self.indptr[found[items] + 1] - starts
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        return np.repeat(items, sizes), np.arange(total) + np.repeat(starts - ends + sizes, sizes)

    @cached_property
    def _base(self) -> int:
        """One more than the largest word, so that row * base + word is a unique key."""
        largest = [array.max() for array in (self.contexts, self.words) if array.size]
        return int(max(largest, default=0)) + 1

    @cached_property
    def _prefix_keys(self) -> tuple[Ints, ...]:
        """For each column, the sorted keys (rank of the words before) * base + word.

        Ranks instead of the words themselves: V ** (m − 1) may exceed int64.
        """
        keys = []
        rank = np.zeros(len(self.contexts), dtype=np.int64)
        for column in range(self.contexts.shape[1]):
            all_keys = rank * self._base + self.contexts[:, column]
            first = np.ones(len(all_keys), dtype=bool)
            first[1:] = all_keys[1:] != all_keys[:-1]
            keys.append(all_keys[first])
            rank = np.cumsum(first) - 1
        return tuple(keys)

    @cached_property
    def _entry_keys(self) -> Ints:
        rows = np.repeat(np.arange(len(self.contexts)), np.diff(self.indptr))
        return rows * self._base + self.words

    def _search(self, keys: Ints, before: Ints, words: Ints) -> Ints:
        """(N,), where `before` * base + `words` stands among the sorted keys; −1 where it doesn't."""
        if not len(keys):
            return np.full(len(before), -1, dtype=np.int64)
        possible = (before >= 0) & (words >= 0) & (words < self._base)
        wanted = np.where(possible, before * self._base + words, -1)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, at, -1)

    def _require_sorted(self) -> None:
        smallest = [array.min() for array in (self.contexts, self.words) if array.size]
        if min(smallest, default=0) < 0:
            raise invalid("contexts and words", "be ids, at least 0", int(min(smallest)))
        if len(self._prefix_keys[-1]) < len(self.contexts) or any(
            (np.diff(keys) <= 0).any() for keys in self._prefix_keys
        ):
            raise InvalidInputError("contexts must be distinct and in lexicographic order.")
        if (np.diff(self._entry_keys) <= 0).any():
            raise InvalidInputError("words must ascend within each context, each n-gram once.")


def _lexicographic(rows: Ints) -> Ints:
    """(K,), the stable order that sorts (K, m) rows lexicographically."""
    return np.lexsort(rows.T[::-1]).astype(np.int64)


def _first_of_runs(rows: Ints) -> NDArray[np.bool_]:
    """(K,), True where a row differs from the one before it."""
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]).any(1)
    return first

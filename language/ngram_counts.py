"""Counts of n-grams of every length in one long sequence, as Kneser-Ney smoothing needs them.

N-grams are numbered in lexicographic order, each length on its own: an m-gram is sorted by the
number of its first m − 1 words and its last word, so that no key exceeds T · V, whatever the order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """The K distinct n-grams of one length m; for m = 1, all V words.

    Attributes:
        ngrams: (K, m) int64, sorted lexicographically.
        prefix: (K,) int64, the number of the first m − 1 words among the (m − 1)-grams.
        suffix: (K,) int64, the number of the last m − 1 words among them.
        counts: (K,) int64. At the highest order how often the n-gram occurs; below it, after how
            many distinct words (0 where it occurs at the start of the sequence only).
    """

    ngrams: Ints
    prefix: Ints
    suffix: Ints
    counts: Ints


def adjusted_counts(tokens: Ints, vocab_size: int, order: int) -> list[NgramCounts]:
    """Counts the n-grams of the lengths 1..order in one sequence, without padding.

    Args:
        tokens: (T,) int64 in 0..V−1, T at least the order.
        vocab_size: V.
        order: The highest length.

    Returns:
        One `NgramCounts` for each length, shortest first. Memory and time grow with order · T.
    """
    none = np.zeros(vocab_size, dtype=np.int64)
    ngrams, prefix, suffix = np.arange(vocab_size)[:, None], none, none
    counts = np.bincount(tokens, minlength=vocab_size)
    levels = []
    numbers = tokens  # the number of the m-gram that starts at each position
    for length in range(2, order + 1):
        last = tokens[length - 1 :]
        keys = numbers[:-1] * vocab_size + last
        unique, first, inverse, occurrences = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        next_suffix = numbers[first + 1]
        # Distinct m-grams with the same suffix differ in their first word: its left neighbours.
        left = np.bincount(next_suffix, minlength=len(ngrams))
        levels.append(NgramCounts(ngrams, prefix, suffix, left))
        prefix, suffix, counts = unique // vocab_size, next_suffix, occurrences
        ngrams = np.concatenate([ngrams[prefix], (unique % vocab_size)[:, None]], axis=1)
        numbers = inverse
    levels.append(NgramCounts(ngrams, prefix, suffix, counts))
    return levels

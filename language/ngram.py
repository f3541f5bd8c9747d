"""Interpolated modified Kneser-Ney smoothing of n-gram models, of any order.

For a context v and the adjusted counts a (`ngram_counts`: occurrences at the highest order,
distinct left neighbours below it),

    P(w|v) = (a(v, w) − D(a(v, w))) / a(v) + γ(v) P(w | v without its oldest word)
    γ(v)   = Σ_w D(a(v, w)) / a(v),     a(v) = Σ_w a(v, w)

with discounts D(1), D(2), D(3 and more) of each order from the numbers N1..N4 of its n-grams that
have adjusted count 1..4:

    Y = N1/(N1 + 2 N2),   D1 = 1 − 2 Y N2/N1,   D2 = 2 − 3 Y N3/N2,   D3+ = 3 − 4 Y N4/N3.

Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
Computer Speech and Language 13 (1999); Heafield et al., "Scalable modified Kneser-Ney language
model estimation", ACL 2013, for the interpolation with 1/V and the discounts of small corpora.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imm_rl.errors import invalid
from imm_rl.language import ids
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.level import Level
from imm_rl.language.ngram_counts import NgramCounts, adjusted_counts

Floats = NDArray[np.float64]
Discounts = tuple[float, float, float]

FALLBACK: Discounts = (0.5, 1.0, 1.5)
"""Discounts of an order whose counts give none, as KenLM's --discount_fallback."""


class KneserNey(BackoffModel):
    """An n-gram model with interpolated modified Kneser-Ney smoothing.

    Args:
        order: The length of the longest n-grams, at least 1. Order 1 is relative frequencies.
        unknown: The id that stands for every id outside 0..V−1, in `fit` too; without it such ids
            are refused.
        uniform: Whether the single words are discounted as well and interpolated with 1/V, as in
            KenLM, so that every word of the vocabulary has a positive probability. None: only where
            a word of the vocabulary follows nothing (at order 1: does not occur) in the tokens.
            Otherwise P(w) is the share of the distinct bigrams that end in w.

    Attributes:
        discounts: After `fit`, (D1, D2, D3+) of each order that is discounted.
        fallbacks: After `fit`, the orders, ascending, whose counts gave no discount in [0, count]
            (small corpora), so that `FALLBACK` was taken.

    Raises:
        InvalidInputError: An argument is no integer or out of range.
    """

    def __init__(
        self, order: int = 2, *, unknown: int | None = None, uniform: bool | None = None
    ) -> None:
        if uniform not in (None, True, False):
            raise invalid("uniform", "be True, False or None", uniform)
        self._order = ids.whole("order", order, at_least=1)
        self._unknown = None if unknown is None else ids.whole("unknown", unknown, at_least=0)
        self._tables = None
        self.uniform = uniform
        self.discounts: dict[int, Discounts] = {}
        self.fallbacks: tuple[int, ...] = ()

    def fit(self, tokens: ArrayLike, *, vocab_size: int) -> KneserNey:
        """Estimates the model from one long sequence; an earlier fit is forgotten.

        All T − m + 1 n-grams of each length m count; nothing is padded.

        Args:
            tokens: (T,) integers in 0..V−1, T at least the order.
            vocab_size: V.

        Returns:
            The model itself.

        Raises:
            InvalidInputError: The tokens, their number or `vocab_size` is wrong, or `unknown` is
                outside the vocabulary.
        """
        vocab_size = ids.whole("vocab_size", vocab_size, at_least=1)
        unknown = ids.unknown_id(self._unknown, vocab_size)
        sequence = ids.sequence(tokens, vocab_size, unknown, at_least=self._order)
        counted = adjusted_counts(sequence, vocab_size, self._order)
        self.discounts, self.fallbacks = {}, ()
        probs = unigram = self._single_words(counted[0].counts)
        levels = []
        for shorter, longer in itertools.pairwise(counted):
            level, probs = self._level(shorter, longer, probs)
            levels.append(level)
        self._tables = (unigram, tuple(levels))
        return self

    def _single_words(self, counts: NDArray[np.int64]) -> Floats:
        """(V,), the probabilities without context."""
        if not (bool((counts == 0).any()) if self.uniform is None else self.uniform):
            return counts.astype(np.float64) / float(counts.sum())
        taken: Floats = self._discounts(1, counts)[np.minimum(counts, 3)]
        kept: Floats = counts - taken + taken.sum() / len(counts)
        return kept / float(counts.sum())

    def _level(
        self, shorter: NgramCounts, longer: NgramCounts, lower: Floats
    ) -> tuple[Level, Floats]:
        """One order from its counts and the probabilities (K_shorter,) of the order below.

        Returns:
            The level, and (K_longer,) the probabilities of its n-grams; 0 for those of count 0,
            which are not listed. No longer n-gram ends in one of those.
        """
        order = longer.ngrams.shape[1]
        n_contexts = len(shorter.ngrams)
        taken = self._discounts(order, longer.counts)[np.minimum(longer.counts, 3)]
        totals = np.bincount(longer.prefix, weights=longer.counts, minlength=n_contexts)
        known = totals > 0
        mass = np.bincount(longer.prefix, weights=taken, minlength=n_contexts)
        backoff = np.divide(mass, totals, out=np.zeros(n_contexts), where=known)
        listed = longer.counts > 0
        probs = np.zeros(len(longer.counts))
        prefix = longer.prefix[listed]
        probs[listed] = (longer.counts - taken)[listed] / totals[prefix]
        probs[listed] += backoff[prefix] * lower[longer.suffix[listed]]
        sizes = np.bincount(prefix, minlength=n_contexts)[known]
        level = Level(
            contexts=shorter.ngrams[known],
            backoff=backoff[known],
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            words=longer.ngrams[listed, -1],
            probs=probs[listed],
        )
        return level, probs

    def _discounts(self, order: int, counts: NDArray[np.int64]) -> Floats:
        """(4,), the discounts of the counts 0, 1, 2 and 3 or more; notes them as attributes."""
        found = modified_discounts(counts)
        if found is None:
            self.fallbacks = (*self.fallbacks, order)
        self.discounts[order] = found or FALLBACK
        return np.array([0.0, *self.discounts[order]])


def modified_discounts(counts: NDArray[np.int64]) -> Discounts | None:
    """Chen and Goodman's discounts of one order.

    Args:
        counts: (K,) adjusted counts of its n-grams, at least 0.

    Returns:
        (D1, D2, D3+), or None where no n-gram has count 1, 2 or 3, or a discount lies outside
        [0, count].
    """
    n1, n2, n3, n4 = (int(n) for n in np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    if 0 in (n1, n2, n3):
        return None
    y = n1 / (n1 + 2 * n2)
    result = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    within = all(0 <= discount <= count for count, discount in enumerate(result, start=1))
    return result if within else None

"""N-gram models in backoff form, and looking words up in them.

    P(w | v_1..v_{m−1}) = the listed probability            where the n-gram is listed,
                          backoff(v_1..v_{m−1}) P(w | v_2..v_{m−1})       otherwise

from the model's order down to single words; a context that is not listed backs off with weight 1.
Interpolated Kneser-Ney models (`ngram`) and ARPA files (`arpa`) both have this form.

Index letters: V words of the vocabulary, N items, T tokens, C contexts of a level. Words are ids in
0..V−1; contexts have the oldest word first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.language import ids
from imm_rl.language.level import Level

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class BackoffModel:
    """An n-gram model of any order in backoff form.

    Args:
        unigram: (V,) float64, P(word) without any context; at least 0.
        levels: One `Level` for each order 2, 3, ..., the model's order.
        unknown: The id that stands for every id outside 0..V−1; without it such ids are refused.

    Raises:
        InvalidInputError: An array or the order of the levels is wrong.
    """

    def __init__(
        self, unigram: ArrayLike, levels: Sequence[Level] = (), *, unknown: int | None = None
    ) -> None:
        probs = np.asarray(unigram, dtype=np.float64)
        if probs.ndim != 1 or not len(probs) or not bool((probs >= 0).all()):
            raise invalid("unigram", "be probabilities of shape (V,), V at least 1", probs.shape)
        orders = [level.order for level in levels]
        if orders != list(range(2, len(levels) + 2)):
            raise invalid("levels", "have the orders 2, 3, ... one after the other", orders)
        self._order = len(levels) + 1
        self._unknown = ids.unknown_id(unknown, len(probs))
        self._tables: tuple[Floats, tuple[Level, ...]] | None = (probs, tuple(levels))

    @property
    def order(self) -> int:
        """The length of the longest n-grams; contexts have order − 1 words."""
        return self._order

    @property
    def unknown(self) -> int | None:
        """The id that ids outside the vocabulary count as, or None."""
        return self._unknown

    @property
    def unigram(self) -> Floats:
        """(V,) float64, the probabilities without any context."""
        return self._fitted()[0]

    @property
    def levels(self) -> tuple[Level, ...]:
        """The tables of the orders 2, 3, ..., `order`."""
        return self._fitted()[1]

    @property
    def vocab_size(self) -> int:
        """V, the number of words."""
        return len(self.unigram)

    def probs(self, contexts: ArrayLike) -> Floats:
        """The distribution of the next word after each context.

        Args:
            contexts: (N, order − 1) integers, oldest word first; also (N,) at order 2.

        Returns:
            (N, V) float64; 8 N V bytes.

        Raises:
            InvalidInputError: The shape or an id is wrong, or the model is not fitted.
        """
        unigram, levels = self._fitted()
        contexts = self._contexts(contexts)
        rows = np.tile(unigram, (len(contexts), 1))
        for level in levels:
            found = level.find(_latest(contexts, level.order - 1))
            rows *= level.weights(found)[:, None]
            at, entries = level.entries(found)
            rows[at, level.words[entries]] = level.probs[entries]
        return rows

    def prob(self, contexts: ArrayLike, words: ArrayLike) -> Floats:
        """The probability of one word after each context, in memory O(N).

        Args:
            contexts: As in `probs`.
            words: (N,) integers.

        Returns:
            (N,) float64.

        Raises:
            InvalidInputError: A shape or an id is wrong, or the model is not fitted.
        """
        unigram, levels = self._fitted()
        contexts = self._contexts(contexts)
        words = ids.checked("words", words, self.vocab_size, self._unknown)
        if words.shape != (len(contexts),):
            raise invalid("words", f"have the shape (N,) = ({len(contexts)},)", words.shape)
        result: Floats = unigram[words]
        for level in levels:
            found = level.find(_latest(contexts, level.order - 1))
            result *= level.weights(found)
            entries = level.find_words(found, words)
            listed = entries >= 0
            result[listed] = level.probs[entries[listed]]
        return result

    def log_prob(self, tokens: ArrayLike) -> Floats:
        """The log-probability of each token after the order − 1 tokens before it; nats.

        The first order − 1 tokens have no full context and are not scored.

        Args:
            tokens: (T,) integers, T at least the order.

        Returns:
            (T − order + 1,) float64, −inf where the model rules a token out; memory O(T).

        Raises:
            InvalidInputError: The shape or an id is wrong, or the model is not fitted.
        """
        length = self._order - 1
        known = ids.sequence(tokens, self.vocab_size, self._unknown, at_least=self._order)
        contexts = np.zeros((len(known), 0), dtype=np.int64)
        if length:
            contexts = np.lib.stride_tricks.sliding_window_view(known[:-1], length)
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(self.prob(contexts, known[length:]))
        return logs

    def perplexity(self, tokens: ArrayLike) -> float:
        """The exponential of the mean negative log-probability of the tokens that are scored.

        Args:
            tokens: As in `log_prob`.

        Returns:
            At least 1; inf where the model rules a token out.

        Raises:
            InvalidInputError: As `log_prob`.
        """
        with np.errstate(over="ignore"):
            return float(np.exp(-self.log_prob(tokens).mean()))

    def _fitted(self) -> tuple[Floats, tuple[Level, ...]]:
        if self._tables is None:
            raise InvalidInputError(
                f"this {type(self).__name__} has no probabilities yet. Call fit(tokens, "
                "vocab_size=...) first."
            )
        return self._tables

    def _contexts(self, contexts: ArrayLike) -> Ints:
        length = self._order - 1
        result = ids.checked("contexts", contexts, self.vocab_size, self._unknown)
        if result.ndim == 1 and length == 1:
            result = result[:, None]
        if result.ndim != 2 or result.shape[1] != length:
            raise invalid(
                "contexts",
                f"have the shape (N, order - 1) = (N, {length})",
                result.shape,
                f"A model of order {self._order} looks at the last {length} words",
            )
        return result


def _latest(contexts: Ints, length: int) -> Ints:
    """(N, length), the latest words of each context."""
    latest: Ints = contexts[:, contexts.shape[1] - length :]
    return latest

"""Carries an n-gram model over to another vocabulary; words that it lacks become the unknown word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imm_rl.language.backoff import BackoffModel
from imm_rl.language.level import Level

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def onto_vocabulary(
    model: BackoffModel, target: Ints, vocab_size: int, unknown: int | None
) -> BackoffModel:
    """The same distributions over the words of another vocabulary.

    P'(w|v) = Σ P(u|v) over the words u of the model that become w. Contexts with a word that
    becomes the unknown one without being it are dropped: which of them is meant can't be told.

    Args:
        model: Over U words.
        target: (U,) int64, the id of each word in the new vocabulary, distinct; −1 for a word that
            is not in it. Without `unknown` such words must never be predicted by the model.
        vocab_size: V, the number of words of the new vocabulary; those that are no target get
            probability 0.
        unknown: The new id that takes over the probabilities of the words without a target.

    Returns:
        A model over V words whose `unknown` is the given one.
    """
    kept: Bools = target >= 0
    if unknown is not None:
        target = np.where(kept, target, unknown)
    predicted = target >= 0
    summed = np.bincount(target[predicted], model.unigram[predicted], minlength=vocab_size)
    unigram = summed.astype(np.float64)
    if unknown is not None:
        # What rounding and pruning left over belongs to the words that are not listed.
        unigram = with_rest(unigram, unknown)
    levels: list[Level] = []
    for at, level in enumerate(model.levels):
        lower = BackoffModel(model.unigram, model.levels[:at])
        new_lower = BackoffModel(unigram, levels)
        levels.append(_carried(level, lower, new_lower, target, kept, unknown))
    return BackoffModel(unigram, levels, unknown=unknown)


def with_rest(unigram: Floats, unknown: int) -> Floats:
    """(V,), with what is missing to a sum of 1 given to the unknown word.

    Less than 1e-6 counts as the rounding of a file's numbers and is left as it is.
    """
    rest = 1 - float(unigram.sum())
    if rest <= 1e-6:
        return unigram
    result: Floats = unigram.copy()
    result[unknown] += rest
    return result


def _carried(
    level: Level,
    lower: BackoffModel,
    new_lower: BackoffModel,
    target: Ints,
    kept: Bools,
    unknown: int | None,
) -> Level:
    """One level; `lower` and `new_lower` are the orders below it, before and after."""
    contexts = target[level.contexts]
    known = np.all(kept[level.contexts], axis=1)
    rows = np.repeat(np.arange(len(contexts)), np.diff(level.indptr))
    words = target[level.words]
    to_unknown: Bools = words == (-2 if unknown is None else unknown)
    single = known[rows] & ~to_unknown
    merged = known[rows] & to_unknown

    # P'(unknown|v) = Σ_listed P(u|v) + backoff(v) (P'(unknown|v⁻) − Σ_listed P(u|v⁻)).
    owners, of = np.unique(rows[merged], return_inverse=True)
    before = lower.prob(level.contexts[rows[merged], 1:], level.words[merged])
    after = new_lower.prob(contexts[owners, 1:], np.full(len(owners), unknown or 0))
    unlisted = after - np.bincount(of, before, minlength=len(owners))
    listed = np.bincount(of, level.probs[merged], minlength=len(owners))
    sums = np.maximum(listed + level.backoff[owners] * unlisted, 0.0)  # no −1e-18 by rounding

    of_single = np.column_stack([contexts[rows[single]], words[single]])
    of_merged = np.column_stack([contexts[owners], np.full(len(owners), unknown or 0)])
    return Level.from_ngrams(
        np.concatenate([of_single, of_merged]),
        np.concatenate([level.probs[single], sums]),
        contexts[known],
        level.backoff[known],
    )

"""P̂ around a hole, from the bigram's probabilities by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.level import Level
from imm_rl.language.masked_bigram import MaskedBigram, bigram_of
from imm_rl.language.ngram import KneserNey

# Words 0 ([SEP]), 1 and 2. Listed: P(1|0) = 0.7, P(2|1) = 0.6, P(0|2) = 0.5; weights 0.5 but 1 for none.
UNIGRAM = np.array([0.2, 0.5, 0.3])
LEVEL = Level(
    contexts=np.array([[0], [1], [2]]),
    backoff=np.array([0.4, 0.5, 0.6]),
    indptr=np.array([0, 1, 2, 3]),
    words=np.array([1, 2, 0]),
    probs=np.array([0.7, 0.6, 0.5]),
)


def test_left_is_the_bigram_over_pieces_that_can_be_masked() -> None:
    bigram = MaskedBigram(BackoffModel(UNIGRAM, [LEVEL]), [0], "left")
    rows = bigram.probs(torch.tensor([[0], [1], [2]]))
    # after 1: P(1) = 0.5 · 0.5, P(2) = 0.6; after 2: 0.6 · 0.5 and 0.6 · 0.3
    expected = [
        [0, 0.7 / 0.82, 0.12 / 0.82],
        [0, 0.25 / 0.85, 0.6 / 0.85],
        [0, 0.3 / 0.48, 0.18 / 0.48],
    ]
    assert np.allclose(rows.numpy(), expected, atol=1e-6)


def test_both_is_the_product_of_the_bigram_in_both_directions() -> None:
    bigram = MaskedBigram(BackoffModel(UNIGRAM, [LEVEL]), [0], "both")
    rows = bigram.probs(torch.tensor([[1, 0], [1, 2], [0, 1]]))
    # (1, 0): P(1|1) P(0|1) = 0.25 · 0.5·0.2, P(2|1) P(0|2) = 0.6 · 0.5
    # (1, 2): 0.25 · P(2|1) = 0.25 · 0.6,     0.6 · P(2|2) = 0.6 · 0.6·0.3
    # (0, 1): 0.7 · P(1|1) = 0.7 · 0.25,      0.12 · P(1|2) = 0.12 · 0.6·0.5
    products = np.array([[0.025, 0.3], [0.15, 0.108], [0.175, 0.036]])
    expected = products / products.sum(1, keepdims=True)
    assert np.allclose(rows[:, 1:].numpy(), expected, atol=1e-6)
    assert rows[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_both_of_kneser_ney_agrees_with_its_probs_on_every_pair() -> None:
    rng = np.random.default_rng(0)
    model = KneserNey(order=2).fit(rng.integers(0, 12, size=300) ** 2 % 12, vocab_size=12)
    table = model.probs(np.arange(12))
    left, right = np.divmod(np.arange(144), 12)
    product = table[left] * table[:, right].T
    product[:, [0, 3]] = 0.0
    expected = product / product.sum(1, keepdims=True)
    contexts = torch.from_numpy(np.stack([left, right], 1))
    found = MaskedBigram(model, [0, 3], "both").probs(contexts)
    assert np.allclose(found.numpy(), expected, atol=1e-6)


def test_bigram_of_counts_across_the_pieces_of_each_sentence() -> None:
    rows = [[0, 2, 3, 1], [0, 2, 4, 1], [0, 3, 4, 1]]
    flat = [piece for row in rows for piece in row]
    expected = KneserNey(order=2).fit(flat, vocab_size=6).probs([2, 3])
    assert np.array_equal(bigram_of(rows, 6).probs([2, 3]), expected)


def test_other_orders_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="order 2; received 1"):
        MaskedBigram(BackoffModel(UNIGRAM), [0])

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus
from imm_rl.language.histories import Contexts
from imm_rl.language.level import Level
from imm_rl.language.ngram import KneserNey
from imm_rl.language.ngram_rows import NgramRows

BOTH = pytest.mark.parametrize("dense_bytes", [2**20, 0], ids=["dense", "sparse"])


@BOTH
@pytest.mark.parametrize("order", [2, 3])
def test_rows_equal_those_of_the_model(tiny_corpus: Corpus, order: int, dense_bytes: int) -> None:
    model = KneserNey(order).fit(tiny_corpus.train, vocab_size=8)
    contexts = Contexts.of(torch.from_numpy(tiny_corpus.train), order)
    rows = NgramRows(model, contexts.words, dense_bytes=dense_bytes)
    ids = torch.tensor([3, 0, len(contexts.words) - 1, 3])

    found = rows.probs(ids)

    assert found.dtype == torch.float32
    expected = model.probs(contexts.words[ids].numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=3e-7)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-6)
    everything = rows.probs(torch.arange(len(contexts.words)))
    np.testing.assert_allclose(everything, model.probs(contexts.words.numpy()), rtol=3e-7)


@BOTH
@pytest.mark.parametrize("order", [2, 3])
def test_rows_of_a_model_that_lists_few_contexts(order: int, dense_bytes: int) -> None:
    bigrams = Level.from_ngrams(
        np.array([[1, 2], [1, 0]]), np.array([0.5, 0.2]), np.array([[1], [0]]), np.array([0.4, 0.9])
    )
    trigrams = Level.from_ngrams(
        np.array([[2, 1, 1]]), np.array([0.7]), np.array([[2, 1], [0, 0]]), np.array([0.5, 0.3])
    )
    model = BackoffModel([0.2, 0.3, 0.5], [bigrams, trigrams][: order - 1])
    words = np.array(list(itertools.product(range(3), repeat=order - 1)))
    rows = NgramRows(model, torch.from_numpy(words), dense_bytes=dense_bytes)

    found = rows.probs(torch.arange(len(words)))

    np.testing.assert_allclose(found, model.probs(words), rtol=3e-7)
    # By hand: after 1 the words 0 and 2 are listed and 1 backs off; after 2, which is not listed,
    # stand the single words.
    if order == 2:
        np.testing.assert_allclose(found[1], [0.2, 0.12, 0.5], rtol=3e-7)
        np.testing.assert_allclose(found[2], [0.2, 0.3, 0.5], rtol=3e-7)
    else:
        np.testing.assert_allclose(found[7], [0.1, 0.7, 0.25], rtol=3e-7)  # after 2 1


def test_sparse_rows_of_a_model_without_entries() -> None:
    nothing = np.zeros((0, 1), dtype=np.int64)
    level = Level.from_ngrams(np.zeros((0, 2), dtype=np.int64), np.zeros(0), nothing, np.zeros(0))
    rows = NgramRows(BackoffModel([0.25, 0.75], [level]), torch.tensor([[1]]), dense_bytes=0)
    assert rows.probs(torch.tensor([0, 0])).tolist() == [[0.25, 0.75], [0.25, 0.75]]

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from imm_rl.language.corpus import Corpus
from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.lm_evaluation import induced_probs, perplexity
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_worth import induced_perplexity, worth
from imm_rl.language.ngram import KneserNey

Settings = Callable[..., LMSettings]


@pytest.fixture
def model(tiny_settings: Settings) -> LanguageModel:
    return build(tiny_settings(init_range=0.9), 8, 1).eval()


def with_valid(corpus: Corpus, valid: list[int]) -> Corpus:
    words = np.array(valid, dtype=np.int64)
    return Corpus(corpus.name, corpus.vocabulary, corpus.train, words, corpus.test)


def slow(model: LanguageModel, corpus: Corpus, ngram: KneserNey) -> float:
    """The induced model's, the n-gram model's where the training text lacks the context."""
    contexts = Contexts.of(torch.from_numpy(corpus.train), ngram.order)
    n_contexts = len(contexts.words)
    pairs = torch.arange(n_contexts).repeat_interleave(8), torch.arange(8).repeat(n_contexts)
    table = induced_probs(model, contexts, *pairs, streams=3, unroll=10).view(-1, 8).numpy()
    rows = {tuple(words): row for words, row in zip(contexts.words.tolist(), table, strict=True)}
    total, length = 0.0, ngram.order - 1
    for end in range(length, len(corpus.valid)):
        context = tuple(corpus.valid[end - length : end].tolist())
        row = rows.get(context)
        row = ngram.probs(np.array([context]))[0] if row is None else row
        total -= math.log(row[corpus.valid[end]])
    return math.exp(total / (len(corpus.valid) - length))


def test_worth_has_the_perplexities_of_all_models(
    model: LanguageModel, tiny_corpus: Corpus, tiny_ngram: KneserNey, tiny_settings: Settings
) -> None:
    settings = tiny_settings()
    found = worth(model, tiny_corpus, tiny_ngram, settings=settings)
    parts = {"valid": tiny_corpus.valid, "test": tiny_corpus.test}
    expected = {}
    for part, tokens in parts.items():
        own = perplexity(model, torch.from_numpy(tokens), streams=3, unroll=10)
        expected[f"{part}_perplexity"] = own
        expected[f"ngram_{part}_perplexity"] = tiny_ngram.perplexity(tokens)
    expected["induced_valid_perplexity"] = slow(model, tiny_corpus, tiny_ngram)
    assert found == pytest.approx({**expected, "ngram_order": 2}, rel=1e-5)
    assert list(worth(model, tiny_corpus, None, settings=settings)) == [
        "valid_perplexity",
        "test_perplexity",
    ]


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize(
    "valid",
    [[0, 1, 2, 7, 3, 4, 7, 7, 5, 6, 0, 1], [7, 7, 7, 7, 7, 7], [7, 7, 7, 7, 1]],
    ids=["some-unknown", "all-unknown", "one-word-after-unknown"],
)
def test_induced_perplexity_leaves_contexts_that_training_lacks_to_the_ngram(
    model: LanguageModel, tiny_corpus: Corpus, valid: list[int], order: int
) -> None:
    corpus = with_valid(tiny_corpus, valid)
    assert 7 not in corpus.train  # <unk>
    ngram = KneserNey(order).fit(corpus.train, vocab_size=8)
    found = induced_perplexity(model, corpus, ngram, streams=3, unroll=10)
    assert found == pytest.approx(slow(model, corpus, ngram), rel=1e-5)

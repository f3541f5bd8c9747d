"""A corpus, settings and trainers so small that a training takes a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imm_rl.language.corpus import Corpus
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import LMTrainer
from imm_rl.language.ngram import KneserNey
from imm_rl.language.vocabulary import Vocabulary
from imm_rl.schedules import parse

WORDS = ("<eos>", "a", "b", "c", "d", "e", "f", "<unk>")

Settings = Callable[..., LMSettings]
Trainers = Callable[..., LMTrainer]


def _text(rng: np.random.Generator, length: int) -> np.ndarray:
    """A chain of words: mostly the next one of the alphabet, sometimes any."""
    words = [0]
    while len(words) < length:
        jump = rng.random() < 0.2
        words.append(int(rng.integers(7)) if jump else (words[-1] + 1) % 7)
    return np.array(words, dtype=np.int64)


@pytest.fixture(scope="session")
def tiny_corpus() -> Corpus:
    rng = np.random.default_rng(5)
    train, valid, test = (_text(rng, length) for length in (402, 130, 90))
    return Corpus("tiny", Vocabulary(WORDS), train, valid, test)


@pytest.fixture(scope="session")
def tiny_ngram(tiny_corpus: Corpus) -> KneserNey:
    return KneserNey(2).fit(tiny_corpus.train, vocab_size=len(WORDS))


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    """Ten updates an epoch."""

    def make(**changes: Any) -> LMSettings:
        size = dict(hidden_size=8, layers=2, dropout=0.2, batch_size=4, unroll=10, epochs=3)
        steps = dict(learning_rate=5.0, clip=0.5, eval_batch_size=3)
        drawn = dict(k=3, history=4, contexts=6, every=2)
        base: dict[str, Any] = {**size, **steps, **drawn}
        return LMSettings(**{**base, **changes})

    return make


@pytest.fixture(scope="session")
def trainer(tiny_corpus: Corpus, tiny_ngram: KneserNey, tiny_settings: Settings) -> Trainers:
    """`trainer("batch", "0.5", epochs=2)`: a new one."""

    def make(
        method: str = "batch",
        weight: str = "0.5",
        *,
        seed: int = 3,
        corpus: Corpus = tiny_corpus,
        **changes: Any,
    ) -> LMTrainer:
        settings = tiny_settings(**changes)
        ngram = tiny_ngram
        if corpus is not tiny_corpus or settings.order != 2:
            ngram = KneserNey(settings.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))
        known = None if method == "none" else ngram
        schedule = parse("0" if method == "none" else weight)
        return LMTrainer(corpus, settings, method, schedule, known, seed=seed)

    return make

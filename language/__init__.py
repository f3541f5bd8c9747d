"""Induced Model Matching on text and tables: n-grams, language models, logistic regression.

The names below are looked up late: NumPy is enough for n-grams and corpora, torch is needed for models.
The extra `language` has scikit-learn, for `IMMLogisticRegression`, and transformers, for masked models.

    from imm_rl.language import KneserNey, load_corpus
    corpus = load_corpus()
    bigram = KneserNey(order=2).fit(corpus.train, vocab_size=len(corpus.vocabulary))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imm_rl.language.arpa import read_arpa, write_arpa
    from imm_rl.language.backoff import BackoffModel
    from imm_rl.language.corpus import Corpus, load_corpus
    from imm_rl.language.generation import generate
    from imm_rl.language.lm_checkpoint import load_model
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_training import LMTrainer
    from imm_rl.language.logistic import IMMLogisticRegression
    from imm_rl.language.masked_loss import IMMMaskedLMLoss
    from imm_rl.language.masked_model import BertForClassificationAndMaskedLM
    from imm_rl.language.ngram import KneserNey
    from imm_rl.language.vocabulary import Vocabulary

_LATE = {
    "BackoffModel": "backoff",
    "BertForClassificationAndMaskedLM": "masked_model",
    "Corpus": "corpus",
    "IMMLogisticRegression": "logistic",
    "IMMMaskedLMLoss": "masked_loss",
    "KneserNey": "ngram",
    "LMSettings": "lm_settings",
    "LMTrainer": "lm_training",
    "Vocabulary": "vocabulary",
    "generate": "generation",
    "load_corpus": "corpus",
    "load_model": "lm_checkpoint",
    "read_arpa": "arpa",
    "write_arpa": "arpa",
}

__all__ = [
    "BackoffModel",
    "BertForClassificationAndMaskedLM",
    "Corpus",
    "IMMLogisticRegression",
    "IMMMaskedLMLoss",
    "KneserNey",
    "LMSettings",
    "LMTrainer",
    "Vocabulary",
    "generate",
    "load_corpus",
    "load_model",
    "read_arpa",
    "write_arpa",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(f"imm_rl.language.{_LATE[name]}"), name)
    raise AttributeError(f"module 'imm_rl.language' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])

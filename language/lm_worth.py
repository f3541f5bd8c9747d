"""What a trained model is worth: perplexities, its own and those of its induced n-gram model.

The induced model is taken from the training text and asked the n-gram model's own question: the next
word of a validation text from the n − 1 words before it. A context that the training text lacks is left
to the n-gram model in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus
from imm_rl.language.histories import Contexts
from imm_rl.language.level import Level
from imm_rl.language.lm_evaluation import context_perplexity, induced_table, perplexity
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lstm import LSTMModel

MOST_CELLS = 2 * 10**8
"""Contexts times words of the largest table of induced probabilities; 800 MB."""


def worth(
    model: LSTMModel, corpus: Corpus, ngram: BackoffModel | None, *, settings: LMSettings
) -> dict[str, Any]:
    """Perplexities of a model in evaluation mode.

    Args:
        model: On any device.
        corpus: In the model's vocabulary.
        ngram: The restricted model, None without one.
        settings: How the texts are cut for evaluation.

    Returns:
        `valid_perplexity`, `test_perplexity`; with an n-gram model `ngram_order`,
        `ngram_valid_perplexity`, `ngram_test_perplexity`, and `induced_valid_perplexity` where its table
        is not too large.
    """
    device = next(model.parameters()).device
    cut = {"streams": settings.eval_batch_size, "unroll": settings.unroll}
    found: dict[str, Any] = {
        f"{part}_perplexity": perplexity(model, _on(getattr(corpus, part), device), **cut)
        for part in ("valid", "test")
    }
    if ngram is None:
        return found
    found["ngram_order"] = ngram.order
    for part in ("valid", "test"):
        found[f"ngram_{part}_perplexity"] = ngram.perplexity(getattr(corpus, part))
    induced = induced_perplexity(model, corpus, ngram, **cut)
    return found if induced is None else {**found, "induced_valid_perplexity": induced}


def induced_perplexity(
    model: LSTMModel, corpus: Corpus, ngram: BackoffModel, *, streams: int, unroll: int
) -> float | None:
    """The perplexity of the induced model at the n-gram model's task, on the validation text.

    Returns:
        None where the table of all contexts would have more than `MOST_CELLS` entries.
    """
    contexts = Contexts.of(_on(corpus.train, next(model.parameters()).device), ngram.order)
    if len(contexts.words) * len(corpus.vocabulary) > MOST_CELLS:
        return None
    table = induced_table(model, contexts, streams=streams, unroll=unroll)
    length = ngram.order - 1
    asked = np.lib.stride_tricks.sliding_window_view(corpus.valid[:-1], length)
    targets = corpus.valid[length:]
    index = _index(contexts.words.cpu().numpy(), asked)
    known = index >= 0
    loss = 0.0
    if known.any():
        ids, words = _on(index[known], table.device), _on(targets[known], table.device)
        loss += known.sum() * np.log(context_perplexity(table, ids, words))
    if not known.all():
        loss -= np.log(ngram.prob(asked[~known], targets[~known])).sum()
    return float(np.exp(loss / len(index)))


def _index(words: Any, asked: Any) -> Any:
    """(N,) rows of contexts (N, n − 1) in a sorted table (C, n − 1); −1 where it lacks them."""
    empty = np.zeros(0)
    table = Level(
        contexts=words,
        backoff=np.ones(len(words)),
        indptr=np.zeros(len(words) + 1, dtype=np.int64),
        words=empty.astype(np.int64),
        probs=empty,
    )
    return table.find(asked)


def _on(tokens: Any, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(tokens).to(device)

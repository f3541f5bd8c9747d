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
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.level import Level
from imm_rl.language.lm_evaluation import induced_probs, perplexity
from imm_rl.language.lm_settings import LMSettings


def worth(
    model: LanguageModel, corpus: Corpus, ngram: BackoffModel | None, *, settings: LMSettings
) -> dict[str, Any]:
    """Perplexities of a model in evaluation mode.

    Args:
        model: On any device.
        corpus: In the model's vocabulary.
        ngram: The restricted model, None without one.
        settings: How the texts are cut for evaluation.

    Returns:
        `valid_perplexity`, `test_perplexity`; with an n-gram model `ngram_order`,
        `ngram_valid_perplexity`, `ngram_test_perplexity` and `induced_valid_perplexity`.
    """
    device = next(model.parameters()).device
    cut: dict[str, Any] = {"streams": settings.eval_batch_size, "unroll": settings.unroll}
    found: dict[str, Any] = {
        f"{part}_perplexity": perplexity(model, _on(getattr(corpus, part), device), **cut)
        for part in ("valid", "test")
    }
    if ngram is None:
        return found
    found["ngram_order"] = ngram.order
    for part in ("valid", "test"):
        found[f"ngram_{part}_perplexity"] = ngram.perplexity(getattr(corpus, part))
    found["induced_valid_perplexity"] = induced_perplexity(model, corpus, ngram, **cut)
    return found


def induced_perplexity(
    model: LanguageModel, corpus: Corpus, ngram: BackoffModel, *, streams: int, unroll: int
) -> float:
    """The perplexity of the induced model at the n-gram model's task, on the validation text."""
    device = next(model.parameters()).device
    contexts = Contexts.of(_on(corpus.train, device), ngram.order)
    length = ngram.order - 1
    asked = np.lib.stride_tricks.sliding_window_view(corpus.valid[:-1], length)
    targets = corpus.valid[length:]
    index = _index(contexts.words.cpu().numpy(), asked)
    known = index >= 0
    pairs = (_on(index[known], device), _on(targets[known], device))
    found = induced_probs(model, contexts, *pairs, streams=streams, unroll=unroll)
    loss = -float(found.log().sum())
    if not known.all():
        loss -= float(np.log(ngram.prob(asked[~known], targets[~known])).sum())
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

"""What a language model is worth: perplexity, and how its induced model does at the n-gram's own task.

Index letters: B streams, U words of a piece, T words of a text, C contexts, V words of the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import nll_loss

from imm_rl.language.histories import Contexts
from imm_rl.language.lstm import LanguageModel
from imm_rl.language.text_streams import IGNORED, Streams


@torch.no_grad()
def perplexity(
    model: LanguageModel, tokens: torch.Tensor, *, streams: int = 10, unroll: int = 35
) -> float:
    """Exp of the mean −log Q(word | words before it in its stream), over all words but the first.

    Args:
        model: In evaluation mode.
        tokens: (T,) int64, on the model's device.
        streams: B stretches are read side by side, each from an empty state: fewer give a slightly
            lower perplexity and take longer.
        unroll: Words of a piece; the state is carried, so it changes nothing but memory.

    Returns:
        NaN or inf where the model diverged.
    """
    pieces = Streams(tokens, streams, unroll, whole=True)
    state = model.start(pieces.n_streams)
    total = torch.zeros((), dtype=torch.float64, device=tokens.device)
    for piece in pieces:
        hidden, state = model.encode(piece.inputs, state)
        log_probs = model.log_probs(hidden).flatten(0, 1)
        loss = nll_loss(log_probs, piece.targets.flatten(), ignore_index=IGNORED, reduction="sum")
        total += loss.double()
    mean = float(total) / (len(tokens) - 1)
    return math.exp(mean) if mean < 700.0 else math.inf if mean == mean else math.nan


@torch.no_grad()
def induced_table(
    model: LanguageModel, contexts: Contexts, *, streams: int = 10, unroll: int = 35
) -> torch.Tensor:
    """The induced model of every context of a text, averaged over all of its histories there.

    Q̄(y|c) = mean over positions p with context c of Q(y | the words up to p).

    Args:
        model: In evaluation mode.
        contexts: Of the text, on the model's device.
        streams: As in `perplexity`.
        unroll: As in `perplexity`.

    Returns:
        (C, V) float32 probabilities, on the model's device; rows sum to 1.
    """
    table: torch.Tensor | None = None
    counts = torch.zeros(len(contexts.words), device=contexts.tokens.device)
    pieces = Streams(contexts.tokens, streams, unroll, whole=True)
    state = model.start(pieces.n_streams)
    for piece in pieces:
        hidden, state = model.encode(piece.inputs, state)
        probs = model.log_probs(hidden).flatten(0, 1).exp_()
        counted = (piece.targets.flatten() != IGNORED).float()
        ids = contexts.ids[piece.positions.flatten()]
        if table is None:
            table = probs.new_zeros(len(contexts.words), probs.shape[1])
        table.index_add_(0, ids, probs * counted.unsqueeze(1))
        counts.index_add_(0, ids, counted)
    if table is None:  # a text of one word has no piece, and Streams refuses it
        raise AssertionError
    seen = counts > 0
    table[seen] /= counts[seen].unsqueeze(1)
    table[~seen] = 1.0 / table.shape[1]  # a context that only the text's last position has
    return table


def context_perplexity(table: torch.Tensor, ids: torch.Tensor, targets: torch.Tensor) -> float:
    """Exp of the mean −log table[context, target], of pairs (T,) of contexts and targets.

    Args:
        table: (C, V) probabilities.
        ids: (T,) int64 in 0..C−1.
        targets: (T,) int64 in 0..V−1.
    """
    logs = table[ids, targets].double().log()
    return math.exp(-float(logs.mean()))

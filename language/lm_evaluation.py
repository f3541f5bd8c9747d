"""What a language model is worth: perplexity, and how its induced model does at the n-gram's own task.

Index letters: B streams, U words of a piece, T words of a text, C contexts, V words of the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import nll_loss

from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.processes import ALONE, Processes
from imm_rl.language.text_streams import IGNORED, Streams


@torch.no_grad()
def perplexity(
    model: LanguageModel,
    tokens: torch.Tensor,
    *,
    streams: int = 10,
    unroll: int = 35,
    processes: Processes = ALONE,
) -> float:
    """Exp of the mean −log Q(word | words before it in its stream), over all words but the first.

    Args:
        model: In evaluation mode.
        tokens: (T,) int64, on the model's device.
        streams: B stretches are read side by side, each from an empty state: fewer give a slightly
            lower perplexity and take longer.
        unroll: Words of a piece; the state is carried, so it changes nothing but memory.
        processes: Among which the streams are split; all of them get the same number.

    Returns:
        NaN or inf where the model diverged.
    """
    pieces = Streams(tokens, streams, unroll, whole=True, share=processes.share)
    own = len(range(pieces.n_streams)[pieces.own])
    state = model.start(own)
    total = torch.zeros((), dtype=torch.float64, device=tokens.device)
    for piece in pieces if own else ():
        hidden, state = model.encode(piece.inputs, state)
        log_probs = model.log_probs(hidden).flatten(0, 1)
        loss = nll_loss(log_probs, piece.targets.flatten(), ignore_index=IGNORED, reduction="sum")
        total += loss.double()
    mean = processes.total([float(total)])[0] / (len(tokens) - 1)
    return math.exp(mean) if mean < 700.0 else math.inf if mean == mean else math.nan


@torch.no_grad()
def induced_probs(
    model: LanguageModel,
    contexts: Contexts,
    asked: torch.Tensor,
    words: torch.Tensor,
    *,
    streams: int = 10,
    unroll: int = 35,
) -> torch.Tensor:
    """The induced model at pairs of a context and a word, averaged over all histories of a text.

    Q̄(w|c) = mean over positions p with context c of Q(w | the words up to p). Only the pairs are kept:
    the table of all contexts and words would be too large for large vocabularies.

    Args:
        model: In evaluation mode.
        contexts: Of the text, on the model's device.
        asked: (P,) int64 in 0..C−1, contexts.
        words: (P,) int64 in 0..V−1.
        streams: As in `perplexity`.
        unroll: As in `perplexity`.

    Returns:
        (P,) float64; 1/V where the text has the context at its last position alone.
    """
    pairs, place = torch.unique(torch.stack([asked, words], 1), dim=0, return_inverse=True)
    n_contexts = len(contexts.words)
    counts = torch.bincount(pairs[:, 0], minlength=n_contexts)
    starts = counts.cumsum(0) - counts
    sums = torch.zeros(len(pairs), dtype=torch.float64, device=asked.device)
    seen = torch.zeros(n_contexts, dtype=torch.float64, device=asked.device)
    vocab_size = 1
    pieces = Streams(contexts.tokens, streams, unroll, whole=True)
    laid_out = pieces.laid_out(contexts.ids)
    state = model.start(pieces.n_streams)
    for index, piece in enumerate(pieces):
        hidden, state = model.encode(piece.inputs, state)
        counted = piece.targets.flatten() != IGNORED
        log_probs = model.log_probs(hidden).flatten(0, 1)[counted]
        vocab_size = log_probs.shape[1]
        ids = laid_out[:, pieces.span(index)].flatten()[counted]
        seen.index_add_(0, ids, torch.ones_like(ids, dtype=torch.float64))
        # Each position answers all pairs of its context.
        item = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), counts[ids])
        ends = counts[ids].cumsum(0)
        pair = torch.arange(len(item), device=ids.device)
        pair = pair + (starts[ids] - ends + counts[ids])[item]
        sums.index_add_(0, pair, log_probs[item, pairs[pair, 1]].exp().double())
    total = seen[pairs[:, 0]]
    means = torch.where(total > 0, sums / total.clamp_min(1.0), 1.0 / vocab_size)
    return means[place]

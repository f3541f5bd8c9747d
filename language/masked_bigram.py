"""A bigram as the restricted model of a masked position: P̂ from the word pieces beside it.

    left   P̂(w|l)    ∝ P(w|l)           for every piece w that can be masked, 0 for special pieces
    both   P̂(w|l, r) ∝ P(w|l) P(r|w)    the same bigram read in both directions

P is a Kneser-Ney bigram of the training sentences, one after the other with their [CLS] and [SEP]. Special
pieces are never masked, so they get no probability, and what stands behind the last [SEP] of a sentence
counts for nothing.

Index letters: N contexts, V word pieces of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from imm_rl.device import uploaded
from imm_rl.errors import InvalidInputError
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.masked_choices import checked_context
from imm_rl.language.ngram import KneserNey
from imm_rl.language.ngram_rows import NgramRows


def bigram_of(sentences: Sequence[Iterable[int]], vocab_size: int) -> KneserNey:
    """The Kneser-Ney bigram of sentences of word pieces.

    Args:
        sentences: Rows of ints in 0..V−1, special pieces included.
        vocab_size: V.

    Raises:
        InvalidInputError: There are too few pieces, or one is outside the vocabulary.
    """
    pieces = np.concatenate([np.asarray(row, dtype=np.int64) for row in sentences])
    return KneserNey(order=2).fit(pieces, vocab_size=vocab_size)


class MaskedBigram:
    """`probs(contexts (N, c)) -> (N, V)` float32: a bigram around a hole, rows that sum to 1.

    Contexts are numbers of the host, as in `NgramRows`.

    Args:
        model: Of order 2.
        special: Ids of pieces that are never masked.
        kind: "left" or "both".
        device: Where rows are built.

    Raises:
        InvalidInputError: The model is of another order, or `kind` is unknown.
    """

    def __init__(
        self,
        model: BackoffModel,
        special: Iterable[int],
        kind: str = "left",
        device: torch.device | str = "cpu",
    ) -> None:
        if model.order != 2:
            raise InvalidInputError(f"the bigram must be of order 2; received {model.order}.")
        self._both = checked_context(kind) == "both"
        every = np.arange(model.vocab_size, dtype=np.int64)[:, None]
        self._rows = NgramRows(model, every, device)
        allowed = np.ones(model.vocab_size, dtype=np.float32)
        allowed[sorted(set(special))] = 0.0
        self._allowed = torch.from_numpy(allowed).to(device)
        if self._both:
            self._columns = _Columns(model, device)

    def probs(self, contexts: npt.ArrayLike, /) -> torch.Tensor:
        """Rows of P̂, on the device, of contexts (N, 1) of `left` or (N, 2) of `both`, int64, on the host.

        Numbers of rows and entries are counted on the host, which then need not wait for the device.
        """
        contexts = np.asarray(contexts)
        rows = self._rows.probs(contexts[:, 0]) * self._allowed
        if self._both:
            rows = rows * self._columns.of(contexts[:, 1])
        return rows / rows.sum(1, keepdim=True)


class _Columns:
    """P(r|w) for every w: the columns of a bigram's table.

    Each is weight(w) · P(r) but at the listed bigrams (w, r).
    """

    def __init__(self, model: BackoffModel, device: torch.device | str) -> None:
        level = model.levels[0]
        size = model.vocab_size
        found = level.find(np.arange(size, dtype=np.int64)[:, None])
        before = np.repeat(level.contexts[:, 0], np.diff(level.indptr))
        order = np.argsort(level.words, kind="stable")
        counts = np.bincount(level.words, minlength=size)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        arrays = (level.weights(found), model.unigram, before[order], level.probs[order])
        tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]
        self._weights, self._unigram, self._before, self._probs = tensors
        self._device = torch.device(device)
        self._known = counts  # on the host
        self._counts = torch.from_numpy(counts).to(device)
        self._starts = torch.from_numpy(starts).to(device)

    def of(self, asked: npt.NDArray[np.int64]) -> torch.Tensor:
        """(N, V) float32 of pieces r (N,) of the host, each divided by its largest entry.

        Unscaled, a product with P(w|l) could leave float32's range.
        """
        pieces = uploaded(asked, self._device)
        columns = self._weights * self._unigram[pieces].unsqueeze(1)
        counts = self._counts[pieces]
        ends = counts.cumsum(0)
        item = torch.repeat_interleave(
            torch.arange(len(asked), device=pieces.device),
            counts,
            output_size=int(self._known[asked].sum()),
        )
        entry = torch.arange(len(item), device=pieces.device)
        entry = entry + (self._starts[pieces] - ends + counts)[item]
        columns[item, self._before[entry]] = self._probs[entry]
        return (columns / columns.amax(1, keepdim=True)).float()

"""An n-gram model as a restricted model on a device: rows of P̂ for the contexts of one text.

Training asks for the same contexts again and again, so where each stands in the model's tables is looked
up once; a call then gathers rows on the device. Which contexts are asked for the host knows, so it never
waits.

Index letters: C contexts of the text, N of them in a call, V words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from imm_rl.device import uploaded
from imm_rl.language.backoff import BackoffModel

BLOCK = 500
"""Rows of the table that are made at a time."""

DENSE_BYTES = 512 * 2**20
"""A table of all rows that is no larger than this is kept: gathering whole rows is the quickest."""


class NgramRows:
    """P̂(y|context) of numbered contexts: `probs(ids (N,)) -> (N, V)` float32; ids on the host.

    Args:
        model: The n-gram model, of order n.
        words: (C, n − 1) int64, the contexts, such as `Contexts.words`.
        device: Where the rows are built.
        dense_bytes: See `DENSE_BYTES`.
    """

    def __init__(
        self,
        model: BackoffModel,
        words: torch.Tensor | npt.NDArray[np.int64],
        device: torch.device | str = "cpu",
        *,
        dense_bytes: int = DENSE_BYTES,
    ) -> None:
        contexts = words.cpu().numpy() if isinstance(words, torch.Tensor) else words
        self._device = torch.device(device)
        self._table: torch.Tensor | None = None
        if 4 * len(contexts) * model.vocab_size <= dense_bytes:
            self._table = torch.empty(len(contexts), model.vocab_size, device=device)
            for start in range(0, len(contexts), BLOCK):
                rows = model.probs(contexts[start : start + BLOCK]).astype(np.float32)
                self._table[start : start + BLOCK] = torch.from_numpy(rows)
            return
        self._unigram = torch.from_numpy(model.unigram).float().to(device)
        self._levels = []
        self._counts = []  # of each level, on the host
        for level in model.levels:
            found = level.find(contexts[:, contexts.shape[1] - level.order + 1 :])
            # A context that is not listed has weight 1 and no entries.
            first = np.where(found >= 0, level.indptr[found], 0)
            last = np.where(found >= 0, level.indptr[found + 1], 0)
            self._counts.append(last - first)
            arrays = (level.weights(found).astype(np.float32), first, last - first)
            tables = (level.words, level.probs.astype(np.float32))
            self._levels.append(
                tuple(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays + tables)
            )

    def probs(self, ids: torch.Tensor | npt.NDArray[np.int64], /) -> torch.Tensor:
        """Rows of P̂, (N, V) float32, sums 1, on the device, of contexts (N,) int64 on the host."""
        asked = uploaded(ids, self._device)
        host = np.asarray(ids)
        if self._table is not None:
            return self._table.index_select(0, asked)
        rows = self._unigram.repeat(len(host), 1)
        levels = zip(self._levels, self._counts, strict=True)
        for (weights, first, count, words, probs), known in levels:
            rows.mul_(weights[asked].unsqueeze(1))
            counts = count[asked]
            ends = counts.cumsum(0)
            item = torch.repeat_interleave(
                torch.arange(len(host), device=asked.device),
                counts,
                output_size=int(known[host].sum()),
            )
            entry = torch.arange(len(item), device=asked.device)
            entry = entry + (first[asked] - ends + counts)[item]
            rows[item, words[entry]] = probs[entry]
        return rows

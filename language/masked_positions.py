"""The positions of a training text by restricted context: which sentences may complete a masked one.

A masked language model sees a sentence with a hole in it; a bigram sees the word pieces beside the hole:

    left   the piece before the hole, l
    both   the pieces on its two sides, (l, r)

The completions of such a context are the positions of the training text that have it, each in its own
sentence with that one position masked. Special pieces ([CLS], [SEP], [UNK], padding) are never masked; as
neighbours they are contexts like any other: [CLS] is what stands before a first word.

Index letters: S sentences, T word pieces of them all, N contexts, K completions, c pieces of a context.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.masked_choices import checked_context


def contexts_at(pieces: torch.Tensor, at: torch.Tensor, kind: str) -> torch.Tensor:
    """The restricted contexts of positions in one row of pieces.

    Args:
        pieces: (..., L) int64, before anything was masked.
        at: (...,) int64 in 1..L−2, a position of each row.
        kind: "left" or "both".

    Returns:
        (..., c) int64, c = 1 or 2.
    """
    steps = (-1,) if kind == "left" else (-1, 1)
    return torch.cat([pieces.gather(-1, at.unsqueeze(-1) + step) for step in steps], -1)


class TrainingPositions:
    """Where each restricted context occurs in the training sentences.

    Attributes:
        kind: "left" or "both".
        sentences: S rows of word pieces, as the tokenizer makes them, special pieces included.
        segments: S rows of segment ids (0, or 1 in the second sentence of a pair).
        special: The ids of special pieces.

    Args:
        sentences: As the attribute; lists or tensors of ints.
        special: As the attribute.
        kind: As the attribute.
        segments: As the attribute; None: all 0.

    Raises:
        InvalidInputError: No sentence has a position that can be masked, or the rows do not fit.
    """

    def __init__(
        self,
        sentences: Sequence[Iterable[int]],
        special: Iterable[int],
        kind: str = "left",
        segments: Sequence[Iterable[int]] | None = None,
    ) -> None:
        self.kind = checked_context(kind)
        self.special = torch.tensor(sorted(set(special)), dtype=torch.int64)
        self.sentences = [_row(sentence) for sentence in sentences]
        if segments is None:
            self.segments = [torch.zeros_like(row) for row in self.sentences]
        else:
            self.segments = [_row(row) for row in segments]
        if [len(row) for row in self.sentences] != [len(row) for row in self.segments]:
            raise InvalidInputError("sentences and segments must have rows of the same lengths.")
        if not self.sentences:
            raise InvalidInputError("sentences must hold at least one; received none.")
        lengths = torch.tensor([len(row) for row in self.sentences])
        flat = torch.cat(self.sentences)
        inside = ~torch.isin(flat, self.special)
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        inside[starts[:-1][lengths > 0]] = False  # without a neighbour on one side
        inside[starts[1:][lengths > 0] - 1] = False
        found = inside.nonzero().squeeze(1)
        if not len(found):
            raise InvalidInputError(
                "no sentence has a word piece between two others, so none can be masked."
            )
        self._base = int(flat.max()) + 1
        keys = self._keys(contexts_at(flat.expand(len(found), -1), found, kind))
        self._order = keys.argsort(stable=True)
        self._sorted = keys[self._order]
        self._sentence = torch.bucketize(found, starts[1:], right=True)
        self._place = found - starts[self._sentence]

    def __len__(self) -> int:
        """Positions that can be masked."""
        return len(self._sorted)

    def counts(self, contexts: torch.Tensor) -> torch.Tensor:
        """How many training positions have each context, (N,) int64.

        Args:
            contexts: (N, c) int64.
        """
        first, last = self._range(contexts)
        return last - first

    def draw(self, contexts: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws positions with given contexts, each as likely as any other, with PyTorch's generator.

        It is the generator that dropout and `DataCollatorForLanguageModeling` draw with, which
        `Trainer` keeps in its checkpoints and data loaders seed in their workers.

        Args:
            contexts: (N, c) int64; each must occur.
            k: K.

        Returns:
            (N, K) int64 twice: the sentence, and the position in it.
        """
        first, last = self._range(contexts)
        shares = torch.rand(len(contexts), k, dtype=torch.float64)
        drawn = first.unsqueeze(1) + (shares * (last - first).unsqueeze(1)).long()
        chosen = self._order[drawn]
        return self._sentence[chosen], self._place[chosen]

    def _range(self, contexts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys = self._keys(contexts)
        # A piece that the training text lacks would run into another key.
        keys = keys.masked_fill((contexts >= self._base).any(1), -1)
        last = torch.searchsorted(self._sorted, keys, right=True)
        return torch.searchsorted(self._sorted, keys), last

    def _keys(self, contexts: torch.Tensor) -> torch.Tensor:
        keys = contexts[:, 0]
        return keys if contexts.shape[1] == 1 else keys * self._base + contexts[:, 1]


def _row(values: Iterable[int]) -> torch.Tensor:
    return torch.as_tensor(values if isinstance(values, torch.Tensor) else list(values)).long()

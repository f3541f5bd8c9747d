"""A text as parallel streams: what a language model is trained and evaluated on.

Index letters: T words of the text, B streams, S words of a stream, U words of a piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from imm_rl.errors import invalid

IGNORED = -100
"""A target that does not count, as PyTorch's losses have it."""


class Piece(NamedTuple):
    """The same stretch of all streams.

    Attributes:
        inputs: (B, U) int64.
        targets: (B, U) int64, the words after them; `IGNORED` beyond the end of the text.
        positions: (B, U) int64, where the inputs stand in the text.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor


class Streams:
    """Cuts a text into B stretches of equal length, read side by side in pieces of U words.

    Attributes:
        n_streams: B.
        length: S, the words of a stream.

    Args:
        tokens: (T,) int64.
        streams: B.
        unroll: U; the last piece may be shorter.
        whole: Whether every word but the first is a target, for evaluation: the last stream is then
            filled up with targets that do not count. Otherwise the rest of the division is left out.

    Raises:
        InvalidInputError: The text is too short.
    """

    def __init__(
        self, tokens: torch.Tensor, streams: int, unroll: int, *, whole: bool = False
    ) -> None:
        pairs = len(tokens) - 1
        if whole:
            streams = max(1, min(streams, pairs))
        length = -(-pairs // streams) if whole else pairs // streams
        if length < 1:
            least = 2 if whole else streams + 1
            raise invalid("the text", f"have at least {least} words", len(tokens))
        starts = torch.arange(streams, device=tokens.device) * length
        self._positions = starts.unsqueeze(1) + torch.arange(length, device=tokens.device)
        self._tokens, self._unroll = tokens, unroll
        self.n_streams, self.length = streams, length

    def __len__(self) -> int:
        """The number of pieces."""
        return -(-self.length // self._unroll)

    def piece(self, index: int) -> Piece:
        """Piece `index` of `len(self)`."""
        start = index * self._unroll
        positions = self._positions[:, start : start + self._unroll]
        last = len(self._tokens) - 1
        inside = positions < last
        held = positions.clamp_max(last - 1)
        targets = self._tokens[held + 1].masked_fill(~inside, IGNORED)
        return Piece(self._tokens[held], targets, held)

    def __iter__(self) -> Iterator[Piece]:
        """All pieces in order."""
        return (self.piece(i) for i in range(len(self)))

"""A text as parallel streams: what a language model is trained and evaluated on.

Index letters: T words of the text, B streams, S words of a stream, U words of a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """

    inputs: torch.Tensor
    targets: torch.Tensor


class Streams:
    """Cuts a text into B stretches of equal length, read side by side in pieces of U words.

    The text is laid out once, so that a piece is a slice of it.

    Attributes:
        n_streams: B.
        length: S, the words of a stream.
        own: Which of the streams the pieces have.

    Args:
        tokens: (T,) int64.
        streams: B.
        unroll: U; the last piece may be shorter.
        whole: Whether every word but the first is a target, for evaluation: the last stream is then
            filled up with targets that do not count. Otherwise the rest of the division is left out.
        share: Maps B to the streams that are read here; all of them where not given.

    Raises:
        InvalidInputError: The text is too short.
    """

    def __init__(
        self,
        tokens: torch.Tensor,
        streams: int,
        unroll: int,
        *,
        whole: bool = False,
        share: Callable[[int], slice] | None = None,
    ) -> None:
        self._pairs = len(tokens) - 1
        if whole:
            streams = max(1, min(streams, self._pairs))
        length = -(-self._pairs // streams) if whole else self._pairs // streams
        if length < 1:
            least = 2 if whole else streams + 1
            raise invalid("the text", f"have at least {least} words", len(tokens))
        self.n_streams, self.length, self._unroll = streams, length, unroll
        self.own = slice(0, streams) if share is None else share(streams)
        self._inputs = self.laid_out(tokens[:-1])[self.own]
        self._targets = self.laid_out(tokens[1:], IGNORED)[self.own]

    def __len__(self) -> int:
        """The number of pieces."""
        return -(-self.length // self._unroll)

    def span(self, index: int) -> slice:
        """The words of each stream, out of S, that piece `index` has."""
        return slice(index * self._unroll, min((index + 1) * self._unroll, self.length))

    def laid_out(self, values: torch.Tensor, beyond: int | None = None) -> torch.Tensor:
        """What belongs to the positions of the text (T or more,), as (B, S), on its own device.

        Args:
            values: One a position; shared with the result where nothing is filled up.
            beyond: What stands beyond the last position that has a target; None: what is there.
        """
        values, cells = values[: self._pairs], self.n_streams * self.length
        if cells > len(values):
            last = values[-1:] if beyond is None else values.new_full((1,), beyond)
            values = torch.cat([values, last.expand(cells - len(values))])
        return values[:cells].view(self.n_streams, self.length)

    def piece(self, index: int) -> Piece:
        """Piece `index` of `len(self)`."""
        span = self.span(index)
        return Piece(self._inputs[:, span], self._targets[:, span])

    def __iter__(self) -> Iterator[Piece]:
        """All pieces in order."""
        return (self.piece(i) for i in range(len(self)))

"""Which training histories end in the same words: the completions of an n-gram's context.

A position p of the text is a history: all words up to and with tokens[p]; what follows it is to be
predicted. Its restricted context is its last n − 1 words. `Contexts` numbers the contexts of a text,
`ends` picks histories that share one by where they end, and `windows` takes their words from the text. A
training keeps the former on the host, where no draw waits for the accelerator, and the text of the latter
on the accelerator.

Index letters: T positions, C distinct contexts, N items, K histories of an item, L words of a history.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imm_rl.errors import invalid


@dataclass(frozen=True)
class Contexts:
    """The restricted contexts of a text.

    Attributes:
        tokens: (T,) int64.
        words: (C, n − 1) int64, the distinct contexts in lexicographic order, oldest word first.
        ids: (T,) int64 in 0..C−1, the context that ends at each position. The first n − 2 positions
            have none of their own: the text is taken to go round in a ring.
        positions: (T,) int64, all positions, sorted by their context.
        starts: (C + 1,) int64; context c owns positions[starts[c]:starts[c + 1]].
    """

    tokens: torch.Tensor
    words: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor

    @classmethod
    def of(cls, tokens: torch.Tensor, order: int) -> Contexts:
        """Numbers the contexts of order − 1 words in a text.

        Raises:
            InvalidInputError: The order is below 2, or the text is shorter.
        """
        if order < 2:
            raise invalid("order", "be at least 2, for a context of one word", order)
        if tokens.ndim != 1 or len(tokens) < order:
            raise invalid("tokens", f"have the shape (T,), T ≥ {order}", tuple(tokens.shape))
        columns = [tokens.roll(shift) for shift in range(order - 2, -1, -1)]
        words, ids = torch.unique(torch.stack(columns, 1), dim=0, return_inverse=True)
        positions = ids.argsort(stable=True)
        counts = torch.bincount(ids, minlength=len(words))
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(tokens, words, ids, positions, starts)

    def ends(self, ids: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
        """Draws histories that end in given contexts, each as likely as any other.

        Args:
            ids: (N,) int64, contexts.
            k: K.
            generator: On the device of the contexts.

        Returns:
            (N, K) int64, the positions that they end at; `windows` has their words.
        """
        first = self.starts[ids].unsqueeze(1)
        count = (self.starts[ids + 1].unsqueeze(1) - first).double()
        shares = torch.rand(
            len(ids), k, generator=generator, device=ids.device, dtype=torch.float64
        )
        return self.positions[first + (shares * count).long()]


def windows(tokens: torch.Tensor, ends: torch.Tensor, length: int) -> torch.Tensor:
    """The L words of a text up to given positions: (T,) and (N, K) to (N, K, L), int64.

    The text goes round in a ring.
    """
    back = torch.arange(1 - length, 1, device=ends.device)
    return tokens[(ends.unsqueeze(-1) + back) % len(tokens)]

"""A causal transformer language model that reads a stream piece by piece, as the LSTM does.

Pre-norm blocks with rotary positions and PyTorch's fused attention. What it carries from piece to piece is
each layer's keys and values of the words before, without gradients. In training it carries `memory` words,
so that a word looks at those and at the words of its piece (`unroll`) up to itself. In evaluation a word
looks at W = memory + unroll words, itself included, the most that one saw in training, however the text is
cut into pieces. Keys are kept as they are before their rotation, so that positions count from the start of
what is carried, and the same word behind the same words has the same prediction anywhere.

Index letters: as in `language_model`; P remembered words, D units of a head.

Sources: Dai et al., "Transformer-XL", ACL 2019 (the memory); Su et al., "RoFormer", arXiv 2104.09864
(rotary positions); Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020
(pre-norm).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from imm_rl.language.language_model import LanguageModel, State, draw_uniform
from imm_rl.language.lm_settings import LMSettings

ROTARY_BASE = 10_000.0


class TransformerModel(LanguageModel):
    """See the module's docstring.

    Args:
        settings: `hidden_size`, `layers`, `heads`, `memory`, `unroll`, `dropout`, `tied`,
            `init_range`, `precision` and `compile` count.
        vocab_size: V.
        generator: What the weights are drawn with; on the CPU.
    """

    def __init__(self, settings: LMSettings, vocab_size: int, generator: torch.Generator) -> None:
        super().__init__(settings, vocab_size, generator)
        size = settings.hidden_size
        self._heads, self._memory = settings.heads, settings.memory
        self._window = settings.memory + settings.unroll
        self.embedding = nn.Embedding(vocab_size, size)
        self.dropout = nn.Dropout(settings.dropout)
        blocks = [Block(settings) for _ in range(settings.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Linear(size, vocab_size)
        if settings.tied:
            self.output.weight = self.embedding.weight
        draw_uniform(self, settings.init_range, generator)
        # The last norm is no table of weights: it starts as the identity, as those of the blocks do.
        self.norm = nn.LayerNorm(size)
        for block in blocks:
            block.start_small(settings.layers)
        self._compiled = torch.compile(self._read) if settings.compile else None

    @staticmethod
    def n_parameters(settings: LMSettings, vocab_size: int) -> int:  # noqa: D102
        size, layers = settings.hidden_size, settings.layers
        tables = vocab_size * size * (1 if settings.tied else 2) + vocab_size
        return tables + layers * (12 * size**2 + 9 * size) + 2 * size

    def start(self, streams: int) -> State:  # noqa: D102
        weight = self.embedding.weight
        # Of the type that keys come in: for another one the layers would be compiled once more.
        dtype = torch.bfloat16 if self._rounded else weight.dtype
        size = weight.shape[1] // self._heads
        empty = weight.new_zeros(streams, self._heads, 0, size, dtype=dtype)
        return (empty,) * (2 * len(self.blocks))

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:  # noqa: D102
        with self.autocast(words.device):
            if self.training and self._compiled is not None:
                words = words.clone(memory_format=torch.contiguous_format)
                _mark_changing(words, state)
                hidden, after = self._compiled(words, state)
            else:
                hidden, after = self._read(words, state)
        carried = self._memory if self.training else self._window - 1
        start = max(0, after[0].shape[2] - carried)
        # Contiguous, as words are: what is compiled holds for one layout in memory.
        return hidden, tuple(part[:, :, start:].contiguous() for part in after)

    def _read(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """All layers, for `encode`; what is compiled. Returns the keys and values of all P + T words."""
        hidden = self.dropout(self.embedding(words))  # (B, T, H)
        past, size = state[0].shape[2:]
        seen = past + words.shape[1]
        turns = rotations(seen, size, words.device, self.embedding.weight.dtype)
        # (T, P + T): the W words up to one's own.
        visible = words.new_ones(words.shape[1], seen, dtype=torch.bool).tril(past)
        visible = visible.triu(past + 1 - self._window)
        after: list[torch.Tensor] = []
        for i, block in enumerate(self.blocks):
            hidden, keys, values = block(hidden, state[2 * i], state[2 * i + 1], turns, visible)
            after += [keys.detach(), values.detach()]
        return self.dropout(self.norm(hidden)), tuple(after)


class Block(nn.Module):
    """Attention to the words before, then a layer of hidden units; each adds to what it reads.

    Args:
        settings: As of the model.
    """

    def __init__(self, settings: LMSettings) -> None:
        super().__init__()
        size = settings.hidden_size
        self._heads = settings.heads
        self.dropout = nn.Dropout(settings.dropout)
        self.attention_norm, self.hidden_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size, bias=False)
        self.attended = nn.Linear(size, size, bias=False)
        self.hidden = nn.Linear(size, 4 * size)
        self.back = nn.Linear(4 * size, size)

    @torch.no_grad()
    def start_small(self, layers: int) -> None:
        """Norms as the identity, no biases, and what is added shrunk by √(2 · layers), as in GPT-2."""
        for norm in (self.attention_norm, self.hidden_norm):
            norm.weight.fill_(1.0)
            norm.bias.zero_()
        for adding in (self.attended, self.back):
            adding.weight.div_((2 * layers) ** 0.5)
        self.hidden.bias.zero_()
        self.back.bias.zero_()

    def forward(
        self,
        x: torch.Tensor,
        past_keys: torch.Tensor,
        past_values: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        visible: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reads on.

        Args:
            x: (B, T, H).
            past_keys: (B, heads, P, D), not rotated.
            past_values: (B, heads, P, D).
            turns: Of P + T positions, from `rotations`.
            visible: (T, P + T), whether a word looks at another.

        Returns:
            (B, T, H), and the keys and values of all P + T words.
        """
        streams, words, size = x.shape
        parts = self.query_key_value(self.attention_norm(x)).view(
            streams, words, 3, self._heads, -1
        )
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D)
        keys = torch.cat([past_keys.to(keys.dtype), keys], 2)
        values = torch.cat([past_values.to(values.dtype), values], 2)
        now = [part[keys.shape[2] - words :] for part in turns]
        found = scaled_dot_product_attention(
            rotated(queries, *now), rotated(keys, *turns), values, attn_mask=visible
        )
        found = found.transpose(1, 2).reshape(streams, words, size)
        x = x + self.dropout(self.attended(found))
        x = x + self.dropout(self.back(gelu(self.hidden(self.hidden_norm(x)))))
        return x, keys, values


def _mark_changing(words: torch.Tensor, state: State) -> None:
    """Tells the compiler which sizes change from call to call: streams, words and remembered words.

    Otherwise it would build code for the first ones, and once more for others, or take two sizes that
    happen to be the same for one. An empty memory it takes by itself, and sizes of 1.
    """
    from torch._dynamo import maybe_mark_dynamic  # an import of seconds

    maybe_mark_dynamic(words, [0, 1])
    for part in state:
        maybe_mark_dynamic(part, [0, 2])


def rotations(
    positions: int, size: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, each (positions, size / 2), by which pairs of a head's units are turned."""
    place = torch.arange(positions, device=device, dtype=torch.float32)
    rates = ROTARY_BASE ** -(torch.arange(0, size, 2, device=device) / size)
    angles = place.unsqueeze(1) * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turns the units of heads (..., T, D): unit i together with unit i + D / 2."""
    first, second = x.chunk(2, -1)
    turned = [first * cosines - second * sines, first * sines + second * cosines]
    return torch.cat(turned, -1).to(x.dtype)

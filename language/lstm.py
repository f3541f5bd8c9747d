"""The LSTM language model of the paper: embedding, LSTM layers with dropout, a linear output layer.

Every language model here has the same four methods (`LanguageModel`), which training, evaluation and
generation call.

Index letters: B streams, T words, N histories, L words of each, H hidden units, V words of the vocabulary.

Source: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", arXiv 1409.2329.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch
from torch import nn

from imm_rl.language.lm_settings import LMSettings

State: TypeAlias = tuple[torch.Tensor, ...]
"""What a model carries from one piece of a stream to the next."""


class LanguageModel(Protocol):
    """A model of the next word."""

    def start(self, streams: int) -> State:
        """The state before the first word of B streams."""
        ...

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Maps words (B, T) to hidden vectors (B, T, H), and the state after them."""
        ...

    def log_probs(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps hidden vectors (..., H) to log Q(next word), (..., V) in nats."""
        ...

    def after(self, histories: torch.Tensor) -> torch.Tensor:
        """Maps histories (..., L) to log Q(next word) after their last word, (..., V) in nats."""
        ...


class LSTMModel(nn.Module):
    """See the module's docstring.

    Args:
        settings: `hidden_size`, `layers`, `dropout`, `tied` and `init_range` count.
        vocab_size: V.
        generator: What the weights are drawn with; on the CPU.
    """

    def __init__(self, settings: LMSettings, vocab_size: int, generator: torch.Generator) -> None:
        super().__init__()
        size = settings.hidden_size
        self.embedding = nn.Embedding(vocab_size, size)
        self.dropout = nn.Dropout(settings.dropout)
        between = settings.dropout if settings.layers > 1 else 0.0
        self.lstm = nn.LSTM(size, size, settings.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(size, vocab_size)
        if settings.tied:
            self.output.weight = self.embedding.weight
        with torch.no_grad():
            for parameter in self.parameters():
                bound = settings.init_range
                parameter.copy_(
                    torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
                )

    def start(self, streams: int) -> State:  # noqa: D102
        weight = self.embedding.weight
        zeros = weight.new_zeros(self.lstm.num_layers, streams, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:  # noqa: D102
        hidden, after = self.lstm(self.dropout(self.embedding(words)), (state[0], state[1]))
        return self.dropout(hidden), after

    def log_probs(self, hidden: torch.Tensor) -> torch.Tensor:  # noqa: D102
        logits: torch.Tensor = self.output(hidden)
        return logits.log_softmax(-1)

    def after(self, histories: torch.Tensor) -> torch.Tensor:  # noqa: D102
        flat = histories.reshape(-1, histories.shape[-1])
        hidden = self.encode(flat, self.start(len(flat)))[0][:, -1]
        log_probs = self.log_probs(hidden)
        return log_probs.view(*histories.shape[:-1], log_probs.shape[-1])


def build(settings: LMSettings, vocab_size: int, seed: int) -> LSTMModel:
    """The model that the settings name, on the CPU; the seed decides its first weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):  # PyTorch's layers draw first weights of their own
        return LSTMModel(settings, vocab_size, generator)

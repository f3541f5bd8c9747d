"""The LSTM language model of the paper: embedding, LSTM layers with dropout, a linear output layer.

Index letters: as in `language_model`.

Source: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", arXiv 1409.2329.
"""

from __future__ import annotations

import torch
from torch import nn

from imm_rl.language.language_model import LanguageModel, State, draw_uniform
from imm_rl.language.lm_settings import LMSettings


class LSTMModel(LanguageModel):
    """See the module's docstring.

    Args:
        settings: `hidden_size`, `layers`, `dropout`, `tied`, `init_range` and `precision` count.
        vocab_size: V.
        generator: What the weights are drawn with; on the CPU.
    """

    def __init__(self, settings: LMSettings, vocab_size: int, generator: torch.Generator) -> None:
        super().__init__(settings, vocab_size, generator)
        size = settings.hidden_size
        self.embedding = nn.Embedding(vocab_size, size)
        self.dropout = nn.Dropout(settings.dropout)
        between = settings.dropout if settings.layers > 1 else 0.0
        self.lstm = nn.LSTM(size, size, settings.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(size, vocab_size)
        if settings.tied:
            self.output.weight = self.embedding.weight
        draw_uniform(self, settings.init_range, generator)

    @staticmethod
    def n_parameters(settings: LMSettings, vocab_size: int) -> int:  # noqa: D102
        size, layers = settings.hidden_size, settings.layers
        tables = vocab_size * size * (1 if settings.tied else 2) + vocab_size
        return tables + layers * (8 * size**2 + 8 * size)

    def start(self, streams: int) -> State:  # noqa: D102
        weight = self.embedding.weight
        zeros = weight.new_zeros(self.lstm.num_layers, streams, self.lstm.hidden_size)
        return zeros, zeros.clone()

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:  # noqa: D102
        with self.autocast(words.device):
            hidden, after = self.lstm(self.dropout(self.embedding(words)), (state[0], state[1]))
            return self.dropout(hidden), after

"""The LSTM language model of the paper: embedding, LSTM layers with dropout, a linear output layer.

Index letters: as in `language_model`.

Source: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", arXiv 1409.2329.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from imm_rl.language.language_model import LanguageModel, State, draw_uniform
from imm_rl.language.lm_settings import LMSettings


class LSTMModel(LanguageModel):
    """See the module's docstring.

    The dropout between two layers is a layer of its own. Inside one `nn.LSTM` of several layers cuDNN would
    draw it, from a state that no generator holds: two passes and a resumed training would see other masks.

    With `precision` bfloat16 the output layer alone is rounded. Under autocast cuDNN's LSTM would compute
    in float16, whose range is too small without a scaling of the loss.

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
        self.lstm = nn.ModuleList(nn.LSTM(size, size) for _ in range(settings.layers))
        self.output = nn.Linear(size, vocab_size)
        if settings.tied:
            self.output.weight = self.embedding.weight
        draw_uniform(self, settings.init_range, generator)
        self.register_load_state_dict_pre_hook(_name_by_layer)  # type: ignore[no-untyped-call]

    @staticmethod
    def n_parameters(settings: LMSettings, vocab_size: int) -> int:  # noqa: D102
        size, layers = settings.hidden_size, settings.layers
        tables = vocab_size * size * (1 if settings.tied else 2) + vocab_size
        return tables + layers * (8 * size**2 + 8 * size)

    def start(self, streams: int) -> State:  # noqa: D102
        weight = self.embedding.weight
        zeros = weight.new_zeros(len(self.lstm), streams, weight.shape[1])
        return zeros, zeros.clone()

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:  # noqa: D102
        # Words before streams between the layers, so that masks are drawn in the order of `nn.LSTM`.
        hidden = self.dropout(self.embedding(words)).transpose(0, 1)  # (T, B, H)
        after: list[tuple[torch.Tensor, torch.Tensor]] = []
        for i, layer in enumerate(self.lstm):
            if i > 0:
                hidden = self.dropout(hidden)
            hidden, last = layer(hidden, (state[0][i : i + 1], state[1][i : i + 1]))
            after.append(last)
        units, cells = zip(*after, strict=True)  # of each layer (1, B, H)
        return self.dropout(hidden.transpose(0, 1)), (torch.cat(units), torch.cat(cells))


def _name_by_layer(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Renames parameters of files from when all layers were one module: `lstm.bias_hh_l1`, for example."""
    del module  # whose parameters they are says the prefix
    for name in list(state):
        former = re.fullmatch(re.escape(prefix) + r"lstm\.(\w+)_l(\d+)", name)
        if former:
            state[f"{prefix}lstm.{former[2]}.{former[1]}_l0"] = state.pop(name)

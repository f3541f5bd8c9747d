"""What a language model is to training, evaluation and generation: four methods. `build` makes one.

Index letters: B streams, T words, N histories, L words of each, H hidden units, V words of the vocabulary.
"""

from __future__ import annotations

import math
import os
from typing import TypeAlias

import torch
from torch import nn

from imm_rl.errors import InvalidInputError
from imm_rl.language.lm_settings import LMSettings

State: TypeAlias = tuple[torch.Tensor, ...]
"""What a model carries from one piece of a stream to the next."""


class LanguageModel(nn.Module):
    """A model of the next word.

    Attributes:
        output: Maps hidden vectors to logits; each model makes its own.

    Args:
        settings: `precision` counts here: with bfloat16, the output layer's product and those of
            layers that run in `autocast` are rounded to it; parameters, log-probabilities and their
            gradients stay float32.
        vocab_size: V, for the models that stand on this.
        generator: What they draw their weights with; on the CPU.
    """

    output: nn.Linear

    def __init__(self, settings: LMSettings, vocab_size: int, generator: torch.Generator) -> None:
        del vocab_size, generator
        super().__init__()
        self._rounded = settings.precision == "bfloat16"

    @staticmethod
    def n_parameters(settings: LMSettings, vocab_size: int) -> int:
        """How many numbers a model of these settings has, without making it."""
        raise NotImplementedError

    def start(self, streams: int) -> State:
        """The state before the first word of B streams."""
        raise NotImplementedError

    def encode(self, words: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Maps words (B, T) to hidden vectors (B, T, H), and the state after them.

        In evaluation the vectors do not depend on how a text is cut into pieces.
        """
        raise NotImplementedError

    def log_probs(self, hidden: torch.Tensor) -> torch.Tensor:
        """Maps hidden vectors (..., H) to log Q(next word), (..., V) in nats."""
        with self.autocast(hidden.device):
            logits: torch.Tensor = self.output(hidden)
        return logits.to(self.output.weight.dtype).log_softmax(-1)

    def after(self, histories: torch.Tensor) -> torch.Tensor:
        """Maps histories (..., L) to log Q(next word) after their last word, (..., V) in nats."""
        flat = histories.reshape(-1, histories.shape[-1])
        hidden = self.encode(flat, self.start(len(flat)))[0][:, -1]
        log_probs = self.log_probs(hidden)
        return log_probs.view(*histories.shape[:-1], log_probs.shape[-1])

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context that a model's layers run in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self._rounded)


def build(settings: LMSettings, vocab_size: int, seed: int) -> LanguageModel:
    """The model that the settings name, on the CPU; the seed decides its first weights.

    Raises:
        InvalidInputError: This machine has no room for its parameters.
    """
    refuse_too_large(settings, vocab_size)
    kind = _kind(settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):  # PyTorch's layers draw first weights of their own
        return kind(settings, vocab_size, generator)


def refuse_too_large(settings: LMSettings, vocab_size: int) -> None:
    """Refuses a model whose parameters, float32, are more than this machine's memory.

    Raises:
        InvalidInputError: They are.
    """
    numbers = _kind(settings).n_parameters(settings, vocab_size)
    memory = _machine_bytes()
    if 4 * numbers > memory:
        raise InvalidInputError(
            f"the model would have {numbers:.3g} parameters, {4e-9 * numbers:,.0f} GB, and this machine "
            f"has {1e-9 * memory:,.0f} GB of memory. Take a smaller hidden_size or max_vocab, or fewer "
            "layers."
        )


def _kind(settings: LMSettings) -> type[LanguageModel]:
    from imm_rl.language.lstm import LSTMModel  # both stand on this module
    from imm_rl.language.transformer import TransformerModel

    return LSTMModel if settings.model == "lstm" else TransformerModel


def _machine_bytes() -> float:
    """Memory of this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


@torch.no_grad()
def draw_uniform(model: nn.Module, bound: float, generator: torch.Generator) -> None:
    """Draws all parameters anew, uniform in ± bound."""
    for parameter in model.parameters():
        parameter.copy_(torch.rand(parameter.shape, generator=generator) * 2 * bound - bound)

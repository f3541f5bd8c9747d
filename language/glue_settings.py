"""Settings of fine-tuning BERT on a task; each field's `help` is also the command line's. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imm_rl.errors import unknown_name
from imm_rl.language.masked_choices import checked_context, checked_lambda
from imm_rl.settings_checks import real, setting, whole

METHODS: Mapping[str, str] = MappingProxyType(
    {"plain": "fine-tuning", "mlm": "+ MLM", "imm": "+ MLM + IMM"}
)
"""The three columns of the paper's table, in its order."""

PRECISIONS = ("float32", "bfloat16")
_MLM = ("mlm_weight", "mlm_probability")
_IMM = ("imm_lambda", "k", "matched", "context")


@dataclass(frozen=True, kw_only=True)
class GlueSettings:
    """How BERT is fine-tuned.

    Raises:
        InvalidInputError: A value is out of its range.
    """

    epochs: int = setting(3, "passes over the training examples")
    batch_size: int = setting(32, "examples of an update")
    learning_rate: float = setting(
        2e-5, "largest step size; it rises over --warmup, then falls to 0"
    )
    warmup: float = setting(0.1, "share of the updates over which the step size rises")
    weight_decay: float = setting(0.01, "of AdamW")
    max_length: int = setting(128, "word pieces of an example; the rest is cut off")
    precision: str = setting("float32", "of the network's products: float32, or bfloat16")
    mlm_weight: float = setting(1.0, "weight of the masked-LM loss")
    mlm_probability: float = setting(0.15, "share of word pieces that are masked")
    imm_lambda: str = setting("0.5", "weight of the matching term: a number or a schedule")
    k: int = setting(5, "completions of a restricted context")
    matched: int = setting(16, "masked positions of a batch that are matched, at most")
    context: str = setting("left", "what the bigram sees: left, or both")

    def __post_init__(self) -> None:
        for name, least in (
            *(("epochs", 1), ("batch_size", 1), ("max_length", 8)),
            *(("k", 1), ("matched", 1)),
        ):
            whole(name, getattr(self, name), least)
        real("learning_rate", self.learning_rate, "be > 0", lambda x: x > 0.0)
        real("warmup", self.warmup, "be in [0, 1)", lambda x: 0.0 <= x < 1.0)
        real("weight_decay", self.weight_decay, "be ≥ 0", lambda x: x >= 0.0)
        real("mlm_weight", self.mlm_weight, "be > 0", lambda x: x > 0.0)
        real("mlm_probability", self.mlm_probability, "be in (0, 1)", lambda x: 0.0 < x < 1.0)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        checked_context(self.context)
        object.__setattr__(self, "imm_lambda", checked_lambda(self.imm_lambda).text)

    def counting(self, method: str) -> dict[str, Any]:
        """Those settings that a method has a use for."""
        useless: tuple[str, ...] = {"plain": (*_MLM, *_IMM), "mlm": _IMM}.get(method, ())
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in useless}

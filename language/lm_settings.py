"""Settings of a language model's training: one frozen dataclass that checks itself.

Free of torch, so that the command line can build its help and refuse bad values at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imm_rl.errors import InvalidInputError, invalid, unknown_name
from imm_rl.language.lm_presets import MODELS, OPTIMIZER_OF, preset_values
from imm_rl.settings_checks import real, setting, whole

if TYPE_CHECKING:
    from imm_rl.schedules import Schedule

OPTIMIZERS = ("sgd", "adam")
ANNEALINGS = ("plateau", "linear")
PRECISIONS = ("float32", "bfloat16")
STEP_SIZES: Mapping[str, float] = MappingProxyType({"sgd": 20.0, "adam": 0.002})
"""Where nobody says, by optimizer."""

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "none": "no term",
        "noising": "each position against the n-gram model (one completion)",
        "batch": "IMM; the positions of a batch that share a context complete each other",
        "sampled": "IMM; k training histories drawn for each context",
        "serialized": "the same with memory that does not grow with k",
    }
)
DRAWS = ("sampled", "serialized")
"""Methods that draw histories."""

BETWEEN = ("none", "noising", "batch")

TRANSFORMERS = ("heads", "memory", "compile")
"""Settings that an LSTM has no use for."""


@dataclass(frozen=True, kw_only=True)
class LMSettings:
    """How a language model is built and trained; each field's `help` is also the command line's.

    Raises:
        InvalidInputError: A value is out of its range, or two settings contradict each other.
    """

    model: str = setting("lstm", f"{', '.join(MODELS)}")
    hidden_size: int = setting(200, "units of a layer, and of a word's embedding")
    layers: int = setting(2, "layers")
    dropout: float = setting(0.5, "share of units dropped, in [0, 1)")
    heads: int = setting(4, "transformer: attention heads of a layer")
    memory: int = setting(64, "transformer: words before a piece that attention looks back to")
    tied: bool = setting(False, "use the embedding of the words as output weights too")
    init_range: float = setting(0.1, "weights start uniform in ± this")
    batch_size: int = setting(20, "streams that the text is cut into")
    unroll: int = setting(35, "words of a stream that an update sees")
    epochs: int = setting(40, "passes over the training text")
    optimizer: str | None = setting(
        None, f"{', '.join(OPTIMIZERS)}; default: sgd for lstm, adam for transformer"
    )
    learning_rate: float | None = setting(
        None, "full height of the step size; default: 20 for sgd, 0.002 for adam"
    )
    warmup: int = setting(0, "updates over which the step size rises to its full height")
    annealing: str = setting(
        "plateau",
        "of the step size: plateau (times decay after an epoch that was no better, whose best state is "
        "reloaded) or linear (to 0 at the end)",
    )
    decay: float = setting(
        0.5, "factor on the step size where training goes back to its best state"
    )
    clip: float = setting(0.25, "largest norm of the gradient")
    order: int = setting(
        2, "n of the n-gram model, whose contexts are n − 1 words; none is only measured against it"
    )
    k: int = setting(10, "drawn methods: histories of a context")
    history: int = setting(8, "drawn methods: words of a history")
    contexts: int = setting(
        128, "drawn methods: positions of a batch whose contexts are matched; 0: all of them"
    )
    every: int = setting(5, "drawn methods: draw at every so many updates")
    between: str = setting(
        "batch", f"drawn methods: the term at other updates: {', '.join(BETWEEN)}"
    )
    start: str = setting(
        "epoch:0", "when the term sets in: epoch:3, or ppl:90 for a validation perplexity below 90"
    )
    start_learning_rate: float | None = setting(
        None,
        "full height of the step size from then on, which warmup and annealing scale as before; "
        "default: as it is",
    )
    eval_batch_size: int = setting(10, "streams of an evaluation")
    precision: str = setting(
        "float32",
        "of matrix products, an lstm's output layer alone: float32, or bfloat16 (less time and memory on a "
        "GPU)",
    )
    compile: bool = setting(False, "transformer: compile its layers by torch.compile")

    def __post_init__(self) -> None:
        self._check_names()
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", STEP_SIZES[str(self.optimizer)])
        self._check_numbers()
        if self.model == "transformer" and self.hidden_size % (2 * self.heads):
            constraint = f"be a multiple of twice the heads, {2 * self.heads}"
            raise invalid("hidden_size", constraint, self.hidden_size)
        if self.history < self.order - 1:
            raise invalid("history", f"hold the context, {self.order - 1} words", self.history)
        kind, value = self.start_rule()
        if kind == "epoch" and value >= self.epochs:
            raise invalid("start", f"come before the end, epoch:{self.epochs}", self.start)

    def _check_names(self) -> None:
        """Refuses names that are none, and gives the model its optimizer where nobody did."""
        if self.optimizer is None and self.model in MODELS:
            object.__setattr__(self, "optimizer", OPTIMIZER_OF[self.model])
        for name, known in (
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
            ("between", BETWEEN),
            ("annealing", ANNEALINGS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        for name in ("tied", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise invalid(name, "be true or false", getattr(self, name))

    def _check_numbers(self) -> None:
        for name in (
            *("hidden_size", "layers", "heads", "batch_size", "unroll", "epochs"),
            *("k", "history", "every", "eval_batch_size"),
        ):
            whole(name, getattr(self, name), 1)
        whole("order", self.order, 2)
        for name in ("contexts", "memory", "warmup"):
            whole(name, getattr(self, name), 0)
        real("dropout", self.dropout, "be in [0, 1)", lambda x: 0.0 <= x < 1.0)
        real("decay", self.decay, "be in (0, 1]", lambda x: 0.0 < x <= 1.0)
        for name in ("init_range", "learning_rate", "clip"):
            real(name, getattr(self, name), "be > 0", lambda x: x > 0.0)
        if self.start_learning_rate is not None:
            real("start_learning_rate", self.start_learning_rate, "be > 0", lambda x: x > 0.0)

    @property
    def step_size(self) -> float:
        """`learning_rate`, which is a number once the settings are made."""
        return float(self.learning_rate or 0.0)

    @property
    def update_words(self) -> int:
        """Words that an update trains on."""
        return self.batch_size * self.unroll

    def start_rule(self) -> tuple[str, float]:
        """`start` as ("epoch" or "ppl", number)."""
        match = re.fullmatch(r"\s*(epoch|ppl)\s*:\s*([0-9.]+(?:e[0-9]+)?)\s*", str(self.start))
        try:
            kind, value = (match[1], float(match[2])) if match else ("", math.nan)
        except ValueError:
            kind, value = "", math.nan
        integral = kind != "epoch" or value.is_integer()
        if not kind or not integral or (kind == "ppl" and value < 1.0):
            raise invalid("start", "be epoch:N, N ≥ 0, or ppl:X, X ≥ 1", self.start)
        return kind, value

    def check_length(self, pieces: int) -> None:
        """Refuses a warm-up that the training would end in.

        Args:
            pieces: Updates of an epoch.

        Raises:
            InvalidInputError: It is as long as the training, or longer.
        """
        updates = self.epochs * pieces
        if self.warmup >= updates:
            raise invalid(
                "warmup",
                f"be less than the updates of the training, {updates:,} ({self.epochs} epochs of "
                f"{pieces:,})",
                self.warmup,
                "Take a smaller warmup, more epochs, a longer text, or a smaller batch_size or unroll",
            )

    def check_schedule(self, schedule: Schedule) -> None:
        """Refuses a λ that needs both gradients of an update where layers are compiled.

        Compiled layers give away, on the way back, what a second way back through them would need.

        Args:
            schedule: λ.

        Raises:
            InvalidInputError: It is `aligned`, and `compile` is true.
        """
        if self.compile and schedule.observes == "cosine":
            raise InvalidInputError(
                f"λ is {schedule.text} and compile is true: `aligned` goes backwards through the layers "
                "twice an update, which compiled ones cannot. Take another λ, or compile false."
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> LMSettings:
        """The settings of a preset of `lm_presets`, with some changed; `model` says of which model.

        With another `optimizer` than the preset's, the preset's step sizes give way to its default.

        Raises:
            InvalidInputError: There is no such preset, of that model, or setting, or a value is wrong.
        """
        values = preset_values(name, changes.get("model"), changes.get("optimizer"))
        return cls(**{**values, **changes})


def checked_method(method: str) -> str:
    """A known method; `imm` means `batch`.

    Raises:
        InvalidInputError: There is no such method.
    """
    if method == "imm":
        return "batch"
    if method not in METHODS:
        raise unknown_name("method", method, (*METHODS, "imm"))
    return method


def refuse_unused(method: str, given: Mapping[str, Any], model: str = "lstm") -> None:
    """Refuses settings that a method or a model has no use for.

    Args:
        method: A name of `METHODS`.
        given: What the user set, by setting.
        model: A name of `MODELS`.

    Raises:
        InvalidInputError: One of them would be ignored.
    """
    drawn = ("k", "history", "contexts", "every", "between")
    useless: tuple[str, ...] = () if method in DRAWS else drawn
    if method == "none":
        # It has a use for the order: its induced model is held against an n-gram model at the end.
        useless = (*drawn, "start", "start_learning_rate")
    if method in DRAWS and "between" in given and str(given.get("every")) == "1":
        raise InvalidInputError(
            "between is of no use where every update draws (every 1). Give up one of them."
        )
    for name in useless:
        if name in given:
            raise InvalidInputError(
                f"{name} is of no use to the method {method!r}. Leave it out, or choose "
                f"--method {'sampled' if name in drawn else 'batch'}."
            )
    for name in () if model == "transformer" else TRANSFORMERS:
        if name in given:
            raise InvalidInputError(
                f"{name} is of no use to the model {model!r}. Leave it out, or choose "
                "--model transformer."
            )

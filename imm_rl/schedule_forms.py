"""The schedules of λ, one class for each form of text that `schedules.parse` takes.

All are frozen dataclasses: checked on construction, compared by value, told by their `text`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from imm_rl.errors import InvalidInputError, invalid

FloatArray: TypeAlias = npt.NDArray[np.float64]


class Schedule:
    """λ as a function of progress. Immutable, compared by value.

    Attributes:
        observes: What a run must measure for it: "kl", "cosine", or nothing ("").
    """

    observes: ClassVar[Literal["", "kl", "cosine"]] = ""

    @property
    def text(self) -> str:
        """The form that `parse` turns into this schedule again."""
        raise NotImplementedError

    @property
    def follows_progress(self) -> bool:
        """Whether λ depends on the share of the training that is done, and so on its length."""
        return type(self)._at is not Schedule._at

    def __call__(self, progress: float) -> float:
        """Returns λ, at least 0 (for an adaptive schedule: before its factor is applied).

        Args:
            progress: Share of the training that is done; below 0 counts as 0, above 1 as 1.
        """
        return self._at(min(max(float(progress), 0.0), 1.0))

    def _at(self, progress: float) -> float:
        """λ at a progress in [0, 1]: `_constant`, unless a form overrides this."""
        del progress
        return self._constant()

    def _constant(self) -> float:
        raise NotImplementedError

    def resolve(self, *, epochs: int) -> Schedule:
        """Fills in the length of the training, which `paper` needs; the others are unchanged."""
        del epochs
        return self

    def adapt(self, factors: FloatArray, measured: FloatArray) -> FloatArray:
        """The factors on λ of N runs, (N,), once each has measured (N,) what `observes` names."""
        del measured
        return factors

    def _require(self, holds: bool, constraint: str, received: float) -> None:
        if not holds:
            raise invalid(f"λ schedule {self.text!r}", constraint, received)

    def _require_weights(self, *weights: float) -> None:
        for weight in weights:
            holds = math.isfinite(weight) and weight >= 0
            self._require(holds, "have weights that are finite and at least 0", weight)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same λ throughout."""

    value: float

    def __post_init__(self) -> None:
        self._require_weights(self.value)

    @property
    def text(self) -> str:  # noqa: D102
        return _short(self.value)

    def _constant(self) -> float:
        return self.value


@dataclass(frozen=True)
class Ratio(Schedule):
    """The same λ throughout, given as λ/(1+λ) in [0, 1)."""

    ratio: float

    def __post_init__(self) -> None:
        self._require(0 <= self.ratio < 1, "have a ratio in [0, 1)", self.ratio)

    @property
    def text(self) -> str:  # noqa: D102
        return f"ratio:{_short(self.ratio)}"

    def _constant(self) -> float:
        return self.ratio / (1 - self.ratio)


@dataclass(frozen=True)
class Ramp(Schedule):
    """From `start` to `end`, reached at the share `until` of training and held from there on."""

    shape: Literal["linear", "cosine"]
    start: float
    end: float
    until: float

    def __post_init__(self) -> None:
        self._require_weights(self.start, self.end)
        self._require(0 < self.until <= 1, "end at a share of training in (0, 1]", self.until)

    @property
    def text(self) -> str:  # noqa: D102
        return f"{self.shape}:{_short(self.start)}->{_short(self.end)}@{_short(self.until)}"

    def _at(self, progress: float) -> float:
        done = min(progress / self.until, 1.0)
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return (1 - done) * self.start + done * self.end


@dataclass(frozen=True)
class HalfLife(Schedule):
    """start · 2^(−p/half): halved with every share `half` of training."""

    start: float
    half: float

    def __post_init__(self) -> None:
        self._require_weights(self.start)
        holds = math.isfinite(self.half) and self.half > 0
        self._require(holds, "have a half-life above 0", self.half)

    @property
    def text(self) -> str:  # noqa: D102
        return f"exp:{_short(self.start)},half={_short(self.half)}"

    def _at(self, progress: float) -> float:
        return self.start * math.pow(0.5, progress / self.half)


@dataclass(frozen=True)
class PaperRatio(Schedule):
    """The authors' rule for the grid: λ/(1+λ) = round(0.1891 − 0.0002·epochs, 1), at least 0.

    An epoch is one update of the agent (50 environment steps in their grid). λ depends on how long
    the training is, not on how far it is: 0.25 up to 195 epochs, then 1/9, and 0 from 696 on.
    """

    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None:
            self._require(self.epochs >= 1, "have at least 1 epoch", self.epochs)

    @property
    def text(self) -> str:  # noqa: D102
        return "paper" if self.epochs is None else f"paper:{self.epochs}"

    def _constant(self) -> float:
        if self.epochs is None:
            raise InvalidInputError(
                "λ schedule 'paper' must know how many epochs the training has; received none. "
                "Write 'paper:400' or call resolve(epochs=...) first."
            )
        ratio = max(round(0.1891 - 0.0002 * self.epochs, 1), 0.0)
        return ratio / (1 - ratio)

    def resolve(self, *, epochs: int) -> PaperRatio:
        """The schedule for a training of so many epochs, unless its text fixed them."""
        return PaperRatio(epochs) if self.epochs is None else self


@dataclass(frozen=True)
class TargetKL(Schedule):
    """λ is adapted so that KL(P̂‖Q̄) stays near `target`, in nats.

    An integrator on log λ: from 1, with each measurement

        λ ← clip(λ · exp(0.1 · clip((KL − target)/target, −1, 1)), 1e-4, 1e3),

    so one measurement moves λ by a tenth at most. A NaN leaves it as it is.
    """

    target: float
    observes: ClassVar[Literal["", "kl", "cosine"]] = "kl"

    def __post_init__(self) -> None:
        holds = math.isfinite(self.target) and self.target > 0
        self._require(holds, "have a target above 0", self.target)

    @property
    def text(self) -> str:  # noqa: D102
        return f"target-kl:{_short(self.target)}"

    def _constant(self) -> float:
        return 1.0

    def adapt(self, factors: FloatArray, measured: FloatArray) -> FloatArray:  # noqa: D102
        error = np.clip((measured - self.target) / self.target, -1.0, 1.0)
        adapted = np.clip(factors * np.exp(0.1 * error), 1e-4, 1e3)
        return np.where(np.isnan(error), factors, adapted)


@dataclass(frozen=True)
class Aligned(Schedule):
    """`weight` times max(0, cosine between the main and the IMM gradient), as measured last.

    The term counts as far as its gradient points where the main one does, and not at all where it
    opposes it or where the cosine is NaN (one gradient is zero). Before the first measurement the
    factor is 1. Source: Du et al. 2018, arXiv 1812.02224, the weighted version.
    """

    weight: float
    observes: ClassVar[Literal["", "kl", "cosine"]] = "cosine"

    def __post_init__(self) -> None:
        self._require_weights(self.weight)

    @property
    def text(self) -> str:  # noqa: D102
        return f"aligned:{_short(self.weight)}"

    def _constant(self) -> float:
        return self.weight

    def adapt(self, factors: FloatArray, measured: FloatArray) -> FloatArray:  # noqa: D102
        del factors
        return np.nan_to_num(np.clip(measured, 0.0, 1.0), nan=0.0)


def _short(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")

"""Schedules of λ, the weight of the IMM term: `parse(text)` makes one, `schedule(p)` gives λ.

Every place that takes λ (`IMMReinforce`, `--lambda`, the language models) takes these forms:

| text | λ at progress p in [0, 1] |
|---|---|
| `0.25` | 0.25 throughout |
| `ratio:0.2` | the λ with λ/(1+λ) = 0.2, here 0.25 |
| `linear:1->0@0.5` | a straight line from 1 to 0, reached at half of training, then held |
| `cosine:1->0@0.5` | the same along half a cosine wave |
| `exp:1,half=0.1` | 1 at the start, halved with every tenth of training |
| `paper`, `paper:400` | fixed by the length of the training in epochs, see `PaperRatio` |
| `target-kl:0.05` | adapted so that KL(P̂‖Q̄) stays near 0.05 nats, see `TargetKL` |
| `aligned:1` | 1 · max(0, cosine of the main and the IMM gradient), see `Aligned` |

Spaces may stand at both ends and around `:`, `->`, `@`, `,` and `=`. The last two depend on what a run
measures; `WeightController` keeps the state of many runs.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.schedule_forms import (
    Aligned,
    Constant,
    HalfLife,
    PaperRatio,
    Ramp,
    Ratio,
    Schedule,
    TargetKL,
)

FloatArray: TypeAlias = npt.NDArray[np.float64]
_SPACED_SIGN = re.compile(r"\s*(->|[:@,=])\s*")

__all__ = [
    "FORMS",
    "Aligned",
    "Constant",
    "HalfLife",
    "PaperRatio",
    "Ramp",
    "Ratio",
    "Schedule",
    "TargetKL",
    "WeightController",
    "parse",
]


def _numbers(pattern: str, text: str) -> list[float]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(text)
    return [float(part) for part in match.groups()]


def _linear(text: str) -> Ramp:
    return Ramp("linear", *_numbers("(.+)->(.+)@(.+)", text))


def _cosine(text: str) -> Ramp:
    return Ramp("cosine", *_numbers("(.+)->(.+)@(.+)", text))


def _half_life(text: str) -> HalfLife:
    return HalfLife(*_numbers("(.+),half=(.+)", text))


FORMS: Mapping[str, tuple[str, Callable[[str], Schedule]]] = {
    "ratio": ("ratio:0.2", lambda text: Ratio(float(text))),
    "linear": ("linear:1->0@0.5", _linear),
    "cosine": ("cosine:1->0@0.5", _cosine),
    "exp": ("exp:1,half=0.1", _half_life),
    "paper": ("paper:400", lambda text: PaperRatio(int(text))),
    "target-kl": ("target-kl:0.05", lambda text: TargetKL(float(text))),
    "aligned": ("aligned:1", lambda text: Aligned(float(text))),
}
"""Name before the colon -> an example, and what makes the schedule of the text after the colon."""

EXAMPLES = ("0.25", "paper", *(example for example, _ in FORMS.values()))
"""One of each form."""


def parse(schedule: str | float | Schedule) -> Schedule:
    """Makes a schedule of its text or of a number (a constant λ); a schedule is returned as it is.

    Raises:
        InvalidInputError: The text has none of the forms, or a number in it is out of range.
    """
    if isinstance(schedule, Schedule):
        return schedule
    made: Schedule | None = None
    given: object = schedule
    if isinstance(given, str):
        made = _parse_text(_SPACED_SIGN.sub(r"\1", given.strip()))
    elif not isinstance(given, bool) and isinstance(given, numbers.Real):
        made = Constant(float(given))
    if made is not None:
        return made
    listed = ", ".join(EXAMPLES)
    raise invalid("a λ schedule", f"be a number or have one of the forms {listed}", schedule)


def _parse_text(text: str) -> Schedule | None:
    """The schedule, or None where the text has none of the forms."""
    if "_" in text:  # float() takes 1_000 for a number
        return None
    name, colon, rest = text.partition(":")
    try:
        if not colon:
            return PaperRatio() if name == "paper" else Constant(float(name))
        return FORMS[name][1](rest) if name in FORMS else None
    except InvalidInputError:  # of a known form, with a number out of range
        raise
    except ValueError:  # a part is no number
        return None


class WeightController:
    """The λ of N runs that train side by side, each with its own schedule.

    One per training. In each update: ask `weights`, train, and hand what was measured to `observe`
    where `needs_kl` or `needs_cosine` says that a schedule waits for it. (An `aligned` schedule may
    as well be told the cosine of the same update first.)

    Attributes:
        schedules: One a run.
        needs_kl: Whether a schedule adapts to KL(P̂‖Q̄).
        needs_cosine: Whether one adapts to the cosine of the main and the IMM gradient.

    Args:
        schedules: One a run: schedules or what `parse` takes.
    """

    def __init__(self, schedules: Sequence[str | float | Schedule]) -> None:
        self.schedules = tuple(parse(schedule) for schedule in schedules)
        # Runs of one schedule are evaluated together: a sweep has hundreds of runs, few schedules.
        self._distinct = tuple(dict.fromkeys(self.schedules))
        index = {schedule: i for i, schedule in enumerate(self._distinct)}
        self._which = np.array([index[schedule] for schedule in self.schedules], dtype=np.intp)
        self._factors: FloatArray = np.ones(len(self.schedules))
        self.needs_kl = any(schedule.observes == "kl" for schedule in self._distinct)
        self.needs_cosine = any(schedule.observes == "cosine" for schedule in self._distinct)

    def weights(self, progress: float) -> FloatArray:
        """Returns λ of each run, (N,), at a share of training in [0, 1]."""
        by_schedule = np.array([schedule(progress) for schedule in self._distinct], np.float64)
        return by_schedule[self._which] * self._factors

    def observe(self, kl: npt.ArrayLike | None = None, cosine: npt.ArrayLike | None = None) -> None:
        """Adapts the runs whose schedule waits for one of these; the others ignore them.

        Args:
            kl: (N,), KL(P̂‖Q̄) of each run in nats.
            cosine: (N,), cosine between its main and its IMM gradient.

        Raises:
            InvalidInputError: A shape is wrong.
        """
        for name, given in (("kl", kl), ("cosine", cosine)):
            if given is None:
                continue
            measured = self._one_a_run(name, given)
            for i, schedule in enumerate(self._distinct):
                if schedule.observes == name:
                    runs = self._which == i
                    self._factors[runs] = schedule.adapt(self._factors[runs], measured[runs])

    def state(self) -> dict[str, FloatArray]:
        """What a checkpoint must keep: arrays by name."""
        return {"factors": self._factors.copy()}

    def restore(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Takes back what `state` gave.

        Raises:
            InvalidInputError: An entry is missing, or it is of another number of runs.
        """
        if "factors" not in state:
            raise invalid("state", "have the entry 'factors'", sorted(state))
        self._factors = self._one_a_run("state['factors']", state["factors"]).copy()

    def _one_a_run(self, name: str, value: npt.ArrayLike) -> FloatArray:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != self._factors.shape:
            raise invalid(name, f"have one value a run, shape {self._factors.shape}", array.shape)
        return array

"""Settings of the REINFORCE agent: one frozen dataclass that checks itself, and the paper's preset.

Free of torch, so that the command line can build its help text and refuse bad values at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from imm_rl.errors import InvalidInputError, invalid, unknown_name
from imm_rl.settings_checks import LARGEST, setting

BASELINES = ("none", "mean", "value")
CONTEXTS = ("agent", "restricted")
CONTEXT_WEIGHTS = ("uniform", "certainty", "informed")


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings:
    """How `IMMReinforce` trains; each field's `help` is also the command line's.

    Raises:
        InvalidInputError: A value is out of its range, or two settings contradict each other.
    """

    hidden_sizes: tuple[int, ...] = setting((32,), "units of each hidden tanh layer")
    learning_rate: float = setting(0.03, "Adam's step size")
    n_envs: int = setting(1, "copies of the environment that each run steps side by side")
    n_steps: int | None = setting(None, "steps a copy takes before an update; default: one episode")
    gamma: float | None = setting(None, "discount of the return; default: the model's")
    baseline: str = setting("value", f"subtracted from the return: {', '.join(BASELINES)}")
    normalize_advantage: bool = setting(True, "scale advantages to mean 0, deviation 1")
    bootstrap: bool | None = setting(
        None, "value the state at which a time limit cuts; default: with the value baseline"
    )
    entropy_coef: float = setting(0.0, "weight of the entropy bonus, in nats")
    contexts: str = setting(
        "agent", "whose rollouts the contexts to match at come from: agent, restricted"
    )
    context_weight: str | None = setting(
        None, "weight of each context: uniform, certainty, informed; default: informed for beliefs"
    )
    bc_episodes: int = setting(
        20, "method bc: episodes of the restricted policy that the agent imitates first"
    )
    bc_updates: int = setting(200, "method bc: steps of Adam that imitate them")
    eval_episodes: int = setting(100, "episodes of one evaluation of one run")
    eval_steps: int | None = setting(None, "length of an evaluation episode; default: the pair's")
    eval_points: int = setting(50, "evaluations spread evenly over the training")

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"hidden_sizes": checked_sizes(self.hidden_sizes)}
        for name in ("n_envs", "bc_episodes", "bc_updates", "eval_episodes", "eval_points"):
            checked[name] = checked_count(name, getattr(self, name))
        for name in ("n_steps", "eval_steps"):
            if getattr(self, name) is not None:
                checked[name] = checked_count(name, getattr(self, name))
        ranges = {"learning_rate": "> 0", "entropy_coef": "≥ 0"}
        for name, text in ranges.items():
            checked[name] = checked_real(name, getattr(self, name), text)
        if self.gamma is not None:
            checked["gamma"] = checked_real("gamma", self.gamma, "in (0, 1]")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        choices = {"baseline": BASELINES, "contexts": CONTEXTS}
        if self.context_weight is not None:
            choices["context_weight"] = CONTEXT_WEIGHTS
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)
        for name in ("normalize_advantage", "bootstrap"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (name == "bootstrap" and value is None):
                raise invalid(name, "be true or false", value)
        self._check_conflicts()

    def _check_conflicts(self) -> None:
        if self.bootstrap and self.baseline != "value":
            raise InvalidInputError(
                "bootstrap goes on with the value baseline where an episode is cut, and baseline is "
                f"{self.baseline!r}. Set baseline to 'value' or bootstrap to false."
            )
        if self.baseline == "mean" and self.normalize_advantage:
            raise InvalidInputError(
                "baseline 'mean' changes nothing under normalize_advantage, which subtracts the mean. "
                "Set baseline to 'none' or normalize_advantage to false."
            )

    @property
    def bootstraps(self) -> bool:
        """Whether cut returns go on with a value: as `bootstrap` says, else with the value baseline."""
        return self.baseline == "value" if self.bootstrap is None else self.bootstrap

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ReinforceSettings:
        """A named preset with changes on top: `default`, or `paper` (paper's section on RL).

        Raises:
            InvalidInputError: No such preset or setting.
        """
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        return cls().replaced(**{**PRESETS[name], **changes})

    def replaced(self, **changes: Any) -> ReinforceSettings:
        """A copy with some settings changed; unknown names are refused with the nearest match."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise unknown_name("setting", name, known)
        return dataclasses.replace(self, **changes)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # Muneeb and Ohannessian 2024, RL section and code: no baseline, one environment, 50 observations
    # an epoch, evaluation by 10 rollouts of 22 steps. All of it is said, so that it stays the paper's
    # when a default changes. Their rule for λ is the schedule `paper`.
    "paper": {
        "hidden_sizes": (32,),
        "learning_rate": 0.01,
        "n_envs": 1,
        "n_steps": 50,
        "gamma": 0.9,
        "baseline": "none",
        "normalize_advantage": False,
        "bootstrap": False,
        "entropy_coef": 0.0,
        "contexts": "agent",
        "context_weight": "uniform",
        "eval_episodes": 10,
        "eval_steps": 22,
    },
}


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of any integer type; true and false are none."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def checked_count(name: str, value: Any, most: int = LARGEST) -> int:
    """A whole number from 1 to `most`, of any integer type."""
    if not is_whole(value) or value < 1:
        raise invalid(name, "be a whole number ≥ 1", value)
    if value > most:
        raise invalid(name, f"be at most {most:,}", value)
    return int(value)


def checked_index(name: str, value: Any, size: int) -> int:
    """A whole number from 0 to size − 1."""
    if not is_whole(value) or not 0 <= value < size:
        raise invalid(name, f"be a whole number from 0 to {size - 1}", value)
    return int(value)


def checked_real(name: str, value: Any, text: str) -> float:
    """A finite number in the range that the text says."""
    allowed: dict[str, Callable[[float], bool]] = {
        "> 0": lambda v: v > 0.0,
        "≥ 0": lambda v: v >= 0.0,
        "in (0, 1]": lambda v: 0.0 < v <= 1.0,
        "in [0, 1]": lambda v: 0.0 <= v <= 1.0,
    }
    real = not isinstance(value, bool) and isinstance(value, Real)
    if not (real and math.isfinite(value) and allowed[text](value)):
        raise invalid(name, f"be a finite number {text}", value)
    return float(value)


def checked_sizes(value: Any) -> tuple[int, ...]:
    """Units of hidden layers, at least one layer."""
    if isinstance(value, Integral):
        value = (value,)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise invalid("hidden_sizes", "be whole numbers ≥ 1, one a layer", value)
    sizes = tuple(checked_count("hidden_sizes", size) for size in value)
    if not sizes:
        raise invalid("hidden_sizes", "name at least one layer", value)
    return sizes

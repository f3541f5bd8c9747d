"""Settings of the REINFORCE agent: one frozen dataclass that checks itself, and the paper's preset.

Free of torch, so that the command line can build its help text and refuse bad values at once.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from imm_rl.errors import InvalidInputError, invalid, unknown_name

BASELINES = ("none", "mean", "value")
CONTEXTS = ("agent", "restricted")
CONTEXT_WEIGHTS = ("uniform", "certainty", "informed")


def _setting(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings:
    """How `IMMReinforce` trains; each field's `help` is also the command line's.

    Raises:
        InvalidInputError: A value is out of its range, or two settings contradict each other.
    """

    hidden_sizes: tuple[int, ...] = _setting((32,), "units of each hidden tanh layer")
    learning_rate: float = _setting(0.03, "Adam's step size")
    n_envs: int = _setting(1, "copies of the environment that each run steps side by side")
    n_steps: int | None = _setting(
        None, "steps a copy takes before an update; default: one episode"
    )
    gamma: float | None = _setting(None, "discount of the return; default: the model's")
    baseline: str = _setting("value", f"subtracted from the return: {', '.join(BASELINES)}")
    normalize_advantage: bool = _setting(True, "scale advantages to mean 0, deviation 1")
    bootstrap: bool = _setting(True, "value the state at which a time limit cuts an episode")
    entropy_coef: float = _setting(0.0, "weight of the entropy bonus, in nats")
    contexts: str = _setting(
        "agent", "whose rollouts the beliefs to match at come from: agent, restricted"
    )
    context_weight: str = _setting(
        "informed", "weight of each belief: uniform, certainty, informed"
    )
    eval_episodes: int = _setting(100, "episodes of one evaluation of one run")
    eval_steps: int | None = _setting(None, "length of an evaluation episode; default: the pair's")
    eval_points: int = _setting(50, "evaluations spread evenly over the training")

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", _checked_sizes(self.hidden_sizes))
        for name in ("n_envs", "eval_episodes", "eval_points"):
            _check_count(name, getattr(self, name))
        for name in ("n_steps", "eval_steps"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        _check_real("learning_rate", self.learning_rate, above=0.0)
        _check_real("entropy_coef", self.entropy_coef, at_least=0.0)
        if self.gamma is not None and not (_is_real(self.gamma) and 0.0 < self.gamma <= 1.0):
            raise invalid("gamma", "be in (0, 1]", self.gamma)
        for name in ("normalize_advantage", "bootstrap"):
            if not isinstance(getattr(self, name), bool):
                raise invalid(name, "be true or false", getattr(self, name))
        choices = {"baseline": BASELINES, "contexts": CONTEXTS, "context_weight": CONTEXT_WEIGHTS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)
        if self.bootstrap and self.baseline != "value":
            raise InvalidInputError(
                f"bootstrap needs a critic, and baseline is {self.baseline!r}. "
                "Set baseline to 'value' or bootstrap to false."
            )

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
    # an epoch, evaluation by 10 rollouts of 22 steps.
    "paper": {
        "n_envs": 1,
        "n_steps": 50,
        "gamma": 0.9,
        "learning_rate": 0.01,
        "context_weight": "uniform",
        "baseline": "none",
        "normalize_advantage": False,
        "bootstrap": False,
        "eval_episodes": 10,
        "eval_steps": 22,
    },
}


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(name, "be a whole number ≥ 1", value)


def _check_real(
    name: str, value: float, *, above: float | None = None, at_least: float | None = None
) -> None:
    if not _is_real(value) or (above is not None and value <= above):
        raise invalid(name, f"be a finite number > {above}", value)
    if at_least is not None and value < at_least:
        raise invalid(name, f"be a finite number ≥ {at_least}", value)


def _checked_sizes(value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    for size in sizes:
        _check_count("hidden_sizes", size)
    if not sizes:
        raise invalid("hidden_sizes", "name at least one layer", value)
    return sizes

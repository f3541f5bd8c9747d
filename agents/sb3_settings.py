"""Settings of the agents that train by Stable-Baselines3: frozen dataclasses that check themselves.

Free of torch and Stable-Baselines3, so that the command line can build its help text and refuse bad
values at once. A field has the name that it has in `ReinforceSettings` where it means the same;
`sb3_arguments` says what Stable-Baselines3 calls it. Defaults are Stable-Baselines3's own;
`agents/defaults.py` has those of single environments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from imm_rl.agents.settings import (
    CONTEXT_WEIGHTS,
    ReinforceSettings,
    checked_count,
    checked_real,
    checked_sizes,
)
from imm_rl.errors import InvalidInputError, invalid, unknown_name
from imm_rl.settings_checks import setting

MATCHING = ("contexts", "context_weight", "imm_batch", "completions", "refresh")
"""Settings that say how to match, and nothing where there is no restricted policy."""

OTHER_GAMMA = 0.99
"""Discount where neither a setting nor a model says one."""


@dataclass(frozen=True, kw_only=True)
class SB3Settings:
    """What PPO and A2C share; each field's `help` is also the command line's.

    Raises:
        InvalidInputError: A value is out of its range.
    """

    hidden_sizes: tuple[int, ...] = setting((64, 64), "units of each hidden tanh layer")
    learning_rate: float = setting(3e-4, "Adam's step size")
    n_envs: int = setting(1, "copies of the environment that each run steps side by side")
    n_steps: int = setting(2048, "steps a copy takes before an update")
    gamma: float | None = setting(None, "discount of the return; default: the model's, else 0.99")
    gae_lambda: float = setting(0.95, "λ of generalised advantage estimates; 1: whole returns")
    entropy_coef: float = setting(0.0, "weight of the entropy bonus, in nats")
    value_coef: float = setting(0.5, "weight of the value function's loss")
    max_grad_norm: float = setting(0.5, "gradients longer than this are cut to it")
    context_weight: str | None = setting(
        None, "weight of each context: uniform, certainty, informed; default: informed for beliefs"
    )
    imm_batch: int = setting(256, "contexts of one gradient of the matching term, at most")
    completions: str | None = setting(
        None,
        "which states of a rollout stand in for each other where there is no model: nearest, "
        "nearest:k=16,bandwidth=0.2, equal; default: by the kind of view",
    )
    refresh: int = setting(8, "optimizer steps for which one gradient of the matching term is used")
    eval_episodes: int = setting(20, "episodes of one evaluation of one run")
    eval_points: int = setting(20, "evaluations spread evenly over the training")

    COUNTS: ClassVar[tuple[str, ...]] = (
        *("n_envs", "n_steps", "imm_batch", "refresh", "eval_episodes", "eval_points"),
    )
    RANGES: ClassVar[Mapping[str, str]] = {
        "learning_rate": "> 0",
        "gamma": "in (0, 1]",
        "gae_lambda": "in [0, 1]",
        "entropy_coef": "≥ 0",
        "value_coef": "≥ 0",
        "max_grad_norm": "> 0",
    }
    SB3_NAMES: ClassVar[Mapping[str, str]] = {
        "learning_rate": "learning_rate",
        "n_steps": "n_steps",
        "gae_lambda": "gae_lambda",
        "entropy_coef": "ent_coef",
        "value_coef": "vf_coef",
        "max_grad_norm": "max_grad_norm",
    }

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"hidden_sizes": checked_sizes(self.hidden_sizes)}
        optional = {field.name for field in dataclasses.fields(self) if field.default is None}
        for name in self.COUNTS:
            value = getattr(self, name)
            if value is not None or name not in optional:
                checked[name] = checked_count(name, value)
        for name, text in self.RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in optional:
                checked[name] = checked_real(name, value, text)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.context_weight is not None and self.context_weight not in CONTEXT_WEIGHTS:
            raise unknown_name("context_weight", str(self.context_weight), CONTEXT_WEIGHTS)
        if self.completions is not None and not isinstance(self.completions, str):
            raise invalid("completions", "be a text such as 'nearest:k=16'", self.completions)

    @property
    def rollout_size(self) -> int:
        """Environment steps between two updates."""
        return self.n_envs * self.n_steps

    def imm_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `IMMCallback` that these settings mean."""
        named = {
            "completions": self.completions,
            "context_weight": self.context_weight,
            "batch_size": self.imm_batch,
            "refresh": self.refresh,
        }
        return {name: value for name, value in named.items() if value is not None}

    def sb3_arguments(self, discount: float | None = None) -> dict[str, Any]:
        """The keyword arguments of Stable-Baselines3's algorithm that these settings mean.

        Args:
            discount: The model's, where there is one and `gamma` says nothing.
        """
        gamma = self.gamma if self.gamma is not None else discount
        return {
            **{theirs: getattr(self, ours) for ours, theirs in self.SB3_NAMES.items()},
            "gamma": OTHER_GAMMA if gamma is None else gamma,
            "policy_kwargs": {"net_arch": list(self.hidden_sizes)},
        }


@dataclass(frozen=True, kw_only=True)
class PPOSettings(SB3Settings):
    """How `IMMPPO` trains.

    Raises:
        InvalidInputError: A value is out of its range, or a rollout has a single step.
    """

    batch_size: int = setting(64, "steps of one minibatch")
    n_epochs: int = setting(10, "passes over each rollout")
    clip_range: float = setting(0.2, "how far the probability ratio may go before it is clipped")

    COUNTS: ClassVar[tuple[str, ...]] = (*SB3Settings.COUNTS, "batch_size", "n_epochs")
    RANGES: ClassVar[Mapping[str, str]] = {**SB3Settings.RANGES, "clip_range": "> 0"}
    SB3_NAMES: ClassVar[Mapping[str, str]] = {
        **SB3Settings.SB3_NAMES,
        "batch_size": "batch_size",
        "n_epochs": "n_epochs",
        "clip_range": "clip_range",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        # PPO scales the advantages of each minibatch by their deviation.
        if self.batch_size < 2:
            raise invalid("batch_size", "be at least 2, for a deviation", self.batch_size)
        last = self.rollout_size % self.batch_size
        if self.rollout_size < 2 or last == 1:
            raise invalid(
                "n_envs · n_steps",
                f"leave no minibatch of a single step when cut into {self.batch_size} at a time",
                self.rollout_size,
                "Choose n_steps or batch_size so that batch_size divides it",
            )


@dataclass(frozen=True, kw_only=True)
class A2CSettings(SB3Settings):
    """How `IMMA2C` trains.

    Raises:
        InvalidInputError: A value is out of its range.
    """

    learning_rate: float = setting(7e-4, "RMSprop's step size")
    n_steps: int = setting(5, "steps a copy takes before an update")
    gae_lambda: float = setting(1.0, "λ of generalised advantage estimates; 1: whole returns")


SETTINGS: dict[str, type[ReinforceSettings] | type[SB3Settings]] = {
    "reinforce": ReinforceSettings,
    "ppo": PPOSettings,
    "a2c": A2CSettings,
}
"""The settings class of each agent, by the name that `--agent` takes."""

AGENTS = tuple(SETTINGS)
"""Every name that `--agent` takes."""


def setting_names(agent: str) -> tuple[str, ...]:
    """The settings of an agent, in the order of its class."""
    return tuple(field.name for field in dataclasses.fields(SETTINGS[agent]))


def completions_unused(pair_name: str) -> InvalidInputError:
    """Builds the error for `completions` where a model says what a context may stand for."""
    return InvalidInputError(
        f"completions are for environments without a model, and {pair_name} has one: its beliefs say "
        "what a restricted context may stand for. Leave completions out."
    )


def agents_with(name: str) -> tuple[str, ...]:
    """The agents that have a setting of this name; none where nobody has."""
    return tuple(agent for agent in AGENTS if name in setting_names(agent))

"""What a training says of itself: its plan, its restricted policy, the name of its folder, its versions."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

from imm_rl.cli.environments import is_tabular
from imm_rl.cli.names import policy_name
from imm_rl.cli.restricted import is_sb3
from imm_rl.formats import to_json
from imm_rl.runs import file_name, file_stem

if TYPE_CHECKING:
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

PACKAGES = ("numpy", "scipy", "torch", "gymnasium", "stable-baselines3", "tensorboard")
"""Whose versions are kept beside a run, next to those of Python and of this package."""


def plan(config: TrainConfig, pair: EnvPair | FeaturePair) -> str:
    """What is going to run."""
    from imm_rl.cli.console import ranges
    from imm_rl.cli.values import plain

    drawn = " (drawn)" if config.seeds_drawn else ""
    temperature = "" if config.temperature is None else f" at temperature {config.temperature:g}"
    sees = "" if config.view == "full" else ", seeing the restricted view"
    settings = ", ".join(
        f"{name} {plain(value)}"
        for name, value in dataclasses.asdict(config.settings).items()
        # None: as the environment says
        if value is not None and not (name.startswith("bc_") and config.method != "bc")
    )
    method = "" if config.method in ("none", "imm") else f"method {config.method}, "
    lines = [
        f"environment: {config.env}, {described(pair)}",
        f"agent: {config.agent}{sees} with restricted policy {config.restricted}{temperature}, "
        f"{method}λ {config.imm_lambda}",
        f"training: {config.steps:,} steps, {'seed' if len(config.seeds) == 1 else 'seeds'} "
        f"{ranges(config.seeds)}{drawn}, device {config.device}, preset {config.preset}",
        textwrap.fill(f"settings: {settings}", 100, subsequent_indent="  "),
    ]
    return "\n".join([*lines, *_remarks(config)])


def described(pair: EnvPair | FeaturePair) -> str:
    """Sizes and length of an environment."""
    from imm_rl.envs.pair import EnvPair

    if isinstance(pair, EnvPair):
        model = pair.model
        return (
            f"{model.n_states} states, {model.n_actions} actions, {model.n_observations} observations, "
            f"γ {model.discount:g}, episodes of {pair.max_steps} steps"
        )
    parts = [
        f"observations {_space(pair.observation_space)}",
        f"actions {_space(pair.action_space)}",
    ]
    if pair.features is not None:
        parts.append(f"restricted view {_space(pair.features.space)}")
    if pair.max_steps is not None:
        parts.append(f"episodes of at most {pair.max_steps} steps")
    return ", ".join(parts)


def _space(space: Any) -> str:
    """A space on one line; Box without its bounds."""
    if type(space).__name__ == "Box":
        return f"Box{space.shape}"
    return " ".join(str(space).split())


def _remarks(config: TrainConfig) -> list[str]:
    size, batch = (getattr(config.settings, n, 0) for n in ("rollout_size", "batch_size"))
    if not (size and batch) or size % batch == 0:
        return []
    return [
        f"note: batch_size {batch} does not divide the {size} steps of a rollout, so that its last "
        f"minibatch has {size % batch}"
    ]


def policy_about(policy: Any) -> str:
    """Name, bounds and notes of a policy, as far as it has them."""
    from imm_rl.agents.restricted.asking import policy_name
    from imm_rl.cli.console import number

    parts = [policy_name(policy)]
    low, high = (getattr(policy, name, None) for name in ("lower_bound", "upper_bound"))
    if low is not None and high is not None:
        parts.append(f"value at the start between {number(low)} and {number(high)}")
    if getattr(policy, "seconds", None) is not None:
        parts.append(f"solved in {policy.seconds:.1f} s")
    return ", ".join([*parts, *getattr(policy, "notes", ())])


def run_name(config: TrainConfig, pair: EnvPair | FeaturePair) -> str:
    """The run folder's name, before its number."""
    if config.view == "restricted":
        return f"{config.agent}-view"
    restricted = config.restricted
    if not is_tabular(pair) or is_sb3(restricted):
        restricted = policy_name(restricted)
    used = "" if config.method in ("none", "imm") else f"{config.method}-"
    return f"{config.agent}-{used}{short(restricted)}"


def short(text: str) -> str:
    """An environment or restricted policy as a folder name: files by their name alone."""
    from imm_rl.agents.restricted.policy_files import is_policy_file

    target, bracket, options = text.partition("(")
    if target.lower().endswith(".pomdp") or is_policy_file(target):
        target = file_stem(target.replace("\\", "/"))
    return file_name(target + bracket + options)


def versions() -> str:
    """The content of `versions.json`."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from imm_rl import __version__

    found: dict[str, str | None] = {"imm-rl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return to_json({**found, "platform": platform.platform()})

"""What `imm-rl compare` is told: arms, their configurations, and how they are judged; and its folder.

runs/<env>/compare-<n>/
    comparison.yaml  command.txt  versions.json   written before anything runs
    <arm>/                                        a run folder for each arm, as `imm-rl train` leaves it;
                                                  diverged.json where it did
    curves.csv  comparison.csv  comparison.md  curves.png  comparison.json    the result
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.agents.methods import METHODS
from imm_rl.cli import values
from imm_rl.cli.arms import Arm, parse_arms
from imm_rl.cli.environments import is_tabular
from imm_rl.cli.train_config import OBSERVE, TrainConfig, keys, resolve
from imm_rl.cli.train_run import checked_policy
from imm_rl.errors import ImmRlError, InvalidInputError, invalid, unknown_name
from imm_rl.formats import read_yaml
from imm_rl.runs import CONFIG, RunFolder, file_name

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

PLAN = "comparison.yaml"
SEEDS_DEFAULT, POINTS_DEFAULT = "0-9", 100
SHARE_DEFAULT = "90%"


@dataclass(frozen=True)
class Threshold:
    """The return that steps are counted to: a share of the optimum, or a number.

    Attributes:
        text: As it was given: `90%` or a number.
        share: 0.9; None for a number.
        value: The number; 0 for a share.
    """

    text: str
    share: float | None
    value: float = 0.0

    @classmethod
    def parse(cls, text: Any) -> Threshold:
        """Reads `90%` or a number.

        Raises:
            InvalidInputError: It is neither.
        """
        given = str(text).strip()
        if given.endswith("%"):
            share = values.positive("threshold", given[:-1]) / 100.0
            return cls(given, share)
        return cls(given, None, values.real("threshold", text))

    def of(self, best: float) -> float:
        """The return, for the best that is known: best − (1 − share)·|best|, which serves costs too."""
        if self.share is None:
            return self.value
        return best - (1.0 - self.share) * abs(best)


@dataclass(frozen=True)
class ComparisonPlan:
    """A comparison, complete and checked.

    Attributes:
        arms: What is compared.
        configs: The training of each.
        pair: Where.
        reference: Label of the arm that the others are held against.
        threshold: Of the steps.
        given: What `comparison.yaml` holds.
    """

    arms: tuple[Arm, ...]
    configs: tuple[TrainConfig, ...]
    pair: EnvPair | FeaturePair
    reference: str
    threshold: Threshold
    given: dict[str, Any]

    def to_yaml(self) -> str:
        """The content of `comparison.yaml`."""
        import yaml

        return str(yaml.safe_dump(self.given, sort_keys=False, default_flow_style=None))

    def folder_of(self, arm: Arm, folder: Path) -> RunFolder:
        """The arm's run folder."""
        return RunFolder(folder / file_name(arm.label))


def make_plan(
    options: dict[str, Any],
    methods: str | None,
    reference: str | None,
    threshold: Any,
    *,
    fast: bool = False,
) -> ComparisonPlan:
    """Checks what a comparison was told, every arm's training included; nothing is solved or written.

    Args:
        options: Key -> text, of `imm-rl train`, for all arms.
        methods: See `arms.parse_arms`; None: all that the agent serves.
        reference: A label; None: `none` where it is an arm, else the first.
        threshold: See `Threshold`; None: 90 % of the optimum.
        fast: As `imm-rl train --fast`.

    Raises:
        InvalidInputError: A value is wrong, there is one seed only, or arms differ in what they share.
    """
    if methods is None:
        methods = _default_methods(options)
    arms = parse_arms(methods, keys())
    common = {"seeds": SEEDS_DEFAULT, **options}
    if len(values.seeds("seeds", common["seeds"])) < 2:
        raise invalid(
            "seeds", "be at least two", common["seeds"], "One training says nothing of the next"
        )
    if options.get("agent") in (None, "reinforce") and not fast:
        common.setdefault("eval_points", str(POINTS_DEFAULT))
    resolved = []
    for arm in arms:
        try:
            config, pair = resolve(arm.over(common), {}, fast=fast)
            checked_policy(config, pair)
            resolved.append((config, pair))
        except ImmRlError as error:
            raise InvalidInputError(f"method {arm.label}: {error}") from error
    labels = [arm.label for arm in arms]
    _check_folders(labels)
    if reference is None:
        reference = "none" if "none" in labels else labels[0]
    elif reference not in labels:
        raise unknown_name("reference", reference, labels)
    kept = Threshold.parse(SHARE_DEFAULT if threshold is None else threshold)
    given = {
        "methods": methods,
        "reference": reference,
        "threshold": kept.text,
        "fast": fast,
        "options": _from_the_root(common, resolved[0][0].env),
    }
    configs = tuple(config for config, _ in resolved)
    _check_shared(arms, configs)
    return ComparisonPlan(tuple(arms), configs, resolved[0][1], reference, kept, given)


def _from_the_root(options: dict[str, Any], env: str) -> dict[str, Any]:
    """The options with paths that hold in any folder; `env` says what `observe` said."""
    kept = {key: values.plain(value) for key, value in options.items() if key != OBSERVE}
    if isinstance(kept.get("restricted"), str) and Path(kept["restricted"]).exists():
        kept["restricted"] = str(Path(kept["restricted"]).absolute())
    return {**kept, "env": env}


def _check_shared(arms: Sequence[Arm], configs: Sequence[TrainConfig]) -> None:
    """Refuses arms whose agent or preset brings other steps or evaluations than the first one's."""
    first = configs[0].as_dict()
    for arm, config in zip(arms, configs, strict=True):
        told = config.as_dict()
        for key in (*("steps", "eval_episodes", "eval_steps", "eval_points"), "seeds", "view"):
            if told.get(key) != first.get(key):
                raise InvalidInputError(
                    f"method {arm.label} would have {key} {told.get(key)} and {arms[0].label} "
                    f"{first.get(key)}: they must be the same to be compared. Give "
                    f"--{key.replace('_', '-')}, or leave out what makes them differ."
                )


def _default_methods(options: dict[str, Any]) -> str:
    """All that the agent serves in this environment."""
    kept = ("env", "observe", "agent")
    flags: dict[str, Any] = {key: value for key, value in options.items() if key in kept}
    config, pair = resolve({**flags, "restricted": "none"}, {})
    served = [name for name, method in METHODS.items() if config.agent in method.agents]
    return ",".join(served if is_tabular(pair) else ("none", "imm"))


def _check_folders(labels: Sequence[str]) -> None:
    names = [file_name(label) for label in labels]
    for name in names:
        if names.count(name) > 1:
            alike = [label for label in labels if file_name(label) == name]
            raise InvalidInputError(
                f"methods {' and '.join(alike)} would share the folder {name}. Shorten their options."
            )


def read_plan(path: str | Path) -> ComparisonPlan:
    """The plan of a comparison's folder.

    Raises:
        InvalidInputError: No such folder, none of a comparison, or its plan was changed by hand.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InvalidInputError(f"there is no folder {path}.")
    if not (folder / PLAN).is_file():
        kind = "a run of imm-rl train" if (folder / CONFIG).is_file() else "no comparison"
        raise InvalidInputError(f"{path} is {kind}: it has no {PLAN}.")
    given = read_yaml(folder / PLAN)
    known = ("methods", "reference", "threshold", "fast", "options")
    for key in given:
        if key not in known:
            raise unknown_name("key", key, known, f"in {folder / PLAN}")
    options = given.get("options")
    if not isinstance(options, dict) or not isinstance(given.get("methods"), str):
        raise InvalidInputError(f"{folder / PLAN} must have the entries methods and options.")
    return make_plan(
        options,
        given["methods"],
        given.get("reference"),
        given.get("threshold"),
        fast=bool(given.get("fast")),
    )

"""What a sweep is: the points of a YAML file, and the folder that their runs go to.

    name: tiger-weights
    env: tiger                       # any key of imm-rl train's configuration holds for all points
    seeds: 0-4
    grid:                            # every combination of these
      lambda: [0.1, 0.5, 1]
      restricted: [fib, pomdp]
    list:                            # each with every combination of the grid
      - {method: imm}
      - {method: naive-kl}

    <folder>/
        sweep.yaml                   the points, written before anything runs; the folder is this sweep's
        command.txt  versions.json
        000-lambda-0.1-.../          a run folder for each point, as `imm-rl train` leaves it
        results.csv                  one row a point

Points that differ in λ alone, of REINFORCE, are trained as one (a job); every other point is a job.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli import values
from imm_rl.cli.train_config import OBSERVE, TrainConfig, keys, resolve
from imm_rl.errors import ImmRlError, InvalidInputError, invalid, unknown_name
from imm_rl.formats import read_yaml
from imm_rl.runs import RunFolder, file_name, file_stem

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

SWEEP = "sweep.yaml"
OWN_KEYS = ("name", "grid", "list", "batch")
NOT_SWEPT = ("logdir",)
MOST_POINTS = 10_000
MOST_RUNS = 256
"""Trainings (points × seeds) of one job."""


@dataclass(frozen=True)
class Point:
    """One point.

    Attributes:
        number: Its place, from 0.
        varied: The options that make it this point.
        options: All of its options, keys of `imm-rl train`'s configuration.
    """

    number: int
    varied: dict[str, Any]
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """What tells it from the others."""
        return ", ".join(f"{key}={values.plain(value)}" for key, value in self.varied.items())

    def folder(self, sweep: Path) -> RunFolder:
        """Its run folder."""
        return RunFolder(sweep / f"{self.number:03d}-{file_name(self.label)}")

    def resolved(self) -> tuple[TrainConfig, EnvPair | FeaturePair]:
        """Its training.

        Raises:
            InvalidInputError: An option is wrong.
        """
        try:
            return resolve({}, self.options, source=f"point {self.number} ({self.label})")
        except ImmRlError as error:
            raise InvalidInputError(f"point {self.number} ({self.label}): {error}") from error


@dataclass(frozen=True)
class SweepPlan:
    """A sweep, checked.

    Attributes:
        name: Of its folder.
        points: At least one.
        batch: Whether points that differ in λ alone are trained as one.
    """

    name: str
    points: tuple[Point, ...]
    batch: bool

    def to_yaml(self) -> str:
        """The content of `sweep.yaml` in a sweep's folder."""
        import yaml

        given = {
            "name": self.name,
            "batch": self.batch,
            "points": [{"varied": p.varied, "options": p.options} for p in self.points],
        }
        return str(yaml.safe_dump(given, sort_keys=False, default_flow_style=None))

    def jobs(self) -> list[tuple[int, ...]]:
        """The numbers of the points of each job, in order."""
        groups: dict[str, list[int]] = {}
        for point in self.points:
            config, _ = point.resolved()
            told = config.as_dict()
            if not (self.batch and config.agent == "reinforce"):
                told["point"] = point.number
            del told["lambda"]
            groups.setdefault(json.dumps(told, sort_keys=True, default=str), []).append(
                point.number
            )
        found = []
        for numbers in groups.values():
            n_seeds = len(values.seeds("seeds", self.points[numbers[0]].options["seeds"]))
            size = max(MOST_RUNS // n_seeds, 1)
            found += [tuple(numbers[i : i + size]) for i in range(0, len(numbers), size)]
        return sorted(found)


def read_sweep(path: str | Path) -> SweepPlan:
    """The sweep that a user's file describes, every point checked; nothing is solved or written.

    Raises:
        InvalidInputError: The file, a key or a point is wrong, there is no point, or two are equal.
    """
    given = read_yaml(path)
    for key in given:
        if key not in (*OWN_KEYS, *keys()) or key in NOT_SWEPT:
            known = [*OWN_KEYS, *(set(keys()) - set(NOT_SWEPT))]
            raise unknown_name("key", key, known, f"in {path}")
    name = values.text("name", given.get("name", file_stem(path)))
    if file_name(name) != name:
        raise invalid("name", "be fit for a folder: letters, digits, '.', '_' and '-'", name)
    batch = given.get("batch", True)
    if not isinstance(batch, bool):
        raise invalid("batch", "be true or false", batch)
    base = {key: value for key, value in given.items() if key not in OWN_KEYS}
    points = tuple(
        Point(number, varied, {**base, **varied})
        for number, varied in enumerate(_varied(given, base, path))
    )
    if len(points) > MOST_POINTS:
        raise invalid("a sweep", f"have at most {MOST_POINTS:,} points", len(points))
    seen: dict[str, Point] = {}
    absolute = []
    for point in points:
        if point.options.get("seeds") is None:
            raise InvalidInputError(
                f"{path} names no seeds: a sweep must be repeatable. Add a line such as seeds: 0-4."
            )
        config, pair = point.resolved()
        if ":" not in config.restricted:  # a factory's code is run by workers alone
            _check_restricted(point, config, pair)
        told = json.dumps(config.as_dict(), sort_keys=True, default=str)
        if told in seen:
            raise InvalidInputError(
                f"points {seen[told].number} ({seen[told].label}) and {point.number} ({point.label}) of "
                f"{path} are the same training. Leave one out."
            )
        seen[told] = point
        # Workers may stand in another folder: paths are kept as the check resolved them.
        options = {k: v for k, v in point.options.items() if k != OBSERVE} | {"env": config.env}
        if "restricted" in options:
            options["restricted"] = config.restricted
        absolute.append(dataclasses.replace(point, options=options))
    return SweepPlan(name, tuple(absolute), batch)


def _check_restricted(point: Point, config: TrainConfig, pair: EnvPair | FeaturePair) -> None:
    from imm_rl.cli.train_run import checked_policy

    try:
        checked_policy(config, pair)
    except ImmRlError as error:
        raise InvalidInputError(f"point {point.number} ({point.label}): {error}") from error


def _varied(
    given: dict[str, Any], base: dict[str, Any], path: str | Path
) -> Iterator[dict[str, Any]]:
    """The options of each point that the file's grid and list give."""
    grid, listed = given.get("grid"), given.get("list")
    if grid is None and listed is None:
        raise InvalidInputError(
            f"{path} has neither grid nor list, so there is nothing to sweep over."
        )
    for name, value, kind in (("grid", grid, dict), ("list", listed, list)):
        if value is not None and (not isinstance(value, kind) or not value):
            form = "{lambda: [0.1, 1]}" if kind is dict else "[{lambda: 0.1}, {lambda: 1}]"
            raise invalid(f"{name} in {path}", f"have an entry and the form {form}", value)
    grid, listed = grid or {}, listed or [{}]
    for key, options in grid.items():
        if not isinstance(options, list) or not options:
            raise invalid(f"{key} in the grid of {path}", "be a list with an entry", options)
    for entry in listed:
        if not isinstance(entry, dict):
            raise invalid(f"an entry of the list of {path}", "have the form {lambda: 0.1}", entry)
        _check_keys(entry, grid, base, path)
        for combination in itertools.product(*grid.values()):
            yield {**entry, **dict(zip(grid, combination, strict=True))}


def _check_keys(
    entry: dict[str, Any], grid: dict[str, Any], base: dict[str, Any], path: str | Path
) -> None:
    for key in (*entry, *grid):
        if key not in keys() or key in NOT_SWEPT:
            raise unknown_name("key", key, set(keys()) - set(NOT_SWEPT), f"in {path}")
        if key in base:
            raise InvalidInputError(
                f"{path} gives {key} for all points and for single ones. Give up one."
            )
        if key in entry and key in grid:
            raise InvalidInputError(f"{path} gives {key} in its grid and in its list. Give up one.")


def read_folder(folder: str | Path) -> SweepPlan:
    """The plan that a sweep's folder was made with.

    Raises:
        InvalidInputError: It is none, or its plan was changed by hand.
    """
    given = read_yaml(Path(folder) / SWEEP)
    try:
        points = tuple(
            Point(number, dict(p["varied"]), dict(p["options"]))
            for number, p in enumerate(given["points"])
        )
        return SweepPlan(str(given["name"]), points, bool(given["batch"]))
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError(f"{Path(folder) / SWEEP} is no plan of a sweep.") from None


def check_folder(folder: Path, plan: SweepPlan) -> bool:
    """Whether the folder is this sweep's already; False where there is nothing yet.

    Raises:
        InvalidInputError: It is another sweep's, or something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / SWEEP).is_file():
        raise InvalidInputError(
            f"{folder} is no folder of a sweep, and not empty. Give another --out."
        )
    there = read_folder(folder)
    if there == plan:
        return True
    mine, theirs = ([p.options for p in sweep.points] for sweep in (plan, there))
    if mine == theirs:
        differing = "batch" if there.batch != plan.batch else "name or grid"
    elif len(mine) != len(theirs):
        differing = f"the number of points, {len(theirs)} there and {len(mine)} here"
    else:
        differing = ", ".join(
            sorted(
                {
                    k
                    for a, b in zip(mine, theirs, strict=True)
                    for k in {**a, **b}
                    if a.get(k) != b.get(k)
                }
            )
        )
    raise InvalidInputError(
        f"{folder} is the folder of another sweep: what differs is {differing}. Give another --out."
    )

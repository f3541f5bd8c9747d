"""Learning curves read from disk: run folders, folders of runs, and monitor files of Stable-Baselines3.

    runs/tiger/reinforce-pomdp-1          a run: progress.csv, or seed_<k>/progress.csv
    runs/tiger, a comparison, a sweep     each run below it; of a comparison of finished runs, these
    DIR or FILE with *.monitor.csv        episodes as stable_baselines3's Monitor wrote them

`imm-rl plot` and `imm-rl compare` read through here. What a run that was killed left is read as far as
it goes: a last line that is cut off is passed over.

Index letters: P points of a curve, K seeds.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imm_rl.cli.divergence import FILE as DIVERGED
from imm_rl.cli.names import env_name, policy_name, told_apart
from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.formats import read_yaml
from imm_rl.resampling import FloatArray
from imm_rl.runs import CONFIG, PROGRESS, nothing_at

DEFAULT_METRIC = "eval/mean_reward"
MONITOR_METRIC = "rollout/ep_rew_mean"
"""The one that monitor files have."""

COMPARISON = "comparison.json"
"""What a comparison ends with: it says where its runs lie."""

MONITOR = "monitor.csv"
STEPS = "env_steps"


@dataclass(frozen=True)
class Curve:
    """One seed's curve: steps (P,) and values (P,), finite, steps increasing."""

    steps: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class RunCurves:
    """The curves of one run.

    Attributes:
        path: Where it lies.
        config: Its `config.yaml`; empty for monitor files.
        seeds: K, one a curve; None where nobody says.
        curves: Of the seeds; one that has no point yet is left out.
        why_empty: Why there are no curves; empty where there are.
        columns: Of its `progress.csv` files.
    """

    path: Path
    config: dict[str, Any]
    seeds: tuple[int | None, ...]
    curves: tuple[Curve, ...]
    why_empty: str = ""
    columns: frozenset[str] = frozenset()

    @property
    def is_language_model(self) -> bool:
        """Whether it is a run of `imm-rl lm train`, whose curves are no returns."""
        return "corpus" in self.config


def read(path: str | Path, metric: str = DEFAULT_METRIC, window: int = 20) -> list[RunCurves]:
    """The runs at a path, in order of their folders' names.

    Args:
        path: See above.
        metric: A column of `progress.csv`, a TensorBoard tag.
        window: Of monitor files: a point is the mean return of so many episodes.

    Raises:
        InvalidInputError: There is nothing there, no run in it, or no run has such a column.
    """
    root = Path(path)
    if not root.exists():
        raise nothing_at(path, "run")
    if root.is_file():
        if not root.name.endswith(MONITOR):
            raise InvalidInputError(
                f"{path} is no run folder and no *{MONITOR}. Give the folder that imm-rl train made."
            )
        return [_monitored([root], metric, window)]
    folders = list(_run_folders(root))
    if folders:
        runs = [_run(folder, metric) for folder in folders]
        columns = {column for run in runs for column in run.columns}
        if columns and metric not in columns and not any(run.curves for run in runs):
            raise unknown_name("metric", metric, columns - {STEPS}, f"of {path}")
        return runs
    if (root / COMPARISON).is_file():
        return [run for below in _compared(root) for run in read(below, metric, window)]
    monitors = sorted(root.glob(f"*{MONITOR}"))
    if monitors:
        return [_monitored(monitors, metric, window)]
    raise InvalidInputError(
        f"{path} holds no run: no {CONFIG} in it or in the folders below it, and no *{MONITOR}."
    )


def has_any(path: Path) -> bool:
    """Whether a run, comparison or sweep has a learning curve of returns by now."""
    try:
        return any(run.curves for run in read(path))
    except InvalidInputError:  # of a comparison or sweep: none of its runs has begun
        return False


def _compared(root: Path) -> list[Path]:
    """The runs of a comparison of finished runs, which lie elsewhere."""
    try:
        found = json.loads((root / COMPARISON).read_text(encoding="utf-8"))
        paths = [Path(arm["run"]) for arm in found["arms"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidInputError(f"cannot read {root / COMPARISON}: {error}.") from None
    for path in paths:
        if not path.is_dir():
            raise InvalidInputError(
                f"{root} compares runs that lie elsewhere, and there is no {path} here. Name them "
                "where they lie now."
            )
    return paths


def _run_folders(root: Path) -> Iterator[Path]:
    """The run folders at or below root, which are not looked into further."""
    if (root / CONFIG).is_file():
        yield root
        return
    for below in sorted((p for p in root.iterdir() if p.is_dir()), key=_natural):
        if not below.name.startswith("."):
            yield from _run_folders(below)


def _natural(path: Path) -> list[Any]:
    """Sorts run-2 before run-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _run(folder: Path, metric: str) -> RunCurves:
    config = read_yaml(folder / CONFIG)
    if "corpus" in config:
        why = f"it is a run of a language model (tensorboard --logdir {folder})"
        return RunCurves(folder, config, (), (), why)
    files = {folder / PROGRESS: None} if (folder / PROGRESS).is_file() else {}
    files |= {
        p: None for p in sorted(folder.glob(f"seed_*/{PROGRESS}"), key=lambda p: _natural(p.parent))
    }
    seeds: list[int | None] = []
    curves = []
    columns: set[str] = set()
    for file in files:
        names, rows = _table(file)
        columns |= set(names)
        curve = _curve(rows, metric)
        if curve is not None:
            match = re.fullmatch(r"seed_(\d+)", file.parent.name)
            given = config.get("seeds")
            alone = given[0] if isinstance(given, list) and len(given) == 1 else None
            seeds.append(int(match[1]) if match else alone)
            curves.append(curve)
    if curves:
        return RunCurves(folder, config, tuple(seeds), tuple(curves), "", frozenset(columns))
    if (folder / DIVERGED).is_file() and not files:
        why = f"it has no {PROGRESS}: it diverged before its first evaluation"
    elif not files:
        why = f"it has no {PROGRESS}: it was stopped before its first evaluation, or has just begun"
    elif not columns:
        why = f"its {PROGRESS} is empty"
    elif metric not in columns:
        why = f"it has no column {metric}"
    else:
        why = f"{metric} has no value yet in any of its rows"
    return RunCurves(folder, config, (), (), why, frozenset(columns))


def _table(file: Path) -> tuple[list[str], list[dict[str, float]]]:
    """Names and rows of a CSV file of numbers, without a last row that was cut off."""
    with open(file, encoding="utf-8", newline="") as stream:
        lines = csv.reader(_complete(stream))
        names = next(lines, [])
        rows = [
            dict(zip(names, map(_number, line), strict=True))
            for line in lines
            if len(line) == len(names)
        ]
    return names, rows


def _complete(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.endswith("\n"))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _curve(rows: Sequence[dict[str, float]], metric: str) -> Curve | None:
    points = [(row[STEPS], row[metric]) for row in rows if STEPS in row and metric in row]
    points = [(s, v) for s, v in points if math.isfinite(s) and math.isfinite(v)]
    if not points:
        return None
    steps, values = np.array(points, dtype=np.float64).T
    last = np.append(np.diff(steps) > 0.0, True)  # of equal steps the last row holds
    return Curve(steps[last], values[last])


def _monitored(files: Sequence[Path], metric: str, window: int) -> RunCurves:
    """The episodes of all copies of one run's environment, in the order in which they ended."""
    if metric not in (DEFAULT_METRIC, MONITOR_METRIC):
        raise unknown_name("metric", metric, [MONITOR_METRIC], f"of {files[0]}")
    times, returns, lengths = [], [], []
    for file in files:
        with open(file, encoding="utf-8", newline="") as stream:
            head = stream.readline()
            start = _start_of(head, file)
            for row in csv.DictReader(_complete(stream)):
                found = [_number(row.get(key) or "") for key in ("t", "r", "l")]
                if all(map(math.isfinite, found)):
                    times.append(start + found[0])
                    returns.append(found[1])
                    lengths.append(found[2])
    path = files[0] if len(files) == 1 else files[0].parent
    if len(returns) < window:
        why = (
            f"it has {len(returns)} whole episodes, and a point is the mean of {window} (--smooth)"
        )
        return RunCurves(path, {}, (), (), why)
    order = np.argsort(times, kind="stable")
    steps = np.cumsum(np.array(lengths)[order])
    means = np.convolve(np.array(returns)[order], np.full(window, 1.0 / window), mode="valid")
    return RunCurves(path, {}, (None,), (Curve(steps[window - 1 :], means),))


def _start_of(head: str, file: Path) -> float:
    try:
        return float(json.loads(head.removeprefix("#"))["t_start"])
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(
            f"{file} is no monitor file of stable_baselines3: its first line is {head.strip()[:60]!r}."
        ) from None


@dataclass(frozen=True)
class Aligned:
    """Curves of several seeds at common steps.

    Attributes:
        env_steps: (P,).
        values: (P, K).
        cut: Steps of the longest curve that are left out since another seed has not got so far; 0 where
            all are equally long.
    """

    env_steps: FloatArray
    values: FloatArray
    cut: float = field(default=0.0)


def aligned(curves: Sequence[Curve]) -> Aligned:
    """Puts the curves of seeds on common steps: from the latest first point to the earliest last one.

    Past the end of the shortest curve a mean would be one of fewer seeds, and jump there; so it ends.
    Curves with the same steps are taken as they are; others are interpolated linearly at all steps that
    any of them has.

    Args:
        curves: K, at least one.

    Raises:
        InvalidInputError: No step is common to all.
    """
    first, last = max(c.steps[0] for c in curves), min(c.steps[-1] for c in curves)
    longest = max(c.steps[-1] for c in curves)
    if first > last:
        raise InvalidInputError(
            f"the seeds have no step in common: one begins at {first:,.0f} and another ends at {last:,.0f}."
        )
    if all(np.array_equal(c.steps, curves[0].steps) for c in curves):
        return Aligned(curves[0].steps, np.stack([c.values for c in curves], axis=1))
    steps = np.unique(np.concatenate([c.steps for c in curves]))
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.stack([np.interp(steps, c.steps, c.values) for c in curves], axis=1)
    return Aligned(steps, values, float(longest - last))


def labels(runs: Sequence[RunCurves]) -> list[str]:
    """What tells runs apart: the entries of their configurations that differ, else their folders.

    Of paths the last part is told; where that is the same of two runs, they go by something else.
    """
    first = ("env", "agent", "method", "restricted", "lambda", "steps")
    every = [key for run in runs for key in run.config]
    others = [k for k in dict.fromkeys(every) if k not in (*first, "seeds", "logdir", "device")]
    for keys in (first, [*first, *others]):
        differing = [k for k in keys if len({str(run.config.get(k)) for run in runs}) > 1]
        short = [
            ", ".join(_said(k, run.config[k]) for k in differing if k in run.config) for run in runs
        ]
        if len(set(short)) == len(runs) and all(short):
            return short
    return told_apart([run.path for run in runs])


def _said(key: str, value: Any) -> str:
    if key == "env":
        return env_name(str(value))
    if key in ("agent", "method"):
        return str(value)
    shown = f"{value:,}" if type(value) is int else str(value)  # True is no number
    if key == "restricted" or Path(shown).is_absolute():
        shown = policy_name(shown)
    return f"λ {shown}" if key == "lambda" else f"{key} {shown}"

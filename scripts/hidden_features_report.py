"""What `scripts/hidden_features.py` keeps of its trainings, and how it shows them: CSV, table, picture.

Index letters: K seeds, P moments of a training.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imm_rl.statistics import mean_ci95

COLUMNS = ("env", "arm", "seed", "length", "steps", "episodes")
COLUMNS += ("mean_return", "deterministic_return", "seconds")

FEW = 5
"""Fewer seeds are drawn one by one: their intervals would fill the picture."""

LOOKS = {"none": ("PPO", "C0"), "imm": ("PPO with IMM", "C1")}
"""Label and colour of an arm, by its text."""

Rows = Iterable[Mapping[str, str]]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of earlier trainings."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Adds the rows of one training at once."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS] if new else [])
        writer.writerows(
            [f"{x:.2f}" if isinstance(x, np.floating) else x for x in row] for row in rows
        )


class Arm(NamedTuple):
    """The trainings of one arm: K seeds at P moments."""

    steps: np.ndarray  # (P,)
    mean: np.ndarray  # (K, P), actions drawn
    deterministic: np.ndarray  # (K,), at the end

    def needed(self, solved: float) -> np.ndarray:
        """Steps (K,) to the first look at which the environment was solved; infinity for never."""
        there = self.mean >= solved
        return np.where(there.any(axis=1), self.steps[there.argmax(axis=1)], np.inf)


def arms_of(rows: Rows, name: str, length: int) -> dict[str, Arm]:
    """The arms of one environment by their text: "none", and the others as they were begun."""
    runs: dict[str, dict[str, list[Mapping[str, str]]]] = {}
    for row in rows:
        if row["env"] == name and int(row["length"]) == length:
            runs.setdefault(row["arm"], {}).setdefault(row["seed"], []).append(row)
    return {
        arm: Arm(
            np.array([int(row["steps"]) for row in next(iter(seeds.values()))]),
            np.array([[float(row["mean_return"]) for row in run] for run in seeds.values()]),
            np.array([float(run[-1]["deterministic_return"]) for run in seeds.values()]),
        )
        for arm, seeds in sorted(runs.items(), key=lambda pair: pair[0] != "none")
    }


def table(name: str, solved: float, arms: Mapping[str, Arm]) -> list[str]:
    """Rows of the Markdown table, one an arm; `solved` is the return from which on it counts as such."""
    rows = []
    for text, arm in arms.items():
        final = arm.mean[:, -1]
        needed = float(np.median(arm.needed(solved)))
        cells = [name, text, str(len(final)), f"{(final >= solved).sum()}/{len(final)}"]
        cells += [f"{needed:,.0f}" if np.isfinite(needed) else f"> {arm.steps[-1]:,}"]
        cells += [with_ends(found) for found in (arm.mean.mean(axis=1), final, arm.deterministic)]
        cells.append(f"{final.min():.1f}")
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def with_ends(values: np.ndarray) -> str:
    """A mean and its interval."""
    mean, low, high = mean_ci95(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def draw(panels: Mapping[str, tuple[float, Mapping[str, Arm]]], path: Path) -> None:
    """Mean over seeds and its 95 % interval, or fewer than `FEW` seeds one by one; a panel an environment.

    Args:
        panels: By title: the return from which on the environment counts as solved, and its arms.
        path: A PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(5.2 * columns, 3.5 * lines), squeeze=False, layout="constrained"
    )
    for axis, (title, (solved, arms)) in zip(axes.flat, panels.items(), strict=False):
        others = (f"C{k}" for k in itertools.count(2))
        for text, arm in arms.items():
            # Each of the two usual arms has its colour everywhere.
            colour = LOOKS[text][1] if text in LOOKS else next(others)
            label = LOOKS[text][0] if text in LOOKS else text
            many = "1 seed" if len(arm.mean) == 1 else f"{len(arm.mean)} seeds"
            ends = np.array([mean_ci95(values) for values in arm.mean.T]).T
            axis.plot(arm.steps, ends[0], color=colour, label=f"{label} ({many})")
            if len(arm.mean) < FEW:
                axis.plot(arm.steps, arm.mean.T, color=colour, alpha=0.35, linewidth=0.7)
            else:
                axis.fill_between(arm.steps, *ends[1:], color=colour, alpha=0.2, linewidth=0)
        # Intervals may leave the range of what was met.
        met = np.concatenate([arm.mean.ravel() for arm in arms.values()] + [[solved]])
        margin = 0.05 * max(float(np.ptp(met)), 1.0)
        axis.set_ylim(met.min() - margin, met.max() + margin)
        axis.spines[["top", "right"]].set_visible(False)
        axis.axhline(solved, color="0.4", linewidth=0.8, linestyle="--", label="solved")
        axis.set_title(title, fontsize="medium")
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k")
        axis.grid(alpha=0.25)
        axis.legend(fontsize="small", loc="best")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("environment steps")
    figure.supylabel("return of an episode")
    figure.savefig(path, dpi=130)
    plt.close(figure)

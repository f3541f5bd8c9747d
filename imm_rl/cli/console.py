"""What sub-commands print: results, notes, and the progress of a training."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.formats import to_json
from imm_rl.statistics import mean_ci95

if TYPE_CHECKING:
    from imm_rl.envs.model import FloatArray


class Console:
    """Prints for a person, or one JSON object for a program.

    Args:
        json_only: stdout gets the JSON alone; what is meant for people goes to stderr.
        quiet: No notes and no progress.
    """

    def __init__(self, *, json_only: bool = False, quiet: bool = False) -> None:
        self.json_only, self.quiet = json_only, quiet

    def say(self, text: str) -> None:
        """A result."""
        if not (self.json_only and self.quiet):
            print(text, file=sys.stderr if self.json_only else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """What `--quiet` leaves out."""
        if not self.quiet:
            self.say(text)

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """The outcome of a command, in the form that was asked for."""
        if self.json_only:
            print(to_json(values), end="", flush=True)
        else:
            self.say(text)


class Silent(Console):
    """Prints nothing: for all but the first of several processes."""

    def __init__(self) -> None:
        super().__init__(json_only=True, quiet=True)

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Nothing, either."""


class Progress:
    """A bar where stderr is a terminal, else a line for every evaluation.

    Args:
        console: Where lines go.
        total: Environment steps of each run, or what else is counted.
        done: Those taken already.
        unit: What they are.
    """

    def __init__(self, console: Console, total: int, done: int, unit: str = "steps") -> None:
        self._console, self._total, self._unit = console, total, unit
        self._bar: Any = None
        if not console.quiet and sys.stderr.isatty():
            from tqdm import tqdm  # late: only terminals need it

            self._bar = tqdm(
                total=total,
                initial=done,
                unit=f" {unit}",
                unit_scale=True,
                leave=False,
                smoothing=0.1,
            )

    def update(self, env_steps: int) -> None:
        """After every update of the agent."""
        if self._bar is not None:
            self._bar.update(min(env_steps, self._total) - self._bar.n)

    def evaluated(self, env_steps: int, values: Mapping[str, str], speed: float) -> None:
        """After every evaluation; speed in environment steps a second, of which a bar has its own."""
        shown = "   ".join(f"{name} {value}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(shown)
        else:
            width = len(f"{self._total:,}")
            self._console.note(
                f"{env_steps:>{width},}/{self._total:,} {self._unit}   {shown}   "
                f"{speed:,.0f} {self._unit}/s"
            )

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()


def number(value: float) -> str:
    """Four or so figures, as tables show them."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000.0:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 100.0 else 2 if abs(value) >= 10.0 else 3}f}"


def interval(ends: Sequence[float | None]) -> str:
    """`[lo, hi]`, or nothing where a single value has none."""
    low, high = ends
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low)}, {number(high)}]"


def measures_shown(returns: FloatArray, measures: Mapping[str, FloatArray]) -> dict[str, str]:
    """What a line of progress shows of an evaluation.

    Args:
        returns: (K,), of K seeds.
        measures: By TensorBoard tag, (K,) each.
    """
    mean, *ends = mean_ci95(returns)
    shown = {"return": f"{number(mean)} {interval(ends)}".strip()}
    for name, tag in (("λ", "imm/lambda"), ("KL", "imm/kl")):
        measured = measures.get(tag, np.empty(0))
        measured = measured[np.isfinite(measured)]  # an update may have had nothing to match
        if measured.size:
            shown[name] = f"{measured.mean() + 0.0:.3f}"
    return shown


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns two spaces apart, the first row a head; columns are right-aligned but those in `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers in the form that `--seeds` takes: `0-9`, `3,4`."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p)) for p in parts)


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"

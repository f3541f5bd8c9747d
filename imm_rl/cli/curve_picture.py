"""Pictures of learning curves: a line and a band for each run; `plot` and `compare` draw with this.

Colours are those of Okabe and Ito, told apart by colour-blind readers; dashes and markers tell them apart
in grey print.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imm_rl.agents.methods import METHODS
from imm_rl.cli.level_labels import GREY, add_level_labels
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically
from imm_rl.resampling import FloatArray
from imm_rl.runs import check_file

COLOURS = (
    *("#000000", "#0072B2", "#D55E00", "#009E73"),
    *("#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"),
)
DASHES: tuple[Any, ...] = ("-", "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = "osD^vPX*"
SUFFIXES = (".png", ".pdf", ".svg")
MARKS = 10
"""Markers of a line, about."""

ROOM, MARGIN = 0.3, 0.08
"""Of the vertical axis: for bands that reach beyond curves and levels, and around what is drawn."""

WIDTH, HEIGHT, DPI = 6.4, 3.8, 200
"""Inches of a picture that fills a page's width of text, and dots an inch of a PNG."""


@dataclass(frozen=True)
class Line:
    """One line of a picture.

    Attributes:
        label: In the legend.
        steps: (P,) environment steps.
        centre: (P,).
        low: (P,) of the band; NaN for none.
        high: (P,).
        look: Which colour, dash and marker; None: by its place among the lines.
    """

    label: str
    steps: FloatArray
    centre: FloatArray
    low: FloatArray
    high: FloatArray
    look: int | None = None


def looks(methods: Sequence[str | None]) -> list[int]:
    """Which look each run's line has: its method's, where methods are known and distinct, else its place.

    So a method has one colour in all pictures that can give it one, also where others are left out.

    Args:
        methods: Of each run, None where it does not say.
    """
    known = list(METHODS)
    if len(set(methods)) == len(methods) and set(methods) <= set(known):
        return [known.index(method) for method in methods if method is not None]
    return list(range(len(methods)))


def figure(
    lines: Sequence[Line],
    *,
    y_label: str,
    title: str = "",
    levels: Sequence[tuple[str, float]] = (),
    missing: Sequence[str] = (),
) -> Any:
    """The picture, a `matplotlib.figure.Figure`.

    Args:
        lines: In the order of the legend.
        y_label: With its unit.
        title: Above, if any.
        levels: Named horizontal lines, such as ("optimum", 53.7).
        missing: What has no line and is named in the legend, with why.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    named = [*(line.label for line in lines), *missing]
    columns = min(_columns(named), len(named)) if named else 1
    legend = 0.21 * -(-len(named) // columns) if len(named) > 1 else 0.0  # inches below the axes
    drawn = Figure(figsize=(WIDTH, HEIGHT + legend), layout="constrained")
    axes = drawn.subplots()
    for i, line in enumerate(lines):
        look = i if line.look is None else line.look
        colour = COLOURS[look % len(COLOURS)]
        axes.plot(
            line.steps,
            line.centre,
            color=colour,
            linestyle=DASHES[(look + look // len(COLOURS)) % len(DASHES)],
            linewidth=1.7,
            marker=MARKERS[look % len(MARKERS)],
            markersize=4,
            # Shifted a little from line to line, so that markers of lines that meet are seen.
            markevery=(
                i * max(len(line.steps) // (MARKS * max(len(lines), 1)), 1),
                max(len(line.steps) // MARKS, 1),
            ),
            label=line.label,
            zorder=3 + i / 100,
        )
        if np.isfinite(line.low).any():
            axes.fill_between(
                line.steps, line.low, line.high, color=colour, alpha=0.15, linewidth=0
            )
    for label in missing:
        axes.plot([], [], color="#7F7F7F", linestyle="none", marker="x", label=label)
    last = max((float(line.steps[-1]) for line in lines), default=1.0)
    levels = [(name, value) for name, value in levels if math.isfinite(value)]
    for _, value in levels:
        axes.axhline(value, color=GREY, linewidth=0.9, linestyle=(0, (6, 3)), zorder=1)
    axes.set_xlim(0.0, last * 1.01)
    axes.set_ylim(limits(lines, [value for _, value in levels]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(labelsize=9)
    axes.set_xlabel("environment steps of a seed", fontsize=10)
    axes.set_ylabel(y_label, fontsize=10)
    if title:
        axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(named) > 1:
        drawn.legend(
            loc="outside lower center", ncols=columns, frameon=False, fontsize=9, handlelength=3.2
        )
    add_level_labels(drawn, axes, levels)
    return drawn


def limits(lines: Sequence[Line], levels: Sequence[float]) -> tuple[float, float]:
    """Of the vertical axis: curves and levels whole, and bands as far as that leaves the curves readable.

    Of two or three seeds a band may be a hundred times as wide as all that the curves do. Beyond curves
    and levels it gets `ROOM` of their range on each side, and leaves the axes there. Where everything is
    level there is no range, and the bands are whole.

    Args:
        lines: At least one, or a level.
        levels: Heights of horizontal lines, finite.
    """
    found = np.concatenate([np.asarray(levels, dtype=np.float64), *(line.centre for line in lines)])
    found = found[np.isfinite(found)]
    ends = np.concatenate([found, *(end for line in lines for end in (line.low, line.high))])
    ends = ends[np.isfinite(ends)]
    if not ends.size:
        return 0.0, 1.0
    low, high = float(ends.min()), float(ends.max())
    if found.size and np.ptp(found) > 0.0:
        room = ROOM * float(np.ptp(found))
        low, high = max(low, float(found.min()) - room), min(high, float(found.max()) + room)
    margin = MARGIN * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _columns(labels: Sequence[str]) -> int:
    """Of the legend, so that it is no wider than the picture: about 90 letters."""
    longest = max(map(len, labels))
    return max(90 // (longest + 9), 1)


def check_out(path: str | Path) -> Path:
    """The file that a picture is to go to.

    Raises:
        InvalidInputError: Its suffix is no kind of picture, it is a folder, or its folder is missing or
            takes no file.
    """
    out = Path(path)
    if out.suffix.lower() not in SUFFIXES:
        raise InvalidInputError(
            f"--out {path} must end in one of {', '.join(SUFFIXES)}, which says the kind of picture."
        )
    if os.path.isdir(out):
        raise InvalidInputError(f"--out {path} is a folder. Give a file name in it.")
    if not os.path.isdir(out.absolute().parent):
        raise InvalidInputError(f"--out {path}: there is no folder {out.parent}.")
    check_file(out, "a picture")
    return out


def save(drawn: Any, path: Path) -> None:
    """Writes the picture whole or not at all, in the kind that its suffix names."""
    kind = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda file: drawn.savefig(file, format=kind, dpi=DPI))

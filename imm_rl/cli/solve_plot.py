"""`imm-rl solve --plot`: both bounds over time, one colour a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.files import write_atomically

if TYPE_CHECKING:
    from imm_rl.cli.solve import Request
    from imm_rl.cli.solve_watch import Solved

# Okabe and Ito's colours, told apart by colour-blind readers; markers for print.
STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#000000", "P"),
)
SIDES = {"upper": "--", "lower": "-"}
LOG_FROM, SOONEST = 20.0, 0.01
"""Times that differ by more than this factor are drawn on a logarithmic axis, which begins no earlier."""

MARKERS = 12
"""Of a curve, about: a solver may report hundreds of times."""

Curve = tuple[list[float], list[float]]
Curves = dict[tuple[str, str], Curve]
"""By method and side: times (s) and values."""


def draw(path: Path, request: Request, solutions: Sequence[Solved]) -> None:
    """Writes the picture.

    Args:
        path: Its suffix says which kind.
        request: Says what was solved.
        solutions: One a method; a bound that a method does not prove is left out.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.subplots()
    curves = {(found.label, side): _curve(found, side) for found in solutions for side in SIDES}
    curves = {key: curve for key, curve in curves.items() if curve[0]}
    if curves:
        last = _time_axis(axes, curves)
        limits = _value_axis(axes, curves)
        styles = {found.label: STYLES[i % len(STYLES)] for i, found in enumerate(solutions)}
        for (label, side), curve in curves.items():
            _draw_curve(axes, curve, last, styles[label], side, _name(label, side, curve, limits))
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    axes.set_xlabel("time since the solver started (s)")
    kind = "discounted" if request.pair.restricted_model.discount < 1.0 else "undiscounted"
    steps = "" if request.horizon is None else f" of {request.horizon} steps"
    axes.set_ylabel(f"{kind} value{steps} at the start belief (reward)")
    axes.set_title(f"{request.pair.name}: bounds of the optimal value", fontsize="medium")
    axes.grid(alpha=0.3)
    suffix = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda file: figure.savefig(file, format=suffix, dpi=160))


def _curve(found: Solved, side: str) -> Curve:
    points = [(p.seconds, getattr(p, f"{side}_bound")) for p in found.points]
    known = [(max(seconds, SOONEST), value) for seconds, value in points if value is not None]
    return [seconds for seconds, _ in known], [value for _, value in known]


def _draw_curve(
    axes: Any, curve: Curve, last: float, style: tuple[str, str], side: str, name: str
) -> None:
    times, values = curve
    colour, marker = style
    axes.step(
        times,
        values,
        where="post",
        color=colour,
        linestyle=SIDES[side],
        linewidth=1.6,
        marker=marker,
        markevery=max(len(times) // MARKERS, 1),
        markersize=5,
        # Half of the markers are hollow, so that bounds that meet are still seen as two.
        markerfacecolor=colour if side == "lower" else "white",
        label=name,
    )
    # A bound holds on when its solver has stopped.
    ends = [values[-1], values[-1]]
    axes.plot(
        [times[-1], last], ends, color=colour, linestyle=SIDES[side], linewidth=0.8, alpha=0.6
    )


def _name(label: str, side: str, curve: Curve, limits: tuple[float, float]) -> str:
    value = curve[1][-1]
    beyond = "" if limits[0] <= value <= limits[1] else ", off the axis"
    return f"{label}, {side} bound: {value:.4g}{beyond}"


def _time_axis(axes: Any, curves: Curves) -> float:
    """Sets scale and limits; returns where the axis ends."""
    times = [t for curve in curves.values() for t in curve[0]]
    low, high = min(times), max(times)
    if high > LOG_FROM * low:
        from matplotlib.ticker import LogLocator

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        low, high = low / 1.3, high * 1.3
    else:
        low, high = 0.0, high * 1.05
    axes.set_xlim(low, high)
    return high


def _value_axis(axes: Any, curves: Curves) -> tuple[float, float]:
    """Sets and returns limits in which what the best methods reached can be seen.

    What is far off is left out: first bounds, and those of methods that prove one side alone.
    """
    both = [label for label, side in curves if side == "lower" and (label, "upper") in curves]
    near = [values for (label, _), (_, values) in curves.items() if label in both or not both]
    ends = [values[-1] for values in near]
    low, high = min(map(min, near)), max(map(max, near))
    scale = max(max(ends) - min(ends), 0.25 * max(map(abs, ends)))
    if scale > 0.0:
        low, high = max(low, min(ends) - 3.0 * scale), min(high, max(ends) + 3.0 * scale)
    span = high - low
    finals = [values[-1] for _, values in curves.values()]
    within = [value for value in finals if low - 1.5 * span <= value <= high + 1.5 * span]
    low, high = min([low, *within]), max([high, *within])
    margin = 0.05 * (high - low) or 0.05 * max(abs(high), 1.0)
    axes.set_ylim(low - margin, high + margin)
    return low - margin, high + margin

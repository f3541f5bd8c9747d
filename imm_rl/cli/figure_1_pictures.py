"""The pictures of `imm-rl reproduce figure-1`: one function a part that has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure as Canvas  # without pyplot: no display is needed

from imm_rl.files import write_atomically
from imm_rl.language import cube, figure_1_search
from imm_rl.language.cube_trials import METHODS
from imm_rl.language.figure_1 import Figure, Induced, Point
from imm_rl.language.figure_1_search import Search

# Okabe and Ito's colours, told apart by colour-blind readers; markers and dashes for print.
STYLES: Mapping[str, tuple[str, str, Any]] = MappingProxyType(
    {
        "none": ("#000000", "o", "-"),
        "noising": ("#D55E00", "^", "--"),
        "interpolation": ("#009E73", "D", "-."),
        "imm": ("#0072B2", "s", "-"),
        "high": ("#0072B2", "s", "-"),
        "medium": ("#CC79A7", "v", "--"),
        "low": ("#E69F00", "P", "-."),
    }
)
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "none": "plain logistic regression",
        "noising": "noising",
        "interpolation": "interpolation",
        "imm": "IMM",
        "high": "IMM, exact restricted model (high)",
        "medium": "IMM, 4 bins of x1 (medium)",
        "low": "IMM, 2 bins of x1 (low)",
    }
)
RATIO = "λ/(1+λ)"


def figure_picture(path: Path, data: Figure) -> None:
    """Accuracy against n, and below it the gain over plain training."""
    _two_panels(path, data.points, METHODS)


def qualities_picture(path: Path, data: Sequence[Point]) -> None:
    """The same for restricted models of three qualities."""
    _two_panels(path, data, ("none", *cube.QUALITIES))


def search_picture(path: Path, data: Search) -> None:
    """Accuracy against the ratio, one panel a method, one line a size."""
    canvas = Canvas(figsize=(9.6, 4.4), layout="constrained")
    panels = canvas.subplots(1, len(figure_1_search.METHODS), sharey=True)
    sizes = sorted({p.rows for p in data.points})
    for axes, method in zip(panels, figure_1_search.METHODS, strict=True):
        rule = figure_1_search.RULES[method]
        for n, colour in zip(sizes, _shades(len(sizes)), strict=True):
            mine = [p for p in data.points if (p.method, p.rows) == (method, n)]
            ratios, means = [p.ratio for p in mine], [100 * p.mean for p in mine]
            errors = [100 * p.error for p in mine]
            axes.errorbar(
                ratios,
                means,
                yerr=errors,
                color=colour,
                linewidth=1.4,
                elinewidth=0.8,
                label=f"n = {n}",
            )
            best = data.best(method, n)
            axes.plot(best.ratio, 100 * best.mean, "o", color=colour, markersize=6)
            axes.axvline(rule.ratio(n), 0, 0.04, color=colour, linewidth=2.5)
        axes.set_title(LABELS[method])
        axes.set_xlabel(RATIO)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, % (bars: standard error)")
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(sizes),
        frameon=False,
        title="dots: best ratio; ticks on the axis: the rule's",
    )
    _save(canvas, path)


def induced_picture(path: Path, data: Sequence[Induced]) -> None:
    """What the induced model loses to the restricted model, and its accuracy, against the ratio."""
    canvas = Canvas(figsize=(9.6, 4.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    sizes = sorted({p.rows for p in data})
    loss, share = cube.restricted_score()
    for n, colour in zip(sizes, _shades(len(sizes)), strict=True):
        mine = [p for p in data if p.rows == n]
        losses = [[v - loss for v in (p.loss, p.loss_low, p.loss_high)] for p in mine]
        shares = [[100 * v for v in (p.accuracy, p.accuracy_low, p.accuracy_high)] for p in mine]
        for axes, found in ((left, losses), (right, shares)):
            mean, low, high = zip(*found, strict=True)
            ratios = [p.ratio for p in mine]
            label = f"n = {n}"
            axes.plot(ratios, mean, "o-", color=colour, markersize=4, linewidth=1.4, label=label)
            axes.fill_between(ratios, low, high, color=colour, alpha=0.2, linewidth=0)
    left.set_yscale("log")
    left.set_ylabel("cross-entropy above the restricted model's, nats")
    right.axhline(100 * share, color="black", linestyle="--", linewidth=1, label="restricted model")
    right.set_ylabel("accuracy of the induced model, %")
    for axes in (left, right):
        axes.set_xlabel(RATIO)
        axes.grid(alpha=0.3)
    handles, labels = right.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    _save(canvas, path)


PICTURES: Mapping[str, Callable[[Path, Any], None]] = MappingProxyType(
    {
        "figure": figure_picture,
        "search": search_picture,
        "qualities": qualities_picture,
        "induced": induced_picture,
    }
)


def _two_panels(path: Path, points: Sequence[Point], curves: Sequence[str]) -> None:
    """Means with bars from the 10th to the 90th percentile; gains with bands of 95 %."""
    canvas = Canvas(figsize=(7.6, 7.0), layout="constrained")
    top, bottom = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for k, curve in enumerate(curves):
        mine = [p for p in points if p.curve == curve]
        colour, marker, dash = STYLES[curve]
        x = [p.rows for p in mine]
        line: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.5}
        label = LABELS[curve]
        # Bars of several curves at one n would hide each other: on many sizes curves take turns, on few
        # they stand side by side (the lines are where they belong).
        many = len(mine) > 20
        barred = mine[k :: len(curves)] if many else mine
        shift = 0.0 if many else 0.4 * (k - (len(curves) - 1) / 2)
        marks: dict[str, Any] = {"marker": marker, "markersize": 4.5}
        top.plot(x, [100 * p.mean for p in mine], **line, **({} if many else marks))
        top.errorbar(
            [p.rows + shift for p in barred],
            [100 * p.mean for p in barred],
            yerr=_reach(barred),
            color=colour,
            linestyle="none",
            elinewidth=1,
            capsize=2,
            **(marks if many else {}),
        )
        top.plot([], [], label=label, **marks, **line)
        if curve == "none":
            bottom.axhline(0, **line)
            continue
        bottom.plot(x, [100 * p.gain for p in mine], **line)
        low, high = [100 * p.gain_low for p in mine], [100 * p.gain_high for p in mine]
        bottom.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    top.set_ylabel("test accuracy, % (bars: 10th to 90th percentile)")
    top.legend(frameon=False, loc="lower right")
    bottom.set_ylabel("gain over plain, points (bands: 95 %)")
    bottom.set_xlabel("number of rows n")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    _save(canvas, path)


def _reach(points: Sequence[Point]) -> list[list[float]]:
    """How far the bars reach below and above; the mean of a skewed sample may lie outside."""
    below = [max(100 * (p.mean - p.p10), 0.0) for p in points]
    return [below, [max(100 * (p.p90 - p.mean), 0.0) for p in points]]


def _shades(count: int) -> list[Any]:
    """Colours in order, dark to light, told apart by colour-blind readers too."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * i / max(count - 1, 1)) for i in range(count)]


def _save(canvas: Any, path: Path) -> None:
    write_atomically(path, lambda file: canvas.savefig(file, format="png", dpi=160))

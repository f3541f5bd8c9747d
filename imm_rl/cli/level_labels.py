"""Names of horizontal lines, to the right of the axes, where no curve is; none covers another.

A name stands at the height of its line where there is room. Where two would overlap, or one would stand
out above or below the axes, they move apart, in the order of their lines, and a thin line leads from each
to where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

GREY = "#555555"
GAP = 0.25
"""Between two names, in heights of a letter."""

SIZE = 8
"""Of letters, in points."""

NEAR, FAR = 1.01, 1.035
"""Where names begin, in widths of the axes: beside their lines, and where a line leads to them."""


def add_level_labels(drawn: Any, axes: Any, levels: Sequence[tuple[str, float]]) -> None:
    """Writes the names; the limits of the axes, and all that takes room beside them, must be settled.

    Args:
        drawn: The `matplotlib.figure.Figure`, with a layout engine.
        axes: Its only axes.
        levels: (name, height in data units) of lines that the limits hold.
    """
    if not levels:
        return
    levels = sorted(levels, key=lambda level: level[1])
    low, high = axes.get_ylim()
    wanted = np.array([(value - low) / (high - low) for _, value in levels])
    texts = [
        axes.text(
            *(FAR, at, name),
            transform=axes.transAxes,
            ha="left",
            va="center",
            fontsize=SIZE,
            color=GREY,
        )
        for (name, _), at in zip(levels, wanted, strict=True)
    ]
    # The layout keeps room for the names, whose width does not depend on where they end up.
    drawn.draw_without_rendering()
    tall = axes.get_window_extent().height
    heights = np.array([text.get_window_extent().height for text in texts]) / tall
    gap = GAP * SIZE * drawn.dpi / 72.0 / tall
    placed = spread(wanted, heights, gap)
    for text, value, at, want in zip(texts, (v for _, v in levels), placed, wanted, strict=True):
        text.set_y(at)
        if abs(at - want) < gap:
            text.set_x(NEAR)
            continue
        leader = axes.annotate(
            "",
            xy=(1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(FAR - 0.003, at),
            textcoords="axes fraction",
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            annotation_clip=False,
        )
        leader.set_in_layout(False)


def spread(wanted: Any, heights: Any, gap: float) -> Any:
    """Middles of boxes, (N,), that do not overlap and lie within 0 to 1, near where they should be.

    Boxes that would overlap are joined to one, which stands where its members' mean would have it.

    Args:
        wanted: (N,) middles, rising.
        heights: (N,) of the boxes; with the gaps they add up to 1 at most, else they stand out at the top.
        gap: Between two.
    """
    groups: list[list[int]] = []
    bottoms: list[float] = []  # of each group

    def size(group: list[int]) -> float:
        return float(heights[group].sum()) + gap * (len(group) - 1)

    def bottom(group: list[int]) -> float:
        """Where the mean distance of its members from their places is 0, within the axes."""
        offsets = np.cumsum([0.0, *(heights[i] + gap for i in group[:-1])]) + heights[group] / 2
        best = float(np.mean(wanted[group] - offsets))
        return max(min(best, 1.0 - size(group)), 0.0)

    for i in range(len(wanted)):
        groups.append([i])
        bottoms.append(bottom(groups[-1]))
        while len(groups) > 1 and bottoms[-2] + size(groups[-2]) + gap > bottoms[-1]:
            last = groups.pop()
            groups[-1] = groups[-1] + last
            bottoms[-2:] = [bottom(groups[-1])]
    placed = np.empty(len(wanted))
    for group, start in zip(groups, bottoms, strict=True):
        for i in group:
            placed[i] = start + heights[i] / 2
            start += float(heights[i]) + gap
    return placed

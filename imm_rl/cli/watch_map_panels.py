"""The panels of `imm-rl watch --map`: arrows, heat maps and where the agent is, drawn on a map.

Index letters: S states, A actions; headings 0 to 3 are north, east, south, west.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.envs.layout import OFFSETS, STAYS, directions
from imm_rl.envs.render_poses import NO_HEADING, PoseBoard

if TYPE_CHECKING:
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.options import IntArray
    from imm_rl.envs.pair import EnvPair

INK, FLOOR, MARK, HATCH = "#2b2d42", "#e9e9ee", "#585c73", "#b9bcc8"
MOVES, AGENT = "#0072B2", "#D55E00"
FAINTEST = 0.02
"""Actions of less probability are left out."""

ALONE = 0.9
"""An action of more probability has the cell to itself."""

WIDE = 2.0
"""How much wider than high a map is whose pictures are put below each other."""

REACH = {True: 0.26, False: 0.44}
"""Length of an arrow of probability 1, in cells, where states have headings and where not."""


def panels(board: PoseBoard) -> tuple[Any, list[Any], list[Any]]:
    """A figure with three axes of the map's shape, and below each one for its colour bar.

    They lie side by side, or below each other where the map is wide.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    rows, columns = (int(np.ptp(part)) + 1 for part in np.array(board.cells).T)
    stacked = columns > WIDE * rows
    cell = min(9.0 / columns, 1.2) if stacked else min(3.6 / columns, 3.6 / rows)
    wide, high = max(columns * cell, 3.2), rows * cell + 0.3  # inches of a map
    gap, below, above = 0.35, 1.05, 0.3  # of a panel; the figure's title comes on top
    width = wide + 2 * gap if stacked else 3 * wide + 4 * gap
    height = (3 if stacked else 1) * (below + high + above) + 0.35
    figure = Figure(figsize=(width, height))
    axes, bars = [], []
    for i in range(3):
        left = gap + (0.0 if stacked else i * (wide + gap))
        bottom = (2 - i) * (below + high + above) if stacked else 0.0
        where = (left / width, (bottom + below) / height, wide / width, high / height)
        axes.append(figure.add_axes(where))
        bar = (left + wide / 2 - 1.3, bottom + 0.52, 2.6, 0.12)
        where = (bar[0] / width, bar[1] / height, bar[2] / width, bar[3] / height)
        bars.append(figure.add_axes(where))
    bars[0].set_axis_off()
    return figure, axes, bars


def _shape(board: PoseBoard, state: int, *, gap: float = 0.03) -> list[tuple[float, float]]:
    """The corners (x, y) of a state: its cell, or the quarter of it on the side of its heading."""
    row, column = board.cells[board.places[state]]
    half = 0.5 - gap
    corners = [(column - half, row - half), (column + half, row - half)]
    corners += [(column + half, row + half), (column - half, row + half)]
    heading = int(board.headings[state])
    if heading == NO_HEADING:
        return corners
    return [corners[heading], corners[(heading + 1) % 4], (column, row)]


def _middle(board: PoseBoard, state: int) -> tuple[float, float]:
    row, column = board.cells[board.places[state]]
    heading = int(board.headings[state])
    if heading == NO_HEADING:
        return float(column), float(row)
    down, right = OFFSETS[heading]
    return column + 0.31 * right, row + 0.31 * down


def _prepare(axes: Any, board: PoseBoard) -> None:
    """Walls hatched, since every shade may be a value; no axes: cells have names, not coordinates."""
    rows, columns = np.array(board.cells).T
    walled = len(set(board.cells)) < board.shape[0] * board.shape[1]
    rim = 0.62 if walled else 0.5
    axes.set_xlim(columns.min() - rim, columns.max() + rim)
    axes.set_ylim(rows.max() + rim, rows.min() - rim)
    axes.set_aspect("equal")
    axes.set_facecolor("white")
    if walled:
        axes.patch.set(hatch="////", edgecolor=HATCH, linewidth=0.0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_policy(axes: Any, pair: EnvPair, board: PoseBoard, table: FloatArray, shown: Any) -> None:
    """An arrow for each way, as long as it is likely: filled ones move, hollow ones turn."""
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

    _prepare(axes, board)
    states = np.flatnonzero(shown)
    axes.add_collection(
        PolyCollection([_shape(board, s) for s in states.tolist()], facecolors=FLOOR)
    )
    for cell, place in enumerate(board.cells):
        mark = board.marks[cell].strip()
        if mark:
            axes.text(
                place[1] - 0.43,
                place[0] - 0.26,
                mark,
                color=MARK,
                fontsize=9,
                va="center",
                ha="left",
            )
    moves, turns = directions(pair, board)
    table = table * ~pair.model.terminal[:, None]  # nothing is done there
    for ways, filled in ((moves, True), (turns, False)):
        _draw_arrows(axes, board, states, _by_way(table, ways), filled=filled)
    stays = (table * ((moves == STAYS) & (turns == STAYS))).sum(axis=1)
    still = states[stays[states] >= FAINTEST]
    if still.size:
        where = np.array([_middle(board, s) for s in still])
        axes.scatter(*where.T, s=30 * stays[still], color=INK, zorder=3, linewidths=0)
    words = [
        Line2D([], [], marker=r"$\rightarrow$", ls="", color=MOVES, markersize=11, label="moves")
    ]
    if (turns != STAYS).any():
        words.append(
            Line2D(
                [], [], marker=r"$\Rightarrow$", ls="", color=AGENT, markersize=11, label="turns to"
            )
        )
    if still.size:
        words.append(Line2D([], [], marker="o", ls="", color=INK, markersize=4, label="stays"))
    posed = bool((board.headings != NO_HEADING).any())
    quarters = "; quarter of a cell: facing that side" if posed else ""
    axes.legend(
        handles=words,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        frameon=False,
        fontsize=9,
        title="length of an arrow: probability" + quarters,
        title_fontsize=9,
    )


def _by_way(table: FloatArray, ways: IntArray) -> FloatArray:
    """Probabilities (S, 4) of going each way."""
    return np.stack([(table * (ways == way)).sum(axis=1) for way in range(4)], axis=1)


def _draw_arrows(
    axes: Any, board: PoseBoard, states: IntArray, chance: FloatArray, *, filled: bool
) -> None:
    tails, tips = [], []
    posed = bool((board.headings != NO_HEADING).any())
    for state in states:
        x, y = _middle(board, state)
        for way in np.flatnonzero(chance[state] >= FAINTEST):
            down, right = OFFSETS[way]
            length = REACH[posed] * float(chance[state, way])
            # An arrow that has its place to itself lies across the middle; others start there.
            back = length / 2 if posed or chance[state, way] > ALONE else 0.0
            tails.append((x - back * right, y - back * down))
            tips.append((length * right, length * down))
    if not tails:
        return
    colour = MOVES if filled else AGENT
    axes.quiver(
        *np.array(tails).T,
        *np.array(tips).T,
        angles="xy",
        scale_units="xy",
        units="xy",
        scale=1,
        width=0.035 if posed else 0.07,
        headwidth=4.2,
        headlength=4,
        headaxislength=3.6,
        minlength=0.1,
        color=colour if filled else "white",
        edgecolor=colour,
        linewidth=0.0 if filled else 0.9,
        zorder=3,
    )


def draw_heat(
    axes: Any,
    bar_axes: Any,
    board: PoseBoard,
    values: FloatArray,
    shown: Any,
    colours: str,
    label: str,
    least: float | None = None,
) -> None:
    """Colours states by a value, with a colour bar.

    Args:
        axes: Of the map.
        bar_axes: Of the colour bar.
        board: Where the states lie.
        values: (S,).
        shown: (S,) booleans, which states are drawn.
        colours: A colour map of matplotlib.
        label: What the values are, with their unit.
        least: Where the colours begin; None: at the smallest value.
    """
    from matplotlib.collections import PolyCollection

    _prepare(axes, board)
    states = np.flatnonzero(shown)
    corners = [_shape(board, s, gap=0.0) for s in states.tolist()]
    heat = PolyCollection(corners, cmap=colours, edgecolors="white", linewidths=0.6)
    heat.set_array(values[states])
    low, high = float(values[states].min()), float(values[states].max())
    low = low if least is None else least
    heat.set_clim(low, high if high > low else low + 1.0)
    axes.add_collection(heat)
    bar = axes.figure.colorbar(heat, cax=bar_axes, orientation="horizontal")
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def draw_agent(axes: Any, board: PoseBoard, state: int) -> None:
    """A dot where the agent is, and which way it faces."""
    row, column = board.cells[board.places[state]]
    axes.plot(column, row, "o", ms=9, mfc=AGENT, mec="white", mew=1.5, zorder=4, label="the agent")
    heading = int(board.headings[state])
    if heading != NO_HEADING:
        down, right = OFFSETS[heading]
        reach = (column + 0.45 * right, row + 0.45 * down)
        arrow = {"arrowstyle": "->", "color": "white", "lw": 1.6}
        axes.annotate("", reach, (column, row), arrowprops=arrow, zorder=5)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0.01), frameon=False, fontsize=9, handletextpad=0.1
    )

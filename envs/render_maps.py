"""Drawings of problems that have a map with one cell a state: the grid, the cheese maze, 4x3, 4x4, 1d.

The full view shows the agent in its cell; the restricted view marks the cells that look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.envs import canvas
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.render import BOTTOM, TOP, WIDTH, Drawing, Scene, lookalikes


class Board(NamedTuple):
    """Where the states of a problem lie.

    Attributes:
        places: (row, column) of each state.
        shape: Rows and columns; every place without a state is wall.
        marks: One letter a state, e.g. "+"; a space where there is none.
        values: (S,) in [−1, 1], from red to gold: what a cell is worth.
    """

    places: list[tuple[int, int]]
    shape: tuple[int, int]
    marks: str
    values: npt.NDArray[np.float64]


def drawing(board: Board) -> Drawing:
    """The drawing of a problem with this board."""
    return Drawing(_Text(board), _Picture(board), board)


@dataclass(frozen=True)
class _Text:
    board: Board

    def __call__(self, scene: Scene) -> str:
        rows, columns = self.board.shape
        letters = [["#"] * columns for _ in range(rows)]
        alike = lookalikes(scene.model, scene.observation)
        for state, (row, column) in enumerate(self.board.places):
            letter = self.board.marks[state].strip() or "."
            if scene.state is None and alike[state]:
                letter = "?"
            letters[row][column] = "@" if state == scene.state else letter
        return "\n".join("".join(row) for row in letters)


@dataclass(frozen=True)
class _Picture:
    board: Board

    def __call__(self, scene: Scene, sheet: Canvas) -> None:
        plot = plotted(sheet, self.board.places, self.board.shape)
        alike = lookalikes(scene.model, scene.observation) & (scene.state is None)
        for state, place in enumerate(self.board.places):
            self._cell(sheet, state, plot.cell(place), possible=bool(alike[state]))
        if scene.state is not None:  # last: on a board of tiny cells it covers more than its own
            x, y, side = plot.cell(self.board.places[scene.state])
            radius = max(side * 0.3, 5.0)
            middle = (x + side / 2, y + side / 2)
            sheet.disc(*middle, radius, canvas.ORANGE, line=canvas.WHITE, thick=2)

    def _cell(
        self, sheet: Canvas, state: int, where: tuple[float, float, float], *, possible: bool
    ) -> None:
        x, y, side = where
        mark = self.board.marks[state]
        ground(sheet, where, float(self.board.values[state]), tint=0.55 * possible)
        middle = (x + side / 2, y + side / 2)
        if mark == "*":
            _cheese(sheet, *middle, side)
        elif mark != " ":
            sheet.text(*middle, mark, side * 0.45, canvas.WALL, bold=True)
        elif possible and side > 16:
            sheet.text(*middle, "?", side * 0.4, canvas.WHITE, bold=True)


class Plot(NamedTuple):
    """Where the cells of a map lie on the sheet.

    Attributes:
        left: Pixels to the first column.
        top: Pixels to the first row.
        side: Pixels of a cell.
        first: The first row and column that hold a cell.
    """

    left: float
    top: float
    side: float
    first: tuple[int, int]

    def cell(self, place: tuple[int, int]) -> tuple[float, float, float]:
        """The upper left corner of a cell, and its side."""
        x = self.left + (place[1] - self.first[1]) * self.side
        return x, self.top + (place[0] - self.first[0]) * self.side, self.side


def plotted(sheet: Canvas, places: list[tuple[int, int]], shape: tuple[int, int]) -> Plot:
    """The largest plot of a map that fits; draws the block of wall that the cells are cut out of."""
    lines, across = zip(*places, strict=True)
    rows, columns = max(lines) - min(lines) + 1, max(across) - min(across) + 1
    walled = (rows, columns) != shape
    rim = 14.0 if walled else 0.0  # a wall all round is drawn thin, whatever the map says
    side = min((WIDTH - 40 - 2 * rim) / columns, (BOTTOM - TOP - 8 - 2 * rim) / rows)
    left, top = (WIDTH - side * columns) / 2, (TOP + BOTTOM - side * rows) / 2
    if walled:
        whole = (side * columns + 2 * rim, side * rows + 2 * rim)
        sheet.box(left - rim, top - rim, *whole, canvas.WALL, radius=8)
    return Plot(left, top, side, (min(lines), min(across)))


def ground(
    sheet: Canvas, where: tuple[float, float, float], worth: float, *, tint: float = 0.0
) -> canvas.Colour:
    """A cell's floor, from red (worth −1) to gold (1), tinted where the agent may be; its colour."""
    x, y, side = where
    colour, share = (canvas.GOLD, worth) if worth > 0 else (canvas.RED, -0.6 * worth)
    fill = canvas.mix(canvas.mix(canvas.WHITE, colour, share), canvas.TEAL, tint)
    gap = 2.0 if side > 12 else 0.0
    sheet.box(x, y, side, side, canvas.LIGHT)
    sheet.box(x + gap / 2, y + gap / 2, side - gap, side - gap, fill)
    return fill


def _cheese(sheet: Canvas, x: float, y: float, side: float) -> None:
    half, low = side * 0.34, side * 0.2
    wedge = [
        (x - half, y + low),
        (x + half, y + low),
        (x + half, y - low * 0.2),
        (x - half, y + low),
    ]
    top = [(x - half, y + low * 0.6), (x + half, y - low), (x + half, y + low), (x - half, y + low)]
    sheet.shape(top, canvas.GOLD)
    sheet.shape(wedge, canvas.mix(canvas.GOLD, canvas.WOOD, 0.2))
    for dx, dy, radius in ((0.1, 0.08, 0.045), (0.24, -0.02, 0.035), (0.22, 0.14, 0.03)):
        sheet.disc(x + side * dx, y + side * dy, side * radius, canvas.SAND)

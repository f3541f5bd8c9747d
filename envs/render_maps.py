"""Drawings of problems that have a map: the torus grid, the cheese maze, the 4x3 world.

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
    return Drawing(_Text(board), _Picture(board))


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
        lines, across = zip(*self.board.places, strict=True)
        rows, columns = max(lines) - min(lines) + 1, max(across) - min(across) + 1
        walled = (rows, columns) != self.board.shape
        rim = 14.0 if walled else 0.0  # a wall all round is drawn thin, whatever the map says
        side = min((WIDTH - 40 - 2 * rim) / columns, (BOTTOM - TOP - 8 - 2 * rim) / rows)
        left, top = (WIDTH - side * columns) / 2, (TOP + BOTTOM - side * rows) / 2
        if walled:
            whole = (side * columns + 2 * rim, side * rows + 2 * rim)
            sheet.box(left - rim, top - rim, *whole, canvas.WALL, radius=8)
        alike = lookalikes(scene.model, scene.observation) & (scene.state is None)
        for state, (row, column) in enumerate(self.board.places):
            x, y = left + (column - min(across)) * side, top + (row - min(lines)) * side
            self._cell(sheet, state, (x, y, side), possible=bool(alike[state]))
        if scene.state is not None:  # last: on a board of tiny cells it covers more than its own
            row, column = self.board.places[scene.state]
            x, y = (column - min(across) + 0.5) * side, (row - min(lines) + 0.5) * side
            radius = max(side * 0.3, 5.0)
            sheet.disc(left + x, top + y, radius, canvas.ORANGE, line=canvas.WHITE, thick=2)

    def _cell(
        self, sheet: Canvas, state: int, where: tuple[float, float, float], *, possible: bool
    ) -> None:
        x, y, side = where
        worth, mark = float(self.board.values[state]), self.board.marks[state]
        colour, share = (canvas.GOLD, worth) if worth > 0 else (canvas.RED, -0.6 * worth)
        fill = canvas.mix(canvas.WHITE, colour, share)
        if possible:
            fill = canvas.mix(fill, canvas.TEAL, 0.55)
        gap = 2.0 if side > 12 else 0.0
        sheet.box(x, y, side, side, canvas.LIGHT)
        sheet.box(x + gap / 2, y + gap / 2, side - gap, side - gap, fill)
        middle = (x + side / 2, y + side / 2)
        if mark == "*":
            _cheese(sheet, *middle, side)
        elif mark != " ":
            sheet.text(*middle, mark, side * 0.45, canvas.WALL, bold=True)
        elif possible and side > 16:
            sheet.text(*middle, "?", side * 0.4, canvas.WHITE, bold=True)


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

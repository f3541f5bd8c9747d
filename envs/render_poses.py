"""Drawings of mazes where several states lie in one cell: a robot with a heading, a hidden side.

The full view shows the robot and where it faces. The restricted view shades each pose by how well the
last observation fits it: with noisy sensors nothing is impossible, but little is likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.envs import canvas, render_maps
from imm_rl.envs.canvas import Canvas
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.options import IntArray
from imm_rl.envs.render import Drawing, Scene

NO_HEADING = -1
ARROWS = "^>v<@"
"""By heading north, east, south, west; the last one for states without."""
TELLS = 0.5
"""A cell is marked in text where the observation fits at least this well, relative to the best."""


class PoseBoard(NamedTuple):
    """Where the states of a problem lie.

    Attributes:
        cells: (row, column) of each cell.
        shape: Rows and columns of the map; every place without a cell is wall.
        marks: One letter a cell; a space where there is none.
        values: One number a cell in [−1, 1], from red to gold: what it is worth.
        places: (S,) the cell of each state.
        headings: (S,) 0 to 3: north, east, south, west; or NO_HEADING.
    """

    cells: list[tuple[int, int]]
    shape: tuple[int, int]
    marks: str
    values: FloatArray
    places: IntArray
    headings: IntArray


def drawing(board: PoseBoard) -> Drawing:
    """The drawing of a problem with this board."""
    return Drawing(_Text(board), _Picture(board), board)


def fit(model: TabularPOMDP, observation: int | None) -> FloatArray:
    """How well an observation fits each state (S,), after the action it fits best; the best one has 1.

    Where there is no observation yet: the start distribution, scaled likewise.
    """
    if observation is None:
        chance = model.initial
    else:
        columns = [model.observation_of(a)[:, [observation]] for a in range(model.n_actions)]
        dense = [c if isinstance(c, np.ndarray) else c.toarray() for c in columns]
        chance = np.max([column[:, 0] for column in dense], axis=0)
    return np.asarray(chance / max(float(chance.max()), np.finfo(float).tiny))


def _by_pose(board: PoseBoard, values: FloatArray) -> FloatArray:
    """The largest value of the states of each cell and heading, (C, 5); the last is without heading."""
    table = np.zeros((len(board.cells), len(ARROWS)))
    np.maximum.at(table, (board.places, board.headings % len(ARROWS)), values)
    return table


@dataclass(frozen=True)
class _Text:
    board: PoseBoard

    def __call__(self, scene: Scene) -> str:
        board = self.board
        rows, columns = board.shape
        letters = [["#"] * columns for _ in range(rows)]
        likely = _by_pose(board, fit(scene.model, scene.observation)).max(axis=1) >= TELLS
        for cell, (row, column) in enumerate(board.cells):
            letter = board.marks[cell].strip() or "."
            letters[row][column] = "?" if scene.state is None and likely[cell] else letter
        if scene.state is not None:
            row, column = board.cells[board.places[scene.state]]
            letters[row][column] = ARROWS[board.headings[scene.state]]
        return "\n".join("".join(row) for row in letters)


@dataclass(frozen=True)
class _Picture:
    board: PoseBoard

    def __call__(self, scene: Scene, sheet: Canvas) -> None:
        board = self.board
        plot = render_maps.plotted(sheet, board.cells, board.shape)
        fits = _by_pose(board, fit(scene.model, scene.observation)) * (scene.state is None)
        for cell, place in enumerate(board.cells):
            self._cell(sheet, cell, plot.cell(place), fits[cell])
        if scene.state is not None:  # last: on a board of tiny cells it covers more than its own
            cell, heading = board.places[scene.state], board.headings[scene.state]
            _robot(sheet, *plot.cell(board.cells[cell]), int(heading))

    def _cell(
        self,
        sheet: Canvas,
        cell: int,
        where: tuple[float, float, float],
        fits: npt.NDArray[np.float64],
    ) -> None:
        x, y, side = where
        worth = float(self.board.values[cell])
        floor = render_maps.ground(sheet, where, worth, tint=0.55 * fits[-1])
        for heading in range(4):
            if fits[heading] >= 0.02:  # fainter ones would not be seen
                shade = canvas.mix(floor, canvas.TEAL, 0.85 * fits[heading])
                _pointer(sheet, x + side / 2, y + side / 2, side * 0.45, heading, shade)
        mark = self.board.marks[cell]
        if mark != " " and side > 10:
            sheet.text(x + side / 2, y + side / 2, mark, side * 0.4, canvas.WALL, bold=True)


def _turned(points: list[tuple[float, float]], heading: int) -> list[tuple[float, float]]:
    """Points of a shape that faces north, turned to face a heading."""
    for _ in range(heading):
        points = [(-y, x) for x, y in points]
    return points


def _pointer(
    sheet: Canvas, x: float, y: float, reach: float, heading: int, colour: canvas.Colour
) -> None:
    """A small arrow head at the side of a cell that a heading looks at."""
    corners = _turned([(0.0, -1.0), (-0.5, -0.46), (0.5, -0.46)], heading)
    sheet.shape([(x + dx * reach, y + dy * reach) for dx, dy in corners], colour)


def _robot(sheet: Canvas, x: float, y: float, side: float, heading: int) -> None:
    """A disc with an arrow on it."""
    radius = max(side * 0.33, 5.0)
    middle = (x + side / 2, y + side / 2)
    sheet.disc(*middle, radius, canvas.ORANGE, line=canvas.WHITE, thick=2)
    if heading == NO_HEADING:
        return
    arrow = _turned([(0.0, -0.72), (0.5, 0.42), (0.0, 0.16), (-0.5, 0.42)], heading)
    sheet.shape(
        [(middle[0] + dx * radius, middle[1] + dy * radius) for dx, dy in arrow], canvas.WHITE
    )

"""Mazes drawn in text: cells, their names and which of them adjoin; the cheese and 4x3 mazes use it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NORTH, SOUTH, EAST, WEST = range(4)
OFFSETS = ((-1, 0), (1, 0), (0, 1), (0, -1))
"""(row, column) step of each direction, in the order of the archive's mazes: N, S, E, W."""


class Maze(NamedTuple):
    """The open cells of a map.

    Attributes:
        cells: (row, column) of each cell; its index is its place in reading order.
        marks: The character of each cell.
        after: (C, 4) ints; after[c, d] is where a move in direction d from c ends; walls stop it.
        shape: Rows and columns of the map, walls included.
    """

    cells: list[tuple[int, int]]
    marks: list[str]
    after: npt.NDArray[np.int64]
    shape: tuple[int, int]

    def walled(self, cell: int) -> tuple[bool, ...]:
        """Whether there is a wall to the north, south, east and west of a cell."""
        return tuple(bool(self.after[cell, d] == cell) for d in range(4))


def parse(text: str) -> Maze:
    """Reads a map: one line a row, `#` is wall, every other character a cell; walls all round."""
    rows = text.strip("\n").splitlines()
    cells = [(r, c) for r, row in enumerate(rows) for c, mark in enumerate(row) if mark != "#"]
    index = {cell: i for i, cell in enumerate(cells)}
    after = np.array(
        [[index.get((r + dr, c + dc), i) for dr, dc in OFFSETS] for i, (r, c) in enumerate(cells)]
    )
    return Maze(cells, [rows[r][c] for r, c in cells], after, (len(rows), len(rows[0])))

"""Mazes in which a robot has a heading: poses, moves relative to the heading, walls around it.

A pose is a cell and a heading, numbered cell by cell in reading order, north, east, south, west within
a cell: pose = 4 · cell + heading. `robot_maze` and `mini_hall2` build their problems of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.envs import maze
from imm_rl.envs.options import FloatArray

HEADINGS = ("north", "east", "south", "west")
"""Clockwise, so that a quarter turn to the right adds 1 modulo 4."""
SIDES = ("ahead", "right", "behind", "left")
"""Where a robot may meet a wall: 0, 1, 2, 3 quarter turns to the right of its heading."""
_DIRECTIONS = (maze.NORTH, maze.EAST, maze.SOUTH, maze.WEST)


class Outcome(NamedTuple):
    """One way in which an action may end.

    Attributes:
        chance: Its probability.
        side: The side (0–3, see SIDES) to which the robot moves by one cell; None: it stays in its
            cell. A wall in the way stops the whole outcome, turn included.
        turn: Quarter turns to the right by which the heading changes.
    """

    chance: float
    side: int | None
    turn: int


def pose_names(plan: maze.Maze) -> list[str]:
    """A name for each pose: "cell-3-north"."""
    return [f"cell-{cell}-{heading}" for cell in range(len(plan.cells)) for heading in HEADINGS]


def transition(plan: maze.Maze, outcomes: Iterable[Outcome]) -> FloatArray:
    """What one action does to poses, (P, P).

    Args:
        plan: The maze.
        outcomes: How it may end; with what their chances lack to 1, a pose stays as it is.
    """
    n_poses = 4 * len(plan.cells)
    poses = np.arange(n_poses)
    matrix = np.zeros((n_poses, n_poses))
    rest = 1.0
    for chance, side, turn in outcomes:
        ends = [_end(plan, int(pose), side, turn) for pose in poses]
        matrix[poses, ends] += chance
        rest -= chance
    matrix[poses, poses] += rest
    return matrix


def walled(plan: maze.Maze) -> npt.NDArray[np.bool_]:
    """Whether there is a wall on each side of each pose, (P, 4)."""
    stopped = [[plan.walled(cell)[d] for d in _DIRECTIONS] for cell in range(len(plan.cells))]
    return np.array([np.roll(around, -heading) for around in stopped for heading in range(4)])


def _end(plan: maze.Maze, pose: int, side: int | None, turn: int) -> int:
    cell, heading = divmod(pose, 4)
    if side is not None:
        after = int(plan.after[cell, _DIRECTIONS[(heading + side) % 4]])
        if after == cell:
            return pose
        cell = after
    return 4 * cell + (heading + turn) % 4

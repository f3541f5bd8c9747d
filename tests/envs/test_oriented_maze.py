"""Poses, moves relative to a heading, and the walls around it, by hand on a corner of three cells."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.envs import maze, oriented_maze
from imm_rl.envs.oriented_maze import Outcome

CORNER = """
####
#..#
#.##
####
"""
NORTH, EAST, SOUTH, WEST = range(4)


@pytest.fixture
def plan() -> maze.Maze:
    return maze.parse(CORNER)


def pose(cell: int, heading: int) -> int:
    return 4 * cell + heading


def test_pose_names_say_cell_and_heading(plan: maze.Maze) -> None:
    names = oriented_maze.pose_names(plan)
    assert len(names) == 12
    assert names[pose(1, SOUTH)] == "cell-1-south"


def test_walled_lists_ahead_right_behind_left(plan: maze.Maze) -> None:
    walls = oriented_maze.walled(plan)
    assert walls[pose(0, NORTH)].tolist() == [True, False, False, True]  # open to east and south
    assert walls[pose(0, EAST)].tolist() == [False, False, True, True]
    assert walls[pose(0, SOUTH)].tolist() == [False, True, True, False]
    assert walls[pose(0, WEST)].tolist() == [True, True, False, False]
    assert walls[pose(2, WEST)].tolist() == [True, False, True, True]  # open to the north alone


@pytest.mark.parametrize(
    ("side", "turn", "start", "end"),
    [
        (0, 0, pose(0, EAST), pose(1, EAST)),  # ahead
        (1, 1, pose(0, EAST), pose(2, SOUTH)),  # to the right, turning that way
        (2, 2, pose(1, EAST), pose(0, WEST)),  # back, turned around
        (3, 3, pose(0, WEST), pose(2, SOUTH)),  # to the left, turning that way
        (0, 0, pose(0, NORTH), pose(0, NORTH)),  # a wall ahead
        (3, 3, pose(1, EAST), pose(1, EAST)),  # a wall to the left stops the turn, too
        (None, 1, pose(2, WEST), pose(2, NORTH)),  # turning in place
        (None, 3, pose(2, NORTH), pose(2, WEST)),
    ],
)
def test_transition_moves_to_a_side(
    plan: maze.Maze, side: int | None, turn: int, start: int, end: int
) -> None:
    matrix = oriented_maze.transition(plan, [Outcome(1.0, side, turn)])
    assert matrix[start].tolist() == np.eye(12)[end].tolist()


def test_transition_adds_up_what_ends_alike_and_stays_with_the_rest(plan: maze.Maze) -> None:
    outcomes = [Outcome(0.5, 0, 0), Outcome(0.125, None, 1), Outcome(0.25, 3, 3)]
    matrix = oriented_maze.transition(plan, outcomes)
    row = matrix[pose(1, NORTH)]  # ahead is wall; to the left lies cell 0
    assert {int(s): float(row[s]) for s in np.flatnonzero(row)} == {
        pose(1, NORTH): 0.625,  # 0.5 stopped, 0.125 left over
        pose(1, EAST): 0.125,
        pose(0, WEST): 0.25,
    }
    assert oriented_maze.transition(plan, []).tolist() == np.eye(12).tolist()

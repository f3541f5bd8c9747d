"""Tag: a robot hunts a target that sees it and runs; it must stand on the target's cell and tag it.

              26 27 28
              23 24 25
              20 21 22
    10 11 12 13 14 15 16 17 18 19
     0  1  2  3  4  5  6  7  8  9

The robot moves North, South, East or West without slips; walls stop it; each move costs 1. While it
moves, the target moves away from the cell the robot comes from: with probability 0.4 to the side
(east where it is east of the robot, west where west; in the same column 0.2 each way), with 0.4 up or
down likewise, with 0.2 not at all; where a wall is in the way it stays. `Catch` pays 10 where both are in
one cell, and the target is tagged for good; elsewhere it costs 10; nobody moves. Tagged targets stay
so: the robot stays too, moves go on costing 1, and Catch costs nothing. γ = 0.95. The robot
sees the cell it stands on, or "yes", and no cell, where the target is there too (not after
Catch). The start is uniform over both cells, 29 × 29.

In four places of (robot, target) the target departs from this rule, as it does in the archive's file,
so that published values hold. Both in cell 19, or both in 27: it stays with probability 0.5 and
goes to each open neighbour alike with the rest (1/4 each from 19, 1/6 each from 27). In (25, 23): the way
north ends in the robot's cell 25 instead of 26. In (27, 24): of the 0.4 with which it would flee south
to 21, half stays in 24.

The problem goes on for ever, as the archive's does; episodes are cut. State index: 30 · robot +
target, where target 29 is "tagged".

Source: J. Pineau, G. Gordon, S. Thrun, "Point-based value iteration: an anytime algorithm for POMDPs",
IJCAI 2003; numbered and named as in the archive's TagAvoid.POMDP, which the model equals up to
that file's six decimals.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import maze, render_tag
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair

MAP = """
############
######...###
######...###
######...###
#..........#
#..........#
############
"""
ACTIONS = ("North", "South", "East", "West", "Catch")
CATCH = 4
AWAY, ASTRAY, STILL = 0.4, 0.2, 0.2
"""Chance of the target to flee along an axis, of each way along an axis that it shares with the
robot, and to stay."""
_ODD_MOVES = {
    (19, 19): {9: 1 / 4, 18: 1 / 4, 19: 1 / 2},
    (27, 27): {24: 1 / 6, 26: 1 / 6, 28: 1 / 6, 27: 1 / 2},
    (25, 23): {20: 0.2, 23: 0.6, 25: 0.2},
    (27, 24): {21: 0.2, 23: 0.2, 24: 0.4, 25: 0.2},
}
"""Where the target goes against the rule: by the cells of robot and target, see above."""


def tag(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    plan = maze.parse(MAP)
    cells, after = _numbered(plan)
    n_cells = len(cells)
    tagged, n_targets = n_cells, n_cells + 1
    n_states = n_cells * n_targets
    robot, target = np.divmod(np.arange(n_states), n_targets)
    caught, together = target == tagged, target == robot

    flight = _flight(cells, after)
    transitions = []
    for action in range(CATCH):
        matrix = np.zeros((n_states, n_states))
        for r in range(n_cells):
            first, there = r * n_targets, after[r, action] * n_targets
            matrix[first : first + n_cells, there : there + n_cells] = flight[r]
            matrix[first + tagged, first + tagged] = 1.0
        transitions.append(sp.csr_array(matrix))
    transitions.append(_sure(np.where(together, robot * n_targets + tagged, np.arange(n_states))))
    place, sight = _sure(robot, n_targets), _sure(np.where(together, n_cells, robot), n_targets)
    reward = np.full((n_states, len(ACTIONS)), -1.0)
    reward[:, CATCH] = np.where(caught, 0.0, np.where(together, 10.0, -10.0))
    model = TabularPOMDP(
        tuple(transitions),
        (sight,) * CATCH + (place,),
        reward=reward,
        initial=np.where(caught, 0.0, 1.0 / n_cells**2),
        discount=0.95,
        state_names=[f"s{s}" for s in range(n_states)],
        action_names=ACTIONS,
        observation_names=[f"o{r}" for r in range(n_cells)] + ["yes"],
    )
    return EnvPair(
        "tag",
        model,
        max_steps=max_steps,
        source="Pineau, Gordon and Thrun, IJCAI 2003; archive TagAvoid.POMDP",
        draw=render_tag.drawing(cells),
    )


def _numbered(plan: maze.Maze) -> tuple[list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Cells (row, column) and moves (C, 4), numbered from the lowest row up."""
    order = sorted(range(len(plan.cells)), key=lambda c: (-plan.cells[c][0], plan.cells[c][1]))
    number = np.argsort(order)
    return [plan.cells[c] for c in order], number[plan.after[order]]


def _sure(column: npt.NDArray[np.int64], n_columns: int | None = None) -> sp.csr_array:
    """The matrix of what surely happens: one entry a row."""
    n_rows = column.size
    shape = (n_rows, n_columns or n_rows)
    return sp.csr_array((np.ones(n_rows), column, np.arange(n_rows + 1)), shape=shape)


def _flight(cells: list[tuple[int, int]], after: npt.NDArray[np.int64]) -> FloatArray:
    """(C, C, C): where the target goes, by the robot's cell and its own."""
    n_cells = len(cells)
    flight = np.zeros((n_cells, n_cells, n_cells))
    for robot, (robot_row, robot_column) in enumerate(cells):
        for target, (row, column) in enumerate(cells):
            way = flight[robot, target]
            way[target] += STILL
            across = (column - robot_column, maze.EAST, maze.WEST)
            along = (row - robot_row, maze.SOUTH, maze.NORTH)
            for offset, ahead, back in (across, along):
                if offset == 0:
                    way[after[target, ahead]] += ASTRAY
                    way[after[target, back]] += ASTRAY
                else:
                    way[after[target, ahead if offset > 0 else back]] += AWAY
    for place, chances in _ODD_MOVES.items():
        flight[place] = 0.0
        for cell, chance in chances.items():
            flight[place][cell] = chance
    return flight

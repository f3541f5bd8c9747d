"""Mini-hall2: four cells, a robot that neither slips nor misreads, and poses that look alike.

    ####      cells  0
    #.##             1  2
    #..#                3 (goal)
    ##+#
    ####

12 poses, cells 0 to 2 facing north, east, south or west, and the goal, which has no heading: 13 states.
The robot goes forward (a wall stops it), turns right or turns left. It sees exactly which of the four
sides around it, ahead, right, behind, left, are walls, and knows the goal: 9 observations, numbered as
they first appear, for cells 1 and 2 have the same walls, turned around. Arriving at the goal pays 1;
whatever is done there puts the robot into one of the 12 poses at random, which is also the start.
γ = 0.95. The problem goes on for ever; episodes are cut.

One entry departs from this rule, as it does in the archive's file, so that published values hold:
forward from cell 1 facing south, into the wall, ends in cell 0 facing north.

Source: the archive's mini-hall2.POMDP (M. L. Littman, A. R. Cassandra, L. P. Kaelbling, 1995), which the
model equals up to that file's rounding of 1/12. The optimum is 2.714.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import maze, oriented_maze, render_poses
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.oriented_maze import SIDES, Outcome
from imm_rl.envs.pair import EnvPair

MAP = """
####
#.##
#..#
##+#
####
"""
MOTIONS = {
    "forward": (Outcome(1.0, side=0, turn=0),),
    "turn-right": (Outcome(1.0, side=None, turn=1),),
    "turn-left": (Outcome(1.0, side=None, turn=3),),
}
ODDITY = ("cell-1-south", "cell-0-north")
"""Where "forward" does not do what the map says, and where it ends; see above."""


def mini_hall2(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    plan = maze.parse(MAP)
    goal = 4 * plan.marks.index("+")  # the last cell: its first pose stands for all four
    initial = np.where(np.arange(goal + 1) == goal, 0.0, 1.0 / goal)
    transition = np.stack(
        [_merged(oriented_maze.transition(plan, o), goal) for o in MOTIONS.values()], axis=1
    )
    names = [*oriented_maze.pose_names(plan)[:goal], "goal"]
    at, end = (names.index(name) for name in ODDITY)
    transition[at, 0] = np.eye(goal + 1)[end]
    transition[goal] = initial

    looks = [tuple(row) for row in oriented_maze.walled(plan)[:goal].tolist()]
    kinds = list(dict.fromkeys(looks))  # numbered as they first appear
    seen = np.zeros((goal + 1, len(kinds) + 1))
    seen[np.arange(goal + 1), [*(kinds.index(look) for look in looks), len(kinds)]] = 1.0
    model = TabularPOMDP(
        transition=transition,
        observation=np.stack([seen] * len(MOTIONS)),
        reward=transition[:, :, goal],
        initial=initial,
        discount=0.95,
        state_names=names,
        action_names=list(MOTIONS),
        observation_names=[*(_walls(kind) for kind in kinds), "goal"],
    )
    places, headings = np.divmod(np.arange(goal + 1), 4)
    headings[goal] = render_poses.NO_HEADING
    marks = "".join(plan.marks).replace(".", " ")
    worth = np.array([float(mark == "+") for mark in plan.marks])
    board = render_poses.PoseBoard(plan.cells, plan.shape, marks, worth, places, headings)
    return EnvPair(
        "mini-hall2",
        model,
        max_steps=max_steps,
        source="Littman, Cassandra and Kaelbling, 1995; archive mini-hall2.POMDP",
        draw=render_poses.drawing(board),
    )


def _merged(matrix: np.ndarray, goal: int) -> np.ndarray:
    """The poses (P, P) with all of the goal's, the last four, as one."""
    return np.hstack([matrix[: goal + 1, :goal], matrix[: goal + 1, goal:].sum(1, keepdims=True)])


def _walls(kind: tuple[bool, ...]) -> str:
    return "-".join(["walls", *(side for side, wall in zip(SIDES, kind, strict=True) if wall)])

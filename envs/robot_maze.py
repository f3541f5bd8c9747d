"""The noisy robot of Littman, Cassandra and Kaelbling in any map; hallway, hallway2 and tiger-grid use it.

States are poses: cells in reading order, with headings north, east, south, west. Actions:

    stay           nothing happens.
    forward        0.8 one cell ahead; 0.05 one cell to the right, 0.05 to the left, each time turning
                   that way; 0.05 one cell back, half of it turned around; else it stays. A slip into a
                   wall changes nothing.
    turn-right     0.7 as meant, 0.1 not at all, 0.1 around, 0.1 to the left; turn-left is its mirror.
    turn-around    0.6 as meant, 0.15 right, 0.15 left, 0.1 not at all.

Four sensors, ahead, right, behind and left, report a wall that is there with probability 0.9 and one
that is not with 0.05, independently: 16 observations, numbered as a binary number whose first digit
is "ahead". The goal, and each landmark seen from its cell facing south, is known for sure.

Arriving at the goal `+` pays 1, arriving or staying at a trap `-` costs 1. γ = 0.95. The problem goes on
for ever: whatever is done at the goal puts the robot back to a start. With `episodic` the four poses of
the goal are terminal instead.

Source: M. L. Littman, A. R. Cassandra, L. P. Kaelbling, "Learning policies for partially observable
environments: scaling up", ICML 1995.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import maze, oriented_maze, render_poses
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.options import FloatArray
from imm_rl.envs.oriented_maze import HEADINGS, SIDES, Outcome
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import invalid

MOTIONS = {
    "stay": (),
    "forward": (
        Outcome(0.8, side=0, turn=0),
        Outcome(0.05, side=1, turn=1),
        Outcome(0.025, side=2, turn=0),
        Outcome(0.025, side=2, turn=2),
        Outcome(0.05, side=3, turn=3),
    ),
    "turn-right": (Outcome(0.7, None, 1), Outcome(0.1, None, 2), Outcome(0.1, None, 3)),
    "turn-around": (Outcome(0.15, None, 1), Outcome(0.6, None, 2), Outcome(0.15, None, 3)),
    "turn-left": (Outcome(0.1, None, 1), Outcome(0.1, None, 2), Outcome(0.7, None, 3)),
}
WALL_SEEN, PHANTOM_SEEN = 0.9, 0.05
"""Probability that a sensor reports a wall where there is one, and where there is none."""
REWARDS = {"+": 1.0, "-": -1.0}
DISCOUNT = 0.95
START_HEADING, LANDMARK_HEADING = HEADINGS.index("north"), HEADINGS.index("south")
_SOURCE = "Littman, Cassandra and Kaelbling, ICML 1995; archive {}.POMDP"


def robot_maze(name: str, text: str, *, episodic: bool, max_steps: int) -> EnvPair:
    """Builds the pair.

    Args:
        name: What the problem is called, here and in the archive.
        text: The map: `#` wall, `+` goal, `-` trap, `^` a start facing north (without any, every pose
            but the goal's is one, all alike), digits landmarks, `.` any other cell.
        episodic: Whether reaching the goal ends the episode.
        max_steps: Steps after which an episode is cut.
    """
    if not isinstance(episodic, bool):
        raise invalid("episodic", "be True or False", episodic)
    plan = maze.parse(text)
    marks = np.repeat(plan.marks, 4)
    goal = marks == "+"
    initial = _initial(marks, goal)
    transition = np.stack(
        [oriented_maze.transition(plan, outcomes) for outcomes in MOTIONS.values()], axis=1
    )
    transition[goal] = np.eye(marks.size)[goal][:, None, :] if episodic else initial
    on_arrival = np.array([REWARDS.get(mark, 0.0) for mark in marks])
    reward = np.tile(on_arrival, (marks.size, len(MOTIONS), 1))
    if episodic:
        reward[goal] = 0.0

    observation, seen = _observation(plan, marks)
    model = TabularPOMDP(
        transition=transition,
        observation=np.stack([observation] * len(MOTIONS)),
        reward=reward,
        initial=initial,
        discount=DISCOUNT,
        terminal=goal if episodic else None,
        state_names=_names(plan),
        action_names=list(MOTIONS),
        observation_names=seen,
    )
    shown = "".join(plan.marks).replace(".", " ").replace("^", " ")
    worth = np.array([REWARDS.get(mark, 0.0) for mark in plan.marks])
    places, headings = np.divmod(np.arange(marks.size), 4)
    board = render_poses.PoseBoard(plan.cells, plan.shape, shown, worth, places, headings)
    return EnvPair(
        name,
        model,
        max_steps=max_steps,
        source=_SOURCE.format(name),
        draw=render_poses.drawing(board),
    )


def _initial(marks: np.ndarray, goal: np.ndarray) -> FloatArray:
    starts = (marks == "^") & (np.arange(marks.size) % 4 == START_HEADING)
    if not starts.any():
        starts = ~goal
    return np.asarray(starts / starts.sum())


def _observation(plan: maze.Maze, marks: np.ndarray) -> tuple[FloatArray, list[str]]:
    """P(o | pose), (P, O), and the names of the observations: readings, landmarks, goal."""
    report = np.where(oriented_maze.walled(plan), WALL_SEEN, PHANTOM_SEEN)  # (P, 4)
    readings = np.ones((marks.size, 1))
    for side in range(4):  # each sensor doubles the readings; the first one is the highest digit
        two = np.stack([1.0 - report[:, side], report[:, side]], axis=1)
        readings = (readings[:, :, None] * two[:, None, :]).reshape(marks.size, -1)
    names = [_reading_name(number) for number in range(readings.shape[1])]

    landmarks = sorted({mark for mark in plan.marks if mark.isdigit()})
    facing = np.arange(marks.size) % 4 == LANDMARK_HEADING
    sure = [(marks == mark) & facing for mark in landmarks] + [marks == "+"]
    table = np.concatenate([readings, np.zeros((marks.size, len(sure)))], axis=1)
    for i, where in enumerate(sure):
        table[where] = np.eye(table.shape[1])[len(names) + i]
    return table, [*names, *(f"landmark-{mark}" for mark in landmarks), "goal"]


def _reading_name(number: int) -> str:
    told = [side for i, side in enumerate(SIDES) if number >> (3 - i) & 1]
    return "-".join(["walls", *told]) if told else "no-walls"


def _names(plan: maze.Maze) -> list[str]:
    goal = plan.marks.index("+")
    return [name.replace(f"cell-{goal}-", "goal-") for name in oriented_maze.pose_names(plan)]

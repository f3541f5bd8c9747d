"""Russell and Norvig's 4x3 world, of which only walls to the left and right show.

    ######      0  1  2  3(+)
    #   +#      4     5  6(-)
    # # -#      7  8  9  10
    #    #
    ######

A robot moves north, south, east or west: with probability 0.8 as meant, with 0.1 to each side of that;
a wall stops it. A step from `+` pays 1, from `-` −1, from any other cell −0.04, whatever is done. From `+`
and `-` every action leads to one of the nine other cells at random, which is also the start (so the
problem goes on for ever, where the book's ends; episodes are cut). γ = 0.95. The robot sees whether
there is a wall to its left, its right, both or neither, and knows `+` and `-`.

One entry departs from this rule, as it does in the archive's file, so that published values hold:
going east from cell 9, the slip to the south (into the wall) ends in cell 8, not in 9.

Source: S. Russell, P. Norvig, "Artificial Intelligence: A Modern Approach", chapter "Making complex
decisions"; as a POMDP in R. Parr, S. Russell, IJCAI 1995. Numbered as in the archive's
4x3.95.POMDP, which the model equals up to that file's rounding of 1/9. The optimum is 1.890.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import maze, render_maps
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

MAP = """
######
#...+#
#.#.-#
#....#
######
"""
ACTIONS = ("north", "south", "east", "west")
OBSERVATIONS = ("left", "right", "neither", "both", "good", "bad")
_ACROSS, _ALONG = (maze.WEST, maze.EAST), (maze.NORTH, maze.SOUTH)
SIDES = (_ACROSS, _ACROSS, _ALONG, _ALONG)
"""Where each action slips to."""
REWARDS = {"+": 1.0, "-": -1.0, ".": -0.04}


def four_by_three(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    plan = maze.parse(MAP)
    n_states = len(plan.cells)
    ends = np.array([mark != "." for mark in plan.marks])
    start = np.where(ends, 0.0, 1.0 / (~ends).sum())

    transition = np.zeros((n_states, 4, n_states))
    for state in range(n_states):
        for action in range(4):
            for direction, chance in ((action, 0.8), *((side, 0.1) for side in SIDES[action])):
                transition[state, action, plan.after[state, direction]] += chance
    transition[9, maze.EAST, [8, 9]] = 0.1, 0.0  # the archive's oddity, see above
    transition[ends] = start

    seen = np.zeros((n_states, len(OBSERVATIONS)))
    for state in range(n_states):
        seen[state, OBSERVATIONS.index(_look(plan, state))] = 1.0
    rewards = np.array([REWARDS[mark] for mark in plan.marks])
    model = TabularPOMDP(
        transition=transition,
        observation=np.stack([seen] * 4),
        reward=np.repeat(rewards[:, None], 4, axis=1),
        initial=start,
        discount=0.95,
        state_names=[f"cell-{s}" for s in range(n_states)],
        action_names=ACTIONS,
        observation_names=OBSERVATIONS,
    )
    marks = "".join(plan.marks).replace(".", " ")
    board = render_maps.Board(plan.cells, plan.shape, marks, np.trunc(rewards))
    return EnvPair(
        "4x3",
        model,
        max_steps=max_steps,
        source="Russell and Norvig, AIMA; Parr and Russell, IJCAI 1995; archive 4x3.95.POMDP",
        draw=render_maps.drawing(board),
    )


def _look(plan: maze.Maze, cell: int) -> str:
    if plan.marks[cell] != ".":
        return {"+": "good", "-": "bad"}[plan.marks[cell]]
    walled = plan.walled(cell)
    left, right = walled[maze.WEST], walled[maze.EAST]
    if left and right:
        return "both"
    return "left" if left else "right" if right else "neither"

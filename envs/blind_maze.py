"""Mazes without slips in which nothing is seen but the goal; the 4x4 grid and the 1-D maze are such.

The goal is numbered last, the other cells in reading order. Arriving at it pays 1; any move from it puts
the robot into one of the other cells at random.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import maze, render_maps
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

DIRECTIONS = {"north": maze.NORTH, "south": maze.SOUTH, "east": maze.EAST, "west": maze.WEST}


def blind_maze(
    name: str,
    text: str,
    *,
    actions: tuple[str, ...],
    goal_may_start: bool,
    discount: float,
    max_steps: int,
    source: str,
) -> EnvPair:
    """Builds the pair.

    Args:
        name: What the problem is called.
        text: The map; `+` is the goal.
        actions: Keys of DIRECTIONS.
        goal_may_start: Whether an episode may start at the goal as well, which pays nothing then.
        discount: γ in (0, 1].
        max_steps: Steps after which an episode is cut.
        source: Where the problem comes from.
    """
    plan = maze.parse(text)
    order = sorted(range(len(plan.marks)), key=lambda cell: plan.marks[cell] == "+")
    number = np.argsort(order)
    n_states = len(order)
    goal = n_states - 1
    anew = np.where(np.arange(n_states) == goal, 0.0, 1.0 / goal)

    transition = np.zeros((n_states, len(actions), n_states))
    for state, cell in enumerate(order):
        for action, direction in enumerate(actions):
            transition[state, action, number[plan.after[cell, DIRECTIONS[direction]]]] = 1.0
    transition[goal] = anew
    at_goal = np.arange(n_states) == goal
    model = TabularPOMDP(
        transition=transition,
        observation=np.stack([np.stack([~at_goal, at_goal], axis=1)] * len(actions)),
        reward=transition[:, :, goal],
        initial=np.full(n_states, 1.0 / n_states) if goal_may_start else anew,
        discount=discount,
        state_names=[*(f"cell-{state}" for state in range(goal)), "goal"],
        action_names=actions,
        observation_names=("nothing", "goal"),
    )
    places = [plan.cells[cell] for cell in order]
    board = render_maps.Board(places, plan.shape, " " * goal + "+", at_goal.astype(float))
    return EnvPair(name, model, max_steps=max_steps, source=source, draw=render_maps.drawing(board))

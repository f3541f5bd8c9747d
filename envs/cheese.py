"""The cheese maze: eleven cells, of which only the walls around show; find the cheese.

    #######      0 1 2 3 4
    #     #      5   6   7
    # # # #      8  10   9
    # #*# #
    #######

A mouse moves north, south, east or west without slips; a wall stops it. It sees the walls around its
cell, which gives seven observations: the three corridors cannot be told apart, nor the two dead ends,
nor cells 1 and 3; the cheese it knows. Arriving at the cheese pays 1; any move from there puts the
mouse into one of the ten other cells, each with probability 0.1, which is also the start. γ = 0.95. The
problem goes on for ever; episodes are cut.

Source: R. A. McCallum, "Overcoming incomplete perception with utile distinction memory", ICML 1993;
numbered as in the archive's cheese.95.POMDP, which the model equals. The optimum is 3.486.
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import maze, render_maps
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

MAP = """
#######
#01234#
#5#6#7#
#8#*#9#
#######
"""
ACTIONS = ("north", "south", "east", "west")


def cheese(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    plan = maze.parse(MAP)
    # The archive numbers the cheese last; in reading order it comes before the last dead end.
    order = sorted(range(len(plan.marks)), key=lambda c: (plan.marks[c] == "*", plan.marks[c]))
    number = np.argsort(order)
    n_states = len(order)
    goal = n_states - 1
    start = np.full(n_states, 1.0 / goal)
    start[goal] = 0.0

    transition = np.zeros((n_states, 4, n_states))
    for state, cell in enumerate(order):
        for action in range(4):
            transition[state, action, number[plan.after[cell, action]]] = 1.0
    transition[goal] = start

    looks = [plan.walled(cell) if s != goal else "cheese" for s, cell in enumerate(order)]
    kinds = list(dict.fromkeys(looks))  # numbered as they first appear
    seen = np.array([[float(look == kind) for kind in kinds] for look in looks])
    model = TabularPOMDP(
        transition=transition,
        observation=np.stack([seen] * 4),
        reward=transition[:, :, goal],
        initial=start,
        discount=0.95,
        state_names=[f"cell-{s}" for s in range(goal)] + ["cheese"],
        action_names=ACTIONS,
        observation_names=[_walls(kind) for kind in kinds],
    )
    marks = " " * goal + "*"
    board = render_maps.Board([plan.cells[c] for c in order], plan.shape, marks, np.zeros(n_states))
    return EnvPair(
        "cheese",
        model,
        max_steps=max_steps,
        source="McCallum, ICML 1993; archive cheese.95.POMDP",
        draw=render_maps.drawing(board),
    )


def _walls(kind: tuple[bool, ...] | str) -> str:
    if isinstance(kind, str):
        return kind
    return "walls-" + "".join(letter for letter, wall in zip("NSEW", kind, strict=True) if wall)

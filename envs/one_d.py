"""The 1-D maze: four cells in a row, one of them the goal, which alone is seen.

    ######
    #..+.#      left, middle, goal, right
    ######

A robot moves west or east without slips; the ends of the corridor stop it. It sees nothing until it
arrives at the goal, which it knows, and which pays 1; either move from there puts it into one of the
other three cells at random. γ = 0.75. The problem goes on for ever; episodes are cut.

The archive's file states no start, which means any of the four states alike: an episode may start at
the goal, where there is nothing to earn but a move to one of the others.

Source: the archive's 1d.POMDP, "Michael's 1D maze" (M. L. Littman), numbered as there: left, middle,
right, goal. The model equals it up to that file's rounding of 1/3. The optimum is 1.260.
"""

from __future__ import annotations

from imm_rl.envs.blind_maze import blind_maze
from imm_rl.envs.pair import EnvPair

MAP = """
######
#..+.#
######
"""


def one_d(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    return blind_maze(
        "1d",
        MAP,
        actions=("west", "east"),
        goal_may_start=True,
        discount=0.75,
        max_steps=max_steps,
        source="Michael Littman's 1D maze; archive 1d.POMDP",
    )

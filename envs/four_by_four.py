"""The 4x4 grid: sixteen cells that all look the same but one; find it, again and again.

    ######      0  1  2  3
    #....#      4  5  6  7
    #....#      8  9 10 11
    #....#     12 13 14 15(+)
    #...+#
    ######

A robot moves north, south, east or west without slips; a wall stops it. It sees nothing until it
arrives at the goal, which it knows, and which pays 1; any move from there puts it into one of the
other fifteen cells at random, which is also the start. γ = 0.95. The problem goes on for ever; episodes
are cut.

Source: A. R. Cassandra, L. P. Kaelbling, M. L. Littman, "Acting optimally in partially observable
stochastic domains", AAAI 1994; numbered as in the archive's 4x4.95.POMDP, which the model equals up
to that file's rounding of 1/15. The optimum is between 3.732 and 4.425.
"""

from __future__ import annotations

from imm_rl.envs.blind_maze import blind_maze
from imm_rl.envs.pair import EnvPair

MAP = """
######
#....#
#....#
#....#
#...+#
######
"""


def four_by_four(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    return blind_maze(
        "4x4",
        MAP,
        actions=("north", "south", "east", "west"),
        goal_may_start=False,
        discount=0.95,
        max_steps=max_steps,
        source="Cassandra, Kaelbling and Littman, AAAI 1994; archive 4x4.95.POMDP",
    )

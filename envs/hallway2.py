"""Hallway2: the noisy robot in a larger and more symmetric maze without landmarks.

    #########      cells      0  1  2  3  4
    ##.....##              5  6     7     8  9
    #..#.#..#                10    11    12
    ##.#.#.##             13 14    15    16 17 (goal)
    #..#.#.+#                18 19 20 21 22
    ##.....##
    #########

92 states: 23 cells, each facing north, east, south or west. The robot, its actions, its sensors and
their noise are those of `imm_rl.envs.robot_maze`. Where it stands and faces at first is anybody's guess:
every pose but the goal's, all alike.

Two forms, and published values are of either:
    the default goes on from the goal, at a random pose: the form of the archive's file. Values at the
        start: at least 0.48, at most 0.901 (SARSOP, one hour).
    episodic=True ends at the goal, as in the experiments of the papers, whose figures of about 0.35
        are for it.

Source: M. L. Littman, A. R. Cassandra, L. P. Kaelbling, ICML 1995. Numbered as in the archive's
hallway2.POMDP, which the model equals up to that file's rounding: six digits cut off, what that lacks
to 1 put on the first start and on the last reading of each row of observations.
"""

from __future__ import annotations

from imm_rl.envs.pair import EnvPair
from imm_rl.envs.robot_maze import robot_maze

MAP = """
#########
##.....##
#..#.#..#
##.#.#.##
#..#.#.+#
##.....##
#########
"""


def hallway2(*, episodic: bool = False, max_steps: int = 100) -> EnvPair:
    """Builds the pair.

    Args:
        episodic: Whether reaching the goal ends the episode; if not, the robot starts anew.
        max_steps: Steps after which an episode is cut.
    """
    return robot_maze("hallway2", MAP, episodic=episodic, max_steps=max_steps)

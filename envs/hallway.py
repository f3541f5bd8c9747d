"""Hallway: a noisy robot looks for the one door of four that is the goal; landmarks help.

    #############      cells  0  1  2  3  4  5  6  7  8  9 10
    #..1.2.3.4..#                  11    12    13    14 (goal)
    ###.#.#.#+###
    #############

60 states: 15 cells, each facing north, east, south or west. The robot, its actions, its sensors and
their noise are those of `imm_rl.envs.robot_maze`. Where it stands and faces at first is anybody's guess:
every pose but the goal's, all alike. At the entrance of each side cell a landmark is seen when facing
south, each another one.

Two forms, and published values are of either:
    the default goes on from the goal, at a random pose: the form of the archive's file. Values at the
        start: between 1.000 and 1.206 (SARSOP, one hour).
    episodic=True ends at the goal, as in the experiments of the papers, whose figures of about 0.52
        are for it.

Source: M. L. Littman, A. R. Cassandra, L. P. Kaelbling, ICML 1995. Numbered as in the archive's
hallway.POMDP, which the model equals up to that file's rounding: six digits cut off, what that lacks
to 1 put on the first start and on the last reading of each row of observations.
"""

from __future__ import annotations

from imm_rl.envs.pair import EnvPair
from imm_rl.envs.robot_maze import robot_maze

MAP = """
#############
#..1.2.3.4..#
###.#.#.#+###
#############
"""


def hallway(*, episodic: bool = False, max_steps: int = 100) -> EnvPair:
    """Builds the pair.

    Args:
        episodic: Whether reaching the goal ends the episode; if not, the robot starts anew.
        max_steps: Steps after which an episode is cut.
    """
    return robot_maze("hallway", MAP, episodic=episodic, max_steps=max_steps)

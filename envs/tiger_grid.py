"""Tiger-grid: the tiger problem as a maze; left or right of the goal, and the wrong turn is punished.

    #######      cells  0(-)  1  2(+)  3  4(-)
    #-.+.-#             5     6        7  8
    #.^#^.#
    #######

36 states: 9 cells, each facing north, east, south or west. The robot, its actions, its sensors and
their noise are those of `imm_rl.envs.robot_maze`. It starts in cell 6 or 7, facing north; the goal is one
step ahead and one to the right, or to the left, and on the other side waits the tiger: every step that
ends at `-` costs 1.

Two forms, and published values are of either:
    the default goes on from the goal, at a start: the form of the archive's file. Value at the start:
        between 2.287 and 2.522 (SARSOP, one hour).
    episodic=True ends at the goal.

Source: M. L. Littman, A. R. Cassandra, L. P. Kaelbling, ICML 1995. Numbered as in the archive's
tiger-grid.POMDP, which the model equals up to that file's rounding: six digits cut off, what that
lacks to 1 put on the last reading of each row of observations.
"""

from __future__ import annotations

from imm_rl.envs.pair import EnvPair
from imm_rl.envs.robot_maze import robot_maze

MAP = """
#######
#-.+.-#
#.^#^.#
#######
"""


def tiger_grid(*, episodic: bool = False, max_steps: int = 100) -> EnvPair:
    """Builds the pair.

    Args:
        episodic: Whether reaching the goal ends the episode; if not, the robot starts anew.
        max_steps: Steps after which an episode is cut.
    """
    return robot_maze("tiger-grid", MAP, episodic=episodic, max_steps=max_steps)

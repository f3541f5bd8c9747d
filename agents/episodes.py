"""`EpisodeTracker`: which episodes of an SB3 training were followed from their first step.

What a restricted policy knows depends on the whole episode. `learn` may have been stopped within a rollout,
or called without the callback in between, so that an episode is met in its middle: until it ends there is
no belief, and no memory of a policy, to go by. The matchers leave such steps out.

Index letters: T steps, E copies of the environment.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imm_rl.agents.sb3_rollout import Steps

BoolArray = npt.NDArray[np.bool_]


class EpisodeTracker:
    """Follows E copies from rollout to rollout.

    Args:
        n_envs: E.
    """

    def __init__(self, n_envs: int) -> None:
        self._known = np.zeros(n_envs, dtype=bool)
        self._under_way = np.zeros(n_envs, dtype=bool)

    def follow(self, steps: Steps, *, continues: bool) -> tuple[bool, BoolArray]:
        """Takes up a rollout.

        Args:
            steps: The rollout.
            continues: Whether it begins where the one before ended.

        Returns:
            Whether what was carried over from the rollout before still holds; it does not if the
            environment was reset in between. And for each step (T, E) whether its episode was followed
            from the first step on.
        """
        first = steps.starts[0]
        carried = continues and not (first & self._under_way).any()
        begun = first | self._known if carried else first
        known: BoolArray = begun | np.logical_or.accumulate(steps.starts, axis=0)
        self._known = known[-1] | steps.next_starts
        self._under_way = ~steps.next_starts
        return carried, known

    def state(self) -> dict[str, np.ndarray]:
        """What going on needs."""
        return {"known": self._known.copy(), "under_way": self._under_way.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> bool:
        """Puts the tracker where `state` says; False if that is of another number of copies."""
        if state["known"].shape != self._known.shape:
            return False
        self._known, self._under_way = state["known"].copy(), state["under_way"].copy()
        return True

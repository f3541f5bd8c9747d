"""The Stable-Baselines3 face of `TabularVectorEnv`. Imported late: it imports SB3 and with it torch.

`EnvPair.sb3_vector` makes it. SB3 expects what SAME_STEP autoreset gives: the next episode's first
observation, and the last one in `info["terminal_observation"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from imm_rl.envs.vector import TabularVectorEnv
from imm_rl.errors import InvalidInputError, invalid


def monitored(vector: TabularVectorEnv) -> VecMonitor:
    """The face with SB3's episode statistics, without which no `rollout/ep_rew_mean` is logged."""
    return VecMonitor(TabularSB3VecEnv(vector))


def vector_state(env: Any) -> dict[str, np.ndarray] | None:
    """Where an environment that `monitored` made stands, running returns included; None for others."""
    ours = _ours(env)
    if ours is None:
        return None
    return {
        **ours.vector.state(),
        "episode_returns": np.array(env.episode_returns),
        "episode_lengths": np.array(env.episode_lengths),
    }


def restore_vector(env: Any, state: dict[str, np.ndarray]) -> None:
    """Puts an environment that `monitored` made where `state` says.

    Raises:
        InvalidInputError: It is another kind of environment, or has another number of copies.
    """
    ours = _ours(env)
    if ours is None:
        raise invalid("env", "be made by EnvPair.sb3_vector", type(env).__name__)
    ours.vector.restore(state)
    env.episode_returns = np.array(state["episode_returns"])
    env.episode_lengths = np.array(state["episode_lengths"])


def _ours(env: Any) -> TabularSB3VecEnv | None:
    inner = env.venv if isinstance(env, VecMonitor) else None
    return inner if isinstance(inner, TabularSB3VecEnv) else None


class TabularSB3VecEnv(VecEnv):
    """n copies of a problem for SB3; infos tell how an episode ended and its last observation.

    Args:
        vector: The Gymnasium vector environment to step.
    """

    def __init__(self, vector: TabularVectorEnv) -> None:
        self.vector = vector
        self._actions: npt.NDArray[np.int64] | None = None
        super().__init__(
            vector.num_envs, vector.single_observation_space, vector.single_action_space
        )
        self.metadata = dict(vector.metadata)  # `render_fps` is the speed of a recorded video

    def reset(self) -> npt.NDArray[np.int64]:
        """Starts an episode in every copy, with the seed last given to `seed`, if any.

        All copies share two streams, so the first copy's seed is the seed of all.
        """
        observations, _ = self.vector.reset(seed=self._seeds[0], options=self._options[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return observations

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Remembers the actions (n,)."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[
        npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]
    ]:
        """Takes the remembered actions.

        Returns:
            Observations (n,), rewards (n,), dones (n,) and a dict for each copy; where an episode
            ended it holds `terminal_observation` and `TimeLimit.truncated`.
        """
        if self._actions is None:
            raise InvalidInputError("step_wait needs actions; call step_async first.")
        observations, rewards, terminated, truncated, infos = self.vector.step(self._actions)
        done = terminated | truncated
        each: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            each[i]["terminal_observation"] = infos["final_obs"][i]
            each[i]["TimeLimit.truncated"] = bool(truncated[i])
        return observations, rewards.astype(np.float32), done, each

    def close(self) -> None:
        """Closes the vector environment."""
        self.vector.close()

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """One RGB image a copy."""
        return list(self.vector.render())

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, once for each copy asked for."""
        return [getattr(self.vector, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ARG002
        """Refused: the copies are rows of arrays, not objects with attributes of their own."""
        raise InvalidInputError(
            f"cannot set {attr_name!r}: the copies of a tabular vector environment are no objects. "
            "Use DummyVecEnv over pair.mdp or pair.pomdp for that."
        )

    def env_method(
        self,
        method_name: str,
        *method_args: Any,  # noqa: ARG002
        indices: Any = None,  # noqa: ARG002
        **method_kwargs: Any,  # noqa: ARG002
    ) -> list[Any]:
        """Refused, as `set_attr` is."""
        raise AttributeError(
            f"cannot call {method_name!r}: the copies of a tabular vector environment are no "
            "objects. Use DummyVecEnv over pair.mdp or pair.pomdp for that."
        )

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ARG002
        """False for each copy asked for: there is nothing to wrap."""
        return [False for _ in self._get_indices(indices)]

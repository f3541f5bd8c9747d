"""What a matcher needs of an SB3 rollout: the steps as the environment showed them. `sb3` collects it.

SB3's buffer holds what the policy saw. Under `VecNormalize` that is scaled by statistics that change
within the rollout, so there the plain observations are noted down at each step. Images SB3 shows its
policies with the channels first (`VecTransposeImage`, put on unasked); they are turned back.

Index letters: T steps, E copies of the environment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from imm_rl.envs.space_arrays import each
from imm_rl.errors import InvalidInputError

_LEAVE_OBSERVATIONS = (VecCheckNan, VecMonitor, VecVideoRecorder)


class Steps(NamedTuple):
    """One rollout.

    Attributes:
        observations: (T, E, ...), or a dict of these; as the environment gave them.
        actions: (T, E, ...).
        starts: (T, E), whether a step is the first of its episode.
        next_observations: (E, ...), or a dict of these: after the last step, or of a new episode.
        next_starts: (E,), whether they are of a new episode.
        masks: (T, E, A), the actions allowed, from a maskable algorithm; else None.
    """

    observations: Any
    actions: npt.NDArray[Any]
    starts: npt.NDArray[np.bool_]
    next_observations: Any
    next_starts: npt.NDArray[np.bool_]
    masks: npt.NDArray[np.bool_] | None


class RolloutReader:
    """Reads each rollout of an algorithm once it is complete.

    Args:
        model: The algorithm, with its environment.
        space: Of observations as matching knows them: the policy's own (the default), or that of before
            images were transposed.

    Raises:
        InvalidInputError: A wrapper changes what `VecNormalize` gives.
    """

    def __init__(self, model: OnPolicyAlgorithm, space: gymnasium.Space[Any] | None = None) -> None:
        self._model = model
        self._transposer = transposer(model.env, space)
        self._normalizer = normalizer(model.env, below=self._transposer)
        self._plain: list[Any] = []

    def first(self) -> Any:
        """The observations (E, ...) that the next rollout starts from, as the environment gave them."""
        if self._normalizer is not None:
            return self._normalizer.get_original_obs()
        return self._turned(self._model._last_obs, -3, -1)

    def begin(self) -> None:
        """To be called before the first step of a rollout."""
        if self._normalizer is not None:
            self._plain = [self.first()]

    def step(self) -> None:
        """To be called after each step."""
        if self._normalizer is not None:
            self._plain.append(self._normalizer.get_original_obs())

    def end(self) -> Steps:
        """The rollout, after its last step and before the buffer is used."""
        model, buffer = self._model, self._model.rollout_buffer
        last: Any
        if self._normalizer is None:
            lead = buffer.episode_starts.shape
            observations = _as_given(buffer.observations, model.observation_space, lead)
            observations, last = self._turned(observations, -3, -1), self.first()
        else:
            *steps, last = self._plain
            observations = each(lambda *arrays: np.stack(arrays), *steps)
            self._plain = []
        masks = getattr(buffer, "action_masks", None)
        if masks is not None:
            masks = masks.reshape(*buffer.episode_starts.shape, -1).astype(bool)
        return Steps(
            observations,
            buffer.actions,
            buffer.episode_starts.astype(bool),
            last,
            np.asarray(model._last_episode_starts, dtype=bool),
            masks,
        )

    def as_seen(self, observations: Any) -> Any:
        """Plain observations as the policy would see them now."""
        if self._normalizer is not None:
            observations = self._normalizer.normalize_obs(observations)
        return self._turned(observations, -1, -3)

    def _turned(self, observations: Any, channels: int, to: int) -> Any:
        """Observations with the axis of channels moved in the images that are transposed."""
        if self._transposer is None:
            return observations
        if not isinstance(observations, dict):
            return np.moveaxis(observations, channels, to)
        images = self._transposer.image_space_keys
        return {
            key: np.moveaxis(value, channels, to) if key in images else value
            for key, value in observations.items()
        }


def _as_given(rows: Any, space: gymnasium.Space[Any], lead: tuple[int, ...]) -> Any:
    """A buffer's observations (T, E, ...) in the shape of the space: SB3 keeps numbers as (T, E, 1)."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _as_given(rows[key], part, lead) for key, part in space.spaces.items()}
    return rows.reshape(*lead, *(space.shape or ()))


def transposer(env: VecEnv | None, space: gymnasium.Space[Any] | None) -> VecTransposeImage | None:
    """The wrapper that transposes images of a space for the policy; None if what it sees is no such."""
    while isinstance(env, (*_LEAVE_OBSERVATIONS, VecNormalize, VecTransposeImage)):
        if isinstance(env, VecTransposeImage) and not env.skip:
            return env if env.venv.observation_space == space else None
        if isinstance(env, VecNormalize) and env.norm_obs:
            return None
        env = env.venv
    return None


def normalizer(env: VecEnv | None, below: VecTransposeImage | None = None) -> VecNormalize | None:
    """The wrapper that scales what the policy sees; None if there is none that does.

    Args:
        env: The policy's.
        below: A wrapper that may be above it, since it is seen through.

    Raises:
        InvalidInputError: Another wrapper changes the scaled observations.
    """
    above: list[str] = []
    while env is not None:
        if isinstance(env, VecNormalize) and env.norm_obs:
            if above:
                raise InvalidInputError(
                    f"{above[0]} changes what VecNormalize gives, so that the policy's observations "
                    "cannot be told from the environment's. Put VecNormalize outermost."
                )
            return env
        if env is not below and not isinstance(env, (*_LEAVE_OBSERVATIONS, VecNormalize)):
            above.append(type(env).__name__)
        env = getattr(env, "venv", None)
    return None

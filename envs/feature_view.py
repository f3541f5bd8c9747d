"""`FeatureView`: a Gymnasium environment of which only some features are seen. `FeaturePair` makes it."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from imm_rl.envs.features import Features

KEPT_INFO = ("episode", "is_success", "TimeLimit.truncated")
"""What of an environment's info is passed on: how an episode ended, and nothing of where it stands."""


class FeatureView(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """The restricted view of an environment; its info holds `KEPT_INFO` alone, lest it leak the rest.

    Rendering is the environment's own, for people to watch, and shows everything.

    Args:
        env: The environment, in its full view.
        features: What is seen of its observations.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], features: Features) -> None:
        RecordConstructorArgs.__init__(self, features=features)  # so that the spec makes it again
        super().__init__(env)
        self.features = features
        self.observation_space = features.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, _told(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Takes one action."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, _told(info)

    def observation(self, observation: Any) -> Any:
        """The features of a full observation."""
        return self.features.one(observation)


def _told(info: dict[str, Any]) -> dict[str, Any]:
    return {key: info[key] for key in KEPT_INFO if key in info}

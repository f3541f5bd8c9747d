"""Restricted policies that `ppo.yml` names as `rules:factory`; each sees a part of the observation.

A factory is called with the space of the restricted view and the action space, and returns a function of
N views.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np


def balance(_view_space: gymnasium.Space, _action_space: gymnasium.Space) -> Callable:
    """CartPole's pole angle and angular velocity (N, 2): pushes to the side that the pole falls to."""
    return lambda views: (views.sum(axis=1) > 0.0).astype(int)


def swing(_view_space: gymnasium.Space, action_space: gymnasium.spaces.Discrete) -> Callable:
    """MountainCar's velocity (N, 1): pushes the way that the car already rolls, mostly."""

    def probabilities(views: np.ndarray) -> np.ndarray:
        forward = 1.0 / (1.0 + np.exp(-500.0 * views[:, 0]))  # speeds are up to 0.07
        probs = np.zeros((len(views), int(action_space.n)))
        probs[:, 0], probs[:, -1] = 1.0 - forward, forward
        return probs

    return probabilities

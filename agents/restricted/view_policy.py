"""`ViewPolicy`: a restricted policy that acts on what it sees of any Gymnasium environment.

`as_view_policy` makes one of whatever a user has: a function, a stable-baselines3 model, a path to one,
a text `module:factory`. Matching and evaluation ask it through `followed`.

Index letters: T steps of E environments, N = T·E views; A actions; d entries of a continuous action.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

from imm_rl.agents.restricted.view_answers import (
    ACTION_NOISE,
    Space,
    Starts,
    Views,
    channels_first,
    checked_action_space,
    checked_answers,
    checked_noise,
    checked_views,
    numbers_of,
)
from imm_rl.envs.factories import CALLABLE, imported
from imm_rl.envs.options import FloatArray
from imm_rl.errors import ImmRlError, InvalidInputError, invalid

__all__ = [
    "ACTION_NOISE",
    "FunctionPolicy",
    "ViewPolicy",
    "as_view_policy",
    "checked_answers",
    "followed",
]


@runtime_checkable
class ViewPolicy(Protocol):
    """A restricted policy that acts on a restricted view, maybe with a memory; it is never trained here."""

    @property
    def name(self) -> str:
        """What tables, plots and errors call it."""

    @property
    def view_space(self) -> Space:
        """What it sees."""

    @property
    def action_space(self) -> Space:
        """What it does: Discrete or Box."""

    @property
    def remembers(self) -> bool:
        """Whether its answers depend on what it saw before."""

    def follow(self, views: Views, starts: Starts, memory: Any = None) -> tuple[FloatArray, Any]:
        """What it would do along rollouts.

        Args:
            views: (T, E, ...), views[t, e] in `view_space`.
            starts: (T, E), whether step t is the first one of an episode.
            memory: What the last call returned, to go on; None for a fresh start. It is None or one
                NumPy array, so that it can be stored.

        Returns:
            Discrete: probabilities (T, E, A), entry a is of action `start + a`. Box: (T, E, 2, d), mean
            and standard deviation of the flattened action. And the memory after the last step.
        """


class FunctionPolicy:
    """A function of the current view as a restricted policy. A policy with a memory is no such function.

    Attributes:
        name: See `ViewPolicy`; so are the others.

    Args:
        function: Takes views (N, *shape of the view space) and returns what `checked_answers` takes:
            probabilities (N, A) or chosen actions (N,); means (N, d) or (means, standard deviations).
        view_space: What it sees.
        action_space: Discrete or Box.
        name: See `ViewPolicy`.
        noise: Standard deviation of means alone, as a share of the action range; default:
            `ACTION_NOISE`.

    Raises:
        InvalidInputError: The action space is neither, or noise is given for discrete actions.
    """

    remembers = False

    def __init__(
        self,
        function: Callable[[Any], Any],
        view_space: Space,
        action_space: Space,
        *,
        name: str = "function",
        noise: float | None = None,
    ) -> None:
        if not callable(function):
            raise invalid("function", "be callable", function)
        self.name, self.view_space = name, view_space
        self.action_space: Space = checked_action_space(action_space, name)
        self._function, self._noise = function, checked_noise(noise, action_space, name)

    def follow(self, views: Views, starts: Starts, memory: Any = None) -> tuple[FloatArray, Any]:
        """Answers along rollouts, see `ViewPolicy.follow`; the memory is always None.

        Raises:
            InvalidInputError: Views do not fit the view space, or an answer is wrong.
        """
        if memory is not None:
            raise invalid(f"memory of restricted policy {self.name!r}", "be None", memory)
        views, starts = checked_views(views, starts, self.view_space)
        rows = np.array(views.reshape(-1, *views.shape[2:]))  # its own: it may write into them
        answers = checked_answers(
            self._function(rows), len(rows), self.action_space, name=self.name, noise=self._noise
        )
        return answers.reshape(*starts.shape, *answers.shape[1:]), None


def followed(
    policy: ViewPolicy, views: Views, starts: Starts, memory: Any = None
) -> tuple[FloatArray, Any]:
    """`policy.follow` with its answers checked, for a policy of a class that is not ours.

    Raises:
        InvalidInputError: It returns no pair, or its answers are wrong.
    """
    returned: Any = policy.follow(views, starts, memory)  # it may be anybody's
    what = f"answers of restricted policy {policy.name!r}"
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise invalid(what, "be a pair: answers, memory", type(returned).__name__)
    answers, sizes = numbers_of(what, returned[0]), starts.shape
    discrete = isinstance(policy.action_space, spaces.Discrete)
    if answers.shape[:2] != sizes or answers.ndim != (3 if discrete else 4):
        wanted = "actions" if discrete else "2, entries of an action"
        raise invalid(what, f"have shape ({sizes[0]}, {sizes[1]}, {wanted})", answers.shape)
    rows: Any = answers.reshape(-1, *answers.shape[2:])
    if not discrete:
        rows = tuple(np.moveaxis(rows, 1, 0))
    checked = checked_answers(rows, starts.size, policy.action_space, name=policy.name)
    return checked.reshape(*sizes, *checked.shape[1:]), returned[1]


def as_view_policy(restricted: Any, view_space: Space, action_space: Space) -> ViewPolicy:
    """A policy on views, of whatever the user has.

    Args:
        restricted: A `ViewPolicy`; a model or policy of stable-baselines3; a path to its zip, or to a
            folder that holds `model.zip`; a function, see `FunctionPolicy`; or a text `module:factory`,
            as in a file of settings: factory(view_space, action_space) returns one of the others.
        view_space: The restricted view of the environment that it is for.
        action_space: The environment's.

    Raises:
        InvalidInputError: It is none of these, sees or does something else, or its factory fails.
    """
    if isinstance(restricted, str) and _names_factory(restricted):
        restricted = _from_factory(restricted, view_space, action_space)
    if isinstance(restricted, type):
        raise invalid("restricted policy", "be a policy, not a class", restricted)
    if isinstance(restricted, ViewPolicy):
        check_fit(restricted, view_space, action_space)
        return restricted
    is_path = isinstance(restricted, str | os.PathLike)
    if is_path or (hasattr(restricted, "observation_space") and hasattr(restricted, "predict")):
        from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy

        model = SB3ViewPolicy.load(restricted) if is_path else SB3ViewPolicy(restricted)
        check_fit(model, view_space, action_space)
        # Of images, whose channels SB3 has put first, the environment's own space has them last.
        model.view_space = view_space
        return model
    if callable(restricted):
        name = getattr(restricted, "__name__", type(restricted).__name__)
        return FunctionPolicy(restricted, view_space, action_space, name=str(name))
    hint = " A policy on beliefs needs an environment with a model." * hasattr(restricted, "probs")
    raise InvalidInputError(
        "restricted policy must be a ViewPolicy, a function of views, a model of stable-baselines3 or a "
        f"path to its zip; received {type(restricted).__name__}.{hint}"
    )


def _names_factory(text: str) -> bool:
    """Whether a text is `module:factory`; a file of that name comes first."""
    is_file = Path(text).exists() or Path(f"{text}.zip").exists()
    return CALLABLE.fullmatch(text) is not None and not is_file


def _from_factory(text: str, view_space: Space, action_space: Space) -> Any:
    what = "restricted policy"
    try:
        return imported(text, what)(view_space, action_space)
    except ImmRlError:
        raise
    except Exception as error:  # of the user's code
        raise InvalidInputError(
            f"{what} {text!r} cannot be made by calling it with the restricted view's space and the "
            f"action space: {type(error).__name__}: {error}"
        ) from error


def check_fit(policy: ViewPolicy, view_space: Space, action_space: Space) -> None:
    """Refuses a policy that sees or does something else than the environment's restricted view.

    Bounds of what is seen may differ, since a policy takes any number; those of actions may not.

    Raises:
        InvalidInputError: A space does not fit.
    """
    checked_action_space(action_space, policy.name)
    if not _same_views(policy.view_space, view_space):
        raise InvalidInputError(
            f"restricted policy {policy.name!r} sees {policy.view_space}, and the restricted view of "
            f"the environment is {view_space}. Train it on that view, or change observe."
        )
    if not _same_actions(policy.action_space, action_space):
        raise InvalidInputError(
            f"restricted policy {policy.name!r} acts in {policy.action_space}, and the environment in "
            f"{action_space}. They must be the same."
        )


def _same_views(of_policy: Space, of_env: Space) -> bool:
    if isinstance(of_policy, spaces.Box) and isinstance(of_env, spaces.Box):
        return of_policy.shape in (of_env.shape, channels_first(of_env.shape, of_env.dtype))
    return bool(of_policy == of_env)


def _same_actions(of_policy: Space, of_env: Space) -> bool:
    if isinstance(of_policy, spaces.Box) and isinstance(of_env, spaces.Box):
        return of_policy.shape == of_env.shape and all(
            np.allclose(a, b)
            for a, b in ((of_policy.low, of_env.low), (of_policy.high, of_env.high))
        )
    return bool(of_policy == of_env)

"""Checks of what goes into policies on views and what comes out; `view_policy` and `sb3_policy` call them.

Every answer is brought to one form: probabilities (N, A) of discrete actions, or means and standard
deviations (N, 2, d) of continuous ones.

Index letters: T steps of E environments, N = T·E views; A actions; d entries of a continuous action.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from imm_rl.envs import options
from imm_rl.envs.options import FloatArray, IntArray
from imm_rl.errors import InvalidInputError, invalid

ACTION_NOISE = 0.1
"""Standard deviation, as a share of the action range, of continuous policies that give an action alone."""

SUM_TOLERANCE = 1e-4
"""How far probabilities may sum off 1; they are normalised then."""

Space: TypeAlias = "spaces.Space[Any]"
Views: TypeAlias = npt.NDArray[Any]
Starts: TypeAlias = npt.NDArray[np.bool_]


def checked_answers(
    answer: Any, n_rows: int, action_space: Space, *, name: str, noise: float | None = None
) -> FloatArray:
    """What a policy answers for N views, in the one form that the rest of the code uses.

    Args:
        answer: Discrete: probabilities (N, A), or the actions chosen (N,). Box: means (N, d), or a tuple
            of means (N, d) and standard deviations (N, d), (d,) or one number. Not changed.
        n_rows: N.
        action_space: Discrete or Box.
        name: Of the policy, for errors.
        noise: Standard deviation of means alone, as a share of the action range; None: `ACTION_NOISE`.

    Returns:
        Discrete: probabilities (N, A). Box: (N, 2, d), means clipped to the bounds, and standard
        deviations.

    Raises:
        InvalidInputError: Wrong shape, NaN, no distributions, or actions that do not exist.
    """
    space = checked_action_space(action_space, name)
    if isinstance(space, spaces.Discrete):
        return _probs(answer, n_rows, space, name)
    return _means_and_stds(answer, n_rows, space, name, noise)


def _probs(answer: Any, n_rows: int, space: spaces.Discrete, name: str) -> FloatArray:
    n_actions, what = int(space.n), f"answers of restricted policy {name!r}"
    numbers = numbers_of(what, answer)
    if numbers.shape == (n_rows,):
        chosen: FloatArray = np.eye(n_actions)[_chosen(numbers, space, what)]
        return chosen
    if numbers.shape != (n_rows, n_actions):
        wanted = f"have shape {(n_rows, n_actions)}, probabilities, or {(n_rows,)}, chosen actions"
        raise invalid(what, wanted, numbers.shape)
    sums = numbers.sum(axis=1, keepdims=True)
    # Comparisons that NaN fails too.
    good = (numbers >= 0.0).all(axis=1) & (np.abs(sums[:, 0] - 1.0) <= SUM_TOLERANCE)
    if not good.all():
        raise invalid(what, "be ≥ 0 and sum to 1 in every row", numbers[~good][0])
    shares: FloatArray = numbers / sums
    return shares


def _chosen(numbers: FloatArray, space: spaces.Discrete, what: str) -> IntArray:
    """Chosen actions (N,) as indices from 0."""
    first, end = int(space.start), int(space.start + space.n)
    # NaN is in no range.
    good = (numbers >= first) & (numbers < end) & (numbers == np.floor(numbers))
    if not good.all():
        wanted = f"be whole numbers in [{first}, {end}), as there is one for each view"
        remedy = f"Probabilities have shape {(len(numbers), end - first)}"
        raise invalid(what, wanted, float(numbers[~good][0]), remedy)
    return numbers.astype(np.int64) - first


def _means_and_stds(
    answer: Any, n_rows: int, space: spaces.Box, name: str, noise: float | None
) -> FloatArray:
    size, what = math.prod(space.shape), f"answers of restricted policy {name!r}"
    low, high = (np.asarray(b, dtype=np.float64).reshape(-1) for b in (space.low, space.high))
    has_stds = isinstance(answer, tuple) and len(answer) == 2
    mean = numbers_of(what, answer[0] if has_stds else answer)
    if mean.shape not in ((n_rows, size), (n_rows, *space.shape), (n_rows,) * (size == 1)):
        remedy = "Give means, or a tuple of means and standard deviations"
        raise invalid(what, f"have shape {(n_rows, size)}", mean.shape, remedy)
    if not np.isfinite(mean).all():
        raise invalid(what, "be finite", float(mean[~np.isfinite(mean)][0]))
    mean = mean.reshape(n_rows, size)
    if has_stds:
        std = _stds(answer[1], n_rows, space, name, noise)
    elif space.is_bounded():
        std = (ACTION_NOISE if noise is None else noise) * (high - low)
    else:
        wanted = f"come with standard deviations, as a range has no end in {space}"
        remedy = "Return a tuple of means and standard deviations"
        raise invalid(what, wanted, "means alone", remedy)
    # A mean beyond the bounds is an action that nobody can take; matching it would drive the agent's
    # own mean off to infinity.
    return np.stack([np.clip(mean, low, high), np.broadcast_to(std, mean.shape)], axis=1)


def _stds(value: Any, n_rows: int, space: spaces.Box, name: str, noise: float | None) -> FloatArray:
    """Standard deviations, of a shape that broadcasts to (N, d)."""
    if noise is not None:
        raise InvalidInputError(
            f"noise is {noise}, and restricted policy {name!r} gives standard deviations itself. "
            "Give up one."
        )
    what, size = f"standard deviations of restricted policy {name!r}", math.prod(space.shape)
    std = numbers_of(what, value)
    if std.shape == (n_rows, *space.shape) or (size == 1 and std.shape == (n_rows,)):
        std = std.reshape(n_rows, size)
    if std.shape not in ((n_rows, size), (size,), ()):
        raise invalid(what, f"have shape {(n_rows, size)}, {(size,)} or ()", std.shape)
    good = (std > 0.0) & np.isfinite(std)
    if not good.all():
        remedy = "Return the mean alone if the policy has no noise"
        raise invalid(what, "be finite and > 0", float(std[~good].reshape(-1)[0]), remedy)
    return std


def numbers_of(what: str, value: Any) -> FloatArray:
    """An array or torch tensor as float64.

    Raises:
        InvalidInputError: It is neither.
    """
    return options.floats(what, value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def checked_views(
    views: Any, starts: Any, space: Space, *, flat: bool = True
) -> tuple[Views, Starts]:
    """Views (T, E, ...) and starts (T, E) as arrays of shapes that belong together.

    Args:
        views: (T, E, *shape), or flattened to (T, E, r). They keep their type.
        starts: (T, E), booleans.
        space: Of one view.
        flat: Whether flattened images are taken. Not if the space may have its channels in another
            place than the image had before it was flattened.

    Raises:
        InvalidInputError: They do not belong together, or do not fit the space.
    """
    views, starts = np.asarray(views), np.asarray(starts)
    if starts.ndim != 2 or starts.dtype != np.bool_ or starts.size == 0:
        raise invalid("starts", "be booleans of shape (T, E)", f"{starts.dtype} {starts.shape}")
    shape = space.shape or ()
    if views.shape[:2] == starts.shape:
        last = views.shape[2:]
        if shape in (last, channels_first(last, views.dtype)):
            return views, starts
        image = len(shape) == 3 and space.dtype == np.uint8
        if len(last) <= 1 and math.prod(last) == math.prod(shape) and (flat or not image):
            return views.reshape(*starts.shape, *shape), starts
    raise invalid("views", f"have shape {(*starts.shape, *shape)}, as in {space}", views.shape)


def channels_first(shape: tuple[int, ...], dtype: Any) -> tuple[int, ...] | None:
    """(C, H, W) of an image (H, W, C), as which stable-baselines3 sees it; None of what is no image."""
    return (shape[2], *shape[:2]) if len(shape) == 3 and dtype == np.uint8 else None


def checked_action_space(space: Space, name: str) -> Any:
    """The action space, Discrete or Box.

    Raises:
        InvalidInputError: It is another one.
    """
    if not isinstance(space, spaces.Discrete | spaces.Box):
        raise invalid(f"action space of restricted policy {name!r}", "be Discrete or Box", space)
    return space


def checked_noise(noise: float | None, action_space: Space, name: str) -> float | None:
    """A share of the action range > 0, or None.

    Raises:
        InvalidInputError: It is none, or actions are discrete and have no noise.
    """
    if noise is None:
        return None
    if isinstance(action_space, spaces.Discrete):
        raise InvalidInputError(
            f"noise is {noise}, and the actions of restricted policy {name!r} are discrete: it has none."
        )
    return options.positive("noise", noise)

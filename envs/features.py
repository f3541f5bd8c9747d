"""`Features`: which part of a full observation the restricted view of a Gymnasium environment sees.

`FeaturePair` makes it from `observe=`, and its restricted view shows what it gives; agents ask it what a
restricted policy would have seen at full observations that they met. Index letters: N observations, r
features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from imm_rl.envs import space_arrays
from imm_rl.envs.options import IntArray
from imm_rl.envs.space_arrays import NESTED, NUMBERED, Array, Observations
from imm_rl.errors import ImmRlError, InvalidInputError, invalid

Observe: TypeAlias = "Sequence[int] | IntArray | Callable[[Any], Any]"

_TRIED = 5  # how many samples a function is tried on
_EXAMPLE = "It is given all N observations at once and answers (N, r): lambda x: x[:, [0, 2]]"


class Features:
    """The features that the restricted view sees: entries of the flattened observation, or a function.

    A function is given N observations at once, in arrays of its own, and answers (N, r), or (N,) for one
    feature; each row must depend on its observation alone, and be the same each time. A function may
    have an attribute `space`, the space of its answers; without one, whole numbers and truth values are
    an integer Box, other numbers a Box without bounds.

    Attributes:
        observe: The indices as a list, or the function.
        full_space: The space of the full observation: Box, Discrete, MultiDiscrete, MultiBinary; for a
            function also Dict and Tuple, of any spaces.
        space: The space of the restricted view; of indices, the same kind as `full_space`.

    Raises:
        InvalidInputError: An index is out of range or given twice, there are none, the space has no
            indices, or the function fails or answers something else than said above.
    """

    def __init__(self, space: gymnasium.Space[Any], observe: Observe) -> None:
        if not isinstance(space, NUMBERED + NESTED):
            kinds = "be Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
            raise invalid(
                "the observation space", kinds, space, "Wrap the environment to make it one"
            )
        self.full_space = space
        self._size = space_arrays.size(space)
        self.observe: list[int] | Callable[[Any], Any]
        if callable(observe):
            self.observe = observe
            self.space = self._answered_space(observe)
        else:
            self._indices = _checked_indices(space, observe)
            self.observe = self._indices.tolist()
            self.space = space_arrays.part(space, self._indices)

    @property
    def discrete(self) -> bool:
        """Whether the restricted view is whole numbers, so that equal views can be told."""
        return space_arrays.whole_numbers(self.space)

    def check_hides(self) -> None:
        """Refuses indices that leave nothing out, where the restricted view is to see less.

        What a function leaves out is not known.

        Raises:
            InvalidInputError: The indices name all entries of the full observation.
        """
        if not callable(self.observe) and len(self.observe) == self._size:
            raise InvalidInputError(
                f"observe names all {self._size} features of {self.full_space}, so nothing is hidden "
                "from the restricted policy and there is nothing to match. Leave out what it does not see."
            )

    def __call__(self, observations: Observations) -> Array:
        """The features of N full observations.

        Args:
            observations: (N, *shape), {key: (N, ...)} of a Dict, or a tuple of such of a Tuple. Of a
                Discrete space also (N, 1), and whole numbers as floats, as SB3's buffers keep them.

        Returns:
            N elements of `space`, stacked: (N, r), (N,) where it is Discrete, (N, *shape) where a function
            answers arrays of several axes.

        Raises:
            InvalidInputError: observations do not fit `full_space`, or the features are not finite, or
                the function answers something else than N rows of `space`.
        """
        batch = space_arrays.fitted(self.full_space, observations)
        n = space_arrays.count(batch)
        if callable(self.observe):
            if n == 0:
                return np.empty((0, *self.space.shape), dtype=self.space.dtype)
            rows = _rows(self.observe, _asked(self.observe, batch, n), self.space)
            constraint = f"{_who(self.observe)} must answer finite numbers"
        else:
            rows = batch.reshape(n, self._size).take(self._indices, axis=1)
            constraint = f"features {self.observe} of observations must be finite"
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise InvalidInputError(f"{constraint}; received {rows[bad].tolist()} in row {bad}.")
        views: Array = rows.reshape(n, *self.space.shape)
        return views

    def one(self, observation: Any) -> Array | np.int64:
        """The restricted view of one full observation: an element of `space`."""
        view: Array | np.int64 = self(space_arrays.stacked(self.full_space, [observation]))[0]
        return view

    def _answered_space(self, function: Callable[[Any], Any]) -> Any:
        """The space of a function's answers, tried on samples of the full space."""
        source = copy.deepcopy(self.full_space)  # its random numbers are the user's
        source.seed(0)
        samples = [source.sample() for _ in range(_TRIED)]
        with np.errstate(all="ignore"):  # samples may be nothing that the environment ever shows
            answers = _asked(function, space_arrays.stacked(source, samples), _TRIED)
            alone = [_asked(function, space_arrays.stacked(source, [s]), 1) for s in samples]
            same = all(row.shape[1:] == answers.shape[1:] for row in alone) and np.allclose(
                np.concatenate(alone), answers, rtol=1e-4, atol=1e-5, equal_nan=True
            )
        if not same:
            raise invalid(
                _who(function),
                "answer for each observation by itself, the same each time",
                "other answers for several observations than for each of them alone",
                "Use no sums or extremes over the observations, and no random numbers",
            )
        declared = getattr(function, "space", None)
        if declared is None:
            return space_arrays.unbounded(answers)
        if not isinstance(declared, NUMBERED):
            kinds = "be a Box, Discrete, MultiDiscrete or MultiBinary space"
            raise invalid(f"the attribute space of {_who(function)}", kinds, declared)
        _flat(function, answers, declared)
        return declared

    def __deepcopy__(self, memo: dict[int, Any]) -> Features:
        # Read only, so one is enough: Gymnasium copies a wrapper's arguments whenever its spec is asked.
        return self

    def __repr__(self) -> str:
        shown = _who(self.observe) if callable(self.observe) else self.observe
        return f"Features({shown}, {self.full_space})"


def _checked_indices(space: gymnasium.Space[Any], observe: Any) -> IntArray:
    """The indices (r,) of a flattened observation."""
    if isinstance(space, NESTED):
        raise invalid(
            "observe",
            f"be a function where observations are a {type(space).__name__}: they have no indices",
            observe,
            f"It is given observations of {space}, stacked, and answers (N, r)",
        )
    try:
        array: Array = np.asarray(observe)
    except (TypeError, ValueError):  # ragged
        array = np.asarray(0.0)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise invalid("observe", "be a list of whole numbers, or a function", observe)
    n = space_arrays.size(space)
    remedy = f"The observation, {space}, has the features {'0' if n == 1 else f'0 to {n - 1}'}"
    if array.size == 0:
        raise invalid("observe", "name at least one feature", observe, remedy)
    outside = array[(array < 0) | (array >= n)]
    if outside.size:
        raise invalid("observe", f"name features in [0, {n})", int(outside[0]), remedy)
    if np.unique(array).size < array.size:
        raise invalid("observe", "name each feature once", array.tolist())
    return array.astype(np.int64)


def _asked(function: Callable[[Any], Any], batch: Any, n: int) -> Array:
    """A function's answers (n, ...) for a batch of n, of which it is given a copy."""
    try:
        answers: Array = np.asarray(function(copy.deepcopy(batch)))
    except ImmRlError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"{_who(function)} fails on {n} observations: {type(error).__name__}: {error}. {_EXAMPLE}."
        ) from error
    if answers.dtype.kind not in "biuf":
        raise invalid(_who(function), "answer numbers", f"array of {answers.dtype.name}", _EXAMPLE)
    if answers.ndim == 0 or len(answers) != n or answers.size == 0:
        constraint = f"answer a row for each of {n} observations"
        raise invalid(_who(function), constraint, answers.shape, _EXAMPLE)
    return answers


def _flat(function: Callable[[Any], Any], answers: Array, space: Any) -> Array:
    """Answers (N, ...) as (N, r)."""
    flat = answers.reshape(len(answers), -1)
    if flat.shape[1] != space_arrays.size(space):
        constraint = f"answer rows of its space, {space}"
        raise invalid(_who(function), constraint, f"an array of shape {answers.shape}")
    return flat


def _rows(function: Callable[[Any], Any], answers: Array, space: Any) -> Array:
    """Answers (N, ...) as (N, r) in the type of the space; whole numbers must lie inside it."""
    flat = _flat(function, answers, space)
    with np.errstate(all="ignore"):  # what a type cannot hold is found by the checks
        rows = flat.astype(space.dtype)
    if space_arrays.whole_numbers(space):
        low, high = space_arrays.bounds(space)
        inside = (flat == rows) & (low <= flat) & (flat <= high)
        if not inside.all():
            bad = int(np.flatnonzero(~inside.all(axis=1))[0])
            received = f"{flat[bad].tolist()} in row {bad}"
            raise invalid(_who(function), f"answer elements of its space, {space}", received)
    return rows


def _who(function: Callable[[Any], Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"the observe function {name}"

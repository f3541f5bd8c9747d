"""Observations of a Gymnasium space, many at once, in arrays; and what a part of a space is.

`Features` stands on it. Index letters: N observations, r entries of one, flattened.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from imm_rl.envs.options import IntArray
from imm_rl.errors import invalid

Array: TypeAlias = npt.NDArray[Any]
Observations: TypeAlias = "Array | dict[str, Any] | tuple[Any, ...]"
"""N observations of a space, stacked: (N, *shape), {key: (N, ...)} of a Dict, or a tuple of a Tuple."""

NUMBERED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""Spaces whose elements are arrays, so that their entries can be counted."""
NESTED = (spaces.Dict, spaces.Tuple)


def each(function: Callable[..., Array], *observations: Any) -> Any:
    """A function of arrays, or of the arrays under each key where observations are dicts of one form."""
    if isinstance(observations[0], dict):
        return {key: each(function, *(o[key] for o in observations)) for key in observations[0]}
    return function(*observations)


def size(space: gymnasium.Space[Any]) -> int:
    """How many entries an element of a numbered space has."""
    return int(np.prod(space.shape or (), dtype=np.int64))


def whole_numbers(space: gymnasium.Space[Any]) -> bool:
    """Whether the entries of a numbered space are whole numbers."""
    return np.dtype(space.dtype).kind in "iub"


def stacked(space: gymnasium.Space[Any], elements: list[Any]) -> Any:
    """Elements of a space as `Observations`; those of spaces without arrays stay a tuple of N."""
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
        return {key: stacked(part, [e[key] for e in elements]) for key, part in parts}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(p, [e[i] for e in elements]) for i, p in enumerate(space.spaces))
    if not isinstance(space, NUMBERED):
        return tuple(elements)
    return np.stack([np.asarray(element) for element in elements])


def fitted(space: gymnasium.Space[Any], value: Any, name: str = "observations") -> Any:
    """N stacked observations, shaped and typed as the space has them; itself where they are so already.

    Raises:
        InvalidInputError: A key is missing or too many, an array has another shape, is of no numbers,
            or of broken ones where the space has whole numbers.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            received = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise invalid(name, f"be a dict with the keys {sorted(space.spaces)}", received)
        parts = space.spaces.items()
        return {key: fitted(part, value[key], f"{name}[{key!r}]") for key, part in parts}
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise invalid(name, f"be a tuple of {len(space.spaces)}", type(value).__name__)
        return tuple(fitted(p, value[i], f"{name}[{i}]") for i, p in enumerate(space.spaces))
    return _fitted_array(space, value, name) if isinstance(space, NUMBERED) else value


def _fitted_array(space: gymnasium.Space[Any], value: Any, name: str) -> Array:
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged; a torch tensor with gradients
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise invalid(name, "be an array of numbers, with rows of one shape", type(value).__name__)
    shape: tuple[int, ...] = space.shape or ()
    if isinstance(space, spaces.Discrete) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0 or array.shape[1:] != shape:
        wanted = ", ".join(["N", *map(str, shape)])
        raise invalid(name, f"have the shape ({wanted})", array.shape)
    if array.dtype.kind != "f" or not whole_numbers(space):
        return array.astype(space.dtype, copy=False)
    with np.errstate(all="ignore"):  # the comparison tells
        whole = array.astype(space.dtype)
    if not np.array_equal(whole, array):
        raise invalid(name, f"be whole numbers of {space}", array[whole != array].flat[0])
    return whole


def count(observations: Any) -> int:
    """N: how many observations are stacked.

    Raises:
        InvalidInputError: Their parts are of different numbers.
    """
    if isinstance(observations, dict):
        counts = {count(part) for part in observations.values()}
    elif isinstance(observations, tuple) and all(
        isinstance(part, np.ndarray | dict | tuple) for part in observations
    ):
        counts = {count(part) for part in observations}
    else:
        return len(observations)
    if len(counts) != 1:
        raise invalid("observations", "be as many in each of their parts", sorted(counts))
    return counts.pop()


def part(space: Any, indices: IntArray) -> Any:
    """The space of some entries (r,) of a flattened element, of the same kind as the space."""
    if isinstance(space, spaces.Box):
        low, high = space.low.reshape(-1)[indices], space.high.reshape(-1)[indices]
        return spaces.Box(low, high, dtype=space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = space.nvec.reshape(-1)[indices], space.start.reshape(-1)[indices]
        return spaces.MultiDiscrete(nvec, dtype=space.dtype, start=start)
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary(len(indices))
    return copy.deepcopy(space)  # Discrete: one entry, all of it


def unbounded(answers: Array) -> spaces.Box:
    """A Box of the shape of answers (N, ...): of any numbers, any whole numbers or of 0 and 1."""
    shape = answers.shape[1:] or (1,)
    if answers.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, shape, dtype=answers.dtype.type)
    if answers.dtype.kind == "b":
        return spaces.Box(0, 1, shape, dtype=np.int64)
    most = np.iinfo(np.int32).max  # the bounds of 64 bits cannot be sampled between
    return spaces.Box(-most, most, shape, dtype=np.int64)


def bounds(space: Any) -> tuple[Array, Array]:
    """Least and greatest entries (r,) of a flattened element of a numbered space."""
    if isinstance(space, spaces.Box):
        return space.low.reshape(-1), space.high.reshape(-1)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(size(space), np.int64), np.ones(size(space), np.int64)
    least = np.asarray(space.start, np.int64).reshape(-1)
    number = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return least, least + np.asarray(number, np.int64).reshape(-1) - 1

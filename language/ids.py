"""Checks of word ids that users hand in: integers in 0..V−1, or mapped to the unknown word."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imm_rl.errors import invalid


def checked(
    name: str, values: ArrayLike, vocab_size: int, unknown: int | None
) -> NDArray[np.int64]:
    """Word ids of any shape as int64.

    Args:
        name: What the user calls them.
        values: Integers; those outside 0..V−1 become `unknown`.
        vocab_size: V.
        unknown: An id, or None to refuse ids outside 0..V−1.

    Raises:
        InvalidInputError: No integers, or an id outside 0..V−1 and no `unknown`; names the first.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # ragged lists
        raise invalid(name, "be an array of integers", type(values).__name__) from error
    if array.size and array.dtype.kind not in "iu":
        raise invalid(name, "be integers", f"dtype {array.dtype}", "Give ids of words, not words")
    outside = (array < 0) | (array >= vocab_size) if array.size else np.zeros(array.shape, bool)
    if outside.any():
        if unknown is None:
            place = tuple(int(i) for i in np.argwhere(outside)[0])
            raise invalid(
                name,
                f"lie in 0..{vocab_size - 1}",
                f"{int(array[place])} at {place[0] if len(place) == 1 else place}",
                "Give the model unknown=ID to map ids outside the vocabulary to that word",
            )
        array = np.where(outside, unknown, array)
    return array.astype(np.int64)


def sequence(
    tokens: ArrayLike, vocab_size: int, unknown: int | None, *, at_least: int
) -> NDArray[np.int64]:
    """A sequence of tokens, (T,) int64.

    Raises:
        InvalidInputError: As `checked`; or no shape (T,), or fewer than `at_least` tokens.
    """
    result = checked("tokens", tokens, vocab_size, unknown)
    if result.ndim != 1 or len(result) < at_least:
        raise invalid(
            "tokens",
            f"have the shape (T,), T at least {at_least}",
            result.shape,
            "A model of order n needs n tokens or more",
        )
    return result


def unknown_id(unknown: int | None, vocab_size: int) -> int | None:
    """The id of the unknown word, checked.

    Raises:
        InvalidInputError: It is no integer in 0..V−1.
    """
    if unknown is None:
        return None
    result = whole("unknown", unknown, at_least=0)
    if result >= vocab_size:
        raise invalid("unknown", f"be an id in 0..{vocab_size - 1}, or None", unknown)
    return result


def whole(name: str, value: int, *, at_least: int) -> int:
    """A whole number, checked.

    Raises:
        InvalidInputError: It is no integer, or below `at_least`.
    """
    try:
        result = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        result = -1
    if result < at_least:
        raise invalid(name, f"be an integer, at least {at_least}", value)
    return result

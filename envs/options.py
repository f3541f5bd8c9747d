"""Checks of the values users give: options of environment factories, arrays of models and policies."""

from __future__ import annotations

import math
import operator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]


def floats(name: str, value: object) -> FloatArray:
    """Returns value as a float64 array of any shape; itself where it is one already.

    Raises:
        InvalidInputError: value is text, ragged, or else no array of real numbers.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "biufO":  # NumPy would read numbers out of text
            return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a torch tensor with gradients
        pass
    raise invalid(name, "be an array of numbers, with rows of one length", type(value).__name__)


def indices(name: str, value: object, count: int) -> IntArray:
    """Returns value as an int64 array of any shape, entries in [0, count).

    Raises:
        InvalidInputError: value is not of whole numbers, or one is out of range.
    """
    try:
        array: IntArray = np.asarray(value)
    except (TypeError, ValueError):  # ragged
        array = np.asarray(0.0)
    if array.dtype.kind not in "iu":
        raise invalid(name, f"be whole numbers in [0, {count})", array.dtype.name)
    if array.size and not (array.min() >= 0 and array.max() < count):
        outside = array[(array < 0) | (array >= count)].flat[0]
        raise invalid(name, f"be in [0, {count})", int(outside))
    return array.astype(np.int64, copy=False)


def whole(name: str, value: object, *, at_least: int) -> int:
    """Returns value as an int ≥ at_least; bool and text are refused.

    Raises:
        InvalidInputError: value is no whole number or too small.
    """
    constraint = f"be a whole number ≥ {at_least}"
    if isinstance(value, bool):
        raise invalid(name, constraint, value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the TypeError is the check
    except TypeError:
        raise invalid(name, constraint, value) from None
    if number < at_least:
        raise invalid(name, constraint, value)
    return number


def number(name: str, value: object, constraint: str, low: float, high: float) -> float:
    """Returns value as a finite float in [low, high].

    Args:
        name: The option as the user wrote it.
        value: What was given; bool and text are refused.
        constraint: The end of the sentence "<name> must ...".
        low: Least value allowed; `math.nextafter` where it is excluded.
        high: Greatest value allowed.

    Raises:
        InvalidInputError: value is no number, not finite or out of range.
    """
    if isinstance(value, bool | str | bytes):
        raise invalid(name, constraint, value)
    try:
        result = float(value)  # type: ignore[arg-type]  # the TypeError is the check
    except (TypeError, ValueError):
        raise invalid(name, constraint, value) from None
    if not (math.isfinite(result) and low <= result <= high):
        raise invalid(name, constraint, value)
    return result


def probability(name: str, value: object) -> float:
    """Returns value as a float in [0, 1]."""
    return number(name, value, "be a probability in [0, 1]", 0.0, 1.0)


def positive(name: str, value: object) -> float:
    """Returns value as a finite float > 0."""
    return number(name, value, "be a positive number", math.nextafter(0.0, 1.0), math.inf)


def discount(value: object) -> float:
    """Returns value as a discount γ in (0, 1]."""
    return number("discount", value, "be in (0, 1]", math.nextafter(0.0, 1.0), 1.0)

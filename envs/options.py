"""Checks of the values users give to environment factories; called by the factories and by `EnvPair`."""

from __future__ import annotations

import math
import operator

from imm_rl.errors import invalid


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

"""What settings classes share: a field with its help, and checks of single values. Free of torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from imm_rl.errors import invalid

LARGEST = 2**31 - 1
"""Of whole-number settings: what all that count with 32 bits can take, and no training is as large."""
MOST_STEPS = 10**12
"""Of an environment: what trains long enough is counted with 64 bits."""


def setting(default: Any, text: str) -> Any:
    """A field of a settings class; its text is the command line's help."""
    return dataclasses.field(default=default, metadata={"help": text})


def whole(name: str, value: Any, least: int) -> None:
    """Refuses what is no whole number, a smaller one, or one above `LARGEST`.

    Raises:
        InvalidInputError: It is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise invalid(name, f"be a whole number ≥ {least}", value)
    if value > LARGEST:
        raise invalid(name, f"be at most {LARGEST:,}", value)


def real(name: str, value: Any, constraint: str, holds: Callable[[float], bool]) -> None:
    """Refuses what is no finite number, or none that holds.

    Args:
        name: Of the setting.
        value: What it is.
        constraint: As the end of "<name> must ...".
        holds: Whether a number meets it.

    Raises:
        InvalidInputError: It does not.
    """
    good = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not (good and holds(float(value))):
        raise invalid(name, constraint, value)

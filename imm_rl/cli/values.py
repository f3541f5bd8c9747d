"""From what users write, on the command line or in a YAML file, to checked values.

Every function takes the option's name, for the error, and a text or what YAML made of one.
"""

from __future__ import annotations

import dataclasses
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.settings_checks import LARGEST

if TYPE_CHECKING:
    from imm_rl.agents.sb3_settings import SB3Settings
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.language.glue_settings import GlueSettings
    from imm_rl.language.lm_settings import LMSettings

Settings = TypeVar("Settings", bound="ReinforceSettings | SB3Settings | LMSettings | GlueSettings")

_SEEDS = "be whole numbers ≥ 0 such as 3, 0-9 or 3,4,7"
LARGEST_SEED = 2**32 - 1
"""What every generator takes: NumPy's global one, and with it scikit-learn, stable-baselines3 and
transformers, takes no larger one."""
MOST_PROCESSES = 1000
"""That one command starts: systems allow some thousands."""
MOST_SEEDS = 500
"""Of one run: each has an open event file, and systems allow a thousand open files or so."""

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def count(name: str, value: Any, most: int = LARGEST) -> int:
    """A whole number from 1 to `most`; 20000, 20_000 and 2e4 are the same."""
    return _whole(name, "be a whole number ≥ 1, such as 20000, 20_000 or 2e4", value, 1, most)


def whole(name: str, value: Any, most: int = LARGEST) -> int:
    """A whole number from 0 to `most`."""
    return _whole(name, "be a whole number ≥ 0", value, 0, most)


def seed(name: str, value: Any) -> int:
    """A seed, a whole number from 0 to `LARGEST_SEED`."""
    return whole(name, value, LARGEST_SEED)


def real(name: str, value: Any) -> float:
    """A finite number; its range is checked by whoever uses it."""
    number = _number(value)
    if number is None:
        raise invalid(name, "be a number", value)
    return number


def positive(name: str, value: Any) -> float:
    """A finite number > 0."""
    number = _number(value)
    if number is None or number <= 0.0:
        raise invalid(name, "be a number > 0", value)
    return number


def text(name: str, value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(name, "be a text", value)
    return value.strip()


def seeds(name: str, value: Any) -> tuple[int, ...]:
    """Different seeds: `3`, `0-9`, `3,4`, `0-3,7`, or a list of numbers."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, int):
        parts = [parts]
    if not isinstance(parts, (list, tuple)) or not parts:
        raise invalid(name, _SEEDS, value)
    found: list[int] = []
    for part in parts:
        match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", str(part))
        if match is None:
            raise invalid(name, _SEEDS, value)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise invalid(name, "count upwards in a range", value)
        if last > LARGEST_SEED:
            raise invalid(name, f"be at most {LARGEST_SEED:,}", value)
        if len(found) + last - first >= MOST_SEEDS:
            raise invalid(name, f"be at most {MOST_SEEDS}", value, "Start several runs")
        found += range(first, last + 1)
    if len(set(found)) != len(found):
        raise invalid(name, "all differ", value)
    return tuple(found)


def seeds_from(name: str, first: int, number: int) -> range:
    """So many seeds in a row.

    Args:
        name: Of the option that gives the first one, for the error.
        first: A seed.
        number: How many, at least 1.

    Raises:
        InvalidInputError: The last one is no seed any more.
    """
    most = LARGEST_SEED - number + 1
    if first > most:
        raise invalid(name, f"be at most {most:,}, for {number:,} seeds in a row", first)
    return range(first, first + number)


def processes(name: str, value: Any, least: int = 1) -> int:
    """How many processes to start, from `least`, 0 or 1, to `MOST_PROCESSES`."""
    return (count if least else whole)(name, value, MOST_PROCESSES)


def drawn_seed() -> int:
    """A seed for who gave none."""
    import secrets

    return secrets.randbelow(1_000_000)


def indices(name: str, value: Any) -> tuple[int, ...]:
    """Whole numbers ≥ 0, at least one: `2,3`, a list of numbers, or one; whether they fit is for others."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, int) and not isinstance(parts, bool):
        parts = [parts]
    if not isinstance(parts, (list, tuple)) or not parts:
        raise invalid(name, "be indices such as 2,3", value)
    constraint = "be indices, whole numbers ≥ 0 such as 2,3"
    if not all(_number(part) is not None for part in parts):
        raise invalid(name, constraint, value)
    return tuple(_whole(name, constraint, part, 0, LARGEST) for part in parts)


def settings(values: dict[str, Any], kind: type[Settings]) -> Settings:
    """Settings of what users gave for its fields; texts are read by the field's type."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    return kind(**{name: _typed(name, kinds[name], value) for name, value in values.items()})


def plain(value: Any) -> Any:
    """A setting as YAML and JSON write it."""
    return list(value) if isinstance(value, tuple) else value


def _typed(name: str, kind: str, value: Any) -> Any:
    """A text read as `kind`, the field's annotation; what YAML has typed is left to the field's check."""
    if isinstance(value, list):
        return tuple(value)
    optional = kind.endswith("| None")
    kind = kind.removesuffix(" | None")
    if optional and isinstance(value, str) and value.lower() in ("none", "null"):
        return None
    if not isinstance(value, str) or kind == "str":
        return value
    if kind.startswith("tuple"):
        return tuple(count(name, part) for part in value.split(","))
    if kind.startswith("int"):
        return 0 if _number(value) == 0 else count(name, value)  # 0 is for the field's own check
    if kind.startswith("float"):
        return real(name, value)
    if kind == "bool":
        if value.lower() not in WORDS:
            raise invalid(name, "be true or false", value)
        return WORDS[value.lower()]
    raise InvalidInputError(f"{name} cannot be set by a text.")


def _whole(name: str, constraint: str, value: Any, least: int, most: int) -> int:
    """The whole number that value is or spells, to its last digit."""
    number = _number(value)
    if number is None or not number.is_integer() or number < least:
        raise invalid(name, constraint, value)
    if number <= most and Decimal(value) <= most:
        return int(Decimal(value))  # a float has 53 bits
    raise invalid(name, f"be at most {most:,}", value)


def _number(value: Any) -> float | None:
    """The finite number that value is or spells, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

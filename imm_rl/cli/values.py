"""From what users write, on the command line or in a YAML file, to checked values.

Every function takes the option's name, for the error, and a text or what YAML made of one.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

from imm_rl.errors import InvalidInputError, invalid

if TYPE_CHECKING:
    from imm_rl.agents.sb3_settings import SB3Settings
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.language.glue_settings import GlueSettings
    from imm_rl.language.lm_settings import LMSettings

Settings = TypeVar("Settings", bound="ReinforceSettings | SB3Settings | LMSettings | GlueSettings")

_SEEDS = "be whole numbers ≥ 0 such as 3, 0-9 or 3,4,7"
MOST_SEEDS = 500
"""Of one run: each has an open event file, and systems allow a thousand open files or so."""

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def count(name: str, value: Any) -> int:
    """A whole number ≥ 1; 20000, 20_000 and 2e4 are the same."""
    constraint = "be a whole number ≥ 1, such as 20000, 20_000 or 2e4"
    number = _number(value)
    if number is None or not number.is_integer() or number < 1:
        raise invalid(name, constraint, value)
    return int(number)


def whole(name: str, value: Any) -> int:
    """A whole number ≥ 0."""
    number = _number(value)
    if number is None or not number.is_integer() or number < 0:
        raise invalid(name, "be a whole number ≥ 0", value)
    return int(number)


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
        if len(found) + last - first >= MOST_SEEDS:
            raise invalid(name, f"be at most {MOST_SEEDS}", value, "Start several runs")
        found += range(first, last + 1)
    if len(set(found)) != len(found):
        raise invalid(name, "all differ", value)
    return tuple(found)


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
    found = [_number(part) for part in parts]
    if not all(n is not None and n.is_integer() and n >= 0 for n in found):
        raise invalid(name, "be indices, whole numbers ≥ 0 such as 2,3", value)
    return tuple(int(n) for n in found if n is not None)


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


def _number(value: Any) -> float | None:
    """The finite number that value is or spells, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

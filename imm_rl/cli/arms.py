"""`--methods`: from a text to the arms of a comparison.

    none,imm,noising(lambda=0.5),imm(restricted=fib, temperature=1),imm(lambda='exp:1,half=0.1')

Each arm is a method, perhaps with options of `imm-rl train` that hold for this arm alone. What all arms
must share, so that they can be compared, cannot be given so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from imm_rl.agents.methods import METHODS
from imm_rl.agents.sb3_settings import MATCHING
from imm_rl.errors import InvalidInputError, invalid, unknown_name

SHARED = (
    *("env", "observe", "view", "seeds", "steps", "device", "logdir", "method"),
    *("eval_episodes", "eval_steps", "eval_points"),
)
"""Keys that are the same for all arms."""

_OF_HELP = ("restricted", "lambda", "temperature", *MATCHING)
"""Keys that say how to use a restricted policy."""

_FORM = (
    "have the form none,imm,noising(lambda=0.5),imm(restricted=fib, temperature=1), with quotation "
    "marks around a value that has commas"
)


@dataclass(frozen=True)
class Arm:
    """One way of training in a comparison.

    Attributes:
        label: How tables and legends call it: the text that it was given by, without spaces.
        method: A name of `methods.METHODS`.
        options: Key -> text, of the configuration of `imm-rl train`.
    """

    label: str
    method: str
    options: dict[str, str] = field(default_factory=dict)

    def over(self, common: dict[str, Any]) -> dict[str, Any]:
        """The flags of its training: those of all arms with its own on top.

        An arm without a restricted policy takes none of the options that say how to use one, and only
        `bc` those of behaviour cloning.
        """
        given = {**common, **self.options, "method": self.method}
        if self.method != "bc":
            given = {k: v for k, v in given.items() if not k.startswith("bc_") or k in self.options}
        if self.method == "none":
            given = {k: v for k, v in given.items() if k not in _OF_HELP}
            given["restricted"] = (
                "none"  # said, so that an environment with --observe is seen in full
            )
        elif not METHODS[self.method].lambda_means and "lambda" not in self.options:
            given.pop("lambda", None)
        return given


def parse_arms(text: str, keys: list[str]) -> list[Arm]:
    """The arms that a text names, at least two.

    Args:
        text: See above.
        keys: Of the configuration of `imm-rl train`.

    Raises:
        InvalidInputError: The text has another form, names an arm twice or a method or option that is
            unknown, or gives one arm what all must share.
    """
    arms = [_arm(part, text, keys) for part in _split(text, text)]
    labels = [arm.label for arm in arms]
    if len(arms) < 2:
        raise invalid("methods", "name at least two", text, "Compare with 'none', such as none,imm")
    for label in labels:
        if labels.count(label) > 1:
            raise invalid("methods", "all differ", label)
    return arms


def _arm(part: str, text: str, keys: list[str]) -> Arm:
    match = re.fullmatch(r"\s*([^\s()]+)\s*(?:\((.*)\))?\s*", part, flags=re.DOTALL)
    if match is None:
        raise invalid("methods", _FORM, text)
    method, inside = match[1], match[2]
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    options: dict[str, str] = {}
    for given in [] if inside is None else _split(inside, text):
        key, equals, value = (piece.strip() for piece in given.partition("="))
        key, value = key.replace("-", "_"), value.strip("'\"")
        if not (equals and value):
            raise invalid("methods", _FORM, text)
        if key in SHARED:
            raise InvalidInputError(
                f"{key} is the same for all methods of a comparison, and {part.strip()!r} gives one its "
                f"own. Give it as an option: --{key.replace('_', '-')} {value}."
            )
        if key not in keys:
            raise unknown_name(
                f"option of {part.strip()!r}", key, [k for k in keys if k not in SHARED]
            )
        if method == "none" and key in _OF_HELP:
            raise InvalidInputError(
                f"{key} says how a restricted policy is used, and method 'none' has none. Leave it out."
            )
        if key in options:
            raise invalid(key, "be given once", part.strip())
        options[key] = value
    label = method
    if options:
        label += f"({','.join(f'{key}={value}' for key, value in options.items())})"
    return Arm(label, method, options)


def _split(text: str, whole: str) -> list[str]:
    """The parts of a text between commas that stand in no brackets and no quotation marks."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth < 0:
            break
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote or any(not part.strip() for part in parts):
        raise invalid("methods", _FORM, whole)
    return parts

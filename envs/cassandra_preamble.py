"""The preamble of a Cassandra `.POMDP` file: sizes, names, discount, sign; and its start belief."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from imm_rl.envs.cassandra_tokens import (
    PREAMBLE,
    RESERVED,
    Section,
    Tokens,
    did_you_mean,
    is_integer,
    is_name,
)
from imm_rl.envs.model import ROW_SUM_TOLERANCE, FloatArray

ALL = -1
"""The index that a wildcard `*` stands for."""
MAX_COUNT = 200_000
"""More states, actions or observations than this are taken for a mistake."""


class Axis:
    """The states, the actions or the observations: their count, their names if given, and look-up.

    Attributes:
        kind: "state", "action" or "observation".
        size: How many there are.
        names: Their names; None where the file gives a count.
        index: From a word (name, number or `*`) to an index.
    """

    def __init__(self, kind: str, size: int, names: Sequence[str] | None = None) -> None:
        self.kind, self.size, self.names = kind, size, names
        self.index: dict[str, int] = {str(i): i for i in range(size)}
        self.index.update((name, i) for i, name in enumerate(names or ()))
        self.index["*"] = ALL

    def name(self, index: int) -> str:
        """The name of an index as the file would write it."""
        return self.names[index] if self.names else str(index)

    def find(self, tokens: Tokens, at: int) -> int:
        """The index that the word at a place stands for, or `ALL`."""
        word = tokens.words[at] if at < len(tokens.words) else ""
        found = self.index.get(word)
        return self._find_slowly(tokens, at, word) if found is None else found

    def _find_slowly(self, tokens: Tokens, at: int, word: str) -> int:
        if is_integer(word):
            if 0 <= int(word) < self.size:  # such as 07
                return int(word)
            span = f"the file has {self.size}, numbered 0 to {self.size - 1}"
            raise tokens.problem(at, f"{self.kind} {word} is out of range: {span}.")
        if not is_name(word) or word in RESERVED:
            raise tokens.error(at, f"{_with_article(self.kind)} (a name, an index or '*')")
        hint = did_you_mean(word, self.names or ())
        if not hint:
            some = ", ".join((self.names or ())[:8]) + (", ..." if self.size > 8 else "")
            known = some if self.names else f"the numbers 0 to {self.size - 1}"
            hint = f" Known: {known}."
        raise tokens.problem(at, f"unknown {self.kind} {word!r}.{hint}")


class Preamble(NamedTuple):
    """What the first lines of the file say.

    `observations` has one entry, and `observed` is False, where the file is that of an MDP.
    """

    discount: float
    sign: float
    states: Axis
    actions: Axis
    observations: Axis
    observed: bool


def split_sections(tokens: Tokens) -> dict[str, list[Section]]:
    """Groups the file's entries by keyword, "start" for all its forms; refuses a preamble line twice."""
    groups: dict[str, list[Section]] = defaultdict(list)
    for section in tokens.sections():
        keyword = section.keyword.split()[0]
        groups[keyword].append(section)
        if keyword in (*PREAMBLE, "start") and len(groups[keyword]) == 2:
            first = tokens.place(groups[keyword][0].first).removeprefix(f"{tokens.path}:")
            raise tokens.problem(
                section.first, f"'{keyword}:' is given twice, first at {first}; keep one."
            )
    return groups


def read_preamble(tokens: Tokens, groups: Mapping[str, list[Section]]) -> Preamble:
    """Reads discount, values, states, actions and observations, which may stand in any order."""
    numbers: dict[str, float] = {}
    axes: dict[str, Axis] = {}
    for key in PREAMBLE:  # what is there is read first: a misspelt line shows itself inside another
        if key in groups and key.endswith("s") and key != "values":
            axes[key] = _axis(key.removesuffix("s"), tokens, groups[key][0])
        elif key in groups:
            read = _discount if key == "discount" else _sign
            numbers[key] = read(tokens, groups[key][0])
    missing = [f"'{key}:'" for key in PREAMBLE[:-1] if key not in groups]
    if missing:
        text = f"expected {' and '.join(missing)} in the preamble; found no such line."
        raise tokens.problem(len(tokens.words), text)
    observed = "observations" in axes
    observations = axes["observations"] if observed else Axis("observation", 1)
    return Preamble(
        numbers["discount"],
        numbers["values"],
        axes["states"],
        axes["actions"],
        observations,
        observed,
    )


def read_start(tokens: Tokens, groups: Mapping[str, list[Section]], states: Axis) -> FloatArray:
    """The start belief (S,): a vector, `uniform`, one state, or a list; uniform if not given."""
    size = states.size
    if "start" not in groups:
        return np.full(size, 1.0 / size)
    section = groups["start"][0]
    words = tokens.words[section.body : section.end]
    if section.keyword != "start":
        chosen = {_one(states, tokens, at) for at in range(section.body, section.end)}
        if section.keyword == "start exclude":
            chosen = set(range(size)) - chosen
        if not words or not chosen:
            raise tokens.error(section.end, "a list of states, neither empty nor excluding all")
        return _uniform_over(sorted(chosen), size)
    if words == ["uniform"]:
        return np.full(size, 1.0 / size)
    # One name or whole number is a state; but in a file of one state, 1 is its probability.
    if len(words) == 1 and (
        words[0] in states.index or is_name(words[0]) or (size > 1 and is_integer(words[0]))
    ):
        return _uniform_over([_one(states, tokens, section.body)], size)
    what = f"a probability for each of the {size} states, 'uniform' or one state"
    values = tokens.table(section, section.body, (size,), what)
    check_probabilities(tokens, section.body, values)
    start = np.array(values)
    if abs(start.sum() - 1.0) > ROW_SUM_TOLERANCE:
        total = f"its sum is {start.sum():.6g}"
        raise tokens.problem(section.first, f"expected a start that sums to 1; {total}.")
    return start


def check_probabilities(tokens: Tokens, first: int, values: Sequence[float]) -> None:
    """Refuses a number outside [0, 1], at its own place; `words[first]` is the first of them."""
    for at, value in enumerate(values, first):
        if not 0.0 <= value <= 1.0 + ROW_SUM_TOLERANCE:
            raise tokens.error(at, "a probability in [0, 1]")


def _discount(tokens: Tokens, section: Section) -> float:
    (value,) = tokens.table(section, section.body, (1,), "one number in (0, 1]")
    if not 0.0 < value <= 1.0:
        raise tokens.error(section.body, "a discount in (0, 1]")
    return value


def _sign(tokens: Tokens, section: Section) -> float:
    words = tokens.words[section.body : section.end]
    signs = {"reward": 1.0, "cost": -1.0}
    if not words or words[0] not in signs:
        hint = did_you_mean(words[0], signs).strip() if words else ""
        raise tokens.error(section.body, "'reward' or 'cost'", hint)
    if len(words) > 1:
        raise tokens.stray(section.body + 1, f"nothing after 'values: {words[0]}'")
    return signs[words[0]]


def _axis(kind: str, tokens: Tokens, section: Section) -> Axis:
    words = tokens.words[section.body : section.end]
    if not words:
        raise tokens.error(section.end, f"a count or the names of the {kind}s")
    if len(words) == 1 and is_integer(words[0]):
        if not 1 <= int(words[0]) <= MAX_COUNT:
            raise tokens.error(section.body, f"a count of {kind}s from 1 to {MAX_COUNT:,}")
        return Axis(kind, int(words[0]))
    seen: set[str] = set()
    for at, word in enumerate(words, section.body):
        if not is_name(word):
            expected = "a name (a letter, then letters, digits, '_' or '-')"
            raise tokens.error(at, f"one count or {kind} names, each {expected}")
        if word in RESERVED:
            hint = "That word belongs to the format and cannot be a name."
            raise tokens.error(at, f"{_with_article(kind)} name", hint)
        if tokens.words[at + 1 : at + 2] == [":"]:
            raise tokens.stray(at, f"{_with_article(kind)} name with no ':' after it")
        if word in seen:
            raise tokens.error(at, f"{kind} names that differ", f"{word!r} is given twice.")
        seen.add(word)
    return Axis(kind, len(words), tuple(words))


def _one(axis: Axis, tokens: Tokens, at: int) -> int:
    if tokens.words[at] == "*":
        raise tokens.error(at, f"one {axis.kind}, not all of them")
    return axis.find(tokens, at)


def _uniform_over(chosen: Sequence[int], size: int) -> FloatArray:
    start = np.zeros(size)
    start[chosen] = 1.0 / len(chosen)
    return start


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"

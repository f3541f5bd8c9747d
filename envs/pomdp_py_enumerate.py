"""From pomdp_py's models, which are programs, to tables; `pomdp_py_models.from_pomdp_py` calls it.

pomdp_py's models say `sample` and, more or less truly, `probability`. The support of a distribution is
taken from `sample`, asked until the probabilities of what it gave sum to 1; where `sample` does not work
or they never do, all known outcomes are tried. So a deterministic model costs one draw a row, and an
outcome that `probability` gives some 1e-9 "to avoid zeros" does not become part of the model.

Orders never follow a Python set's: everything is sorted by its text, numbers by their size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from imm_rl.envs.cassandra_tokens import RESERVED, is_name
from imm_rl.errors import InvalidInputError, invalid

MOST_DRAWS = 1_000
"""Draws of one distribution after which an outcome that is still missing is looked for otherwise."""

CERTAIN_DRAWS = 24
"""A model without probabilities is taken as deterministic if so many draws are equal."""

Distribution = dict[Any, float]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How exact the models' probabilities are taken to be, and how many states are too many.

    Attributes:
        tolerance: How far the sum of a distribution may be from 1; it is then divided by it.
        negligible: Probabilities of at most this are 0.
        most_states: More reachable states are refused.
    """

    tolerance: float
    negligible: float
    most_states: int


def distribution(
    where: str,
    sample: Callable[[], Hashable],
    probability: Callable[[Any], float],
    everything: Sequence[Any] | None,
    limits: Limits,
) -> Distribution:
    """The distribution that a model draws from.

    Args:
        where: What it is, for errors.
        sample: Draws an outcome.
        probability: Of an outcome; a model without raises.
        everything: All outcomes there may be, where known.
        limits: Of the sum.

    Raises:
        InvalidInputError: The probabilities of what can be found do not sum to 1.
    """
    found: Distribution = {}
    mass, problem = 0.0, ""
    for drawn in range(MOST_DRAWS):
        try:
            outcome = sample()
        except Exception as error:  # of a model that is somebody else's code
            problem = f"sample fails ({_told(error)})"
            break
        if outcome in found:
            if mass == -math.inf and drawn >= CERTAIN_DRAWS:
                return {outcome: 1.0}
            continue
        try:
            found[outcome] = float(probability(outcome))
            mass += found[outcome]
        except Exception as error:
            if found:
                why = f"it is random and gives no probabilities ({_told(error)})"
                raise _refused(where, why) from error
            found[outcome], mass = 1.0, -math.inf
        if mass >= 1.0 - limits.tolerance:
            break
    if abs(mass - 1.0) <= limits.tolerance:
        return _normalised(found)
    problem = problem or f"the probabilities of what sample gives sum to {mass:.6g}"
    if everything is None:
        raise _refused(where, problem)
    return _of_everything(where, probability, everything, limits, problem)


def _of_everything(
    where: str,
    probability: Callable[[Any], float],
    everything: Sequence[Any],
    limits: Limits,
    problem: str,
) -> Distribution:
    try:
        whole = {outcome: float(probability(outcome)) for outcome in everything}
    except Exception as error:  # of a model that is somebody else's code
        raise _refused(where, f"{problem} and probability fails ({_told(error)})") from error
    found = {outcome: p for outcome, p in whole.items() if p > limits.negligible}
    mass = sum(found.values())
    if not abs(mass - 1.0) <= limits.tolerance:
        raise _refused(where, f"{problem}, and those of all {len(whole)} outcomes to {mass:.6g}")
    return _normalised(found)


def given_distribution(where: str, value: Any, limits: Limits) -> Distribution:
    """A distribution that the user's own function returned, checked.

    Raises:
        InvalidInputError: It is no dictionary of probabilities that sum to 1.
    """
    try:
        found = {outcome: float(p) for outcome, p in dict(value).items() if float(p) != 0.0}
        good = min(found.values()) > 0.0 and abs(sum(found.values()) - 1.0) <= limits.tolerance
    except (TypeError, ValueError):
        good = False
    if not good:
        raise invalid(where, "be a dict of outcomes and probabilities that sum to 1", value)
    return _normalised(found)


def reachable(
    starts: Iterable[Any],
    n_actions: int,
    row: Callable[[Any, int], dict[Any, Any]],
    limits: Limits,
) -> dict[Any, list[dict[Any, Any]]]:
    """Every state that can be reached from the starts, with its rows, one an action.

    Args:
        starts: States.
        n_actions: A.
        row: (state, action's number) -> a dictionary whose keys are the next states.
        limits: Of their number.

    Raises:
        InvalidInputError: There are more than `limits.most_states`.
    """
    found: dict[Any, list[dict[Any, Any]]] = {}
    waiting = list(starts)
    known = set(waiting)
    while waiting:
        state = waiting.pop()
        if len(known) > limits.most_states:
            raise InvalidInputError(
                f"the problem has more than {limits.most_states:,} reachable states, e.g. "
                f"{str(state)!r}. Problems with continuous or very many states cannot be tabulated; "
                "raise most_states if there is an end to them."
            )
        found[state] = [row(state, action) for action in range(n_actions)]
        new = {after for each in found[state] for after in each} - known
        known |= new
        waiting += sorted(new, key=sort_key)
    return found


def sort_key(value: Any) -> tuple[Any, ...]:
    """Orders objects by type and text; numbers within the text by size: s2 before s10."""
    text = str(value)
    if " object at 0x" in text:  # Python's own text, which tells where it lies in memory
        text = repr(sorted(getattr(value, "__dict__", {}).items()))
    parts = re.split(r"(\d+)", text)
    return (type(value).__name__, [int(p) if i % 2 else p for i, p in enumerate(parts)])


def names(kind: str, values: Sequence[Any]) -> list[str]:
    """Names that a `.POMDP` file allows too, from the texts of the objects; all differ."""
    taken: dict[str, int] = {}
    result = []
    for i, value in enumerate(values):
        text = str(value)
        name = (
            str(i) if " object at 0x" in text else re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_")
        )
        if not is_name(name) or name in RESERVED:
            name = f"{kind}_{name}" if name else f"{kind}_{i}"
        taken[name] = taken.get(name, 0) + 1
        result.append(name if taken[name] == 1 else f"{name}_{kind}_{i}")
    return result


def _normalised(found: Distribution) -> Distribution:
    total = sum(found.values())
    return {outcome: p / total for outcome, p in found.items()}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refused(where: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{where} cannot be tabulated: {why}. Mend the model, give states= or observations= (all of "
        "them), a larger tolerance=, or the distribution itself by transition=, observation= or reward=."
    )

"""What users choose of a masked language model's term: its restricted context, and λ. Free of torch."""

from __future__ import annotations

from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.schedules import PaperRatio, Schedule, parse

CONTEXTS = ("left", "both")


def checked_context(name: str) -> str:
    """A known kind of context.

    Raises:
        InvalidInputError: There is no such kind.
    """
    if name not in CONTEXTS:
        raise unknown_name("context", name, CONTEXTS)
    return name


def checked_lambda(value: str | float | Schedule) -> Schedule:
    """A schedule that a masked language model can follow.

    Raises:
        InvalidInputError: It has none of the forms, or needs what `Trainer` does not measure.
    """
    schedule = parse(value)
    if schedule.observes or isinstance(schedule, PaperRatio):
        raise InvalidInputError(
            f"λ {schedule.text!r} is of no use to masked language models, which neither measure what it "
            "follows nor count epochs as the paper's agents do. Give a number, ratio, linear, cosine "
            "or exp."
        )
    return schedule

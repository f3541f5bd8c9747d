"""The errors users meet. Every message says: what, which constraint, what was received, what to do.

The command line turns `InvalidInputError` into exit code 2 and `RunFailedError` into exit code 1, each with
one line and no traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ImmRlError(Exception):
    """Root of every error that imm-rl raises on purpose."""


class InvalidInputError(ImmRlError, ValueError):
    """A value, option, file or combination that the user can mend."""


class RunFailedError(ImmRlError, RuntimeError):
    """A run that started well and failed: divergence, NaN, a disk that is full."""


class DivergedError(RunFailedError):
    """A training whose numbers ceased to be finite. The same seed and settings come to it again.

    Attributes:
        env_steps: Environment steps at which it was noticed; None where they are not known.
    """

    def __init__(self, message: str, env_steps: int | None = None) -> None:
        super().__init__(message)
        self.env_steps = env_steps


def invalid(name: str, constraint: str, received: object, remedy: str = "") -> InvalidInputError:
    """Builds (does not raise) the standard bad-value error.

    Args:
        name: The argument, option or file entry, as the user wrote it.
        constraint: What must hold, as the end of "<name> must ...", e.g. "be in (0, 1]".
        received: What was given.
        remedy: What to do about it; a sentence without its final stop.
    """
    text = f"{name} must {constraint}; received {received!r}"
    return InvalidInputError(f"{text}. {remedy}." if remedy else f"{text}.")


def unknown_name(
    kind: str, name: object, known: Iterable[str], where: str = ""
) -> InvalidInputError:
    """Builds the error for a name that is not registered, with the nearest match.

    Args:
        kind: What the name was meant for, e.g. "environment".
        name: The name received; anything that is no text is shown as it is.
        known: Every valid name.
        where: Where it stood, e.g. "in sweep.yaml".
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if isinstance(name, str) else []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    place = f" {where}" if where else ""
    return InvalidInputError(f"unknown {kind} {name!r}{place}.{hint} Known: {', '.join(known)}.")

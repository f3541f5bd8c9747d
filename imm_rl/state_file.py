"""The state of a training as an `.npz`: arrays by name, and of what training they are.

`agents.checkpoint` and `language.lm_checkpoint` write and read theirs so. Nothing is unpickled.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically

Arrays = dict[str, npt.NDArray[Any]]
IDENTITY = "identity"


def write_state(
    path: str | Path, identity: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Writes arrays with the identity of their training, whole or not at all.

    Args:
        path: An `.npz`.
        identity: What must be the same where the state is taken up, JSON-able.
        arrays: By name; none of them is called `identity`.

    Raises:
        RunFailedError: The disk failed.
    """
    state: dict[str, Any] = {IDENTITY: np.array(json.dumps(dict(identity))), **arrays}
    write_atomically(path, lambda file: np.savez(file, **state))


def read_identity(path: str | Path, what: str) -> tuple[dict[str, Any], Arrays]:
    """The identity and the arrays (`identity` among them) of a state.

    Args:
        path: An `.npz` of `write_state`.
        what: Whose state is wanted, for the error, such as "an agent".

    Raises:
        InvalidInputError: It is no such file.
    """
    try:
        # Opened here, so that it is closed even where it is no archive.
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no whole .npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                if IDENTITY not in arrays:
                    raise ValueError(f"it has no entry {IDENTITY!r}")
                state = dict(arrays)
        made = json.loads(str(state[IDENTITY]))
        if not isinstance(made, dict):
            raise ValueError("its identity is no mapping")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0]  # NumPy goes on with advice on pickles
        raise InvalidInputError(f"{path} is no checkpoint of {what}: {reason}.") from None
    return made, state


def read_state(path: str | Path, mine: Mapping[str, Any], what: str = "agent") -> Arrays:
    """The arrays of a state, if it is of a training of the same making.

    Args:
        path: An `.npz` of `write_state`.
        mine: What its identity must be.
        what: Whose state is wanted, for the error, such as "agent".

    Raises:
        InvalidInputError: Not such a file, or the state of another training; the error says which.
    """
    article = "an" if what[0] in "aeiou" else "a"
    made, state = read_identity(path, f"{article} {what}")
    check_identity(path, made, mine, what)
    return state


def check_identity(
    path: str | Path, made: Mapping[str, Any], mine: Mapping[str, Any], what: str
) -> None:
    """Refuses a state of another training.

    Args:
        path: Of the state, for the error.
        made: Its identity.
        mine: What that must be.
        what: Whose state is wanted, for the error, such as "agent".

    Raises:
        InvalidInputError: It is one; the error says how they differ.
    """
    other = next((name for name in mine if made.get(name) != mine[name]), None)
    if other is not None:
        was, now = _differing(made.get(other), mine[other])
        raise InvalidInputError(
            f"{path} is a checkpoint of another {what}: {other} was {was!r} and is {now!r}."
        )


def _differing(was: Any, now: Any) -> tuple[Any, Any]:
    """Two values that differ; of mappings the entries that do."""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return was, now
    names = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    first, second = ({key: side[key] for key in names if key in side} for side in (was, now))
    return first, second


def state_part(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries `prefix/…` of a state of named arrays, without the prefix."""
    start = prefix + "/"
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def with_prefix(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a state as `prefix/…`, which `state_part` takes apart again."""
    return {f"{prefix}/{key}": value for key, value in state.items()}

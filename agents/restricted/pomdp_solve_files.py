"""The `.alpha` files of pomdp-solve, in and out.

For each vector a line with its action, a line with a number for each state, and a blank line:

    0
    19.37 19.37

    1
    -81.6 28.4

Blank lines only separate and may be missing. `AlphaVectorPolicy.save` and `.load` call this.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from imm_rl.agents.restricted.policy_numbers import (
    MAX_ACTION,
    MAX_NUMBERS,
    NotANumberError,
    numbers,
    row_text,
)
from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.cassandra_tokens import is_integer
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically


def write(path: str | Path, rows: Iterable[tuple[int, FloatArray]]) -> None:
    """Writes vectors as they come; the file appears complete or stays as it was.

    Args:
        path: The file.
        rows: The action and the numbers (S,) of each vector.

    Raises:
        InvalidInputError, RunFailedError: As `write_atomically`.
    """

    def body(file: IO[bytes]) -> None:
        for action, row in rows:
            file.write(f"{action}\n{row_text(row)}\n\n".encode())

    write_atomically(path, body)


def read(path: str | Path) -> tuple[FloatArray, IntArray]:
    """The vectors (V, S) and their actions (V,).

    Raises:
        InvalidInputError: The file cannot be read or is no such file; with its line where there is one.
    """
    actions: list[int] = []
    rows: list[FloatArray] = []
    line = 0
    try:
        with Path(path).open(encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                if not text.strip():
                    continue
                if len(actions) == len(rows):
                    actions.append(_action(path, line, text, rows))
                else:
                    rows.append(_row(path, line, text, rows))
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}:{line + 1}: is no text: {error.reason}; expected a pomdp-solve .alpha file."
        ) from error
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if len(rows) < len(actions) or not rows:
        wanted = "the numbers of its last vector" if rows or actions else "an action and its vector"
        raise InvalidInputError(
            f"{path}:{max(line, 1)}: expected {wanted}; found the end of the file."
        )
    return np.stack(rows), np.array(actions, dtype=np.int64)


def _action(path: str | Path, line: int, text: str, rows: list[FloatArray]) -> int:
    words = text.split()
    if len(words) == 1 and is_integer(words[0]) and 0 <= int(words[0]) <= MAX_ACTION:
        return int(words[0])
    found = repr(words[0][:60]) if len(words) == 1 else f"{len(words)} words"
    after = f", after vector {len(rows)}" if rows else ""
    raise InvalidInputError(
        f"{path}:{line}: expected an action, a whole number alone on its line{after}; found {found}."
    )


def _row(path: str | Path, line: int, text: str, rows: list[FloatArray]) -> FloatArray:
    try:
        row = numbers(text)
    except NotANumberError as bad:
        raise InvalidInputError(
            f"{path}:{line}:{bad.at + 1}: expected a finite number; found {bad.word!r}."
        ) from None
    if rows and row.size != rows[0].size:
        raise InvalidInputError(
            f"{path}:{line}: expected {rows[0].size} numbers, as the first vector has; found {row.size}."
        )
    if (len(rows) + 1) * row.size > MAX_NUMBERS:
        raise InvalidInputError(
            f"{path}:{line}: expected at most {MAX_NUMBERS:,} numbers in all vectors; found more."
        )
    return row

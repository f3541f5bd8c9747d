"""Writes a `TabularPOMDP` as a Cassandra `.POMDP` file (grammar: `imm_rl.envs.cassandra`).

Numbers are written by `repr`, which `float` reads back to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.cassandra_tokens import RESERVED, is_name
from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP
from imm_rl.errors import invalid
from imm_rl.files import write_text

_WHOLE_ROW = 0.25
"""Rows of which at least this share is nonzero are written as rows, others entry by entry."""


def write(model: TabularPOMDP, path: str | Path) -> None:
    """Writes the model as a `.POMDP` file, whole or not at all: an old file is replaced at the end.

    The format has no word for terminal states: `read` knows them by being absorbing and paying nothing.

    Raises:
        InvalidInputError: The format does not allow a name, or the path cannot be written to.
        RunFailedError: The disk failed or is full; the old file is as it was.
    """
    write_text(path, "\n".join(_lines(model)) + "\n")


def _lines(model: TabularPOMDP) -> Iterator[str]:
    states, actions, observations = model.state_names, model.action_names, model.observation_names
    yield f"discount: {model.discount!r}"
    yield "values: reward"
    for kind, names in (("state", states), ("action", actions), ("observation", observations)):
        yield f"{kind}s: {_names_or_count(kind, names)}"
    yield f"start: {_row(model.initial)}"
    for a, action in enumerate(actions):
        yield ""
        yield from _matrix_lines(f"T: {action}", model.transition_of(a), states, states)
        yield from _matrix_lines(f"O: {action}", model.observation_of(a), states, observations)
    yield ""
    if model.outcome_reward is None:
        yield from _reward_lines(model.reward, states, actions)
    else:
        yield from _outcome_lines(model.outcome_reward, states, actions)


def _names_or_count(kind: str, names: Sequence[str]) -> str:
    if tuple(names) == tuple(map(str, range(len(names)))):
        return str(len(names))
    for name in names:
        if not is_name(name) or name in RESERVED:
            raise invalid(
                f"{kind} name",
                "be a letter, then letters, digits, '_' or '-', and no word of the .POMDP format",
                name,
                f"Give the model other {kind}_names, or none, to write it as a .POMDP file",
            )
    return " ".join(names)


def _matrix_lines(
    head: str, matrix: Matrix, rows: Sequence[str], columns: Sequence[str]
) -> Iterator[str]:
    sparse = sp.csr_array(matrix)
    for r, row in enumerate(rows):
        part = slice(sparse.indptr[r], sparse.indptr[r + 1])
        given = zip(sparse.indices[part].tolist(), sparse.data[part].tolist(), strict=True)
        if part.stop - part.start < _WHOLE_ROW * len(columns):
            for column, value in given:
                yield f"{head} : {row} : {columns[column]} {value!r}"
        else:
            values = np.zeros(len(columns))
            values[sparse.indices[part]] = sparse.data[part]
            yield f"{head} : {row} {_row(values)}"


def _reward_lines(
    reward: FloatArray, states: Sequence[str], actions: Sequence[str]
) -> Iterator[str]:
    """R as a function of state and action: one line an action where all states pay the same."""
    for a, action in enumerate(actions):
        paid = reward[:, a]
        if _is_given(paid).all() and (paid == paid[0]).all():
            yield f"R: {action} : * : * : * {float(paid[0])!r}"
            continue
        for s in np.flatnonzero(_is_given(paid)).tolist():
            yield f"R: {action} : {states[s]} : * : * {float(paid[s])!r}"


def _outcome_lines(
    reward: FloatArray, states: Sequence[str], actions: Sequence[str]
) -> Iterator[str]:
    """R as a function of the outcome: a number for each s', or a row over o."""
    for a, action in enumerate(actions):
        given = _is_given(reward[:, a])
        for s, after in np.argwhere(given if given.ndim == 2 else given.any(axis=2)).tolist():
            head = f"R: {action} : {states[s]} : {states[after]}"
            paid = reward[s, a, after]
            yield f"{head} {_row(paid)}" if paid.ndim else f"{head} : * {float(paid)!r}"


def _is_given(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Where a number is not plain 0.0, which need not be written; -0.0 is another number."""
    given: npt.NDArray[np.bool_] = (values != 0.0) | np.signbit(values)
    return given


def _row(values: FloatArray) -> str:
    return " ".join(map(repr, values.tolist()))

"""The T, O and R entries of a Cassandra `.POMDP` file: indices first, then numbers or a word for them.

Each `read_` function goes through the entries of one letter in file order; `imm_rl.envs.cassandra`
has the grammar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from imm_rl.envs.cassandra_preamble import ALL, Axis, Preamble, check_probabilities
from imm_rl.envs.cassandra_rewards import RewardRules
from imm_rl.envs.cassandra_tables import MAX_ENTRIES, ProbabilityTable
from imm_rl.envs.cassandra_tokens import Section, Tokens
from imm_rl.envs.model import ROW_SUM_TOLERANCE, FloatArray

Words: TypeAlias = "Mapping[str, FloatArray | sp.coo_array]"
"""Words that may stand for a row or a matrix, with what they mean."""


class Body(NamedTuple):
    """What may follow the indices of an entry.

    Attributes:
        shape: The shape of the numbers.
        expected: What to say where something else is found.
        words: What may stand instead of numbers.
    """

    shape: tuple[int, ...]
    expected: str
    words: Words


def read_transitions(
    tokens: Tokens, sections: Sequence[Section], preamble: Preamble, start: FloatArray
) -> tuple[sp.csr_array, ...]:
    """T as one CSR array (S, S) an action: rows are distributions, nonzeros only.

    Raises:
        InvalidInputError: An entry breaks the grammar, or a row does not sum to 1.
    """
    size = preamble.states.size
    uniform = np.full(size, 1.0 / size)
    identity = sp.coo_array(sp.eye_array(size))
    bodies = (
        _body("probability", (size, size), {"uniform": uniform, "identity": identity}),
        _body("probability", (size,), {"uniform": uniform, "reset": start}),
        _body("probability", (), {}),
    )
    axes = (preamble.actions, preamble.states, preamble.states)
    table = ProbabilityTable(*(axis.size for axis in axes))
    for section in sections:
        _set_probabilities(tokens, section, axes, table, bodies)
    return _checked_rows(tokens, "T", sections, axes, table)


def read_observations(
    tokens: Tokens, sections: Sequence[Section], preamble: Preamble
) -> tuple[sp.csr_array, ...]:
    """O as one CSR array (S, O) an action: rows are distributions, nonzeros only.

    Raises:
        InvalidInputError: An entry breaks the grammar, or a row does not sum to 1.
    """
    size = preamble.observations.size
    uniform = np.full(size, 1.0 / size)
    bodies = (
        _body("probability", (preamble.states.size, size), {"uniform": uniform}),
        _body("probability", (size,), {"uniform": uniform}),
        _body("probability", (), {}),
    )
    axes = (preamble.actions, preamble.states, preamble.observations)
    table = ProbabilityTable(*(axis.size for axis in axes))
    if not preamble.observed:
        if sections:
            expected = "no O: entry, since the file has no 'observations:' line"
            raise tokens.error(sections[0].first, expected, "Add that line to the preamble.")
        table.set_rows(ALL, ALL, uniform)
    for section in sections:
        _set_probabilities(tokens, section, axes, table, bodies)
    return _checked_rows(tokens, "O", sections, axes, table)


def _set_probabilities(
    tokens: Tokens,
    section: Section,
    axes: Sequence[Axis],
    table: ProbabilityTable,
    bodies: Sequence[Body],
) -> None:
    """Puts one T or O entry into the table.

    Args:
        tokens: The file.
        section: The entry.
        axes: What its indices mean.
        table: Where it goes.
        bodies: What may follow one index (a matrix), two (a row) and three (a number).
    """
    head, at = _head(tokens, section, axes)
    body = bodies[len(head) - 1]
    action, row, column = (*head, ALL, ALL)[:3]
    form = body.words.get(tokens.words[at]) if at < section.end else None
    sparse = column != ALL or sp.issparse(form)
    if not table.room_for(action, row, 1 if sparse else table.n_columns):
        limit = f"at most {MAX_ENTRIES:,} entries of {section.keyword}"
        raise tokens.problem(section.first, f"expected {limit}; found more, wildcards written out.")
    if form is not None and at + 1 < section.end:
        raise tokens.stray(at + 1, f"nothing after '{tokens.words[at]}'")
    if form is None:
        values = tokens.table(section, at, body.shape, body.expected)
        check_probabilities(tokens, at, values)
        if len(head) == 3:
            table.set_entry(action, row, column, values[0])
            return
        numbers = np.array(values).reshape(body.shape)
        form = numbers if len(head) == 2 else sp.coo_array(numbers)
    if isinstance(form, np.ndarray):
        table.set_rows(action, row, form)
    else:
        table.set_matrix(action, form)


def read_rewards(tokens: Tokens, sections: Sequence[Section], preamble: Preamble) -> RewardRules:
    """R as rules, costs turned into rewards.

    Raises:
        InvalidInputError: An entry breaks the grammar.
    """
    states = preamble.states
    axes = (preamble.actions, states, states, preamble.observations)
    sizes = (preamble.actions.size, states.size, states.size, preamble.observations.size)
    rules = RewardRules(sizes)
    # Without observations the last axis has length 1 and goes unsaid.
    last = 4 if preamble.observed else 3
    bodies = [_body("reward", sizes[given:last], {}) for given in (1, 2, 3, 4)]
    for section in sections:
        head, at = _head(tokens, section, axes)
        if len(head) == 1 and preamble.observed:
            raise tokens.error(at, "': state', as R: takes two indices at least")
        body = bodies[len(head) - 1]
        values = tokens.table(section, at, body.shape, body.expected)
        rules.add(head, values if preamble.sign > 0 else [0.0 - value for value in values])
    return rules


def _head(tokens: Tokens, section: Section, axes: Sequence[Axis]) -> tuple[list[int], int]:
    """The indices at the front of a T, O or R entry, and the place of the first word after them."""
    words, at, head = tokens.words, section.body, list[int]()
    for axis in axes:
        head.append(axis.find(tokens, at))
        at += 1
        if at >= section.end or words[at] != ":":
            return head, at
        at += 1
    raise tokens.error(at - 1, f"a number, as {section.keyword}: takes {len(axes)} indices")


def _body(kind: str, shape: tuple[int, ...], words: Words) -> Body:
    """The body of an entry, and the words for it: a row of 3 probabilities, 'uniform' or 'reset'."""
    many = {"probability": "probabilities", "reward": "rewards"}[kind]
    size = " × ".join(map(str, shape))
    numbers = ("one " + kind, f"a row of {size} {many}", f"a matrix of {size} {many}")
    forms = [numbers[min(len(shape), 2)], *(f"'{word}'" for word in words)]
    expected = ", ".join(forms[:-1]) + " or " + forms[-1] if words else forms[0]
    return Body(shape, expected, words)


def _checked_rows(
    tokens: Tokens,
    keyword: str,
    sections: Sequence[Section],
    axes: Sequence[Axis],
    table: ProbabilityTable,
) -> tuple[sp.csr_array, ...]:
    """The finished matrices; refuses a row that is no distribution, at the entry that set it last."""
    matrices = table.matrices()
    sums = np.concatenate([np.asarray(part.sum(axis=1)).reshape(-1) for part in matrices])
    wrong = np.flatnonzero(np.abs(sums - 1.0) > ROW_SUM_TOLERANCE)
    if not wrong.size:
        return matrices
    action, row = divmod(int(wrong[0]), table.n_rows)
    name = f"{keyword}: {axes[0].name(action)} : {axes[1].name(row)}"
    others = f" Rows that are wrong in all: {wrong.size}." if wrong.size > 1 else ""
    turn = int(table.last_turns()[wrong[0]])
    if turn == 0:
        text = f"expected probabilities for {name}; found none.{others}"
        raise tokens.problem(len(tokens.words), text)
    text = f"expected the row {name} to sum to 1; its sum is {sums[wrong[0]]:.6g}.{others}"
    raise tokens.problem(sections[turn - 1].first, text)

"""Reading random .POMDP files: against dense tables filled entry after entry, and damaged ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imm_rl.envs import cassandra, cassandra_rewards
from imm_rl.errors import InvalidInputError

index = st.integers(-1, 1)


@st.composite
def reward_entries(draw: st.DrawFn) -> list[tuple[tuple[int, ...], list[float]]]:
    entries = []
    for _ in range(draw(st.integers(0, 8))):
        head = tuple(draw(st.lists(index, min_size=2, max_size=4)))
        size = 2 ** (4 - len(head))
        entries.append((head, draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))))
    return entries


def entry_text(letter: str, head: tuple[int, ...], numbers: list[float]) -> str:
    indices = " : ".join("*" if i < 0 else str(i) for i in head)
    return f"{letter}: {indices} {' '.join(map(str, numbers))}\n"


@settings(max_examples=150, deadline=None)
@given(
    entries=reward_entries(),
    moves=st.integers(0, 3),
    sights=st.integers(0, 3),
    at_once=st.sampled_from([1, 3, 1000]),
)
def test_read_rewards_equal_a_dense_table_filled_in_order(
    entries: list[tuple[tuple[int, ...], list[float]]],
    moves: int,
    sights: int,
    at_once: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows = ["1 0", "0 1", "0.5 0.5", "0.25 0.75"]
    text = "discount: 0.9\nvalues: reward\nstates: 2\nactions: 2\nobservations: 2\n"
    text += f"T: 0 uniform\nT: 1 : 0 {rows[moves]}\nT: 1 : 1 {rows[3 - moves]}\n"
    text += f"O: 0 uniform\nO: 1 : 0 {rows[sights]}\nO: 1 : 1 {rows[3 - sights]}\n"
    dense = np.zeros((2, 2, 2, 2))  # a, s, s', o
    for head, numbers in entries:
        text += entry_text("R", head, numbers)
        at = tuple(slice(None) if i < 0 else i for i in head)
        dense[at] = np.reshape(numbers, (2,) * (4 - len(head)))
    path = tmp_path_factory.mktemp("rewards") / "model.POMDP"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cassandra_rewards, "_OUTCOMES_AT_ONCE", at_once)
        model = cassandra.read(path)

    transition = np.stack([model.transition_of(a) for a in range(2)])
    can_happen = (transition[..., None] > 0) & (model.observation[:, None] > 0)
    given_reward = dense.transpose(1, 0, 2, 3)
    read_reward = model.reward if model.outcome_reward is None else model.outcome_reward
    axes = read_reward.ndim
    full = read_reward.reshape(read_reward.shape + (1,) * (4 - axes)) + np.zeros((2, 2, 2, 2))
    seen = can_happen.transpose(1, 0, 2, 3)
    assert (full[seen] == given_reward[seen]).all()
    # The form is the smallest: one axis less would mix up outcomes that can happen.
    if axes > 2:
        mixed = tuple(range(axes - 1, 4))
        high = np.where(seen, given_reward, -np.inf).max(axis=mixed)
        assert (high > np.where(seen, given_reward, np.inf).min(axis=mixed)).any()
    expected = (transition[..., None] * model.observation[:, None] * dense).sum(axis=(2, 3)).T
    np.testing.assert_allclose(model.reward, expected, atol=1e-12)


@st.composite
def probability_entries(draw: st.DrawFn) -> list[tuple[tuple[int, ...], list[float]]]:
    entries = []
    quarters = st.sampled_from([0, 0.25, 0.5, 1])
    for _ in range(draw(st.integers(0, 10))):
        head = tuple(draw(st.lists(index, min_size=1, max_size=3)))
        size = 2 ** (3 - len(head))
        entries.append((head, draw(st.lists(quarters, min_size=size, max_size=size))))
    return entries


@settings(max_examples=150, deadline=None)
@given(entries=probability_entries(), dense_limit=st.sampled_from([0, 100]))
def test_read_transitions_equal_a_dense_table_filled_in_order(
    entries: list[tuple[tuple[int, ...], list[float]]],
    dense_limit: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = "discount: 0.9\nvalues: reward\nstates: 2\nactions: 2\nobservations: 2\nO: * uniform\n"
    dense = np.zeros((2, 2, 2))  # a, s, s'
    for head, numbers in entries:
        text += entry_text("T", head, numbers)
        dense[tuple(slice(None) if i < 0 else i for i in head)] = np.reshape(
            numbers, (2,) * (3 - len(head))
        )
    text += "T: * : 0 : 0 0.25\nT: * : 0 : 1 0.75\nT: 1 : 1 uniform\n"
    dense[:, 0] = [0.25, 0.75]
    dense[1, 1] = 0.5
    path = tmp_path_factory.mktemp("transitions") / "model.POMDP"
    path.write_text(text)
    if dense[0, 1].sum() != 1:
        with pytest.raises(InvalidInputError, match="T: 0 : 1"):
            cassandra.read(path)
        return
    model = cassandra.read(path, dense_limit=dense_limit)
    for action in range(2):
        matrix = model.transition_of(action)
        assert (dense[action] == (matrix.toarray() if model.is_sparse else matrix)).all()


GOOD = """
discount: 0.9 values: reward states: a b c actions: go wait observations: dark light
T: * identity O: * uniform R: go : a : * : * 1 T: go : a : b 0.5 T: go : a : a 0.5
"""
WORDS = [
    "T",
    "O",
    "R",
    "start",
    "states",
    ":",
    "*",
    "a",
    "go",
    "0",
    "0.5",
    "-1",
    "uniform",
    "#",
    "é",
]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_read_refuses_damaged_files_with_its_own_error_only(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = GOOD.split()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.lists(st.sampled_from(WORDS), max_size=2)
        )
    path = tmp_path_factory.mktemp("damaged") / "model.POMDP"
    path.write_text("\n".join(words), encoding="utf-8")
    try:
        message = f"{path}: {cassandra.read(path)}"
    except InvalidInputError as error:
        message = str(error)
    assert message.startswith(f"{path}:")


VALID = [
    GOOD,
    """\
discount: 0.95
values: cost
states: left right goal # three
actions: 2
observations: dark light
start include: left 1
T: 0
0.5 0.5 0
0 0.5
0.5 0 0 1
T: 1 : * reset
T: 1 : goal : goal 1.0
O: *
uniform
O: 1 : goal 0.25 .75
R: * : * : * : * 1
R: 0 : right : goal : light -1e2
R: 1 : left
1 2 3 4 5 6
""",
    """\
discount: 1 values: reward states: 3 actions: go
start: 0.2 0.3 0.5
T: go uniform
T: go : 2 0.33333 0.33333 0.33333
R: go : 0 : 1 5
R: go : 2 1 2 3
""",
]
PIECES = [
    *"0123456789.-+:*#\n \tTORaeé\0\ufeff",
    " : ",
    "\nT:",
    "\nR: *",
    "1e999",
    "99999",
    "nan",
    "reset",
]


@st.composite
def damaged_text(draw: st.DrawFn) -> str:
    """A valid file with a few places cut out, doubled, moved or overwritten; or cut off."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        first, last = sorted(draw(st.integers(0, len(text))) for _ in range(2))
        last = min(last, first + draw(st.integers(0, 12)))
        to = draw(st.integers(0, len(text)))
        part = text[first:last]
        text = draw(
            st.sampled_from(
                [
                    text[:first] + text[last:],
                    text[:last] + part + text[last:],
                    text[:to] + part + text[to:],
                    text[:first] + draw(st.sampled_from(PIECES)) + text[last:],
                    text[:to],
                ]
            )
        )
    return text


def place_of_error(path: Path) -> tuple[int, int] | None:
    """Line and column that the reader names, None where it reads the file."""
    try:
        cassandra.read(path)
    except InvalidInputError as error:
        message = str(error)
    else:
        return None
    place = re.fullmatch(re.escape(str(path)) + r":(\d+):(\d+): \S.*[.?]", message)
    assert place, message
    return int(place[1]), int(place[2])


@settings(max_examples=400, deadline=None)
@given(text=damaged_text(), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_read_refuses_damaged_text_at_a_line_and_column_of_the_file(
    text: str, end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "model.POMDP"
    path.write_bytes(text.replace("\n", end).encode())
    line, column = place_of_error(path) or (1, 1)
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    # One past the last is the end of the file; in a file with a zero byte, columns count bytes.
    assert 1 <= column <= len(lines[line - 1].encode()) + 1


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_read_refuses_damaged_bytes_with_its_own_error_only(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from(VALID)).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "model.POMDP"
    path.write_bytes(content)
    line, _ = place_of_error(path) or (1, 1)
    assert 1 <= line <= len(content)

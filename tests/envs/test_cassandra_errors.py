"""Malformed .POMDP files: each error names the file and the place, what was expected and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from imm_rl.envs import cassandra, cassandra_rewards, cassandra_tables
from imm_rl.errors import InvalidInputError

GOOD = """\
discount: 0.9
values: reward
states: left right goal
actions: walk look
observations: dark light
start: 0.5 0.5 0
T: walk
0.5 0.5 0
0 0.5 0.5
0 0 1
T: look
identity
O: *
1 0
0.5 0.5
0 1
R: * : left : * : * -1
R: walk : right : goal : light 10
"""

# (line of GOOD that is replaced, its replacement, line:column of the error, text of the error)
MALFORMED = [
    # The preamble
    (1, "discont: 0.9", "1:1", "unknown keyword 'discont'. Did you mean 'discount'?"),
    (1, "0.9", "1:1", "unknown keyword '0.9'. Known: discount, values,"),
    (1, "discount 0.9", "1:10", "expected ':' after 'discount'; found '0.9'."),
    (1, "discount: 0", "1:11", "expected a discount in (0, 1]; found '0'."),
    (1, "discount: 1.5", "1:11", "expected a discount in (0, 1]; found '1.5'."),
    (1, "discount: high", "1:11", "expected one number in (0, 1]; found 'high'."),
    (1, "discount: 0.9 0.9", "1:15", "one number in (0, 1] and no number more; found '0.9'"),
    (1, "discount:", "2:1", "expected one number in (0, 1]; found 'values'."),
    (1, "discount: nan", "1:11", "expected one number in (0, 1]; found 'nan'."),
    (2, "values: rewards", "2:9", "'reward' or 'cost'; found 'rewards'. Did you mean 'reward'?"),
    (2, "values: reward cost", "2:16", "expected nothing after 'values: reward'; found 'cost'."),
    (2, "values:", "3:1", "expected 'reward' or 'cost'; found 'states'."),
    (3, "states:", "4:1", "expected a count or the names of the states; found 'actions'."),
    (3, "states: 0", "3:9", "expected a count of states from 1 to 200,000; found '0'."),
    (3, "states: -3", "3:9", "expected a count of states from 1 to 200,000; found '-3'."),
    (3, "states: 3000000", "3:9", "from 1 to 200,000; found '3000000'."),
    (3, "states: " + "9" * 5000, "3:9", "digits, '_' or '-'); found '" + "9" * 57 + "...'."),
    (
        3,
        "states: left right left",
        "3:20",
        "names that differ; found 'left'. 'left' is given twice",
    ),
    (
        3,
        "states: left 2nd goal",
        "3:14",
        "a letter, then letters, digits, '_' or '-'); found '2nd'",
    ),
    (3, "states: left * goal", "3:14", "found '*'."),
    (3, "states: left uniform goal", "3:14", "'uniform'. That word belongs to the format"),
    (
        3,
        "states: left T goal",
        "3:16",
        "expected ':' after 'T'; found 'goal'. 'T' is a word of the",
    ),
    (4, "actoins: walk look", "4:1", "unknown keyword 'actoins'. Did you mean 'actions'?"),
    (4, "actions: walk: look", "4:10", "action name with no ':' after it; found 'walk'."),
    (4, "discount: 0.8", "4:1", "'discount:' is given twice, first at 1:1; keep one."),
    (5, "observations: dark light dark", "5:26", "expected observation names that differ"),
    (5, "", "12:1", "expected no O: entry, since the file has no 'observations:' line; found 'O'."),
    # The start
    (6, "start: 0.5 0.5", "6:1", "probability for each of the 3 states, 'uniform' or one state;"),
    (6, "start: 0.5 0.5 0 0", "6:18", "no number more; found '0'. There are 4 numbers."),
    (6, "start: 0 0 0", "6:1", "expected a start that sums to 1; its sum is 0."),
    (6, "start: 0.5 0.6 0", "6:1", "expected a start that sums to 1; its sum is 1.1."),
    (6, "start: 1.5 -0.5 0", "6:8", "expected a probability in [0, 1]; found '1.5'."),
    (6, "start: lefft", "6:8", "unknown state 'lefft'. Did you mean 'left'?"),
    (6, "start: 3", "6:8", "state 3 is out of range: the file has 3, numbered 0 to 2."),
    (6, "start: *", "6:8", "expected one state, not all of them; found '*'."),
    (6, "start: left right", "6:8", "'uniform' or one state; found 'left'."),
    (6, "start include: left up", "6:21", "unknown state 'up'. Known: left, right, goal."),
    (6, "start include:", "7:1", "expected a list of states, neither empty nor excluding all;"),
    (6, "start exclude: 0 1 2", "7:1", "neither empty nor excluding all; found 'T'."),
    (6, "start include left", "6:15", "expected ':' after 'start include'; found 'left'."),
    (6, "start: uniform\nstart: left", "7:1", "'start:' is given twice, first at 6:1"),
    # T
    (7, "T: wlak", "7:4", "unknown action 'wlak'. Did you mean 'walk'?"),
    (7, "T: 2", "7:4", "action 2 is out of range: the file has 2, numbered 0 to 1."),
    (7, "T: 1.0", "7:4", "expected an action (a name, an index or '*'); found '1.0'."),
    (7, "T walk", "7:3", "expected ':' after 'T'; found 'walk'."),
    (7, "t: walk", "7:1", "unknown keyword 't'. Did you mean 'T'?"),
    (7, "Q: walk", "7:1", "unknown keyword 'Q'. Known: discount, values, states, actions, observ"),
    (8, "0.5 0.5", "7:1", "expected a matrix of 3 × 3 probabilities, 'uniform' or 'identity'; f"),
    (8, "0.5 0.5", "7:1", "found 8 of 9 numbers. Line 8 has 2 numbers, the others have 3."),
    (8, "0.5 0.25 0.25 0", "10:5", "There are 10 numbers. Line 8 has 4 numbers, the others have"),
    (8, "0.5 0.5.0 0", "8:5", "'uniform' or 'identity'; found '0.5.0'."),
    (8, "0.5 O.5 0", "8:5", "expected a matrix of 3 × 3 probabilities"),
    (8, "0.5 0.5 1e999", "8:9", "expected a finite number; found '1e999'."),
    (8, "1.5 -0.5 0", "8:1", "expected a probability in [0, 1]; found '1.5'."),
    (8, "0.75 -0.25 0.5", "8:6", "expected a probability in [0, 1]; found '-0.25'."),
    (8, "0.5 0.4 0", "7:1", "expected the row T: walk : left to sum to 1; its sum is 0.9."),
    (
        12,
        "reset",
        "12:1",
        "a matrix of 3 × 3 probabilities, 'uniform' or 'identity'; found 'reset'.",
    ),
    (12, "identity 1 0 0", "12:10", "expected nothing after 'identity'; found '1'."),
    (12, "identity\nT: look : left identity", "13:16", "'uniform' or 'reset'; found 'identity'."),
    (12, "identity\nT: look : left : left uniform", "13:23", "one probability; found 'uniform'."),
    (12, "identity\nT: look : left : left", "14:1", "expected one probability; found 'O'."),
    (12, "identity\nT: look : left : left 1 0", "13:25", "no number more; found '0'."),
    (12, "identity\nT: look : left : : 1", "13:18", "expected a state (a name, an index or"),
    (12, "identity\nT: look : left : left : 1", "13:23", "as T: takes 3 indices; found ':'."),
    (12, "identity\nT: look : left left 1", "13:16", "expected a row of 3 probabilities, 'un"),
    (12, "identity\nT: look : left : left 0.5", "13:1", "row T: look : left to sum to 1; its sum"),
    (12, "identity\nT: look : * : 1 0.5", "13:1", "sum is 1.5. Rows that are wrong in all: 3."),
    (12, "identity\nT:", "14:1", "expected an action (a name, an index or '*'); found 'O'."),
    (11, "T: walk", "18:34", "expected probabilities for T: look : left; found none."),
    # O
    (13, "O: walk", "18:34", "expected probabilities for O: look : left; found none."),
    (13, "O: run", "13:4", "unknown action 'run'. Known: walk, look."),
    (14, "1 0 0", "16:3", "There are 7 numbers. Line 14 has 3 numbers, the others have 2."),
    (16, "0 1\nO: look identity", "17:9", "2 probabilities or 'uniform'; found 'identity'."),
    (
        16,
        "0 1\nO: look : goal reset",
        "17:16",
        "row of 2 probabilities or 'uniform'; found 'reset'",
    ),
    (16, "0 1\nO: look : goal : gold 1", "17:18", "unknown observation 'gold'. Known: dark, lig"),
    (16, "0 1\nO: look : goal : lihgt 1", "17:18", "'lihgt'. Did you mean 'light'?"),
    (16, "0 0.5", "13:1", "expected the row O: walk : goal to sum to 1; its sum is 0.5."),
    # R
    (18, "R: walk 10", "18:9", "expected ': state', as R: takes two indices at least; found '10'."),
    (18, "R: walk : right : goal : bright 1", "18:26", "'bright'. Did you mean 'light'?"),
    (18, "R: walk : right : gaol : light 1", "18:19", "state 'gaol'. Did you mean 'goal'?"),
    (18, "R: walk : right : goal : 2 1", "18:26", "observation 2 is out of range: the file has 2"),
    (18, "R: walk : -1 : goal : dark 1", "18:11", "state -1 is out of range: the file has 3"),
    (18, "R: walk : right : goal : light ten", "18:32", "expected one reward; found 'ten'."),
    (18, "R: walk : right : goal : light", "18:31", "one reward; found the end of the file."),
    (18, "R: walk : right : goal 10", "18:1", "expected a row of 2 rewards; found 1 of 2 numbers."),
    (
        18,
        "R: walk : right uniform",
        "18:17",
        "expected a matrix of 3 × 2 rewards; found 'uniform'.",
    ),
    (18, "R: walk : right 1 2 3 4 5 6 7", "18:29", "3 × 2 rewards and no number more; found '7'."),
    (18, "R: walk : right :", "18:18", "expected a state (a name, an index or '*'); found the end"),
    (18, "R", "18:2", "expected ':' after 'R'; found the end of the file."),
]


def error_of(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        cassandra.read(path)
    return str(caught.value)


def test_read_accepts_the_file_that_the_malformed_ones_are_made_from(tmp_path: Path) -> None:
    path = tmp_path / "good.POMDP"
    path.write_text(GOOD)
    assert cassandra.read(path).n_states == 3


@pytest.mark.parametrize(("line", "text", "place", "message"), MALFORMED)
def test_read_names_the_place_and_the_fault(
    line: int, text: str, place: str, message: str, tmp_path: Path
) -> None:
    lines = GOOD.splitlines()
    lines[line - 1 : line] = text.splitlines()
    path = tmp_path / "bad.POMDP"
    path.write_text("\n".join(lines) + "\n")
    error = error_of(path)
    assert error.startswith(f"{path}:{place}: ")
    assert "\n" not in error
    assert message in error


@pytest.mark.parametrize(
    ("line", "keys"), [(1, "'discount:'"), (2, "'values:'"), (3, "'states:'"), (4, "'actions:'")]
)
def test_read_names_a_missing_preamble_line(line: int, keys: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_text("".join(t for i, t in enumerate(GOOD.splitlines(True), 1) if i != line))
    error = error_of(path)  # noticed at the end of the file
    assert error == f"{path}:17:34: expected {keys} in the preamble; found no such line."


def test_read_names_all_missing_preamble_lines_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_text("states: 2\nactions: 1\n")
    error = error_of(path)
    assert error.startswith(f"{path}:2:11: expected 'discount:' and 'values:' in the preamble")


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"", ":1:1", "the file is empty"),
        (b" \n\n", ":1:1", "the file is empty"),
        (b"# a model\n# to be written\n", ":1:1", "holds nothing but comments"),
        (b"discount: 0.9\nPK\x03\x04\x00\x00", ":2:5", "found a zero byte; expected a text file"),
        ("discount: 0.9".encode("utf-16-le"), ":1:2", "found a zero byte"),
        (b"# \xe9t\xe9\n", ":1:3", "found the byte 0xe9, which is not UTF-8"),
        (b"# one\n# two \xff\n", ":2:7", "the byte 0xff"),
        (b"# one\r# two\r\n# \xff\n", ":3:3", "the byte 0xff"),
        (b"\xef\xbb\xbf# one\n# \xff\n", ":2:3", "the byte 0xff"),
        (b"hello world\n", ":1:1", "unknown keyword 'hello'"),
        (b"\x1f\x8b\x08", ":1:2", "the byte 0x8b"),
    ],
)
def test_read_refuses_what_is_no_model_text(
    content: bytes, place: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_bytes(content)
    error = error_of(path)
    assert error.startswith(f"{path}{place}: ")
    assert message in error


def test_read_refuses_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    missing = tmp_path / "none.POMDP"
    assert error_of(missing) == f"{missing}: no such file."
    assert error_of(tmp_path) == f"{tmp_path}: is a folder; expected a .POMDP file."


def test_read_counts_lines_of_every_kind_of_line_end(tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    for end in ("\r\n", "\r"):
        path.write_bytes(GOOD.replace("O: *", "O: run").replace("\n", end).encode())
        assert error_of(path).startswith(f"{path}:13:4: unknown action 'run'")


def test_read_counts_lines_and_columns_past_comments(tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_text(GOOD.replace("T: walk\n", "# T: run\n\nT: wlak # wrong: T O R\n"))
    assert error_of(path).startswith(f"{path}:9:4: unknown action 'wlak'")


def test_read_refuses_an_unfinished_file_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_text(GOOD[: GOOD.index("1 0\n")])
    message = "expected a matrix of 3 × 2 probabilities or 'uniform'; found the end of the file."
    assert error_of(path) == f"{path}:13:5: {message}"


def test_read_refuses_a_table_of_outcome_rewards_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.POMDP"
    path.write_text(GOOD)
    monkeypatch.setattr(cassandra_rewards, "MAX_REWARD_ENTRIES", 17)
    error = error_of(path)
    assert error.startswith(f"{path}:17:1: expected rewards that depend on state and action alone")
    # O(goal) is `light` alone, so what matters is s': 3 · 2 · 3 numbers.
    assert (
        "R: walk : right depends on the state arrived in, which needs a table of 3 × 2 × 3" in error
    )


def test_read_refuses_wildcards_that_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "good.POMDP"
    path.write_text(GOOD.replace("identity", "uniform"))
    monkeypatch.setattr("imm_rl.envs.cassandra_entries.MAX_ENTRIES", 17)
    monkeypatch.setattr(cassandra_tables, "MAX_ENTRIES", 17)
    cassandra.read(path)  # T has 5 + 9 entries, O 8
    path.write_text(GOOD.replace("identity", "uniform\nT: look\nuniform"))
    assert error_of(path).startswith(f"{path}:13:1: expected at most 17 entries of T; found more")


def test_read_refuses_more_states_and_actions_than_a_file_can_fill(tmp_path: Path) -> None:
    path = tmp_path / "bad.POMDP"
    path.write_text("discount: 0.9\nvalues: reward\nstates: 200000\nactions: 200000\n")
    assert error_of(path).startswith(f"{path}:3:1: expected at most 20,000,000 pairs of a state")


def test_read_errors_are_value_errors_with_few_words_for_large_models(tmp_path: Path) -> None:
    names = " ".join(f"place{i}" for i in range(2000))
    path = tmp_path / "bad.POMDP"
    head = f"discount: 1\nvalues: cost\nstates: {names}\nactions: go\n"
    path.write_text(f"{head}T: go identity\nR: go : xyz : * 1\n")
    with pytest.raises(ValueError, match=r"Known: place0, .*, place7, \.\.\.\.$"):
        cassandra.read(path)

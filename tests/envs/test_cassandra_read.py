"""Reading .POMDP files: every form of the grammar, and the form of the model that comes of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imm_rl.envs import cassandra
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError

HEAD = """\
discount: 0.9
values: reward
states: a b c
actions: go wait
observations: dark light
"""
T = "T: * identity\n"
O = "O: * uniform\n"  # noqa: E741

Read = Callable[..., TabularPOMDP]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a model from a text."""

    def read_text(text: str, **options: int) -> TabularPOMDP:
        path = tmp_path / "model.POMDP"
        path.write_text(text, encoding="utf-8")
        return cassandra.read(path, **options)

    return read_text


# The preamble


def test_read_takes_the_preamble_in_any_order_and_spacing(read: Read) -> None:
    text = f"{O}{T}observations:dark\n\tlight actions :go wait states:\n\n a b\nc values : reward\n"
    model = read(text + "discount\n:\n.9")
    assert model.state_names == ("a", "b", "c")
    assert model.action_names == ("go", "wait")
    assert model.observation_names == ("dark", "light")
    assert model.discount == 0.9


def test_read_takes_counts_for_names(read: Read) -> None:
    model = read("discount: 1\nvalues: reward\nstates: 3\nactions: 1\nobservations: 2\n" + T + O)
    assert (model.n_states, model.n_actions, model.n_observations) == (3, 1, 2)
    assert model.state_names == ("0", "1", "2")


def test_read_takes_indices_where_names_are_given(read: Read) -> None:
    named = read(HEAD + T + O + "T: wait : b : a 1\nT: wait : b : b 0\nR: go : c : * : * 5\n")
    indexed = read(HEAD + T + O + "T: 1 : 1 : 0 1\nT: 1 : 1 : 01 0\nR: 0 : 2 : * : * 5\n")
    assert named.fingerprint() == indexed.fingerprint()


def test_read_names_are_case_sensitive_and_may_hold_dashes(read: Read) -> None:
    model = read(HEAD.replace("a b c", "a-1 A-1 a_1-") + T + O + "R: * : A-1 : * : * 2\n")
    assert model.reward[:, 0].tolist() == [0, 2, 0]


def test_read_skips_comments_and_keywords_in_them(read: Read) -> None:
    text = HEAD.replace("a b c", "a # b T: discount: 3\nb #\nc") + T + "#O: nothing\n" + O
    assert read("# start: a\n" + text + "# the end").state_names == ("a", "b", "c")


def test_read_takes_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "model.POMDP"
    path.write_text(HEAD + T + O, encoding="utf-8-sig")
    assert cassandra.read(str(path)).n_states == 3


def test_read_makes_costs_negative_rewards(read: Read) -> None:
    text = HEAD.replace("values: reward", "values: cost") + T + O
    model = read(text + "R: go : * : * : * 0\nR: wait : a : * : * 3\nR: wait : b : * : * -4\n")
    assert model.reward.tolist() == [[0, -3], [0, 4], [0, 0]]
    assert not np.signbit(model.reward[:, 0]).any()


# The start


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("", [1 / 3, 1 / 3, 1 / 3]),
        ("start: 0.25 0.5\n 0.25", [0.25, 0.5, 0.25]),
        ("start:\nuniform", [1 / 3, 1 / 3, 1 / 3]),
        ("start: b", [0, 1, 0]),
        ("start: 2", [0, 0, 1]),
        ("start include: a 2", [0.5, 0, 0.5]),
        ("start include: b", [0, 1, 0]),
        ("start exclude: a", [0, 0.5, 0.5]),
        ("start exclude : 0 b", [0, 0, 1]),
        ("start: 0.3333 0.33333 0.33336", [0.3333 / 0.99999, 0.33333 / 0.99999, 0.33336 / 0.99999]),
    ],
)
def test_read_takes_every_form_of_start(start: str, expected: list[float], read: Read) -> None:
    initial = read(f"{HEAD}{start}\n{T}{O}").initial
    np.testing.assert_allclose(initial, expected, rtol=1e-15)


@pytest.mark.parametrize("start", ["start: 1", "start: 1.0", "start: 0", "start: a", ""])
def test_read_takes_every_start_of_a_single_state(start: str, read: Read) -> None:
    text = "discount: 1\nvalues: reward\nstates: a\nactions: 1\nobservations: 1\n"
    assert read(f"{text}{start}\n{T}{O}").initial.tolist() == [1.0]


# T and O


def test_read_takes_every_form_of_transitions(read: Read) -> None:
    model = read(
        HEAD
        + """start: 0.5 0.5 0
        T: go 0 1 0  0.5 0.25
        0.25 0 0 1
        T: wait identity
        T: wait : a reset
        T: wait : b uniform
        T: wait : c 0.25 0 0.75
        """
        + O
    )
    assert model.transition[:, 0].tolist() == [[0, 1, 0], [0.5, 0.25, 0.25], [0, 0, 1]]
    assert model.transition[:, 1].tolist() == [
        [0.5, 0.5, 0],
        [1 / 3, 1 / 3, 1 / 3],
        [0.25, 0, 0.75],
    ]


def test_read_resets_uniformly_when_no_start_is_given(read: Read) -> None:
    model = read(HEAD + T + "T: go : * reset\n" + O)
    assert (model.transition[:, 0] == 1 / 3).all()


def test_read_lets_later_entries_override_earlier_ones_entry_by_entry(read: Read) -> None:
    model = read(
        HEAD
        + """T: * uniform
        T: * : b : * 0
        T: * : b : a 0.5
        T: wait : b : a 0.25
        T: * : b : c 0.5
        T: wait : b : b 0.25
        T: * : c
        0 0 1
        T: go : a : * 0.25
        T: go : a : c 0.5
        """
        + O
    )
    assert model.transition[:, 0].tolist() == [[0.25, 0.25, 0.5], [0.5, 0, 0.5], [0, 0, 1]]
    assert model.transition[0, 1].tolist() == [1 / 3, 1 / 3, 1 / 3]
    assert model.transition[1, 1].tolist() == [0.25, 0.25, 0.5]


def test_read_lets_whole_rows_clear_what_stood_there(read: Read) -> None:
    model = read(HEAD + "T: * : a : c 0.5\nT: * uniform\nT: * : b : b 9e-1\nT: * identity\n" + O)
    assert (model.transition == np.eye(3)[:, None, :]).all()


def test_read_takes_every_form_of_observations(read: Read) -> None:
    model = read(
        HEAD
        + T
        + """O: * 1 0 0 1 0.5 .5
        O: wait uniform
        O: wait : a : dark 1.
        O: wait : a : light 0E0
        O: wait : b +0.75 2.5e-1
        O: 0 : c uniform
        O: * : c : dark 0.125
        O: * : 2 : 1 0.875
        """
    )
    assert model.observation[0].tolist() == [[1, 0], [0, 1], [0.125, 0.875]]
    assert model.observation[1].tolist() == [[1, 0], [0.75, 0.25], [0.125, 0.875]]


def test_read_renormalises_rows_that_are_off_by_rounding(read: Read) -> None:
    model = read(HEAD + T + "T: go : a 0.333333 0.333333 0.333333\n" + O)
    assert (model.transition[0, 0] == 1 / 3).all()
    with pytest.raises(InvalidInputError, match=r"sum is 0\.99998"):
        read(HEAD + T + "T: go : a 0.33333 0.33333 0.33332\n" + O)


# Rewards


def test_read_keeps_rewards_of_state_and_action_small(read: Read) -> None:
    model = read(HEAD + T + O + "R: * : * : * : * -1\nR: go : b : * : * 7\nR: * : c : * : * 2\n")
    assert model.reward.tolist() == [[-1, -1], [7, -1], [2, 2]]
    assert model.outcome_reward is None


def test_read_keeps_rewards_of_the_next_state(read: Read) -> None:
    model = read(HEAD + "T: * uniform\n" + O + "R: go : a : c : * 6\nR: * : * : b : * -3\n")
    assert model.outcome_reward is not None
    assert model.outcome_reward[:, 0].tolist() == [[0, -3, 6], [0, -3, 0], [0, -3, 0]]
    np.testing.assert_allclose(model.reward, [[1, -1], [-1, -1], [-1, -1]], rtol=1e-15)


def test_read_keeps_rewards_of_the_observation(read: Read) -> None:
    model = read(HEAD + T + O + "R: go : a\n1 2 3 4 5 6\nR: go : b : b 8 -8\nR: * : c : * : 1 4\n")
    assert model.outcome_reward is not None
    assert model.outcome_reward.shape == (3, 2, 3, 2)
    assert model.outcome_reward[0, 0].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert model.outcome_reward[1, 0].tolist() == [[0, 0], [8, -8], [0, 0]]
    assert model.reward.tolist() == [[1.5, 0], [0, 0], [2, 2]]


def test_read_drops_what_depends_on_outcomes_that_cannot_happen(read: Read) -> None:
    # All states stay; state a shows dark only: only R(a, a, a, dark) counts for it.
    text = HEAD + T + O + "O: * : a 1 0\nR: * : a\n5 6 7 8 9 10\n"
    model = read(text)
    assert model.reward.tolist() == [[5, 5], [0, 0], [0, 0]]
    assert model.outcome_reward is None
    model = read(text + "T: go : a : b 0.5\nT: go : a : a 0.5\nR: go : a : b : * 1\n")
    assert model.outcome_reward is not None
    assert model.outcome_reward.shape == (3, 2, 3)
    assert model.reward[0].tolist() == [3, 5]


def test_read_lets_later_rewards_override_earlier_ones(read: Read) -> None:
    model = read(
        HEAD
        + T
        + O
        + """R: go : a : * : light 9
        R: * : * : * : * -1
        R: wait : b 1 1 1 1 1 1
        R: * : b : b : dark 2
        R: * : * : b : light 2
        """
    )
    assert model.outcome_reward is None
    assert model.reward.tolist() == [[-1, -1], [2, 2], [-1, -1]]


# Terminal states, MDPs, sizes


def test_read_marks_absorbing_states_without_reward_as_terminal(read: Read) -> None:
    text = HEAD + T + O + "T: go : a 0 1 0\n"
    assert read(text).terminal.tolist() == [False, True, True]
    assert read(text + "R: wait : b : * : * 1\n").terminal.tolist() == [False, False, True]
    assert read(text + "R: * : * : b : * 1\n").terminal.tolist() == [False, False, True]


def test_read_judges_terminal_states_by_outcomes_that_can_happen(read: Read) -> None:
    text = HEAD + T + O + "T: go : a uniform\nO: * : c 0 1\n"
    assert read(text + "R: * : c : * : dark 1\n").terminal.tolist() == [False, True, True]
    assert read(text + "R: * : c : * : light 1\n").terminal.tolist() == [False, True, False]
    text += "R: go : a : * : dark 3\n"
    assert read(text).terminal.tolist() == [False, True, True]
    assert read(text + "R: * : c : * : light 1\n").terminal.tolist() == [False, True, False]
    by_state = HEAD + T + O + "T: go : a uniform\nR: go : * : b : * 3\nR: go : b : b : * 0\n"
    assert read(by_state).terminal.tolist() == [False, True, True]


def test_read_marks_terminal_states_of_sparse_models_whose_one_is_rounded(read: Read) -> None:
    # 0.999996 * (1 / 0.999996) is not 1.
    model = read(HEAD + "T: * : * : a 0.999996\n" + O, dense_limit=0)
    assert model.terminal.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "rewards",
    [
        "R: go 1 2 3 4 5 6 7 8 9",
        "R: go : a 1 2 3\nR: 0 : b 4 5 6\nR: go : c\n7 8\n9",
        "".join(f"R: go : {s} : {t} {3 * s + t + 1}\n" for s in range(3) for t in range(3)),
        "".join(f"R: go : {s} : {t} : * {3 * s + t + 1}\n" for s in range(3) for t in range(3)),
    ],
)
def test_read_gives_an_mdp_one_observation(rewards: str, read: Read) -> None:
    text = HEAD.replace("observations: dark light\n", "") + "T: * uniform\n"
    model = read(f"{text}{rewards}\nR: wait : * : * -2\n")
    assert model.observation_names == ("0",)
    assert model.observation.tolist() == [[[1], [1], [1]]] * 2
    assert model.outcome_reward is not None
    assert model.outcome_reward[:, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert (model.outcome_reward[:, 1] == -2).all()


def test_read_gives_sparse_models_above_the_limit(read: Read) -> None:
    text = HEAD + "T: * uniform\n" + T.replace("*", "go") + O + "R: * : * : a : dark 2\n"
    dense, sparse = read(text, dense_limit=18), read(text, dense_limit=17)
    assert not dense.is_sparse
    assert sparse.is_sparse
    for action in range(2):
        assert (sparse.transition_of(action).toarray() == dense.transition_of(action)).all()
        assert (sparse.observation_of(action).toarray() == dense.observation_of(action)).all()
    np.testing.assert_allclose(sparse.reward, dense.reward, rtol=1e-15)


def test_read_gives_sparse_models_by_default_above_two_million_entries(read: Read) -> None:
    text = "discount: 0.9\nvalues: reward\nstates: {}\nactions: 2\nobservations: 1\n" + T + O
    text += "R: 0 : * : * : * -1\nR: * : 5 : 5 : 0 2\n"
    assert not read(text.format(1000)).is_sparse
    model = read(text.format(1001))
    assert model.is_sparse
    assert model.reward[4:7].tolist() == [[-1, 0], [2, 2], [-1, 0]]
    assert model.terminal.sum() == 0


def test_read_makes_a_model_of_very_many_observations_sparse(read: Read) -> None:
    text = "discount: 1\nvalues: reward\nstates: 2\nactions: 1\nobservations: 150000\n" + T
    few = read(text + "O: 0 : * : 149999 1\n", dense_limit=300_000)
    many = read(text + "O: 0 : * : 149999 1\n", dense_limit=299_999)
    assert (few.is_sparse, many.is_sparse) == (False, True)
    assert few.observation[0][1, 149_999] == many.observation[0][1, 149_999] == 1
    assert many.observation[0].nnz == 2


def test_read_of_a_large_model_takes_no_memory_of_the_size_of_its_dense_tables(read: Read) -> None:
    text = "discount: 1\nvalues: reward\nstates: 50000\nactions: 2\nobservations: 50000\n"
    text += "T: * identity\nO: * : * : 7 1\nR: * : * : * : * 1\nR: 1 : 3 : * : * 4\n"
    tracemalloc.start()
    model = read(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.is_sparse
    assert (model.reward[3, 1], model.reward.sum()) == (4, 100_003)
    assert peak < 200e6  # one dense table would take 40 GB

"""Writing .POMDP files: what is read back is the model, bit for bit; a file is whole or not there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from imm_rl.envs import cassandra
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError, RunFailedError


def assert_same(model: TabularPOMDP, other: TabularPOMDP) -> None:
    assert model.is_sparse == other.is_sparse
    # The bytes of T, O, r, b0, γ and the terminal states.
    assert model.fingerprint() == other.fingerprint()
    assert model.state_names == other.state_names
    assert model.action_names == other.action_names
    assert model.observation_names == other.observation_names
    mine, others = model.outcome_reward, other.outcome_reward
    assert (mine is None) == (others is None)
    if mine is not None and others is not None:
        assert mine.shape == others.shape
        assert mine.tobytes() == others.tobytes()


def written_and_read(model: TabularPOMDP, folder: Path) -> TabularPOMDP:
    path = folder / "model.POMDP"
    cassandra.write(model, path)
    return cassandra.read(path, dense_limit=0 if model.is_sparse else cassandra.DENSE_LIMIT)


def random_model(
    seed: int, *, reward_axes: int, sparse: bool, terminal: bool, named: bool
) -> TabularPOMDP:
    """A model with rewards of any of the forms, none of which a smaller form could hold."""
    rng = np.random.default_rng(seed)
    S, A, O = rng.integers(2, 6, size=3)  # noqa: E741
    transition = rng.dirichlet(np.full(S, 0.5), size=(S, A))
    transition[rng.random((S, A)) < 0.3] = np.eye(S)[0]
    transition[-1] = 1 / S  # no state without a way out, but for the terminal one
    observation = rng.dirichlet(np.ones(O), size=(A, S))
    if reward_axes == 4:
        transition[-1, 0], observation[0, 0] = 1 / S, 1 / O
    reward = rng.normal(size=(S, A, S, O)[:reward_axes]) * 10.0 ** rng.integers(-9, 9)
    marks = np.zeros(S, dtype=bool)
    if terminal:
        marks[0], transition[0], reward[0] = True, np.eye(S)[0], 0.0
    else:
        transition[0, 0] = np.eye(S)[1]
    T: Any = [sp.csr_array(transition[:, a]) for a in range(A)] if sparse else transition
    O_: Any = [sp.csr_array(observation[a]) for a in range(A)] if sparse else observation
    return TabularPOMDP(
        T,
        O_,
        reward,
        rng.dirichlet(np.ones(S)),
        float(rng.uniform(0.01, 1.0)),
        terminal=marks,
        state_names=[f"s_{i}-x" for i in range(S)] if named else None,
        action_names=[f"go-{i}" for i in range(A)] if named else None,
        observation_names=[f"O{i}" for i in range(O)] if named else None,
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    reward_axes=st.sampled_from([2, 3, 4]),
    sparse=st.booleans(),
    terminal=st.booleans(),
    named=st.booleans(),
)
def test_write_and_read_give_the_model_again(
    seed: int,
    reward_axes: int,
    sparse: bool,
    terminal: bool,
    named: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = random_model(
        seed, reward_axes=reward_axes, sparse=sparse, terminal=terminal, named=named
    )
    assert_same(model, written_and_read(model, tmp_path_factory.mktemp("written")))


def test_write_and_read_give_every_real_file_again(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "pomdp").glob("*.POMDP"))
    assert len(files) >= 19
    for file in files:
        model = cassandra.read(file)
        assert_same(model, written_and_read(model, tmp_path))


def test_save_and_load_of_a_model_use_the_format(tmp_path: Path) -> None:
    model = random_model(3, reward_axes=2, sparse=False, terminal=True, named=True)
    model.save(tmp_path / "a.POMDP")
    assert_same(model, TabularPOMDP.load(tmp_path / "a.POMDP"))


def two_states(reward: npt.ArrayLike, **names: list[str]) -> TabularPOMDP:
    transition = [[[0.5, 0.5], [0.5, 0.5]], [[0, 1], [0, 1]]]
    observation = [[[0.1, 0.9], [0.9, 0.1]]] * 2
    return TabularPOMDP(transition, observation, reward, [0.25, 0.75], 0.95, **names)


def test_write_gives_readable_text(tmp_path: Path) -> None:
    path = tmp_path / "two.POMDP"
    names = {"state_names": ["left", "right"], "action_names": ["go", "stay"]}
    cassandra.write(two_states([[1, -0.5], [0, -0.5]], **names), path)
    assert path.read_text() == (
        "discount: 0.95\n"
        "values: reward\n"
        "states: left right\n"
        "actions: go stay\n"
        "observations: 2\n"
        "start: 0.25 0.75\n"
        "\n"
        "T: go : left 0.5 0.5\n"
        "T: go : right 0.0 1.0\n"
        "O: go : left 0.1 0.9\n"
        "O: go : right 0.9 0.1\n"
        "\n"
        "T: stay : left 0.5 0.5\n"
        "T: stay : right 0.0 1.0\n"
        "O: stay : left 0.1 0.9\n"
        "O: stay : right 0.9 0.1\n"
        "\n"
        "R: go : left : * : * 1.0\n"
        "R: stay : * : * : * -0.5\n"
    )


def test_write_keeps_minus_zero_and_the_smallest_number(tmp_path: Path) -> None:
    model = two_states([[-0.0, 5e-324], [1e300, -0.0]])
    assert_same(model, written_and_read(model, tmp_path))


def test_read_gives_a_reward_of_too_many_axes_in_its_smallest_form(tmp_path: Path) -> None:
    reward = np.zeros((2, 2, 2, 2))
    reward[0], reward[1, :, 1], reward[1, :, 0] = 2.0, 3.0, 7.0  # from state 1 none comes to 0
    back = written_and_read(two_states(reward), tmp_path)
    assert back.outcome_reward is None
    assert back.reward.tolist() == [[2, 2], [3, 3]]


def test_read_marks_absorbing_states_that_the_model_did_not_mark(tmp_path: Path) -> None:
    model = two_states([[1, 1], [0, 0]])
    assert not model.terminal.any()
    assert written_and_read(model, tmp_path).terminal.tolist() == [False, True]


def test_read_gives_a_small_sparse_model_as_a_dense_one_of_the_same_numbers(
    tmp_path: Path,
) -> None:
    model = random_model(5, reward_axes=3, sparse=True, terminal=False, named=True)
    cassandra.write(model, tmp_path / "model.POMDP")
    back = cassandra.read(tmp_path / "model.POMDP")
    assert not back.is_sparse
    for a in range(model.n_actions):
        assert (back.transition_of(a) == model.transition_of(a).toarray()).all()
        assert (back.observation_of(a) == model.observation_of(a).toarray()).all()


@pytest.mark.parametrize(
    "name", ["2nd", "a b", "(0,0)", "T", "uniform", "reset", "", "*", "a:b", "é"]
)
def test_write_refuses_names_that_the_format_does_not_allow(name: str, tmp_path: Path) -> None:
    path = tmp_path / "two.POMDP"
    path.write_text("old")
    model = two_states([[0, 0], [0, 0]], action_names=["go", name])
    with pytest.raises(InvalidInputError, match="action name must be a letter, then letters") as e:
        cassandra.write(model, path)
    assert f"received {name!r}. Give the model other action_names" in str(e.value)
    assert [p.name for p in tmp_path.iterdir()] == ["two.POMDP"]
    assert path.read_text() == "old"


def test_write_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.POMDP"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunFailedError, match=r"two\.POMDP could not be written: No space left"):
        cassandra.write(two_states([[0, 0], [0, 0]]), path)
    assert [p.name for p in tmp_path.iterdir()] == ["two.POMDP"]
    assert path.read_text() == "old"


def test_write_refuses_a_folder_that_is_not_there_and_a_folder_itself(tmp_path: Path) -> None:
    model = two_states([[0, 0], [0, 0]])
    with pytest.raises(InvalidInputError, match="cannot be written: there is no folder"):
        cassandra.write(model, tmp_path / "none" / "two.POMDP")
    (tmp_path / "two.POMDP").mkdir()
    with pytest.raises(InvalidInputError, match="cannot be written: it is a folder"):
        cassandra.write(model, tmp_path / "two.POMDP")
    assert [p.name for p in tmp_path.iterdir()] == ["two.POMDP"]


def test_write_replaces_an_old_file_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "two.POMDP"
    path.write_text("old")
    cassandra.write(two_states([[0, 0], [0, 0]]), str(path))
    assert cassandra.read(path).n_states == 2
    assert [p.name for p in tmp_path.iterdir()] == ["two.POMDP"]


def test_write_and_read_of_a_model_of_one_state_action_and_observation(tmp_path: Path) -> None:
    for reward in ([[0.0]], [[2.5]]):
        ends = [reward == [[0.0]]]
        assert_same(
            model := TabularPOMDP([[[1.0]]], [[[1.0]]], reward, [1.0], 1.0, terminal=ends),
            written_and_read(model, tmp_path),
        )


def test_write_and_read_are_fast_on_a_file_of_865_kb(tmp_path: Path) -> None:
    n_states, path = 1000, tmp_path / "large.POMDP"
    rows = np.repeat(np.arange(n_states, dtype=np.int32), 3)
    transition = [
        sp.csr_array(
            (
                np.tile([0.8, 0.1, 0.1], n_states),
                (rows, (rows + np.tile(np.int32(step), n_states)) % n_states),
            )
        )
        for step in ([0, 1, 2], [0, 7, 14], [0, 31, 62], [0, 127, 254])
    ]
    seen = np.zeros((n_states, 28))
    seen[np.arange(n_states)[:, None], (np.arange(n_states)[:, None] * np.arange(1, 6)) % 28] = 1
    observation = [sp.csr_array(seen / seen.sum(axis=1, keepdims=True))] * 4
    names = [f"place-{i}" for i in range(n_states)]
    start = np.full(n_states, 1 / n_states)
    model = TabularPOMDP(
        transition, observation, np.ones((n_states, 4)), start, 0.95, state_names=names
    )
    best = np.inf
    for _ in range(3):
        began = time.process_time()
        cassandra.write(model, path)
        back = cassandra.read(path)
        best = min(best, time.process_time() - began)
    assert path.stat().st_size >= 865_000
    assert back.fingerprint() == model.fingerprint()
    assert best < 1.5  # 0.3 to 0.5 s of processor time

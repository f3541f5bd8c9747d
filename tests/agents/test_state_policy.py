"""StatePolicy: acting, the zip, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.state_policy import StatePolicy
from imm_rl.errors import InvalidInputError

TABLE = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])


def test_predict_is_greedy_or_drawn_from_the_table() -> None:
    policy = StatePolicy(TABLE)
    states = np.array([0, 1, 2])
    np.testing.assert_array_equal(policy.predict(states, deterministic=True)[0], [1, 0, 0])
    rng = np.random.default_rng(0)
    drawn, _ = policy.predict(np.zeros(20_000, dtype=int), rng=rng)
    assert drawn.mean() == pytest.approx(0.75, abs=0.015)  # standard error 0.003
    assert (policy.predict(np.ones(50, dtype=int), rng=rng)[0] == 0).all()


def test_predict_keeps_the_shape_of_the_observation() -> None:
    action, state = StatePolicy(TABLE).predict(0, state="kept", deterministic=True)
    assert (int(action), state) == (1, "kept")


def test_save_and_load_are_inverse(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    StatePolicy(TABLE, {"env": "tiger", "seed": 3}).save(path)
    loaded = StatePolicy.load(path)
    np.testing.assert_array_equal(loaded.table, TABLE)
    assert loaded.about == {"env": "tiger", "seed": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["model.zip"]  # no temporary file is left


@pytest.mark.parametrize("content", [None, b"", b"not a zip"])
def test_load_refuses_what_is_no_policy(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="model.zip"):
        StatePolicy.load(path)


def test_load_refuses_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.json", "{}")
    with pytest.raises(InvalidInputError, match="is no saved policy of imm-rl"):
        StatePolicy.load(path)


@pytest.mark.parametrize("table", [[0.5, 0.5], [[0.5, 0.6]], [[-0.5, 1.5]], [[np.nan, 1.0]]])
def test_policy_refuses_what_is_no_table_of_distributions(table: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="table must have"):
        StatePolicy(np.array(table))


@pytest.mark.parametrize("table", [[[0.5, 0.5], [1.0]], [["0.5", "0.5"]], "table"])
def test_policy_refuses_what_is_no_table_of_numbers(table: Any) -> None:
    with pytest.raises(InvalidInputError, match="table must be an array of numbers"):
        StatePolicy(table)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"env": object()}, r"about must hold what JSON can \(Object of type object is not"),
        ({"seeds": np.arange(2)}, "about must hold what JSON can"),
        ({"kl": float("nan")}, "about must hold what JSON can"),
        ({("a", 1): 2}, "about must hold what JSON can"),
        ({"format": "mine"}, "about must be a dictionary without the entry 'format'"),
        ("tiger", "about must be a dictionary"),
    ],
)
def test_policy_refuses_about_that_json_cannot_hold(about: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        StatePolicy(TABLE, about)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (-1, r"observation must be in \[0, 3\); received -1"),
        (3, r"observation must be in \[0, 3\); received 3"),
        ([0, 1, 7], r"observation must be in \[0, 3\); received 7"),
        (np.eye(3)[1], r"observation must be whole numbers in \[0, 3\); received 'float64'"),
        (True, r"observation must be whole numbers in \[0, 3\); received 'bool'"),
        ("0", r"observation must be whole numbers in \[0, 3\)"),
        ([[0], [0, 1]], r"observation must be whole numbers in \[0, 3\)"),
    ],
)
def test_predict_refuses_what_is_no_state(observation: Any, message: str) -> None:
    for deterministic in (True, False):
        with pytest.raises(InvalidInputError, match=message):
            StatePolicy(TABLE).predict(observation, deterministic=deterministic)


def test_predict_goes_on_along_the_stream_of_its_seed(tmp_path: Path) -> None:
    def drawn(policy: StatePolicy) -> list[list[int]]:
        return [policy.predict(np.full(20, 2))[0].tolist() for _ in range(2)]

    first, second = drawn(StatePolicy(TABLE))
    assert first != second
    assert drawn(StatePolicy(TABLE, seed=0)) == [first, second]
    assert drawn(StatePolicy(TABLE, seed=1)) != [first, second]
    StatePolicy(TABLE, seed=5).save(tmp_path / "model.zip")
    assert drawn(StatePolicy.load(tmp_path / "model.zip")) == [first, second]
    loaded = StatePolicy.load(tmp_path / "model.zip", seed=1)
    assert drawn(loaded) == drawn(StatePolicy(TABLE, seed=1))


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
def test_policy_refuses_seeds(tmp_path: Path, seed: Any) -> None:
    StatePolicy(TABLE).save(tmp_path / "model.zip")
    with pytest.raises(InvalidInputError, match="^seed must be a whole number ≥ 0"):
        StatePolicy(TABLE, seed=seed)
    with pytest.raises(InvalidInputError, match="^seed must be a whole number ≥ 0"):
        StatePolicy.load(tmp_path / "model.zip", seed=seed)


def archived(path: Path, data: str, save: Any = np.savez, **arrays: Any) -> Path:
    content = io.BytesIO()
    save(content, **arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.json", data)
        archive.writestr("policy.npz", content.getvalue())
    return path


OURS = json.dumps({"format": "imm-rl state policy 1"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            '{"format": "imm-rl state policy 2"}',
            "be 'imm-rl state policy 1'; received 'imm-rl state",
        ),
        ("{}", "be 'imm-rl state policy 1'; received None"),
        ("[]", "be 'imm-rl state policy 1'; received None"),
        ("null", "received None"),
        ("{", "Expecting property name"),
    ],
)
def test_load_refuses_another_format(tmp_path: Path, data: str, message: str) -> None:
    path = archived(tmp_path / "model.zip", data, table=TABLE)
    with pytest.raises(
        InvalidInputError, match=f"model.zip is no saved policy of imm-rl: .*{message}"
    ):
        StatePolicy.load(path)


def test_load_refuses_other_arrays_and_names_the_file(tmp_path: Path) -> None:
    wrong = [
        archived(tmp_path / "a.zip", OURS, other=TABLE),
        archived(tmp_path / "b.zip", OURS, table=2 * TABLE),
        archived(tmp_path / "c.zip", OURS, table=np.array([{}], dtype=object)),
        archived(tmp_path / "d.zip", OURS, save=lambda file: np.save(file, TABLE)),
    ]
    for path in wrong:
        with pytest.raises(InvalidInputError, match=f"{path.name} is no saved policy of imm-rl"):
            StatePolicy.load(path)
    np.testing.assert_array_equal(
        StatePolicy.load(archived(tmp_path / "e.zip", OURS, table=TABLE)).table, TABLE
    )

"""StatePolicy: acting, the zip, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

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

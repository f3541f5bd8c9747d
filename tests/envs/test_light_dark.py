"""Light-dark: its rules by hand, what its sensor says, its options, its pictures."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.envs import belief, make, render
from imm_rl.envs.canvas import GOLD
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.render import Scene
from imm_rl.errors import InvalidInputError

LEFT, RIGHT, STOP = range(3)


@pytest.fixture(scope="module")
def model() -> TabularPOMDP:
    """Twenty-one cells, light in 14-16, goal in 7-9."""
    return make("light-dark").model


@pytest.mark.parametrize(
    ("cell", "action", "after", "pay"),
    [
        (8, LEFT, 7, -0.1),
        (8, RIGHT, 9, -0.1),
        (0, LEFT, 0, -0.1),
        (20, RIGHT, 20, -0.1),
        (7, STOP, 21, 10.0),
        (9, STOP, 21, 10.0),
        (6, STOP, 21, -10.0),
        (10, STOP, 21, -10.0),
        (21, LEFT, 21, 0.0),
        (21, STOP, 21, 0.0),
    ],
)
def test_light_dark_moves_and_pays(
    cell: int, action: int, after: int, pay: float, model: TabularPOMDP
) -> None:
    assert model.transition_of(action)[cell, after] == 1.0
    assert model.reward[cell, action] == pay


def test_light_dark_starts_anywhere_and_ends_on_stop(model: TabularPOMDP) -> None:
    np.testing.assert_allclose(model.initial, [1 / 21] * 21 + [0.0])
    assert np.flatnonzero(model.terminal).tolist() == [21]
    assert model.discount == 0.95


def test_light_dark_reads_exactly_in_the_light_and_only_there(model: TabularPOMDP) -> None:
    readings = model.observation_of(LEFT)
    exact = [c for c in range(21) if readings[c, c] == 1.0]
    assert exact == [14, 15, 16]
    np.testing.assert_array_equal(readings, model.observation_of(RIGHT))
    assert readings[21, 21] == 1.0


def test_light_dark_readings_are_a_rounded_normal(model: TabularPOMDP) -> None:
    """One cell off the light σ = 1/√2: P(|z| < 1/2) = erf(1/2), P(1/2 < z < 3/2) = …"""
    near = np.asarray(model.observation_of(LEFT))[13]
    assert near[13] == pytest.approx(0.5204998778, abs=1e-9)  # erf(0.5)
    beside = 0.2228026343  # (erf(1.5) − erf(0.5)) / 2
    assert near[[12, 14]].tolist() == pytest.approx([beside] * 2, abs=1e-9)
    # Cell 4 is ten cells off: σ = 10/√2; below 1/2 lies the normal's share to z = −3.5/σ.
    far = np.asarray(model.observation_of(LEFT))[4]
    assert far[0] == pytest.approx(0.3103085, abs=1e-6)  # (1 − erf(0.35)) / 2
    assert far[4] == pytest.approx(0.0563720, abs=1e-6)  # erf(0.05)
    assert far[:21].sum() == pytest.approx(1.0)


def test_light_dark_beliefs_sharpen_in_the_light_alone(model: TabularPOMDP) -> None:
    """From a belief over cells 12 to 18, one reading tells the cell if it is lit, else hardly."""
    spread = np.zeros(22)
    spread[12:19] = 1 / 7
    lit = belief.update(spread, RIGHT, 15, model)  # reading 15 after moving right
    assert lit.argmax() == 15
    assert lit[15] > 0.7
    dark = np.zeros(22)
    dark[2:9] = 1 / 7
    after = belief.update(dark, RIGHT, 5, model)
    assert after.max() < 0.2


def test_light_dark_options_move_light_and_goal() -> None:
    model = make("light-dark(9, light=1, goal=8)").model
    readings = np.asarray(model.observation_of(LEFT))
    assert [c for c in range(9) if readings[c, c] == 1.0] == [0, 1, 2]
    assert np.flatnonzero(model.reward[:, STOP] == 10.0).tolist() == [7, 8]
    assert model.n_states == model.n_observations == 10
    small = make("light-dark(3)").model
    assert small.n_states == 4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("light-dark(2)", "size must be a whole number ≥ 3; received 2"),
        ("light-dark(9, light=9)", r"light must be a cell of the line, in \[0, 9\); received 9"),
        ("light-dark(9, goal=-1)", "goal must be a whole number ≥ 0; received -1"),
        ("light-dark(9, goal='a')", "goal must be a whole number ≥ 0; received 'a'"),
    ],
)
def test_light_dark_says_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(spec)


def test_light_dark_text_by_hand() -> None:
    pair = make("light-dark(11, light=8, goal=2)")

    def lines(state: int | None, observation: int | None) -> list[str]:
        return render.ansi(Scene(pair, state, observation, 0)).splitlines()[1:3]

    assert lines(5, 7) == [".GGG.@.***.", "       ^"]
    assert lines(None, 0) == [".GGG...***.", "^"]
    assert lines(11, 11) == [".GGG...***.", ""]


def test_light_dark_picture_lights_three_cells_and_hides_the_agent() -> None:
    pair = make("light-dark")
    full, restricted = (render.rgb(Scene(pair, s, 2, 0)) for s in (5, None))
    row = restricted[200]
    lit = np.flatnonzero((row == GOLD).all(axis=1))
    assert 310 <= lit.min() <= 312  # cells of 20 pixels from 30 on: 14 to 16
    assert 366 <= lit.max() <= 370
    changed = np.nonzero((full != restricted).any(axis=2)[60:220])[1]
    assert 130 <= changed.min() <= changed.max() <= 150  # the agent in cell 5, and nothing else

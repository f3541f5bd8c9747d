"""The T-maze: its rules by hand, its optimum in closed form against the solvers."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.agents.solve import solve
from imm_rl.envs import make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.tmaze import optimal_value
from imm_rl.errors import InvalidInputError

NORTH, SOUTH, EAST, WEST = range(4)


def after(model: TabularPOMDP, state: str, action: int) -> str:
    row = model.transition_of(action)[[model.state_names.index(state)]]
    dense = np.asarray(row if isinstance(row, np.ndarray) else row.toarray())
    return model.state_names[int(dense.argmax())]


def test_tmaze_moves_and_rewards_by_hand() -> None:
    model = make("tmaze", length=3).model
    at = {name: s for s, name in enumerate(model.state_names)}
    assert model.n_states == 12
    assert after(model, "goal-north-cell-0", EAST) == "goal-north-cell-1"
    assert after(model, "goal-north-cell-2", EAST) == "goal-north-junction"
    assert after(model, "goal-south-junction", WEST) == "goal-south-cell-2"
    assert after(model, "goal-south-junction", NORTH) == "goal-south-arm-north"
    assert after(model, "goal-south-arm-north", SOUTH) == "goal-south-arm-north"
    assert model.reward[at["goal-north-cell-0"]].tolist() == [-0.1, -0.1, 0.0, -0.1]
    assert model.reward[at["goal-north-cell-1"]].tolist() == [-0.1, -0.1, 0.0, 0.0]
    assert model.reward[at["goal-north-junction"]].tolist() == [4.0, -0.1, -0.1, 0.0]
    assert model.reward[at["goal-south-junction"]].tolist() == [-0.1, 4.0, -0.1, 0.0]
    ends = [name for name, s in at.items() if model.terminal[s]]
    assert ends == [f"goal-{g}-arm-{a}" for g in ("north", "south") for a in ("north", "south")]
    assert model.initial[[at["goal-north-cell-0"], at["goal-south-cell-0"]]].tolist() == [0.5, 0.5]


def test_tmaze_shows_the_cue_in_the_first_two_cells_only() -> None:
    model = make("tmaze", length=3).model
    seen = np.asarray(model.observation_of(EAST)).argmax(axis=1)
    shown = {
        name: model.observation_names[o] for name, o in zip(model.state_names, seen, strict=True)
    }
    for side in ("north", "south"):
        assert shown[f"goal-{side}-cell-0"] == shown[f"goal-{side}-cell-1"] == f"cue-{side}"
        assert shown[f"goal-{side}-cell-2"] == "corridor"
        assert shown[f"goal-{side}-junction"] == "junction"
        assert shown[f"goal-{side}-arm-north"] == "arm"


def test_tmaze_noise_is_drawn_once_an_episode() -> None:
    model = make("tmaze", length=2, noise=0.25).model
    starts = {model.state_names[s]: p for s, p in enumerate(model.initial) if p}
    assert starts == {
        "goal-north-cue-north-cell-0": 0.375,
        "goal-north-cue-south-cell-0": 0.125,
        "goal-south-cue-north-cell-0": 0.125,
        "goal-south-cue-south-cell-0": 0.375,
    }
    assert after(model, "goal-north-cue-south-cell-0", EAST) == "goal-north-cue-south-cell-1"
    seen = np.asarray(model.observation_of(EAST))[
        model.state_names.index("goal-north-cue-south-cell-1")
    ]
    assert model.observation_names[int(seen.argmax())] == "cue-south"


def test_optimal_value_by_hand() -> None:
    assert optimal_value(2) == pytest.approx(0.9604 * 4.0)
    assert optimal_value(2, 0.25) == pytest.approx(0.9604 * (3.0 - 0.025))
    assert optimal_value(2, 0.75) == optimal_value(2, 0.25)  # a cue that mostly lies tells as much


@pytest.mark.parametrize(
    ("length", "noise"), [(2, 0.0), (3, 0.25), (5, 0.5), (10, 0.0), (10, 0.9), (30, 0.0)]
)
def test_optimal_value_lies_between_the_solvers_bounds(length: int, noise: float) -> None:
    model = make("tmaze", length=length, noise=noise).model
    policy = solve(model, "pbvi", precision=1e-6)
    value = optimal_value(length, noise)
    assert policy.lower_bound is not None
    assert policy.upper_bound is not None
    assert value - 1e-4 <= policy.lower_bound <= value + 1e-9
    assert policy.upper_bound >= value - 1e-9


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_who_sees_the_goal_walks_straight_to_it(noise: float) -> None:
    bound = solve(make("tmaze", length=8, noise=noise).model, "qmdp").upper_bound
    assert bound == pytest.approx(0.98**8 * 4.0, abs=1e-6)


def test_tmaze_is_dense_or_sparse_by_size_and_alike() -> None:
    small = make("tmaze", length=497).model
    large = make("tmaze", length=498).model
    assert (small.is_sparse, large.is_sparse) == (False, True)
    assert after(large, "goal-south-cell-497", EAST) == "goal-south-junction"
    assert after(large, "goal-south-junction", SOUTH) == "goal-south-arm-south"


def test_tmaze_gives_time_to_reach_an_arm() -> None:
    assert [make("tmaze", length=length).max_steps for length in (2, 10, 40)] == [10, 50, 200]
    assert make("tmaze", length=40, max_steps=7).max_steps == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"length": 1}, "length must be a whole number ≥ 2; received 1"),
        ({"length": 2.5}, "length must be a whole number ≥ 2"),
        ({"noise": 1.5}, r"noise must be a probability in \[0, 1\]; received 1.5"),
        ({"max_steps": 0}, "max_steps must be a whole number ≥ 1"),
    ],
)
def test_tmaze_refuses_options_out_of_range(given: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make("tmaze", **given)

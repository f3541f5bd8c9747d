"""hallway, hallway2, tiger-grid: entry by entry against the archive, by hand, and their episodic form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.agents.solve import solve
from imm_rl.envs import make
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError

NAMES = ("hallway", "hallway2", "tiger-grid")
SIZES = {"hallway": (60, 5, 21), "hallway2": (92, 5, 17), "tiger-grid": (36, 5, 17)}
GOALS = {"hallway": 14, "hallway2": 17, "tiger-grid": 2}


def goal_poses(name: str) -> list[int]:
    return [4 * GOALS[name] + heading for heading in range(4)]


def cut_off(starts: FloatArray) -> FloatArray:
    """As the archive writes a uniform start: six digits cut off, the rest put on the first state."""
    cut = np.floor(starts * 1e6) / 1e6
    cut[0] += 1.0 - cut.sum()
    return cut


def row(model: TabularPOMDP, state: str, action: str) -> dict[str, float]:
    a = model.action_names.index(action)
    after = np.asarray(model.transition_of(a)[model.state_names.index(state)])
    return {model.state_names[s]: round(float(after[s]), 9) for s in np.flatnonzero(after)}


@pytest.mark.parametrize("name", NAMES)
def test_robot_maze_equals_the_archive_entry_by_entry(name: str, shared_data: Path) -> None:
    """Exactly but for: the uniform start (and the way back to it) and readings, cut to six digits."""
    ours, archive = make(name).model, TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    assert (ours.n_states, ours.n_actions, ours.n_observations) == SIZES[name]
    assert ours.discount == archive.discount
    start = ours.initial if name == "tiger-grid" else cut_off(ours.initial)
    np.testing.assert_allclose(archive.initial, start, rtol=0, atol=1e-12)

    expected = ours.transition.copy()  # type: ignore[union-attr]
    expected[goal_poses(name)] = start
    np.testing.assert_allclose(archive.transition, expected, rtol=0, atol=1e-12)

    assert isinstance(ours.observation, np.ndarray)
    off = np.abs(ours.observation - archive.observation)
    last_reading = 15  # "walls everywhere" takes what the others lost
    assert off[:, :, last_reading].max() <= 1.5e-5
    assert np.delete(off, last_reading, axis=2).max() <= 1.001e-6

    assert ours.outcome_reward is not None
    assert archive.outcome_reward is not None
    np.testing.assert_array_equal(ours.outcome_reward, archive.outcome_reward)
    np.testing.assert_allclose(ours.reward, archive.reward, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value"), [("hallway", 1.4590), ("hallway2", 1.1406), ("tiger-grid", 2.9818)]
)
def test_robot_maze_has_the_known_qmdp_bound(name: str, value: float) -> None:
    assert solve(make(name).model, "qmdp").upper_bound == pytest.approx(value, abs=6e-5)


def test_hallway_moves_by_hand() -> None:
    """Cell 2: corridor to the west and east, a side cell to the south, wall to the north."""
    model = make("hallway").model
    assert row(model, "cell-2-east", "forward") == {
        "cell-3-east": 0.8,
        "cell-11-south": 0.05,  # slipped to the right, and turned that way
        "cell-1-east": 0.025,
        "cell-1-west": 0.025,
        "cell-2-east": 0.1,  # slipped to the left, into the wall; or not moved
    }
    assert row(model, "cell-2-east", "turn-right") == {
        "cell-2-south": 0.7,
        "cell-2-east": 0.1,
        "cell-2-west": 0.1,
        "cell-2-north": 0.1,
    }
    assert row(model, "cell-2-east", "turn-around") == {
        "cell-2-west": 0.6,
        "cell-2-south": 0.15,
        "cell-2-north": 0.15,
        "cell-2-east": 0.1,
    }
    assert row(model, "cell-2-east", "turn-left")["cell-2-north"] == 0.7
    assert row(model, "cell-2-east", "stay") == {"cell-2-east": 1.0}


def test_hallway_readings_by_hand() -> None:
    model = make("hallway").model
    seen = np.asarray(model.observation_of(1))
    chances = dict(
        zip(model.observation_names, seen[model.state_names.index("cell-2-east")], strict=True)
    )
    assert chances["walls-left"] == pytest.approx(0.95**3 * 0.9)  # the wall to the north
    assert chances["no-walls"] == pytest.approx(0.95**3 * 0.1)
    assert chances["walls-ahead-right-behind-left"] == pytest.approx(0.05**3 * 0.9)
    assert chances["walls-ahead-left"] == pytest.approx(0.05 * 0.95**2 * 0.9)
    assert chances["landmark-1"] == chances["goal"] == 0.0
    sure = {
        state: model.observation_names[int(seen[s].argmax())]
        for s, state in enumerate(model.state_names)
        if seen[s].max() == 1.0
    }
    assert sure == {
        "cell-2-south": "landmark-1",
        "cell-4-south": "landmark-2",
        "cell-6-south": "landmark-3",
        "cell-8-south": "landmark-4",
        "goal-north": "goal",
        "goal-east": "goal",
        "goal-south": "goal",
        "goal-west": "goal",
    }


def test_tiger_grid_starts_on_either_side_and_pays_on_arrival() -> None:
    model = make("tiger-grid").model
    starts = {model.state_names[s]: p for s, p in enumerate(model.initial) if p}
    assert starts == {"cell-6-north": 0.5, "cell-7-north": 0.5}
    forward = model.action_names.index("forward")
    at = {name: s for s, name in enumerate(model.state_names)}
    assert model.reward[at["cell-1-east"], forward] == pytest.approx(0.8 - 0.05)  # may slip back
    assert model.reward[at["cell-0-west"], 0] == -1.0  # staying with the tiger costs again
    assert row(model, "goal-east", "turn-left") == {"cell-6-north": 0.5, "cell-7-north": 0.5}
    assert model.reward[at["goal-east"]].tolist() == [0.0] * 5


@pytest.mark.parametrize("name", NAMES)
def test_episodic_form_ends_at_the_goal_and_differs_in_nothing_else(name: str) -> None:
    pair, other = make(name, episodic=True), make(name)
    assert pair.spec == f"{name}(episodic=True)"
    model, continuing = pair.model, other.model
    goal = goal_poses(name)
    assert np.flatnonzero(model.terminal).tolist() == goal
    assert not continuing.terminal.any()
    rest = np.delete(np.arange(model.n_states), goal)
    for part in ("transition", "reward", "outcome_reward"):
        np.testing.assert_array_equal(getattr(model, part)[rest], getattr(continuing, part)[rest])
    np.testing.assert_array_equal(model.observation, continuing.observation)
    np.testing.assert_array_equal(model.initial, continuing.initial)
    bounds = [solve(m, "qmdp").upper_bound for m in (model, continuing)]
    assert bounds[0] is not None
    assert bounds[1] is not None
    assert 0.0 < bounds[0] < min(1.0, bounds[1])  # the goal pays 1, once


def test_episodic_form_ends_an_episode_with_the_reward() -> None:
    env = make("hallway", episodic=True).mdp()
    ended = 0
    for seed in range(40):
        env.reset(seed=seed)
        rng, over, total = np.random.default_rng(seed), False, 0.0
        while not over:
            state, reward, terminated, truncated, _ = env.step(int(rng.choice([1, 1, 2, 4])))
            total += float(reward)
            over = terminated or truncated
            assert terminated == (int(state) in goal_poses("hallway"))
        assert total == float(terminated)
        ended += terminated
    assert 0 < ended < 40


def test_robot_maze_refuses_options_of_the_wrong_kind() -> None:
    with pytest.raises(InvalidInputError, match="episodic must be True or False; received 1"):
        make("hallway", episodic=1)
    with pytest.raises(InvalidInputError, match="max_steps must be a whole number"):
        make("tiger-grid", max_steps=0)

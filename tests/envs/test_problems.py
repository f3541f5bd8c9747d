"""Each problem's numbers: by hand from its definition, and against the archive's files where present."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.envs import belief, make
from imm_rl.envs.model import TabularPOMDP


def optimal_value(model: TabularPOMDP, n_points: int = 2_001, sweeps: int = 500) -> float:
    """Value at b0 of a two-state POMDP: value iteration over P(state 1), linear between points."""
    share = np.linspace(0.0, 1.0, n_points)
    beliefs = np.stack([1.0 - share, share], axis=1)
    branches = []
    for action in range(model.n_actions):
        chances = belief.likelihood(beliefs, np.full(n_points, action), model)
        after = []
        for observation in range(model.n_observations):
            possible = chances[:, observation] > 0.0
            place = np.zeros(n_points)
            count = possible.sum()
            updated = belief.update(
                beliefs[possible], np.full(count, action), np.full(count, observation), model
            )
            place[possible] = updated[:, 1]
            after.append(place)
        branches.append((beliefs @ model.reward[:, action], chances, after))
    value = np.zeros(n_points)
    for _ in range(sweeps):
        value = np.max(
            [
                reward
                + model.discount
                * sum(
                    chances[:, o] * np.interp(place, share, value) for o, place in enumerate(after)
                )
                for reward, chances, after in branches
            ],
            axis=0,
        )
    return float(np.interp(model.initial[1], share, value))


# --- tiger ---------------------------------------------------------------------------------------


def test_tiger_has_the_published_optimum() -> None:
    assert optimal_value(make("tiger").model) == pytest.approx(19.3714, abs=2e-3)


def test_tiger_accuracy_changes_what_is_heard_and_nothing_else() -> None:
    plain, sharp = make("tiger").model, make("tiger", accuracy=0.9).model
    np.testing.assert_allclose(sharp.observation_of(0), [[0.9, 0.1], [0.1, 0.9]])
    np.testing.assert_array_equal(sharp.observation_of(1), np.full((2, 2), 0.5))
    np.testing.assert_array_equal(sharp.transition, plain.transition)
    np.testing.assert_array_equal(sharp.reward, plain.reward)


def test_tiger_pays_for_listening_and_for_the_right_door() -> None:
    model = make("tiger").model
    left, right = (model.state_names.index(name) for name in ("tiger-left", "tiger-right"))
    paid = {name: model.reward[:, a] for a, name in enumerate(model.action_names)}
    assert paid["listen"].tolist() == [-1.0, -1.0]
    assert (paid["open-left"][left], paid["open-left"][right]) == (-100.0, 10.0)
    assert (paid["open-right"][left], paid["open-right"][right]) == (10.0, -100.0)
    assert model.discount == 0.95


# --- crying baby ---------------------------------------------------------------------------------


def test_crying_baby_has_the_published_optimum() -> None:
    assert optimal_value(make("crying-baby").model) == pytest.approx(-16.3055, abs=1e-3)


def test_crying_baby_is_as_described() -> None:
    model = make("crying-baby").model
    full, hungry = 0, 1
    feed, ignore = (model.action_names.index(name) for name in ("feed", "ignore"))
    np.testing.assert_array_equal(model.transition_of(feed), [[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(model.transition_of(ignore), [[0.9, 0.1], [0.0, 1.0]])
    crying = model.observation_names.index("crying")
    for action in (feed, ignore):
        assert model.observation_of(action)[:, crying].tolist() == [0.1, 0.8]
    assert model.reward[full].tolist() == [-5.0, 0.0]
    assert model.reward[hungry].tolist() == [-15.0, -10.0]
    assert model.initial.tolist() == [1.0, 0.0]
    assert model.discount == 0.9


# --- grid ----------------------------------------------------------------------------------------


def test_grid_pays_the_density_of_the_cell_entered() -> None:
    pair = make("grid")
    state = {name: s for s, name in enumerate(pair.model.state_names)}
    peak = 1.0 / (2.0 * np.pi * 0.1)
    # Each of the four moves into the centre (5, 5) pays the peak; 4/10 apart are neighbours.
    for cell, action in (("x5-y6", 0), ("x5-y4", 1), ("x6-y5", 2), ("x4-y5", 3)):
        assert pair.model.reward[state[cell], action] == pytest.approx(peak)
        assert pair.restricted_model.reward[state[cell], action] == pytest.approx(peak / 3.0)
    beside = peak * np.exp(-(0.4**2) / 0.2)
    assert pair.model.reward[state["x5-y5"], 0] == pytest.approx(beside)
    corner = peak * np.exp(-8.0 / 0.2)
    assert pair.model.reward[state["x0-y1"], 0] == pytest.approx(corner)


@pytest.mark.parametrize(
    ("action", "start", "end"),
    [
        ("UP", "x3-y4", "x3-y3"),
        ("DOWN", "x3-y4", "x3-y5"),
        ("LEFT", "x3-y4", "x2-y4"),
        ("RIGHT", "x3-y4", "x4-y4"),
        ("UP", "x0-y0", "x0-y10"),
        ("DOWN", "x0-y10", "x0-y0"),
        ("LEFT", "x0-y7", "x10-y7"),
        ("RIGHT", "x10-y7", "x0-y7"),
    ],
)
def test_grid_moves_on_a_torus(action: str, start: str, end: str) -> None:
    model = make("grid").model
    index = model.action_names.index(action)
    assert ("UP", "DOWN", "LEFT", "RIGHT").index(action) == index
    s, after = model.state_names.index(start), model.state_names.index(end)
    assert model.transition_of(index)[s, after] == 1.0


def test_grid_shows_x_and_leaves_y_uniform_whatever_is_done() -> None:
    pair = make("grid", size=4)
    model = pair.model
    assert pair.observation_beliefs is not None
    believed, rng = model.initial, np.random.default_rng(0)
    for _ in range(20):
        action = int(rng.integers(4))
        chances = belief.likelihood(believed, action, model)
        seen = int(rng.choice(4, p=chances))
        believed = belief.update(believed, action, seen, model)
        np.testing.assert_allclose(believed, pair.observation_beliefs[seen])
    cells = [model.state_names[s] for s in np.flatnonzero(believed)]
    assert cells == [f"x{seen}-y{y}" for y in range(4)]


def test_grid_is_dense_or_sparse_by_size_and_alike() -> None:
    small, large = make("grid", size=31).model, make("grid", size=32).model
    assert not small.is_sparse
    assert large.is_sparse
    after = large.transition_of(3)[31 * 32 + 5].toarray().reshape(-1)  # RIGHT from x31-y5
    assert large.state_names[int(after.argmax())] == "x0-y5"
    assert large.reward.shape == (1024, 4)


def test_grid_options_reach_the_models() -> None:
    pair = make("grid", size=5, variance=0.2, restricted_variance=0.4, discount=0.8, max_steps=7)
    assert pair.model.reward.max() == pytest.approx(1.0 / (2.0 * np.pi * 0.2))
    assert pair.restricted_model.reward.max() == pytest.approx(1.0 / (2.0 * np.pi * 0.4))
    assert pair.restricted_model.discount == pair.model.discount == 0.8
    assert (pair.max_steps, pair.model.n_states) == (7, 25)


# --- mazes ---------------------------------------------------------------------------------------


def test_cheese_observations_are_walls_and_the_cheese() -> None:
    model = make("cheese").model
    seen = model.observation_of(0).argmax(axis=1).tolist()  # type: ignore[union-attr]
    assert seen == [0, 1, 2, 1, 3, 4, 4, 4, 5, 5, 6]
    assert model.observation_names[:2] == ("walls-NW", "walls-NS")


def test_cheese_pays_on_arrival_and_starts_anew() -> None:
    model = make("cheese").model
    assert np.argwhere(model.reward == 1.0).tolist() == [[6, 1]]  # south from cell 6
    assert np.count_nonzero(model.reward) == 1
    np.testing.assert_array_equal(model.transition_of(0)[10], [0.1] * 10 + [0.0])


def test_four_by_three_slips_to_the_sides_and_bumps_into_walls() -> None:
    model = make("4x3").model
    north = dict(enumerate(model.transition_of(0)[5]))  # from 5: obstacle west, `-` east
    assert {s: round(p, 12) for s, p in north.items() if p} == {2: 0.8, 5: 0.1, 6: 0.1}
    west = dict(enumerate(model.transition_of(3)[0]))  # the corner: west and north are walls
    assert {s: round(p, 12) for s, p in west.items() if p} == {0: 0.9, 4: 0.1}
    assert model.reward[3].tolist() == [1.0] * 4
    assert model.reward[6].tolist() == [-1.0] * 4
    assert set(np.delete(model.reward, [3, 6], axis=0).reshape(-1)) == {-0.04}


@pytest.mark.parametrize(
    ("name", "file", "tolerance"),
    [
        ("tiger", "tiger.95.POMDP", 1e-15),
        ("cheese", "cheese.95.POMDP", 1e-15),
        ("4x3", "4x3.95.POMDP", 1.5e-6),  # the file writes 1/9 as 0.111111
    ],
)
def test_problem_equals_the_archive(
    name: str, file: str, tolerance: float, shared_data: Path
) -> None:
    ours, archive = make(name).model, TabularPOMDP.load(shared_data / "pomdp" / file)
    for part in ("transition", "observation", "reward", "initial"):
        np.testing.assert_allclose(
            getattr(ours, part), getattr(archive, part), rtol=0, atol=tolerance, err_msg=part
        )
    assert ours.discount == archive.discount
    if name == "tiger":
        assert ours.state_names == archive.state_names
        assert ours.action_names == archive.action_names

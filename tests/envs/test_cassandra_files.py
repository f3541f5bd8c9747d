"""Reading the real .POMDP files: numbers typed by hand, and the published QMDP bounds."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from imm_rl.envs import cassandra
from imm_rl.envs.model import TabularPOMDP


def test_read_takes_every_real_file(shared_data: Path) -> None:
    files = sorted((shared_data / "pomdp").glob("*.POMDP"))
    assert len(files) >= 19
    for file in files:
        model = cassandra.read(file)
        for action in range(model.n_actions):
            sums = np.asarray(model.transition_of(action).sum(axis=1)).ravel()
            np.testing.assert_allclose(sums, 1.0, atol=1e-12, err_msg=file.name)


def test_read_gives_the_tiger_problem(shared_data: Path) -> None:
    model = cassandra.read(shared_data / "pomdp" / "tiger.95.POMDP")
    assert model.state_names == ("tiger-left", "tiger-right")
    assert model.action_names == ("listen", "open-left", "open-right")
    assert (model.discount, model.initial.tolist()) == (0.95, [0.5, 0.5])
    assert model.transition[:, 0].tolist() == [[1, 0], [0, 1]]
    assert (model.transition[:, 1:] == 0.5).all()
    assert model.observation[0].tolist() == [[0.85, 0.15], [0.15, 0.85]]
    assert (model.observation[1:] == 0.5).all()
    assert model.reward.tolist() == [[-1, -100, 10], [-1, 10, -100]]
    assert model.outcome_reward is None


def test_read_gives_the_cheese_maze(shared_data: Path) -> None:
    model = cassandra.read(shared_data / "pomdp" / "cheese.95.POMDP")
    north, south, east, west = range(4)
    # The maze: 0 1 2 3 4 in the first row, 5 6 7 below 0 2 4, then 8 10 9.
    for action, moves in {
        north: {5: 0, 6: 2, 7: 4, 8: 5, 9: 7},
        south: {0: 5, 2: 6, 4: 7, 5: 8, 6: 10, 7: 9},
        east: {0: 1, 1: 2, 2: 3, 3: 4},
        west: {1: 0, 2: 1, 3: 2, 4: 3},
    }.items():
        for s in range(10):
            expected = np.eye(11)[moves.get(s, s)]
            assert (model.transition[s, action] == expected).all(), (s, action)
        np.testing.assert_allclose(model.transition[10, action], [0.1] * 10 + [0], rtol=1e-15)
    np.testing.assert_allclose(model.initial, [0.1] * 10 + [0], rtol=1e-15)
    seen = model.observation.argmax(axis=2)
    assert (seen == [0, 1, 2, 1, 3, 4, 4, 4, 5, 5, 6]).all()
    # Only one step enters the cheese: the reward on s' = 10 is a reward on (s, a).
    assert np.argwhere(model.reward).tolist() == [[6, south]]
    assert model.reward[6, south] == 1
    assert model.outcome_reward is None


def test_read_gives_the_four_by_three_maze(shared_data: Path) -> None:
    model = cassandra.read(shared_data / "pomdp" / "4x3.95.POMDP")
    assert model.action_names == ("n", "s", "e", "w")
    assert model.transition[0, 0].tolist() == [0.9, 0.1] + [0] * 9
    assert model.transition[5, 2].tolist() == [0, 0, 0.1, 0, 0, 0, 0.8, 0, 0, 0.1, 0]
    assert model.reward.tolist() == [[{3: 1.0, 6: -1.0}.get(s, -0.04)] * 4 for s in range(11)]
    seen = [model.observation_names[o] for o in model.observation[0].argmax(axis=1)]
    assert seen[:7] == ["left", "neither", "neither", "good", "both", "left", "bad"]


def qmdp_bound(model: TabularPOMDP) -> float:
    """max_a Σ_s b0(s) Q(s, a), by value iteration to 1e-6: a fresh computation, no solver of ours."""
    q = np.zeros((model.n_states, model.n_actions))
    while True:
        v = q.max(axis=1)
        after = [model.transition_of(a) @ v for a in range(model.n_actions)]
        new = model.reward + model.discount * np.stack(after, axis=1)
        if np.abs(new - q).max() < 1e-6 * (1 - model.discount):
            return float((model.initial @ new).max())
        q = new


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tiger.95", 189.0),
        ("1d", 1.6452),
        ("4x3.95", 2.3330),
        ("4x4.95", 4.6234),
        ("cheese.95", 3.7899),
        ("mini-hall2", 3.6679),
        ("shuttle.95", 32.890),
        ("network", 480.3),
        ("paint.95", 12.116),
        ("saci-s12-a6-z5.95", 14.8345),
        ("web-mall", 32.32),
        ("milos-aaai97", 108.2),
        ("tiger-grid", 2.9818),
        ("hallway", 1.4590),
        ("hallway2", 1.1406),
        ("TagAvoid", 0.8264),
        ("RockSample_4_4", 22.410),
    ],
)
def test_read_gives_the_published_qmdp_bounds(name: str, value: float, shared_data: Path) -> None:
    model = cassandra.read(shared_data / "pomdp" / f"{name}.POMDP")
    digits = len(str(value).partition(".")[2])
    assert qmdp_bound(model) == pytest.approx(value, abs=0.6 * 10**-digits)


def test_read_gives_expected_rewards_of_observations(shared_data: Path) -> None:
    model = cassandra.read(shared_data / "pomdp" / "query.s2.POMDP")
    assert model.outcome_reward is not None
    assert (model.outcome_reward == [0, 10, 3]).all()
    # Both servers are down: Query-0 finds server 0 (unloaded, loaded) with 0.08 + 0.015 + 0.005 each.
    answered = 0.1 * (0.9 * 10 + 0.08 * 3) + 0.1 * (0.05 * 10 + 0.75 * 3)
    assert model.reward[0, 0] == pytest.approx(answered, abs=1e-12)


def test_read_is_fast_on_the_largest_file(shared_data: Path) -> None:
    best = np.inf
    for _ in range(3):
        began = time.process_time()
        model = cassandra.read(shared_data / "pomdp" / "TagAvoid.POMDP")
        best = min(best, time.process_time() - began)
    assert model.is_sparse
    assert best < 1.5  # 0.15 to 0.3 s of processor time; the margin is for a busy machine

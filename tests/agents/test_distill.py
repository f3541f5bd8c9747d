from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.restricted.distill import distil
from imm_rl.agents.restricted.stored import load_policy
from imm_rl.agents.solve import solve
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError

ROWS = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
TABLE = [[0.25, 0.75], [1.0, 0.0]]


class Slow:
    """A policy of the user's: the first action as probable as the first state."""

    name, n_states, n_actions = "slow", 2, 3

    def __init__(self) -> None:
        self.asked: list[list[float]] = []

    def probs(self, beliefs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.asked += beliefs.tolist()
        p = beliefs[:, :1]
        return np.concatenate([p, 1.0 - p, 0.0 * p], axis=1)


@pytest.fixture
def table() -> BeliefTablePolicy:
    return BeliefTablePolicy(ROWS, TABLE, values=[[0.0, 1.0], [3.0, 0.0]], name="mine")


# The table


def test_belief_table_does_what_it_does_at_the_nearest_belief(table: BeliefTablePolicy) -> None:
    beliefs = np.array([[0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.0, 0.5, 0.5]])

    nearest, distances = table.nearest(beliefs)

    assert isinstance(table, RestrictedPolicy)
    assert nearest.tolist() == [0, 1, 1]
    # |.4| + |.4| + 0; .4 + .2 + .2; 0.
    np.testing.assert_allclose(distances, [0.8, 0.8, 0.0])
    np.testing.assert_array_equal(table.probs(beliefs), [TABLE[0], TABLE[1], TABLE[1]])
    np.testing.assert_array_equal(table.probs(sp.csr_array(beliefs)), table.probs(beliefs))
    assert table.probs(beliefs[None, :2]).shape == (1, 2, 2)
    np.testing.assert_array_equal(table.probs(beliefs[0]), TABLE[0])


def test_belief_table_takes_a_temperature_over_its_values(table: BeliefTablePolicy) -> None:
    soft = table.with_(temperature=1.0).probs(np.array(ROWS))

    e, e3 = np.exp(1.0), np.exp(3.0)
    np.testing.assert_allclose(soft, [[1 / (1 + e), e / (1 + e)], [e3 / (1 + e3), 1 / (1 + e3)]])
    np.testing.assert_array_equal(table.probs(np.array(ROWS)), TABLE)
    first = table.with_(temperature=None, ties="first").probs(np.array(ROWS))
    np.testing.assert_array_equal(first, [[0.0, 1.0], [1.0, 0.0]])


def test_belief_table_is_saved_and_loaded_whole(table: BeliefTablePolicy, tmp_path: Path) -> None:
    policy = table.with_(temperature=2.0)
    policy.notes = ("a note",)
    policy.save(tmp_path / "t.npz")

    loaded = load_policy(tmp_path / "t.npz")

    assert isinstance(loaded, BeliefTablePolicy)
    assert (loaded.name, loaded.temperature, loaded.ties) == ("mine", 2.0, "split")
    assert loaded.notes == ("a note",)
    beliefs = np.array([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]])
    np.testing.assert_array_equal(loaded.probs(beliefs), policy.probs(beliefs))


def test_load_policy_reads_alpha_vectors_too(tmp_path: Path) -> None:
    model = make("tiger").model
    solve(model, "qmdp").save(tmp_path / "q.npz")

    assert isinstance(load_policy(tmp_path / "q.npz", model), AlphaVectorPolicy)


def test_load_policy_refuses_a_table_for_another_model(
    table: BeliefTablePolicy, tmp_path: Path
) -> None:
    table.save(tmp_path / "t.npz")

    with pytest.raises(
        InvalidInputError, match="for 3 states and 2 actions; the model has 2 states"
    ):
        load_policy(tmp_path / "t.npz", make("tiger").model)


@pytest.mark.parametrize("entry", ["beliefs", "table", "notes"])
def test_load_policy_refuses_a_damaged_table(
    table: BeliefTablePolicy, tmp_path: Path, entry: str
) -> None:
    path = tmp_path / "t.npz"
    table.save(path)
    with np.load(path) as archive:
        entries = dict(archive)
    del entries[entry]
    np.savez(path, **entries)

    with pytest.raises(InvalidInputError, match=f"hold the entries .'{entry}'"):
        load_policy(path)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_load_policy_refuses_what_is_no_policy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)

    with pytest.raises(InvalidInputError, match="must be an .npz"):
        load_policy(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": [[1.0, 0.0]]}, "a row for each of 2 beliefs"),
        ({"table": [[0.5, 0.4], [1.0, 0.0]]}, "table must be finite, at least 0 and sum to 1"),
        ({"beliefs": [[0.5, 0.4], [1.0, 0.0]]}, "beliefs must be finite, at least 0 and sum to 1"),
        ({"values": [[1.0, 2.0]]}, "values must be numbers"),
        ({"temperature": 1.0}, "temperature must be None for a table that holds no action values"),
    ],
)
def test_belief_table_refuses_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BeliefTablePolicy(**{"beliefs": ROWS, "table": TABLE, **given})


def test_belief_table_refuses_other_beliefs_and_files(
    table: BeliefTablePolicy, tmp_path: Path
) -> None:
    for beliefs in (np.full((1, 2), 0.5), sp.csr_array(np.full((1, 2), 0.5))):
        with pytest.raises(InvalidInputError, match="3 states"):
            table.probs(beliefs)
    with pytest.raises(InvalidInputError, match=r"be named \.npz"):
        table.save(tmp_path / "t.alpha")


# Making it


def test_distil_asks_every_belief_once_and_no_more_than_it_may() -> None:
    slow, steps = Slow(), []
    table = distil(
        slow, make("tiger"), decisions=5, held_out=0, progress=lambda *done: steps.append(done)
    )

    assert len(slow.asked) == len(table.beliefs) == 5
    assert len({tuple(b) for b in slow.asked}) == 5
    assert slow.asked[0] == [0.5, 0.5]  # where every episode starts
    assert steps == [(i, 5) for i in range(1, 6)]
    np.testing.assert_array_equal(table.probs(table.beliefs)[:, 0], table.beliefs[:, 0])
    assert table.name == "slow"


def test_distil_starts_with_certainty_where_states_are_few() -> None:
    slow = Slow()
    distil(slow, make("tiger"), decisions=8, held_out=0)

    assert slow.asked[:3] == [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]


def test_distil_ends_where_no_new_beliefs_are_met() -> None:
    policy = solve(make("tiger").model, "qmdp")
    table = distil(policy, make("tiger"), decisions=10_000)

    # Listening tells two numbers apart: how much more often one side was heard.
    assert 5 < len(table.beliefs) < 100
    assert table.report.max_distance < 0.01
    beliefs = np.array([[0.5, 0.5], [0.85, 0.15], [0.97, 0.03]])
    np.testing.assert_array_equal(table.probs(beliefs), policy.probs(beliefs))
    assert table.values is not None


def test_distil_says_how_far_the_table_is_from_the_policy() -> None:
    slow = Slow()
    table = distil(slow, make("tiger"), beliefs=[[0.5, 0.5]], held_out=3)

    # Beliefs after a listen are 0.7 and more from the only row; half of them favour state 0.
    assert len(slow.asked) == 1 + 3
    report = table.report
    assert (report.beliefs, report.held_out) == (1, 3)
    assert 0.0 < report.mean_distance < report.max_distance <= 1.0
    assert report.agreement in (0.0, 1 / 3, 2 / 3, 1.0)
    assert table.notes == (str(report),)
    assert "table of 1 beliefs" in str(report)


def test_distil_spends_no_decisions_on_beliefs_next_to_each_other() -> None:
    pair = make("tiger(accuracy=0.55)")
    fine = distil(Slow(), pair, spacing=0.0, held_out=0).beliefs
    coarse = distil(Slow(), pair, spacing=0.2, held_out=0).beliefs

    def nearest_two(beliefs: np.ndarray[Any, Any]) -> float:
        between = np.abs(beliefs[:, None] - beliefs).sum(axis=-1)
        return float(between[~np.eye(len(beliefs), dtype=bool)].min())

    assert nearest_two(fine) < 0.1
    assert nearest_two(coarse) >= 0.2
    assert len(coarse) < len(fine)


def test_distil_gives_the_same_table_for_the_same_seed() -> None:
    pair = make("4x3")
    policy = solve(pair.model, "qmdp")

    one, two, other = (distil(policy, pair, decisions=60, seed=s, held_out=0) for s in (0, 0, 1))

    np.testing.assert_array_equal(one.beliefs, two.beliefs)
    np.testing.assert_array_equal(one.table, two.table)
    assert not np.array_equal(one.beliefs, other.beliefs)


def test_distil_stops_by_the_clock() -> None:
    table = distil(Slow(), make("tiger"), seconds=1e-9, held_out=0)

    assert len(table.beliefs) == 1


def test_distil_asks_what_observations_tell_where_they_tell_all() -> None:
    pair = make("grid(size=3)")
    policy = solve(pair.restricted_model, "qmdp")

    table = distil(policy, pair, decisions=100)

    assert pair.observation_beliefs is not None
    _, distances = table.nearest(pair.observation_beliefs)
    assert distances.max() < 1e-5


def test_distil_takes_a_model_alone() -> None:
    assert len(distil(Slow(), make("tiger").model, decisions=4, held_out=0).beliefs) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decisions": 0}, "decisions must be"),
        ({"held_out": -1}, "held_out must be"),
        ({"seconds": 0}, "seconds must be"),
        ({"beliefs": [[0.5, 0.5]], "decisions": 3}, "decisions must be left out"),
        ({"beliefs": [[0.5, 0.5]], "spacing": 0.1}, "spacing must be left out"),
        ({"spacing": 3}, "spacing must be a distance"),
        ({"beliefs": [[0.5, 0.4]]}, "sum to 1"),
        ({"problem": make("4x3")}, "policy must be for 11 states and 4 actions"),
        ({"problem": 3}, "problem must be an EnvPair"),
    ],
)
def test_distil_refuses_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        distil(**{"policy": Slow(), "problem": make("tiger"), **given})

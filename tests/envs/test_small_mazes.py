"""mini-hall2, 4x4 and 1d: against the archive's models and policies, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.solve import solve
from imm_rl.envs import make
from imm_rl.envs.model import TabularPOMDP

ARCHIVE = {
    "mini-hall2": ("mini-hall2.POMDP", 4e-6),  # 1/12 cut to six digits, the rest on the first state
    "4x4": ("4x4.95.POMDP", 1e-12),  # 1/15, scaled back to sum to 1 when the file is read
    "1d": ("1d.POMDP", 1e-12),
}


@pytest.mark.parametrize("name", ARCHIVE)
def test_small_maze_equals_the_archive_entry_by_entry(name: str, shared_data: Path) -> None:
    file, tolerance = ARCHIVE[name]
    ours, archive = make(name).model, TabularPOMDP.load(shared_data / "pomdp" / file)
    for part in ("transition", "initial"):
        np.testing.assert_allclose(
            getattr(ours, part), getattr(archive, part), rtol=0, atol=tolerance, err_msg=part
        )
    for part in ("observation", "reward", "terminal"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(archive, part), err_msg=part)
    assert ours.outcome_reward is None
    assert archive.outcome_reward is None
    assert ours.discount == archive.discount


@pytest.mark.parametrize(
    ("name", "value"), [("mini-hall2", 3.6679), ("4x4", 4.6234), ("1d", 1.6452)]
)
def test_small_maze_has_the_known_qmdp_bound(name: str, value: float) -> None:
    assert solve(make(name).model, "qmdp").upper_bound == pytest.approx(value, abs=6e-5)


@pytest.mark.parametrize(
    ("name", "file", "value"),
    [
        ("1d", "1d.alpha", 1.2603),
        ("1d", "1d.policyx", 1.2603),
        ("mini-hall2", "mini-hall2.policyx", 2.7142),
    ],
)
def test_policy_solved_for_the_archives_file_holds_for_ours(
    name: str, file: str, value: float, shared_data: Path
) -> None:
    model = make(name).model
    policy = AlphaVectorPolicy.load(shared_data / "policies" / file, model)
    assert float(policy.value(model.initial)) == pytest.approx(value, abs=2e-4)


def ends(model: TabularPOMDP, action: str) -> list[str]:
    """Where an action leads from each state that it leads from surely."""
    after = np.asarray(model.transition_of(model.action_names.index(action)))
    return [model.state_names[int(row.argmax())] for row in after if row.max() == 1.0]


def test_1d_by_hand() -> None:
    """In space: cell-0, cell-1, goal, cell-2."""
    model = make("1d").model
    assert ends(model, "west") == ["cell-0", "cell-0", "goal"]
    assert ends(model, "east") == ["cell-1", "goal", "cell-2"]
    np.testing.assert_allclose(np.asarray(model.transition_of(0))[3], [1 / 3, 1 / 3, 1 / 3, 0])
    assert model.reward.tolist() == [[0, 0], [0, 1], [1, 0], [0, 0]]
    assert model.initial.tolist() == [0.25] * 4
    assert np.asarray(model.observation_of(1)).tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


def test_4x4_by_hand() -> None:
    model = make("4x4").model
    assert ends(model, "north")[:6] == ["cell-0", "cell-1", "cell-2", "cell-3", "cell-0", "cell-1"]
    assert ends(model, "south")[10:] == ["cell-14", "goal", "cell-12", "cell-13", "cell-14"]
    assert np.argwhere(model.reward).tolist() == [[11, 1], [14, 2]]
    np.testing.assert_allclose(model.initial, [1 / 15] * 15 + [0])


def test_mini_hall2_by_hand() -> None:
    model = make("mini-hall2").model
    assert model.state_names[-1] == "goal"
    forward = ends(model, "forward")
    assert forward[:4] == ["cell-0-north", "cell-0-east", "cell-1-south", "cell-0-west"]
    assert forward[4:8] == ["cell-0-north", "cell-2-east", "cell-0-north", "cell-1-west"]
    assert forward[8:] == ["cell-2-north", "cell-2-east", "goal", "cell-1-west"]
    assert ends(model, "turn-right")[3] == "cell-0-north"
    assert ends(model, "turn-left")[0] == "cell-0-west"
    seen = np.asarray(model.observation_of(0)).argmax(axis=1).tolist()
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 4, 5, 8]
    assert model.observation_names[0] == "walls-ahead-right-left"
    assert model.observation_names[6] == "walls-ahead-right"

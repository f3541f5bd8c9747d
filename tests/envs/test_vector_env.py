"""`TabularVectorEnv`: the single environment's semantics for n copies, and Gymnasium's conventions."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import env_checker
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from imm_rl.envs import EnvPair, make, names
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize("view", ["mdp", "pomdp"])
@pytest.mark.parametrize("name", names())
def test_one_copy_is_the_single_environment(name: str, view: Any) -> None:
    pair = make(name, max_steps=7)
    vector, single = pair.vector(1, view), getattr(pair, view)()
    rng = np.random.default_rng(0)
    assert vector.reset(seed=11)[0].tolist() == [single.reset(seed=11)[0]]
    for _ in range(30):
        action = int(rng.integers(pair.model.n_actions))
        output, reward, terminated, truncated, info = single.step(action)
        outputs, rewards, terminations, truncations, infos = vector.step(np.array([action]))
        assert (rewards[0], terminations[0], truncations[0]) == (reward, terminated, truncated)
        if terminated or truncated:
            assert infos["final_obs"][0] == output
            output, info = single.reset()
        assert outputs[0] == output
        assert info == {}
        assert vector.states[0] == single.state


@pytest.mark.parametrize("name", names())
def test_views_with_one_seed_go_through_the_same_states_and_rewards(name: str) -> None:
    pair = make(name, max_steps=9)
    mdp, pomdp = pair.vector(16, "mdp"), pair.vector(16, "pomdp")
    rng = np.random.default_rng(1)
    mdp.reset(seed=4)
    pomdp.reset(seed=4)
    for _ in range(25):
        np.testing.assert_array_equal(mdp.states, pomdp.states)
        actions = rng.integers(0, pair.model.n_actions, 16)
        full, restricted = mdp.step(actions), pomdp.step(actions)
        np.testing.assert_array_equal(full[0], pomdp.states)
        for part in (1, 2, 3):
            np.testing.assert_array_equal(full[part], restricted[part])


def test_same_seed_gives_the_same_course_and_another_seed_another() -> None:
    pair = make("tiger")
    courses = []
    for seed in (0, 0, 1):
        vector, rng = pair.vector(64, "pomdp"), np.random.default_rng(2)
        vector.reset(seed=seed)
        courses.append([vector.step(rng.integers(0, 3, 64))[:4] for _ in range(20)])
    assert data_equivalence(courses[0], courses[1], exact=True)
    assert not data_equivalence(courses[0], courses[2], exact=True)


def test_spaces_dtypes_and_mode_are_those_of_sync_vector_env() -> None:
    pair = make("tiger")
    for view in ("mdp", "pomdp"):
        ours = pair.vector(5, view)  # type: ignore[arg-type]
        theirs = SyncVectorEnv([getattr(pair, view)] * 5, autoreset_mode=AutoresetMode.SAME_STEP)
        assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        for space in ("observation_space", "action_space"):
            assert getattr(ours, space) == getattr(theirs, space)
            assert getattr(ours, f"single_{space}") == getattr(theirs, f"single_{space}")
        actions = np.array([0, 1, 2, 0, 1])
        first, theirs_first = ours.reset(seed=0), theirs.reset(seed=0)
        assert first[0].dtype == theirs_first[0].dtype
        assert first[1] == theirs_first[1] == {}
        for a, b in zip(ours.step(actions)[:4], theirs.step(actions)[:4], strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)


def test_ends_are_reported_as_sync_vector_env_reports_them(corridor: TabularPOMDP) -> None:
    """The corridor is deterministic, so both must agree number for number, infos included."""
    pair = EnvPair("corridor", corridor, max_steps=4)
    rng = np.random.default_rng(3)
    for view in ("mdp", "pomdp"):
        ours = pair.vector(6, view)  # type: ignore[arg-type]
        theirs = SyncVectorEnv([getattr(pair, view)] * 6, autoreset_mode=AutoresetMode.SAME_STEP)
        ours.reset(seed=0)
        theirs.reset(seed=0)
        ends = 0
        for _ in range(40):
            actions = rng.integers(0, 2, 6)
            mine, other = ours.step(actions), theirs.step(actions)
            for a, b in zip(mine[:4], other[:4], strict=True):
                np.testing.assert_array_equal(a, b)
            assert mine[4].keys() == other[4].keys()
            for key in mine[4]:
                assert data_equivalence(mine[4][key], other[4][key], exact=True), key
            ends += int((mine[2] | mine[3]).sum())
        assert ends > 20


def test_termination_and_truncation_by_hand(corridor: TabularPOMDP) -> None:
    vector = EnvPair("corridor", corridor, max_steps=2).vector(2, "mdp")
    vector.reset(seed=0)
    vector.step(np.array([0, 1]))
    outputs, rewards, terminated, truncated, infos = vector.step(np.array([0, 1]))
    assert terminated.tolist() == [True, False]  # arrived on the last step: no truncation
    assert truncated.tolist() == [False, True]
    assert rewards.tolist() == [10.0, -1.0]
    assert outputs.tolist() == [0, 0]
    assert infos["final_obs"].tolist() == [2, 0]
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, True]
    assert infos["final_info"] == {}
    assert not vector.step(np.array([1, 1]))[3].any()  # both count from 0 again


def test_infos_hold_nothing_but_last_outputs(blind: TabularPOMDP) -> None:
    """States that look alike: whatever is hidden, all that comes out is the same."""
    vector = EnvPair("blind", blind, max_steps=2).vector(3, "pomdp", "ansi")
    outputs, hidden = set(), set()
    for seed in range(8):
        course: list[Any] = [vector.reset(seed=seed)]
        hidden.add(tuple(vector.states.tolist()))
        for _ in range(3):
            course.append(vector.step(np.array([0, 1, 0])))
            course.append(vector.render())
        outputs.add(pickle.dumps(course))
    assert len(hidden) > 2
    assert len(outputs) == 1


def test_callers_may_change_what_they_are_given_and_what_they_gave() -> None:
    pair = make("tiger")
    vector, twin = pair.vector(8, "mdp"), pair.vector(8, "mdp")
    outputs, _ = vector.reset(seed=0)
    twin.reset(seed=0)
    outputs[:] = 9
    for _ in range(60):  # past the cut at 50
        actions = np.zeros(8, dtype=np.int64)
        parts, wanted = vector.step(actions), twin.step(np.zeros(8, dtype=np.int64))
        for part, other in zip(parts[:4], wanted[:4], strict=True):
            np.testing.assert_array_equal(part, other)
        for part in parts[:4]:
            part[:] = 1
        actions[:] = 2


def test_vector_survives_pickling() -> None:
    vector = make("tiger").vector(4, "pomdp")
    vector.reset(seed=1)
    copied = pickle.loads(pickle.dumps(vector))
    for _ in range(5):
        actions = np.array([0, 1, 2, 0])
        assert data_equivalence(vector.step(actions)[:4], copied.step(actions)[:4], exact=True)


@pytest.mark.parametrize("view", ["mdp", "pomdp"])
def test_gymnasiums_checks_of_resets_and_returned_data_pass(view: Any) -> None:
    vector: Any = make("grid", max_steps=2).vector(1, view)  # the checks ask "if terminated"
    env_checker.check_reset_return_type(vector)
    env_checker.check_reset_seed_determinism(vector)
    if hasattr(env_checker, "check_returned_data_not_reused"):  # Gymnasium 1.4 has it
        env_checker.check_returned_data_not_reused(vector)


def test_gymnasium_vector_wrappers_work_on_it() -> None:
    vector: Any = gymnasium.wrappers.vector.RecordEpisodeStatistics(make("tiger").vector(3))
    vector.reset(seed=0)
    for _ in range(50):
        infos = vector.step(np.zeros(3, dtype=np.int64))[4]
    np.testing.assert_allclose(infos["episode"]["r"], [-50.0] * 3)
    np.testing.assert_array_equal(infos["episode"]["l"], [50] * 3)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1], r"actions must be 3 whole numbers in \[0, 3\).*\(2,\)"),
        ([[0, 1, 2]], r"actions must be 3 whole numbers"),
        ([0.0, 1.0, 2.0], r"actions must be 3 whole numbers.*float64"),
        ([0, 1, 3], r"actions must be in \[0, 3\); received 3"),
        ([0, -1, 2], r"actions must be in \[0, 3\); received -1"),
    ],
)
def test_step_refuses_what_are_no_actions(actions: Any, message: str) -> None:
    vector = make("tiger").vector(3)
    vector.reset(seed=0)
    with pytest.raises(InvalidInputError, match=message):
        vector.step(actions)


def test_vector_refuses_bad_counts_options_and_use_before_reset() -> None:
    pair = make("tiger")
    for count in (0, -1, 1.5, "two"):
        with pytest.raises(InvalidInputError, match="num_envs must be a whole number ≥ 1"):
            pair.vector(count)  # type: ignore[arg-type]
    vector = pair.vector(2)
    for use in (lambda: vector.step(np.zeros(2, dtype=np.int64)), lambda: vector.states):
        with pytest.raises(InvalidInputError, match=r"call reset\(\) first"):
            use()
    with pytest.raises(InvalidInputError, match="options of reset must be empty"):
        vector.reset(options={"x": 1})


@pytest.mark.slow
def test_vector_is_at_least_fifty_times_as_fast_as_sync_vector_env() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "bench_vector.py"
    command = [sys.executable, str(script), "--rounds", "3"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    ratios = [int(found) for found in re.findall(r"(\d+) x$", run.stdout, re.MULTILINE)]
    assert len(ratios) == 2
    assert min(ratios) >= 50, run.stdout

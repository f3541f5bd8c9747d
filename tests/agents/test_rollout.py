"""TabularRollouts on models whose every outcome can be told beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.agents.rollout import TabularRollouts, action_cdf
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sampler import Sampler


def chain(length: int = 4, *, terminal: bool) -> TabularPOMDP:
    """0 → 1 → … → length−1; action 0 waits, action 1 steps on and pays the state's number."""
    transition = np.zeros((length, 2, length))
    for s in range(length):
        transition[s, 0, s] = 1.0
        transition[s, 1, min(s + 1, length - 1)] = 1.0
    reward = np.stack([np.zeros(length), np.arange(length, dtype=float)], axis=1)
    ends = np.zeros(length, dtype=bool)
    if terminal:
        ends[-1], reward[-1] = True, 0.0
    observation = np.ones((2, length, 1))
    start = np.eye(length)[0]
    return TabularPOMDP(transition, observation, reward, start, 0.9, terminal=ends)


def rows(
    model: TabularPOMDP, max_steps: int, *, n_runs: int = 1, n_envs: int = 2
) -> TabularRollouts:
    seeds = range(n_runs)
    return TabularRollouts(
        Sampler(model),
        SeedStreams(seeds, "environment"),
        SeedStreams(seeds, "action"),
        n_runs=n_runs,
        n_envs=n_envs,
        max_steps=max_steps,
    )


ALWAYS_ON = action_cdf(np.array([[[0.0, 1.0]] * 4]))


def test_collect_truncates_and_starts_anew_at_the_time_limit() -> None:
    rollout = rows(chain(terminal=False), 3).collect(ALWAYS_ON, 5)
    np.testing.assert_array_equal(rollout.states[:, 0], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(rollout.next_states[:, 0], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(rollout.rewards[:, 1], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(rollout.truncated[:, 0], [False, False, True, False, False])
    assert not rollout.terminated.any()


def test_collect_terminates_and_starts_anew_at_a_terminal_state() -> None:
    rollout = rows(chain(terminal=True), 50).collect(ALWAYS_ON, 4)
    np.testing.assert_array_equal(rollout.states[:, 0], [0, 1, 2, 0])
    np.testing.assert_array_equal(rollout.terminated[:, 0], [False, False, True, False])
    assert not rollout.truncated.any()


def test_collect_says_terminated_not_truncated_when_both_fall_together() -> None:
    rollout = rows(chain(terminal=True), 3).collect(ALWAYS_ON, 3)
    assert rollout.terminated[2].all()
    assert not rollout.truncated[2].any()


def test_collect_carries_states_from_one_rollout_to_the_next() -> None:
    split, whole = rows(chain(terminal=False), 3), rows(chain(terminal=False), 3)
    parts = [split.collect(ALWAYS_ON, 2), split.collect(ALWAYS_ON, 3)]
    together = whole.collect(ALWAYS_ON, 5)
    np.testing.assert_array_equal(np.concatenate([p.states for p in parts]), together.states)
    np.testing.assert_array_equal(np.concatenate([p.truncated for p in parts]), together.truncated)


def test_finished_returns_are_means_of_whole_episodes_also_across_rollouts() -> None:
    stepper = rows(chain(terminal=False), 3)
    stepper.collect(ALWAYS_ON, 2)
    assert np.isnan(stepper.finished_returns()).all()
    stepper.collect(ALWAYS_ON, 5)  # ends two episodes of 0 + 1 + 2 each
    np.testing.assert_allclose(stepper.finished_returns(), [3.0])
    assert np.isnan(stepper.finished_returns()).all()


def test_collect_follows_each_runs_own_policy() -> None:
    probs = np.stack([np.tile([1.0, 0.0], (4, 1)), np.tile([0.0, 1.0], (4, 1))])
    rollout = rows(chain(terminal=False), 9, n_runs=2, n_envs=3).collect(action_cdf(probs), 6)
    assert (rollout.actions[:, :3] == 0).all()
    assert (rollout.actions[:, 3:] == 1).all()


def test_collect_draws_actions_with_the_policys_frequencies() -> None:
    probs = np.tile([0.3, 0.7], (1, 4, 1))
    rollout = rows(chain(terminal=False), 9, n_envs=400).collect(action_cdf(probs), 50)
    # 20,000 draws: the standard error is 0.0032.
    assert rollout.actions.mean() == pytest.approx(0.7, abs=0.015)


def test_streams_give_a_seed_the_same_numbers_whoever_stands_beside_it() -> None:
    alone = SeedStreams([7], "action").uniforms(2, 3, 4)
    beside = SeedStreams([3, 7], "action", 2).uniforms(2, 3, 4)
    for variant in (0, 1):
        columns = slice(variant * 8 + 4, variant * 8 + 8)
        np.testing.assert_array_equal(beside[:, :, columns], alone)
    assert not np.array_equal(SeedStreams([7], "context").uniforms(2, 3, 4), alone)


def test_streams_go_on_where_a_saved_state_says() -> None:
    streams = SeedStreams([0, 1], "context")
    streams.uniforms(1, 5, 2)
    state, expected = streams.state(), streams.uniforms(1, 3, 2)
    other = SeedStreams([8, 9], "context")
    other.restore(state)
    np.testing.assert_array_equal(other.uniforms(1, 3, 2), expected)

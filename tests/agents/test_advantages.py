"""Rewards-to-go and advantages, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.agents.advantages import Advantages, rewards_to_go
from imm_rl.agents.rollout import Rollout


def rollout(
    rewards: list[float],
    *,
    states: list[int] | None = None,
    terminated: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
) -> Rollout:
    """One row of T steps."""
    size = len(rewards)
    visited = np.array(states or [0] * size)[:, None]

    def flags(at: tuple[int, ...]) -> np.ndarray:
        return np.isin(np.arange(size), at)[:, None]

    return Rollout(
        visited,
        np.zeros((size, 1), dtype=np.int64),
        np.roll(visited, -1, axis=0),
        np.array(rewards, dtype=float)[:, None],
        flags(terminated),
        flags(truncated),
    )


def test_rewards_to_go_stop_at_the_end_of_the_rollout_without_values() -> None:
    # 3, then 2 + 0.5·3, then 1 + 0.5·3.5
    np.testing.assert_allclose(rewards_to_go(rollout([1, 2, 3]), 0.5)[:, 0], [2.75, 3.5, 3.0])


def test_rewards_to_go_do_not_cross_episodes() -> None:
    np.testing.assert_allclose(
        rewards_to_go(rollout([1, 2, 4, 8], truncated=(1,)), 0.5)[:, 0], [2.0, 2.0, 8.0, 8.0]
    )


def test_rewards_to_go_bootstrap_a_time_limit_but_not_a_termination() -> None:
    values = np.array([[10.0], [20.0], [30.0], [40.0]])
    cut = rewards_to_go(rollout([1, 2, 4, 8], truncated=(1,)), 0.5, values)[:, 0]
    # 8 + 0.5·40; 4 + 0.5·28; cut: 2 + 0.5·20; 1 + 0.5·12
    np.testing.assert_allclose(cut, [7.0, 12.0, 18.0, 28.0])
    ended = rewards_to_go(rollout([1, 2, 4, 8], terminated=(1, 3)), 0.5, values)[:, 0]
    np.testing.assert_allclose(ended, [2.0, 2.0, 8.0, 8.0])


def test_rewards_to_go_of_a_constant_reward_are_the_geometric_series_only_when_bootstrapped() -> (
    None
):
    # Known truth: a reward of 1 for ever is worth 1/(1−γ) = 10 at every step; counting the time limit
    # as an end gives 1 at the last step.
    endless = np.full((20, 1), 10.0)
    constant = rollout([1.0] * 20, truncated=(19,))
    np.testing.assert_allclose(rewards_to_go(constant, 0.9, endless), 10.0)
    assert rewards_to_go(constant, 0.9)[-1, 0] == 1.0


def make(baseline: str, **changes: bool) -> Advantages:
    options = {"normalize": False, "bootstrap": False, **changes}
    return Advantages(1, 3, gamma=0.5, baseline=baseline, **options)


def test_advantages_without_baseline_are_the_returns() -> None:
    np.testing.assert_allclose(make("none")(rollout([1, 2, 3]))[:, 0], [2.75, 3.5, 3.0])


def test_advantages_with_mean_baseline_sum_to_zero_over_the_batch() -> None:
    mean = (2.75 + 3.5 + 3.0) / 3
    np.testing.assert_allclose(
        make("mean")(rollout([1, 2, 3]))[:, 0], [2.75 - mean, 3.5 - mean, 3.0 - mean]
    )


def test_advantages_of_a_run_use_only_its_own_batch() -> None:
    first, second = rollout([1, 2, 3]), rollout([100, 50, 0])
    both = Rollout(
        *(np.concatenate(parts, axis=1) for parts in zip(first[:6], second[:6], strict=True))
    )
    joint = Advantages(2, 3, gamma=0.5, baseline="mean", normalize=True, bootstrap=False)(both)
    alone = make("mean", normalize=True)(first)
    np.testing.assert_allclose(joint[:, :1], alone)


def test_advantages_are_scaled_to_mean_0_and_deviation_1() -> None:
    scaled = make("none", normalize=True)(rollout([1, 2, 3]))
    assert scaled.mean() == pytest.approx(0.0, abs=1e-12)
    assert scaled.std() == pytest.approx(1.0, abs=1e-6)


def test_advantages_of_equal_returns_are_zero_not_nan() -> None:
    np.testing.assert_array_equal(make("none", normalize=True)(rollout([0.0, 0.0])), [[0.0], [0.0]])


def test_value_table_learns_means_then_forgets_at_its_least_rate() -> None:
    advantages = make("value")
    first = advantages(rollout([1, 2, 3], states=[0, 1, 0]))
    # Nothing is known yet: the batch's mean stands in. Returns are 2.75, 3.5, 3.
    np.testing.assert_allclose(first[:, 0], np.array([2.75, 3.5, 3.0]) - 9.25 / 3)
    np.testing.assert_allclose(advantages.values, [(2.75 + 3.0) / 2, 3.5, 0.0])
    second = advantages(rollout([5.0], states=[0]))
    np.testing.assert_allclose(second[:, 0], 5.0 - 2.875)
    assert advantages.values[0] == pytest.approx((2.875 + 5.0) / 2)
    for _ in range(20):
        advantages(rollout([5.0], states=[0]))
    before = advantages.values[0]
    advantages(rollout([6.0], states=[0]))
    assert advantages.values[0] == pytest.approx(before + 0.2 * (6.0 - before))


def test_value_table_bootstraps_the_cut_state() -> None:
    advantages = make("value", bootstrap=True)
    advantages(rollout([4.0], states=[0], terminated=(0,)))
    # One step from state 0 to state 0, cut: 1 + 0.5·V(0) = 3, less V(0) = 4.
    np.testing.assert_allclose(advantages(rollout([1.0], states=[0], truncated=(0,))), [[-1.0]])


def test_value_table_bootstraps_a_state_never_met_with_the_mean_of_those_met() -> None:
    advantages = make("value", bootstrap=True)
    advantages(rollout([4.0], states=[0], terminated=(0,)))
    advantages(rollout([2.0], states=[1], terminated=(0,)))
    cut = rollout([1.0], states=[0], truncated=(0,))._replace(next_states=np.array([[2]]))
    # 1 + 0.5·mean(4, 2) less V(0) = 4
    np.testing.assert_allclose(advantages(cut), [[1.0 + 0.5 * 3.0 - 4.0]])


def test_advantages_go_on_where_a_saved_state_says() -> None:
    one, other = make("value"), make("value")
    one(rollout([1, 2, 3], states=[0, 1, 2]))
    other.restore(one.state())
    nxt = rollout([3, 1, 2], states=[2, 1, 0])
    np.testing.assert_array_equal(one(nxt), other(nxt))

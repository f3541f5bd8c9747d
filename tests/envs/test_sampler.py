"""The sampler: which uniform number gives which outcome, and what is paid."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.envs import make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sampler import Sampler


def wide_model(sparse: bool = False) -> TabularPOMDP:
    """Four states; a row of each kind: one outcome, two, three and all four."""
    rows = np.array(
        [[0.0, 0.0, 1.0, 0.0], [0.25, 0.0, 0.0, 0.75], [0.0, 0.5, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4]]
    )
    seen = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.25, 0.75]])
    return TabularPOMDP(
        [sp.csr_array(rows)] if sparse else rows[:, None, :],
        [sp.csr_array(seen)] if sparse else seen[None],
        np.arange(4.0)[:, None],
        [0.0, 0.5, 0.5, 0.0],
        0.9,
    )


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("state", "uniform", "after"),
    [
        (0, 0.0, 2),
        (0, 0.999999, 2),
        (1, 0.0, 0),
        (1, 0.2499, 0),
        (1, 0.25, 3),
        (1, 0.999999, 3),
        (2, 0.4999, 1),
        (2, 0.5, 2),
        (2, 0.75, 3),
        (3, 0.0999, 0),
        (3, 0.1, 1),
        (3, 0.3001, 2),
        (3, 0.6001, 3),
    ],
)
def test_transition_follows_the_cumulative_probabilities(
    sparse: bool, state: int, uniform: float, after: int
) -> None:
    sampler = Sampler(wide_model(sparse))
    found = sampler.transition(np.array([state]), np.array([0]), np.array([uniform]))
    assert found.tolist() == [after]


def test_initial_and_observe_follow_the_cumulative_probabilities() -> None:
    sampler = Sampler(wide_model())
    assert sampler.initial(np.array([0.0, 0.4999, 0.5, 0.9999])).tolist() == [1, 1, 2, 2]
    states, actions = np.array([0, 1, 2, 2, 3]), np.zeros(5, dtype=np.int64)
    uniforms = np.array([0.9999, 0.0, 0.4999, 0.5, 0.25])
    assert sampler.observe(actions, states, uniforms).tolist() == [0, 1, 0, 1, 1]


def test_transition_never_draws_what_has_probability_zero() -> None:
    # The sum of ten times 0.1 falls short of 1; the largest uniform must still find an outcome.
    row = np.zeros(12)
    row[1:11] = 0.1
    model = TabularPOMDP(np.tile(row, (12, 1, 1)), np.ones((1, 12, 1)), np.zeros((12, 1)), row, 0.9)
    assert np.cumsum(row)[10] < 1.0
    last = np.array([np.nextafter(1.0, 0.0)])
    assert Sampler(model).transition(np.array([0]), np.array([0]), last).tolist() == [10]


@pytest.mark.parametrize("name", ["tiger", "grid", "4x3"])
def test_transition_draws_each_outcome_with_its_probability(name: str) -> None:
    model = make(name).model
    sampler, rng = Sampler(model), np.random.default_rng(0)
    count = 20_000
    for state, action in ((0, 0), (1, 2), (0, 1)):
        rows = np.full(count, state), np.full(count, action)
        after = sampler.transition(*rows, rng.random(count))
        shares = np.bincount(after, minlength=model.n_states) / count
        wanted = model.transition_of(action)[state]
        assert np.abs(shares - wanted).max() < 0.02  # 5 standard deviations of a share of 1/2
        assert set(np.flatnonzero(shares)) <= set(np.flatnonzero(wanted))


def test_reward_is_that_of_state_and_action_where_nothing_more_is_given() -> None:
    model = make("tiger").model
    states, actions = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    paid = Sampler(model).reward(states, actions, states, states)
    assert paid.tolist() == [-1.0, -100.0, 10.0, -1.0, 10.0, -100.0]


@pytest.mark.parametrize("axes", [3, 4])
def test_reward_is_that_of_the_outcome_where_given(axes: int) -> None:
    shape = (2, 1, 2, 3)[:axes]
    outcome = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    model = TabularPOMDP(
        np.full((2, 1, 2), 0.5), np.full((1, 2, 3), 1 / 3), outcome, [0.5, 0.5], 0.9
    )
    states, after, seen = np.array([0, 1, 1]), np.array([1, 0, 1]), np.array([2, 0, 1])
    actions = np.zeros(3, dtype=np.int64)
    wanted = {3: [1.0, 2.0, 3.0], 4: [5.0, 6.0, 10.0]}[axes]
    assert Sampler(model).reward(states, actions, after, seen).tolist() == wanted


def test_step_is_its_parts(corridor: TabularPOMDP) -> None:
    step = Sampler(corridor).step(
        np.array([0, 1, 1, 2]), np.array([0, 0, 1, 0]), np.full(4, 0.5), np.full(4, 0.5)
    )
    assert step.next_states.tolist() == [1, 2, 1, 2]
    assert step.observations.tolist() == [0, 1, 0, 1]
    assert step.rewards.tolist() == [0.0, 10.0, -1.0, 0.0]
    assert step.terminated.tolist() == [False, True, False, True]


def test_dense_and_sparse_models_draw_alike() -> None:
    rng = np.random.default_rng(1)
    states, actions = rng.integers(0, 4, 500), np.zeros(500, dtype=np.int64)
    uniforms, others = rng.random(500), rng.random(500)
    steps = [Sampler(wide_model(s)).step(states, actions, uniforms, others) for s in (False, True)]
    for dense, sparse in zip(*steps, strict=True):
        np.testing.assert_array_equal(dense, sparse)

"""`MemorylessPolicy`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents import AlphaVectorPolicy, MemorylessPolicy, solve
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.errors import InvalidInputError

TABLE = [[1.0, 0.0], [0.25, 0.75]]
BELIEFS = [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_memoryless_is_a_restricted_policy() -> None:
    policy: RestrictedPolicy = MemorylessPolicy(TABLE, BELIEFS, name="table")
    assert isinstance(policy, RestrictedPolicy)
    assert (policy.name, policy.n_states, policy.n_actions) == ("table", 3, 2)
    assert MemorylessPolicy(TABLE, BELIEFS).n_observations == 2
    assert MemorylessPolicy.acts_on == "observation"


def test_memoryless_acts_on_the_observation_that_a_belief_comes_from() -> None:
    policy = MemorylessPolicy(TABLE, BELIEFS)
    assert policy.probs(np.array(BELIEFS[1])).tolist() == [0.25, 0.75]
    beliefs = np.array(BELIEFS)[[[0, 1, 1], [1, 0, 0]]]
    assert policy.probs(beliefs)[..., 0].tolist() == [[1.0, 0.25, 0.25], [0.25, 1.0, 1.0]]


def test_memoryless_allows_for_rounding_of_a_filter() -> None:
    policy = MemorylessPolicy(TABLE, BELIEFS)
    assert policy.probs(np.array([0.5 + 1e-9, 0.5 - 1e-9, 0.0])).tolist() == [1.0, 0.0]


def test_memoryless_refuses_a_belief_that_no_observation_gives() -> None:
    policy = MemorylessPolicy(TABLE, BELIEFS)
    with pytest.raises(InvalidInputError, match=r"received \[0.4, 0.6, 0.0\]"):
        policy.probs(np.array([[0.5, 0.5, 0.0], [0.4, 0.6, 0.0]]))


def test_memoryless_refuses_nan() -> None:
    with pytest.raises(InvalidInputError, match="be that of a single observation"):
        MemorylessPolicy(TABLE, BELIEFS).probs(np.array([0.5, np.nan, 0.0]))


def test_memoryless_acts_on_observations() -> None:
    policy = MemorylessPolicy(TABLE, BELIEFS)
    assert policy.observation_probs(np.array([1, 0])).tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert policy.observation_probs(np.array([[0], [1]])).shape == (2, 1, 2)
    for wrong in (2, -1, 0.5, "0", [[0], [0, 1]]):
        with pytest.raises(InvalidInputError, match=r"observations must be .*in \[0, 2\)"):
            policy.observation_probs(wrong)  # type: ignore[arg-type]


def test_memoryless_from_policy_does_what_the_policy_does() -> None:
    pair = imm_rl.make("grid(size=5)")
    assert pair.observation_beliefs is not None
    policy = solve(pair.restricted_model, "fib").with_(temperature=0.5)
    table = MemorylessPolicy.from_policy(policy, pair.observation_beliefs, name="grid table")
    assert table.table.shape == (5, 4)
    assert table.name == "grid table"
    beliefs = pair.observation_beliefs[[3, 3, 0]]
    np.testing.assert_allclose(table.probs(beliefs), policy.probs(beliefs))


def test_memoryless_from_policy_refuses_what_is_no_belief() -> None:
    policy = AlphaVectorPolicy([[0.0] * 3, [1.0] * 3], [0, 1], execution="vectors")
    with pytest.raises(InvalidInputError, match=r"observation_beliefs\[0\] must be probabilities"):
        MemorylessPolicy.from_policy(policy, [[0.5, 0.0, 0.0]])


def test_memoryless_table_of_a_constant_policy() -> None:
    policy = AlphaVectorPolicy([[0.0] * 3, [1.0] * 3], [0, 1], execution="vectors")
    assert MemorylessPolicy.from_policy(policy, BELIEFS).table.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("table", "beliefs", "message"),
    [
        ([0.5, 0.5], BELIEFS, "table must be a matrix"),
        ([[0.5, 0.5], [1.0]], BELIEFS, "table must be an array of numbers"),
        (TABLE, [["x"]], "observation_beliefs must be an array of numbers"),
        (TABLE, [[]], "observation_beliefs must be a matrix"),
        ([[0.5, 0.5], [0.5, 0.4]], BELIEFS, r"table\[1\] must be probabilities"),
        ([[1.5, -0.5], [0.5, 0.5]], BELIEFS, r"table\[0\] must be probabilities"),
        ([[np.nan, 1.0], [0.5, 0.5]], BELIEFS, r"table\[0\] must be probabilities"),
        (TABLE, [[0.5, 0.5], [1.0, 1.0]], r"observation_beliefs\[1\] must be prob"),
        ([*TABLE, [1.0, 0.0]], BELIEFS, "a row for each of 2 observations"),
        (TABLE, [BELIEFS[0]] * 2, "observations 0 and 1 have the same belief"),
    ],
)
def test_memoryless_refuses(table: Any, beliefs: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        MemorylessPolicy(table, beliefs)


def test_memoryless_accepts_two_observations_that_mean_the_same() -> None:
    policy = MemorylessPolicy([[0.5, 0.5]] * 2, [BELIEFS[0]] * 2)
    assert policy.probs(np.array(BELIEFS[0])).tolist() == [0.5, 0.5]

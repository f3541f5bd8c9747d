"""Evaluation against exact values: closed forms, backward induction and simulation agree."""

from __future__ import annotations

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.evaluation import Evaluator, exact_returns, oracle_return, restricted_returns
from imm_rl.agents.solve import solve
from imm_rl.envs.model import TabularPOMDP

NAMES = ["tiger", "cheese", "4x3", "crying-baby", "grid(size=5)"]


def random_policies(model: TabularPOMDP, n_runs: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(model.n_actions), (n_runs, model.n_states))


def test_tiger_returns_in_closed_form() -> None:
    model = imm_rl.make("tiger").model
    listen, right = np.array([[1.0, 0, 0]] * 2), np.array([[0, 0, 1.0], [0, 1.0, 0]])
    names = (model.state_names, model.action_names)
    assert exact_returns(model, np.stack([listen]), 50)[0] == pytest.approx(-50.0), names
    assert exact_returns(model, np.stack([right]), 50)[0] == pytest.approx(500.0), names
    uniform = np.full((1, 2, 3), 1 / 3)
    assert exact_returns(model, uniform, 50)[0] == pytest.approx(50 * (-1 + 10 - 100) / 3)
    assert oracle_return(model, 50) == pytest.approx(500.0)


@pytest.mark.parametrize("name", NAMES)
def test_simulated_returns_agree_with_backward_induction(name: str) -> None:
    pair = imm_rl.make(name)
    probs = random_policies(pair.model)
    evaluator = Evaluator(pair, [0, 1], 1, episodes=2000, n_steps=30)
    returns = evaluator.returns(probs)
    errors = returns.std(axis=1) / np.sqrt(2000)
    assert (
        np.abs(returns.mean(axis=1) - exact_returns(pair.model, probs, 30)) < 4.5 * errors
    ).all()


@pytest.mark.parametrize("name", NAMES)
def test_oracle_is_reached_by_no_random_policy_and_by_the_greedy_one_nearly(name: str) -> None:
    pair = imm_rl.make(name)
    probs = random_policies(pair.model, 20)
    assert (exact_returns(pair.model, probs, 50) < oracle_return(pair.model, 50)).all()


def test_evaluation_stops_at_a_terminal_state() -> None:
    # State 0 pays 1 and ends half of the time; the return is the number of steps taken.
    transition = np.zeros((2, 1, 2))
    transition[0, 0] = [0.5, 0.5]
    transition[1, 0, 1] = 1.0
    model = TabularPOMDP(
        transition, np.ones((1, 2, 1)), [[1.0], [0.0]], [1.0, 0.0], 0.9, terminal=[False, True]
    )
    pair = imm_rl.EnvPair(name="coin", model=model, max_steps=40)
    probs = np.ones((1, 2, 1))
    returns = Evaluator(pair, [0], 1, episodes=4000, n_steps=40).returns(probs)[0]
    assert returns.mean() == pytest.approx(2.0, abs=0.1)  # geometric; standard error 0.022
    assert exact_returns(model, probs, 40)[0] == pytest.approx(2.0, abs=1e-9)
    policy = solve(model, "qmdp")
    alone = restricted_returns(
        pair, policy, episodes=4000, n_steps=40, rng=np.random.default_rng(0)
    )
    assert alone.mean() == pytest.approx(2.0, abs=0.1)


def test_evaluation_meets_the_same_random_numbers_for_every_weight_of_a_seed() -> None:
    pair = imm_rl.make("4x3")
    probs = np.repeat(random_policies(pair.model, 1), 4, axis=0)  # two weights of two seeds
    returns = Evaluator(pair, [0, 1], 2, episodes=20, n_steps=30).returns(probs)
    np.testing.assert_array_equal(returns[:2], returns[2:])
    assert not np.array_equal(returns[0], returns[1])


def test_restricted_return_lies_between_its_discounted_bounds_on_tiger() -> None:
    pair = imm_rl.make("tiger")
    policy = solve(pair.model)
    returns = restricted_returns(
        pair, policy, episodes=4000, n_steps=50, rng=np.random.default_rng(0)
    )
    # It listens until sure, then opens: between the blind −1 a step and the seeing 10 a step.
    assert -50.0 < returns.mean() < 500.0
    assert returns.mean() == pytest.approx(46.5, abs=6.0)


def test_evaluator_goes_on_where_a_saved_state_says() -> None:
    pair = imm_rl.make("tiger")
    probs = random_policies(pair.model, 1)
    one, other = (Evaluator(pair, [0], 1, episodes=10, n_steps=9) for _ in range(2))
    one.returns(probs)
    other.restore(one.state())
    np.testing.assert_array_equal(one.returns(probs), other.returns(probs))

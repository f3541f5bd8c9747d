"""The fast informed bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents import solve
from imm_rl.agents.solvers.fib import joint_outcomes
from imm_rl.agents.solvers.mdp import mdp_values
from imm_rl.envs.model import TabularPOMDP


def random_model(seed: int, n_observations: int = 3, discount: float = 0.9) -> TabularPOMDP:
    rng = np.random.default_rng(seed)
    S, A = 5, 3
    transition = rng.dirichlet(np.full(S, 0.3), size=(S, A))
    transition[transition < 0.05] = 0.0
    transition /= transition.sum(axis=2, keepdims=True)
    observation = rng.dirichlet(np.full(n_observations, 0.5), size=(A, S))
    return TabularPOMDP(
        transition, observation, rng.normal(size=(S, A)), rng.dirichlet(np.ones(S)), discount
    )


def as_sparse(model: TabularPOMDP) -> TabularPOMDP:
    actions = range(model.n_actions)
    transition: list[Any] = [sp.csr_array(model.transition_of(a)) for a in actions]
    observation: list[Any] = [sp.csr_array(model.observation_of(a)) for a in actions]
    return TabularPOMDP(
        transition,
        observation,
        model.reward,
        model.initial,
        model.discount,
        terminal=model.terminal,
    )


def one_update(model: TabularPOMDP, vectors: np.ndarray) -> np.ndarray:
    """FIB's update, written as its formula."""
    result = model.reward.T.copy()
    for a in range(model.n_actions):
        joint = np.einsum("sp,po->sop", model.transition_of(a), model.observation_of(a))
        result[a] += model.discount * np.einsum("sop,ap->soa", joint, vectors).max(2).sum(1)
    return result


@pytest.mark.parametrize("sparse", [False, True])
def test_joint_outcomes_lists_possible_outcomes_only(sparse: bool) -> None:
    transition = np.array([[[0.5, 0.5]], [[0.0, 1.0]]])
    observation = np.array([[[1.0, 0.0], [0.2, 0.8]]])
    model = TabularPOMDP(transition, observation, np.zeros((2, 1)), [1.0, 0.0], 0.9)
    rows, starts = joint_outcomes(as_sparse(model) if sparse else model)
    # From state 0: o = 0 in state 0 or 1, o = 1 in state 1. From state 1: both in state 1.
    np.testing.assert_allclose(
        rows.toarray(), [[0.5, 0.1], [0.0, 0.4], [0.0, 0.2], [0.0, 0.8]], atol=1e-15
    )
    assert starts.tolist() == [0, 2]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sparse", [False, True])
def test_fib_is_the_fixed_point_of_its_formula(seed: int, sparse: bool) -> None:
    model = random_model(seed)
    policy = solve(as_sparse(model) if sparse else model, "fib", precision=1e-8)
    assert policy.converged
    assert policy.vector_actions.tolist() == [0, 1, 2]
    np.testing.assert_allclose(one_update(model, policy.vectors), policy.vectors, atol=1e-9)


def test_fib_equals_qmdp_when_the_observation_is_the_state() -> None:
    model = random_model(1, n_observations=5)
    seeing = TabularPOMDP(
        model.transition, np.stack([np.eye(5)] * 3), model.reward, model.initial, model.discount
    )
    policy = solve(seeing, "fib", precision=1e-8)
    np.testing.assert_allclose(policy.vectors, mdp_values(seeing)[1].T, atol=1e-8)


def test_fib_of_a_coin_nobody_sees() -> None:
    # The coin is tossed anew each step; naming its side pays 1. Blind, every step is worth 1/2, and
    # FIB knows as much for all steps but the first: V = 1/2 + γ/2 / (1 − γ) at γ = 0.5.
    model = TabularPOMDP(np.full((2, 2, 2), 0.5), np.ones((2, 2, 1)), np.eye(2), [0.5, 0.5], 0.5)
    policy = solve(model, "fib", precision=1e-9)
    np.testing.assert_allclose(policy.vectors, [[1.5, 0.5], [0.5, 1.5]], atol=1e-8)
    assert policy.upper_bound == pytest.approx(1.0)
    assert solve(model, "qmdp").upper_bound == pytest.approx(1.5)


def test_fib_stopped_by_the_clock_is_still_between_qmdp_and_its_limit() -> None:
    model = imm_rl.make("tiger").model
    stopped = solve(model, "fib", time_limit=1e-9)
    assert not stopped.converged
    assert "time limit" in stopped.notes[0]
    assert stopped.upper_bound == pytest.approx(189.0)


def test_fib_says_what_it_is() -> None:
    policy = solve(imm_rl.make("cheese").model, "fib")
    assert (policy.name, policy.execution, policy.lower_bound) == ("fib", "vectors", None)
    assert len(policy.vectors) == 4


@pytest.mark.parametrize(
    ("name", "upper"),
    [
        ("tiger.95", 87.18),
        ("1d", 1.4706),
        ("4x3.95", 2.1119),
        ("4x4.95", 4.4253),
        ("cheese.95", 3.5216),
        ("mini-hall2", 3.4519),
        ("shuttle.95", 32.890),
        ("network", 380.9),
        ("paint.95", 6.963),
        ("web-mall", 15.54),
        ("tiger-grid", 2.7326),
        ("hallway", 1.2894),
    ],
)
def test_fib_upper_bounds_of_known_problems(shared_data: Path, name: str, upper: float) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    assert solve(model, "fib").upper_bound == pytest.approx(upper, rel=2e-4)

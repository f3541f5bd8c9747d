"""Values of the fully observed problem, and QMDP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents import solve
from imm_rl.agents.solvers import mdp
from imm_rl.agents.solvers.mdp import finite_horizon_values, mdp_values, policy_values
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


def chain(discount: float = 0.5, *, sparse: bool = False) -> TabularPOMDP:
    """Two live states and an end: "go" moves 0 → 1 → end and pays 0, then 8; "quit" ends and pays 3."""
    go = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    quit_ = np.array([[0.0, 0.0, 1.0]] * 3)
    blind = np.ones((3, 1))
    transition: Any = [sp.csr_array(go), sp.csr_array(quit_)]
    return TabularPOMDP(
        transition if sparse else np.stack([go, quit_], axis=1),
        [sp.csr_array(blind)] * 2 if sparse else np.stack([blind, blind]),
        np.array([[0.0, 3.0], [8.0, 3.0], [0.0, 0.0]]),
        [1.0, 0.0, 0.0],
        discount,
        terminal=[False, False, True],
    )


def restless(discount: float) -> TabularPOMDP:
    """One state that pays 1 for staying, for ever, or ends."""
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, :, 1] = 1.0
    reward = np.array([[1.0, 0.0], [0.0, 0.0]])
    return TabularPOMDP(
        transition, np.ones((2, 2, 1)), reward, [1.0, 0.0], discount, terminal=[False, True]
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_mdp_values_by_hand(sparse: bool) -> None:
    values, q = mdp_values(chain(0.5, sparse=sparse))
    # From 0: quit pays 3, go pays 0.5 · 8 = 4.
    np.testing.assert_allclose(values, [4.0, 8.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(q, [[4.0, 3.0], [8.0, 3.0], [0.0, 0.0]], atol=1e-12)


def test_mdp_values_changes_its_mind_when_the_future_is_discounted_more() -> None:
    values, _ = mdp_values(chain(0.25))
    np.testing.assert_allclose(values, [3.0, 8.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_mdp_values_undiscounted_when_every_policy_ends(sparse: bool) -> None:
    values, _ = mdp_values(chain(1.0, sparse=sparse))
    np.testing.assert_allclose(values, [8.0, 8.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("method", ["qmdp", "fib", "pbvi"])
def test_solvers_refuse_undiscounted_when_a_policy_goes_on_for_ever(method: str) -> None:
    with pytest.raises(InvalidInputError, match="discount must be below 1 .* From state 0"):
        solve(restless(1.0), method)


def test_mdp_values_of_staying_is_a_geometric_series() -> None:
    values, _ = mdp_values(restless(0.9))
    np.testing.assert_allclose(values, [10.0, 0.0], atol=1e-12)


def test_policy_values_iterated_equal_factorised(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    transition = rng.dirichlet(np.ones(30), size=(30, 2))
    reward = rng.normal(size=(30, 2))
    parts = [sp.csr_array(transition[:, a]) for a in range(2)]
    seen = [sp.csr_array(np.ones((30, 1)))] * 2
    dense = TabularPOMDP(transition, np.ones((2, 30, 1)), reward, np.eye(30)[0], 0.99)
    sparse = TabularPOMDP(parts, seen, reward, np.eye(30)[0], 0.99)
    policy = rng.integers(2, size=30)
    monkeypatch.setattr(mdp, "DIRECT_STATES", 10)
    np.testing.assert_allclose(
        policy_values(sparse, policy), policy_values(dense, policy), atol=1e-11
    )
    np.testing.assert_allclose(mdp_values(sparse)[1], mdp_values(dense)[1], atol=1e-11)


def test_policy_values_satisfy_their_equation() -> None:
    model = imm_rl.make("cheese").model
    policy = np.arange(model.n_states) % model.n_actions
    values = policy_values(model, policy)
    every = np.arange(model.n_states)
    step = model.transition[every, policy]
    expected = model.reward[every, policy] + model.discount * step @ values
    np.testing.assert_allclose(values, expected, atol=1e-10)


@pytest.mark.parametrize("sparse", [False, True])
def test_finite_horizon_values_by_hand(sparse: bool) -> None:
    model = chain(0.5, sparse=sparse)
    assert finite_horizon_values(model, 0).tolist() == [0.0, 0.0, 0.0]
    assert finite_horizon_values(model, 1).tolist() == [3.0, 8.0, 0.0]
    assert finite_horizon_values(model, 2).tolist() == [8.0, 8.0, 0.0]
    assert finite_horizon_values(model, 2, discount=0.25).tolist() == [3.0, 8.0, 0.0]


def test_finite_horizon_values_need_no_discount() -> None:
    assert finite_horizon_values(restless(1.0), 7).tolist() == [7.0, 0.0]


def test_finite_horizon_values_of_tiger_open_the_right_door_each_step() -> None:
    assert finite_horizon_values(imm_rl.make("tiger").model, 20).tolist() == [200.0, 200.0]


@pytest.mark.parametrize("horizon", [-1, 1.5, "3"])
def test_finite_horizon_values_refuse(horizon: Any) -> None:
    with pytest.raises(InvalidInputError, match="horizon must be a whole number"):
        finite_horizon_values(chain(), horizon)


def test_qmdp_of_tiger() -> None:
    # Seeing the tiger one would earn 10 a step, 200 in all; listening first costs 1 and a step.
    policy = solve(imm_rl.make("tiger").model, "qmdp")
    listen, open_left, open_right = policy.vectors
    np.testing.assert_allclose(listen, [189.0, 189.0])
    np.testing.assert_allclose(sorted(open_left), [90.0, 200.0])
    np.testing.assert_allclose(sorted(open_right), [90.0, 200.0])
    assert policy.upper_bound == pytest.approx(189.0)
    assert policy.lower_bound is None
    assert policy.gap is None
    assert policy.converged
    assert policy.execution == "vectors"


@pytest.mark.parametrize(
    ("name", "upper"),
    [
        ("1d", 1.6452),
        ("4x3.95", 2.3330),
        ("4x4.95", 4.6234),
        ("cheese.95", 3.7899),
        ("mini-hall2", 3.6679),
        ("shuttle.95", 32.890),
        ("network", 480.3),
        ("paint.95", 12.116),
        ("web-mall", 32.32),
        ("tiger-grid", 2.9818),
        ("hallway", 1.4590),
    ],
)
def test_qmdp_upper_bounds_of_known_problems(shared_data: Path, name: str, upper: float) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    assert solve(model, "qmdp").upper_bound == pytest.approx(upper, rel=2e-4)

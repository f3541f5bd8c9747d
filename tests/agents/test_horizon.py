"""A finite horizon as a layered model: its numbers, its values, and what solvers make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents.simulation import discounted_returns
from imm_rl.agents.solvers import exact, fib, mdp, pbvi, qmdp
from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.agents.solvers.horizon import first_layer, layered
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError

TIGER = imm_rl.make("tiger").model
BELIEFS = np.column_stack([np.linspace(0, 1, 21), np.linspace(1, 0, 21)])


def limits() -> SolveSettings:
    return SolveSettings(time_limit=60.0, precision=1e-4, seed=0)


def at(solution: Solution, beliefs: FloatArray) -> FloatArray:
    return np.asarray((beliefs @ solution.vectors.T).max(axis=1))


def small(*, sparse: bool = False, discount: float = 0.9) -> TabularPOMDP:
    """Two states and an end; one action; O depends on the state arrived in."""
    transition = np.array([[0.0, 0.75, 0.25], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    observation = np.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])
    parts: Any = (transition[:, None], observation[None])
    if sparse:
        parts = ([sp.csr_array(transition)], [sp.csr_array(observation)])
    reward = np.array([[2.0], [-1.0], [0.0]])
    names = {
        "state_names": ["x", "y", "z"],
        "action_names": ["go"],
        "observation_names": ["n", "o"],
    }
    return TabularPOMDP(
        *parts, reward, [0.4, 0.6, 0.0], discount, terminal=[False, False, True], **names
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_layered_by_hand(sparse: bool) -> None:
    model = layered(small(sparse=sparse), 2)
    assert model.state_names == ("0:x", "0:y", "0:z", "1:x", "1:y", "1:z", "end")
    assert model.action_names == ("go",)
    assert model.observation_names == ("n", "o")
    assert model.discount == 0.9
    assert model.is_sparse
    expected = np.zeros((7, 7))
    expected[0, [4, 5]] = 0.75, 0.25  # x after no step, to y or z after one
    expected[1, [3, 4]] = 0.5, 0.5
    expected[[2, 5], [2, 5]] = 1.0  # z is terminal and stays
    expected[[3, 4, 6], 6] = 1.0  # the last step ends
    np.testing.assert_array_equal(model.transition_of(0).toarray(), expected)
    seen = [[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]] * 2 + [[1.0, 0.0]]
    np.testing.assert_array_equal(model.observation_of(0).toarray(), seen)
    assert model.reward[:, 0].tolist() == [2.0, -1.0, 0.0, 2.0, -1.0, 0.0, 0.0]
    assert model.initial.tolist() == [0.4, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert model.terminal.tolist() == [False, False, True, False, False, True, True]


def test_layered_is_one_model_for_dense_and_sparse() -> None:
    prints = [layered(small(sparse=sparse), 3).fingerprint() for sparse in (False, True)]
    assert prints[0] == prints[1]
    assert layered(small(), 4).fingerprint() != prints[0]
    assert layered(small(discount=1.0), 3).fingerprint() != prints[0]


def test_layered_holds_no_more_than_its_layers() -> None:
    model = layered(imm_rl.make("4x3").model, 40)
    own = [sp.csr_array(imm_rl.make("4x3").model.transition_of(a)).nnz for a in range(4)]
    assert model.n_states == 441
    for a in range(4):
        assert model.transition_of(a).nnz <= 40 * own[a] + 1
        assert (model.transition_of(a).data > 0.0).all()


@pytest.mark.parametrize("horizon", [0, -3, 2.0, "2", False])
def test_layered_refuses_what_is_no_horizon(horizon: Any) -> None:
    with pytest.raises(InvalidInputError, match="horizon must be a whole number ≥ 1"):
        layered(TIGER, horizon)


@pytest.mark.parametrize("discount", [0.9, 1.0])
@pytest.mark.parametrize("name", ["tiger", "4x3", "cheese"])
def test_layered_values_are_those_of_backward_induction(name: str, discount: float) -> None:
    model = imm_rl.make(name).model
    parts: Any = (model.transition, model.observation, model.reward, model.initial)
    model = TabularPOMDP(*parts, discount, terminal=model.terminal)
    values, _ = mdp.mdp_values(layered(model, 12))
    for t in range(12):
        layer = values[t * model.n_states : (t + 1) * model.n_states]
        np.testing.assert_allclose(
            layer, mdp.finite_horizon_values(model, 12 - t, discount), atol=1e-12
        )
    assert values[-1] == 0.0


@pytest.mark.parametrize("discount", [0.95, 1.0])
@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
def test_layered_tiger_is_bounded_by_every_solver(horizon: int, discount: float) -> None:
    model = TabularPOMDP(TIGER.transition, TIGER.observation, TIGER.reward, TIGER.initial, discount)
    layers = layered(model, horizon)
    best = exact.exact_horizon(model, horizon, limits())
    careless, informed, lower = (
        first_layer(solver.solve(layers, limits()), 2) for solver in (qmdp, fib, pbvi)
    )
    values = at(best, BELIEFS)
    assert (at(lower, BELIEFS) <= values + 1e-7).all()
    assert (at(informed, BELIEFS) >= values - 1e-7).all()
    assert (at(careless, BELIEFS) >= at(informed, BELIEFS) - 1e-9).all()
    assert lower.lower_bound == pytest.approx(best.lower_bound, abs=5e-4)
    assert lower.upper_bound is not None
    assert best.lower_bound is not None
    assert best.lower_bound - 1e-7 <= lower.upper_bound <= at(informed, BELIEFS[10:11])[0] + 1e-7


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_fib_of_the_layered_model_is_fib_of_the_horizon(horizon: int) -> None:
    vectors = np.zeros((3, 2))  # α_a(s) = r(s, a) + γ Σ_o max_a' Σ_s' T O α_a'(s'), from 0
    for _ in range(horizon):
        after = np.einsum("sap,apo,bp->asob", TIGER.transition, TIGER.observation, vectors)
        vectors = TIGER.reward.T + 0.95 * after.max(axis=-1).sum(axis=-1)
    found = first_layer(fib.solve(layered(TIGER, horizon), limits()), 2)
    assert found.actions.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.vectors, vectors, atol=1e-9)


def test_first_layer_merges_what_later_layers_tell_apart() -> None:
    vectors = np.array(
        [[1.0, 2.0, 9.0, 9.0, 0.0], [1.0, 2.0, 0.0, 0.0, 0.0], [1.0, 2.0, 5.0, 5.0, 0.0]]
    )
    solution = Solution(vectors, np.array([1, 1, 0]), 0.5, 1.5, False, "lookahead", "a note")
    found = first_layer(solution, 2)
    assert found.vectors.tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert found.actions.tolist() == [1, 0]
    assert (found.lower_bound, found.upper_bound, found.converged) == (0.5, 1.5, False)
    assert (found.execution, found.note) == ("vectors", "a note")


def test_first_layer_adds_the_base_of_sparse_vectors() -> None:
    base = np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    rows = sp.csr_array(np.array([[0.0, 0.5, 0.0, 9.0, 0.0], [-1.0, 0.0, 0.0, 0.0, 0.0]]))
    solution = Solution(rows, np.array([0, 1]), 0.0, 1.0, True, "lookahead", base=base)
    found = first_layer(solution, 2)
    assert found.vectors.tolist() == [[1.0, 2.5], [0.0, 2.0]]
    assert found.base is None


def test_policy_of_the_layered_model_earns_the_exact_value() -> None:
    layers = layered(TIGER, 4)
    policy = imm_rl.agents.solve(layers, "pbvi", cache=False)
    returns = discounted_returns(layers, policy, episodes=4000, seed=1)
    interval = 4.0 * returns.std() / np.sqrt(len(returns))
    assert returns.mean() == pytest.approx(1.7955, abs=interval)

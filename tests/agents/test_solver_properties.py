"""What must hold of every solver on any model, tried on random small ones.

Models have one or two terminal states or none, impossible transitions and observations, dense or CSR
arrays, and γ up to 1. Values are held against a recursion over the whole tree of beliefs.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.agents import AlphaVectorPolicy, solve, solver_names
from imm_rl.agents.simulation import discounted_returns
from imm_rl.agents.solvers import exact, fib, mdp, pbvi, qmdp
from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.agents.solvers.horizon import first_layer, layered
from imm_rl.envs.model import FloatArray, TabularPOMDP

METHODS = sorted(({*solver_names(), "exact"}) - {"pomdp"})
PRECISION = 1e-2
FEW, MANY = range(12), range(12, 148)
BLOCK = 17  # models a slow test: short enough to be shared out


def limits(seconds: float = 60.0, precision: float = PRECISION) -> SolveSettings:
    return SolveSettings(time_limit=seconds, precision=precision, seed=0)


def rows(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> FloatArray:
    """Random distributions (*shape, n), about half of the entries 0, the others not rare."""
    weights = rng.dirichlet(np.full(n, 0.7), size=shape) + 0.1
    weights *= rng.random(weights.shape) < 0.5
    empty = weights.sum(axis=-1) == 0.0
    weights[empty, rng.integers(n, size=empty.sum())] = 1.0
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


@functools.cache
def random_model(seed: int, discount: float | None = None) -> TabularPOMDP:
    """A model of 2…4 states, 1…3 actions, 1…3 observations; γ = 1 only where every policy ends."""
    rng = np.random.default_rng(seed)
    n_states, n_actions, n_seen = rng.integers([2, 1, 1], [5, 4, 4])
    n_ends = int(rng.integers(0, min(3, n_states)))
    transition = rows(rng, (n_states, n_actions), n_states)
    observation = rows(rng, (n_actions, n_states), n_seen)
    reward = rng.normal(size=(n_states, n_actions)) * rng.choice([0.1, 1.0, 30.0])
    if n_seen > 1 and rng.random() < 0.3:  # an observation that never comes
        observation[..., 0] = 0.0
        observation[..., 1] += 0.1
        observation /= observation.sum(axis=-1, keepdims=True)
    terminal = np.arange(n_states) >= n_states - n_ends
    if n_ends:
        transition[..., -1] += 0.2
        transition /= transition.sum(axis=-1, keepdims=True)
        transition[terminal] = np.eye(n_states)[terminal][:, None, :]
        reward[terminal] = 0.0
    if discount is None:
        discount = float(rng.choice([0.5, 0.8, 0.95, 1.0] if n_ends else [0.5, 0.8, 0.95]))
    stacks: Any = (transition, observation)
    if rng.random() < 0.5:
        actions = range(n_actions)
        stacks = [
            [sp.csr_array(transition[:, a]) for a in actions],
            [sp.csr_array(observation[a]) for a in actions],
        ]
    initial = rows(rng, (), n_states)
    return TabularPOMDP(*stacks, reward, initial, discount, terminal=terminal)


def random_beliefs(model: TabularPOMDP, count: int = 12) -> FloatArray:
    """b0, the corners, and random ones."""
    rng = np.random.default_rng(count)
    drawn = rng.dirichlet(np.full(model.n_states, 0.5), size=count)
    return np.concatenate([model.initial[None, :], np.eye(model.n_states), drawn])


def tree_values(model: TabularPOMDP, beliefs: FloatArray, horizon: int) -> FloatArray:
    """Exact values (B,) of unnormalised beliefs (B, S) over a horizon: the whole tree, no pruning."""
    if horizon == 0 or len(beliefs) == 0:
        return np.zeros(len(beliefs))
    q = beliefs @ model.reward
    for action in range(model.n_actions):
        predicted = beliefs @ sp.csr_array(model.transition_of(action)).toarray()
        seen = sp.csr_array(model.observation_of(action)).toarray()
        after = (predicted[:, None, :] * seen.T[None]).reshape(-1, model.n_states)
        possible = after.sum(axis=1) > 0.0
        values = np.zeros(len(after))
        values[possible] = tree_values(model, after[possible], horizon - 1)
        q[:, action] += model.discount * values.reshape(len(beliefs), -1).sum(axis=1)
    return np.asarray(q.max(axis=1))


@functools.cache
def solved(seed: int, method: str) -> AlphaVectorPolicy:
    model = random_model(seed)
    if method in solver_names():
        return solve(model, method, time_limit=60.0, precision=PRECISION, cache=False)
    solution = exact.solve(model, limits())
    return AlphaVectorPolicy(
        solution.vectors,
        solution.actions,
        model=model,
        execution=solution.execution,
        lower_bound=solution.lower_bound,
        upper_bound=solution.upper_bound,
        converged=solution.converged,
    )


def tolerance(*values: float | None) -> float:
    return PRECISION * max([1.0, *(abs(v) for v in values if v is not None)])


def check_order(seed: int) -> None:
    """Exact ≤ FIB ≤ QMDP at b0 and elsewhere; every lower bound ≤ every upper one."""
    beliefs = random_beliefs(random_model(seed))
    policies = {method: solved(seed, method) for method in METHODS}
    best = policies["exact"]
    assert best.converged
    assert best.lower_bound is not None
    assert best.upper_bound is not None
    assert 0.0 <= best.upper_bound - best.lower_bound <= tolerance(best.lower_bound)
    assert best.lower_bound == pytest.approx(float(best.value(beliefs[0])))
    informed, careless = policies["fib"], policies["qmdp"]
    room = 1e-9 * max(1.0, float(np.abs(careless.vectors).max()))
    assert (best.value(beliefs) <= informed.value(beliefs) + room).all()
    assert (informed.value(beliefs) <= careless.value(beliefs) + room).all()
    for policy in policies.values():
        if policy.upper_bound is not None:
            assert best.lower_bound <= policy.upper_bound + room
        if policy.lower_bound is not None:
            assert policy.lower_bound <= best.upper_bound + room
            assert policy.upper_bound is not None
            assert policy.lower_bound <= policy.upper_bound
            assert (policy.value(beliefs) <= informed.value(beliefs) + room).all()


def check_simulated(seed: int, method: str) -> None:
    """Lower bound ≤ simulated return + interval; simulated return − interval ≤ upper bound."""
    model, policy = random_model(seed), solved(seed, method)
    returns = discounted_returns(model, policy, episodes=600, seed=seed)
    cut = 1e-3 * np.abs(model.reward).max() / (1.0 - min(model.discount, 0.99))
    interval = 4.0 * returns.std() / np.sqrt(len(returns)) + cut
    if policy.lower_bound is not None:
        assert returns.mean() >= policy.lower_bound - interval - tolerance(policy.lower_bound)
    assert policy.upper_bound is not None
    assert returns.mean() <= policy.upper_bound + interval


def check_tree(seed: int) -> None:
    """Bounds of the infinite horizon against six steps of the tree and what may follow."""
    model = random_model(seed, 0.5)
    tail = 0.5**6 * float(np.abs(model.reward).max()) / 0.5
    beliefs = random_beliefs(model)
    values = tree_values(model, beliefs, 6)
    room = 1e-9 * max(1.0, float(np.abs(model.reward).max()))
    solution = exact.solve(model, limits(precision=1e-3))
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert solution.lower_bound <= values[0] + tail + room
    assert solution.upper_bound >= values[0] - tail - room
    assert ((beliefs @ solution.vectors.T).max(axis=1) <= values + tail + room).all()
    informed = fib.solve(model, limits()).vectors
    assert ((beliefs @ informed.T).max(axis=1) >= values - tail - room).all()


def check_horizon(seed: int, discount: float) -> None:
    """Finite horizons: exact is the tree's value everywhere; layered solvers bound it."""
    model = random_model(seed, discount)
    beliefs = random_beliefs(model)
    for horizon in range(1, 5):
        values = tree_values(model, beliefs, horizon)
        scale = max(1.0, float(np.abs(values).max()))
        solution = exact.exact_horizon(model, horizon, limits())
        found = (beliefs @ solution.vectors.T).max(axis=1)
        np.testing.assert_allclose(found, values, atol=1e-6 * scale, rtol=0.0)
        assert solution.lower_bound == solution.upper_bound
        assert solution.lower_bound == pytest.approx(values[0], abs=1e-6 * scale)
        assert solution.converged
        check_first_actions(model, solution, beliefs[:8], values[:8], horizon)
        layers = layered(model, horizon)
        careless, informed = (first_values(s.solve(layers, limits()), beliefs) for s in (qmdp, fib))
        seen = mdp.finite_horizon_values(model, horizon, discount)
        np.testing.assert_allclose(careless[1 : 1 + model.n_states], seen, atol=1e-9 * scale)
        assert (informed >= values - 1e-9 * scale).all()
        assert (careless >= informed - 1e-9 * scale).all()
    lower = first_values(pbvi.solve(layers, limits()), beliefs)
    assert (lower <= values + 1e-9 * scale).all()
    assert lower[0] >= values[0] - tolerance(values[0])


def first_values(solution: Solution, beliefs: FloatArray) -> FloatArray:
    """Values (B,) of beliefs (B, S) in the first layer."""
    vectors = first_layer(solution, beliefs.shape[1]).vectors
    return np.asarray((beliefs @ vectors.T).max(axis=1))


def check_first_actions(
    model: TabularPOMDP, solution: Solution, beliefs: FloatArray, best: FloatArray, horizon: int
) -> None:
    """The action of the best vector is a best first action; best (B,): the tree's values."""
    chosen = solution.actions[(beliefs @ solution.vectors.T).argmax(axis=1)]
    after = [
        (beliefs[b] @ sp.csr_array(model.transition_of(a)).toarray())
        * sp.csr_array(model.observation_of(a)).toarray().T
        for b, a in enumerate(chosen)
    ]  # (O, S) for each belief
    later = tree_values(model, np.concatenate(after), horizon - 1).reshape(len(beliefs), -1)
    now = (beliefs @ model.reward)[np.arange(len(beliefs)), chosen]
    scale = max(1.0, float(np.abs(best).max()))
    np.testing.assert_allclose(now + model.discount * later.sum(axis=1), best, atol=1e-6 * scale)


@pytest.mark.parametrize("seed", FEW)
def test_bounds_are_ordered(seed: int) -> None:
    check_order(seed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", FEW)
def test_simulated_return_lies_between_the_bounds(seed: int, method: str) -> None:
    check_simulated(seed, method)


@pytest.mark.parametrize("seed", FEW)
def test_bounds_hold_against_the_tree(seed: int) -> None:
    check_tree(seed)


@pytest.mark.parametrize("discount", [0.9, 1.0])
@pytest.mark.parametrize("seed", FEW[:6])
def test_finite_horizons_are_the_trees(seed: int, discount: float) -> None:
    check_horizon(seed, discount)


def test_random_models_cover_what_they_should() -> None:
    models = [random_model(seed) for seed in [*FEW, *MANY]]
    few = models[: len(FEW)]
    for some in (models, few):
        assert {m.is_sparse for m in some} == {True, False}
        assert {int(m.terminal.sum()) for m in some} == {0, 1, 2}
        assert 1.0 in {m.discount for m in some}
        assert any(m.n_observations > 1 and not any_seen(m).all() for m in some)
    assert {m.discount for m in models} == {0.5, 0.8, 0.95, 1.0}


def any_seen(model: TabularPOMDP) -> np.ndarray:
    """Whether each observation (O,) is possible at all."""
    matrices = [sp.csr_array(model.observation_of(a)).toarray() for a in range(model.n_actions)]
    return np.stack(matrices).any(axis=(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(0, len(MANY), BLOCK))
def test_all_properties_hold_on_hundreds_of_models(block: int) -> None:
    for seed in MANY[block : block + BLOCK]:
        check_order(seed)
        for method in METHODS:
            check_simulated(seed, method)
        check_tree(seed)
        check_horizon(seed, 1.0 if seed % 2 else 0.9)

"""Lower bound ≤ exact ≤ upper bounds, on random models: dense and sparse, with and without an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from imm_rl.agents import AlphaVectorPolicy, solve, solver_names
from imm_rl.agents.solvers import fib, pbvi, qmdp, sarsop
from imm_rl.agents.solvers.base import SolveSettings
from imm_rl.agents.solvers.collect import Located, disputed
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.agents.solvers.lower_bound import LowerBound
from imm_rl.agents.solvers.regions import Regions
from imm_rl.agents.solvers.sawtooth import UpperBound, ratios
from imm_rl.envs.model import TabularPOMDP

HORIZON = 7
DISCOUNT = 0.5


def limits() -> SolveSettings:
    return SolveSettings(time_limit=20.0, precision=1e-3, seed=0)


def random_model(seed: int, *, sparse: bool, ends: bool, discount: float) -> TabularPOMDP:
    """Three states, two actions, two observations; the last state ends the episode where asked."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(3, 0.5), size=(3, 2))
    observation = rng.dirichlet(np.full(2, 0.4), size=(2, 3))
    reward = rng.normal(size=(3, 2))
    if ends:
        transition[:, :, 2] += 0.1
        transition /= transition.sum(axis=2, keepdims=True)
        transition[2] = [0.0, 0.0, 1.0]
        reward[2] = 0.0
    parts: list[list[Any]] = [
        [sp.csr_array(transition[:, a]) for a in range(2)],
        [sp.csr_array(observation[a]) for a in range(2)],
    ]
    return TabularPOMDP(
        parts[0] if sparse else transition,
        parts[1] if sparse else observation,
        reward,
        rng.dirichlet(np.ones(3)),
        discount,
        terminal=[False, False, True] if ends else None,
    )


def tree_values(model: TabularPOMDP, beliefs: np.ndarray, horizon: int) -> np.ndarray:
    """Exact values (B,) of unnormalised beliefs (B, S) over a horizon: the whole tree, no pruning."""
    if horizon == 0:
        return np.zeros(len(beliefs))
    actions = range(model.n_actions)
    step = np.stack([sp.csr_array(model.transition_of(a)).toarray() for a in actions])
    seen = np.stack([sp.csr_array(model.observation_of(a)).toarray() for a in actions])
    after = np.einsum("bs,asp,apo->baop", beliefs, step, seen)
    values = tree_values(model, after.reshape(-1, model.n_states), horizon - 1)
    future = values.reshape(after.shape[:3]).sum(axis=2)
    return np.asarray((beliefs @ model.reward + model.discount * future).max(axis=1))


def exact(model: TabularPOMDP, beliefs: np.ndarray) -> tuple[np.ndarray, float]:
    """Values (B,) of beliefs (B, S) and how far they may be off for the steps left out."""
    tail = model.discount**HORIZON * np.abs(model.reward).max() / (1.0 - model.discount)
    return tree_values(model, beliefs, HORIZON), float(tail)


models = st.builds(
    random_model,
    st.integers(0, 10_000),
    sparse=st.booleans(),
    ends=st.booleans(),
    discount=st.just(DISCOUNT),
)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(models)
def test_bounds_are_ordered_at_the_start(model: TabularPOMDP) -> None:
    values, tail = exact(model, model.initial[None, :])
    informed, careless = (s.solve(model, limits()).upper_bound for s in (fib, qmdp))
    assert informed is not None
    assert careless is not None
    assert informed <= careless + 1e-9
    for solver in (pbvi, sarsop):
        found = solver.solve(model, limits())
        assert found.lower_bound is not None
        assert found.upper_bound is not None
        assert found.lower_bound <= values[0] + tail
        assert found.upper_bound >= values[0] - tail
        assert found.lower_bound <= found.upper_bound <= informed + 1e-9
        # Within the precision the lower bound is the value; sarsop's upper bound proves it.
        precision = 1e-3 * max(1.0, abs(found.lower_bound))
        assert found.lower_bound >= values[0] - tail - precision
        if solver is sarsop:
            assert found.converged
            assert found.upper_bound - found.lower_bound <= precision


@settings(max_examples=6, deadline=None, derandomize=True)
@given(models, st.integers(0, 100))
def test_bounds_are_ordered_at_every_belief(model: TabularPOMDP, seed: int) -> None:
    beliefs = np.random.default_rng(seed).dirichlet(np.full(3, 0.4), size=8)
    beliefs = np.concatenate([beliefs, np.eye(3)])
    values, tail = exact(model, beliefs)
    informed, careless = (s.solve(model, limits()).vectors for s in (fib, qmdp))
    assert ((beliefs @ informed.T).max(axis=1) >= values - tail).all()
    assert (informed <= careless + 1e-9).all()
    for solver in (pbvi, sarsop):
        found = solver.solve(model, limits())
        policy = AlphaVectorPolicy(found.vectors, found.actions, model=model)
        assert (policy.value(beliefs) <= values + tail).all()
        # A look-ahead on lower bounds is a lower bound too, and no worse than the vectors where
        # those are settled.
        ahead = policy.action_values(np.concatenate([model.initial[None], beliefs])).max(axis=-1)
        assert (ahead[1:] <= values + tail).all()
        assert ahead[0] >= policy.value(model.initial) - 1e-3


@settings(max_examples=15, deadline=None, derandomize=True)
@given(models, st.integers(0, 100))
def test_sawtooth_stays_above_the_exact_value_and_only_falls(
    model: TabularPOMDP, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dynamics = Dynamics(model)
    upper = UpperBound(dynamics, informed_vectors(model, limits())[0])
    beliefs = rng.dirichlet(np.full(3, 0.4), size=10)
    values, tail = exact(model, beliefs)
    before = upper.at(0, beliefs)
    for _ in range(3):
        upper.add(0, rng.dirichlet(np.full(3, 0.4), size=5))
        upper.improve(20, 1e-6, limits())
        now = upper.at(0, beliefs)
        assert (now <= before + 1e-12).all()
        assert (now >= values - tail).all()
        before = now


def test_sawtooth_by_hand() -> None:
    # Corners 1 and 3, and at (½, ½) the value 1 instead of the line's 2.
    model = TabularPOMDP(
        np.stack([np.eye(2)] * 2, axis=1), np.ones((2, 2, 1)), np.zeros((2, 2)), [0.5, 0.5], 0.5
    )
    upper = UpperBound(Dynamics(model), np.array([[1.0, 3.0]]))
    beliefs = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.5, 1.5]])
    np.testing.assert_allclose(upper.at(0, beliefs), beliefs @ [1.0, 3.0])
    # No reward, and states stay: a backup of the point halves the line's 2.
    upper.add(0, np.array([[0.5, 0.5]]))
    # At (¾, ¼) half of the point is contained: 1.5 − ½. The last belief is twice the one before.
    np.testing.assert_allclose(upper.at(0, beliefs), [1.0, 1.0, 1.0, 2.0, 4.0])
    assert upper.at_root() == pytest.approx(1.0)
    # Nothing is ever earned, so everything falls to 0 in time.
    upper.improve(60, 1e-12, limits())
    np.testing.assert_allclose(upper.at(0, beliefs), 0.0, atol=1e-9)


def test_sawtooth_of_regions_is_the_whole_ones() -> None:
    # The start is either of two states; each is seen by the first step and holds for ever.
    stay = np.stack([np.eye(2)] * 2, axis=1)
    seen = np.stack([np.eye(2)] * 2)
    model = TabularPOMDP(stay, seen, np.array([[1.0, 0.0], [0.0, 2.0]]), [0.5, 0.5], 0.5)
    parts = Regions(2, [np.arange(2), np.array([0]), np.array([1])])
    values = []
    for dynamics in (Dynamics.whole(model), Dynamics(model, parts)):
        upper = UpperBound(dynamics, np.array([[9.0, 9.0]]))
        upper.improve(60, 1e-12, limits())
        upper.add(0, np.array([[0.5, 0.5]]))
        values.append(upper.at_root())
    # Seen from the second step on: 1 and 2 a step. The first step is blind: ½ or 1.
    assert values == pytest.approx([1.0 + 0.5 * (2.0 + 4.0) / 2] * 2)


def test_ratios_skip_states_where_the_point_is_zero() -> None:
    points = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    beliefs = np.array([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])
    expected = np.array([[0.5, 0.0], [0.4, 0.5]])
    np.testing.assert_allclose(ratios(beliefs, points), expected)
    # Fewer beliefs than points are gone through by belief.
    np.testing.assert_allclose(ratios(beliefs[:1], points), expected[:1], atol=1e-12)
    np.testing.assert_allclose(ratios(beliefs[1:], points), expected[1:], atol=1e-12)
    assert ratios(beliefs, points[:0]).shape == (2, 0)


def test_disputed_beliefs_start_at_b0_and_are_distributions() -> None:
    model = random_model(3, sparse=False, ends=False, discount=0.9)
    dynamics = Dynamics(model)
    upper = UpperBound(dynamics, informed_vectors(model, limits())[0])
    lower = LowerBound(dynamics)

    def followed(tolerance: float, width: int = 4) -> list[list[Located]]:
        trial = disputed(dynamics, upper, lower, width=width, depth=5, tolerance=tolerance)
        return list(trial)

    depths = followed(1e-3)
    np.testing.assert_array_equal(depths[0][0].belief, model.initial)
    assert [len(found) for found in depths] == [1, 2, 4, 4, 4, 4]
    met = np.stack([item.belief for found in depths for item in found])
    np.testing.assert_allclose(met.sum(axis=1), 1.0)
    assert [len(found) for found in followed(1e-3, width=1)] == [1] * 6
    # Nothing is in dispute where any gap is accepted.
    assert len(followed(1e3)) == 1


@pytest.mark.parametrize("method", solver_names())
@pytest.mark.parametrize("discount", [0.9, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_solver_counts_until_the_end_and_no_further(
    method: str, discount: float, sparse: bool
) -> None:
    # "go" pays 1 and ends the episode every other time: 1 / (1 − γ/2). "no" pays 0 and ends it.
    go, no = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    blind = np.ones((2, 1))
    parts: list[Any] = [sp.csr_array(go), sp.csr_array(no)]
    model = TabularPOMDP(
        parts if sparse else np.stack([go, no], axis=1),
        [sp.csr_array(blind)] * 2 if sparse else np.stack([blind] * 2),
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        [1.0, 0.0],
        discount,
        terminal=[False, True],
    )
    policy = solve(model, method)
    value = 1.0 / (1.0 - discount / 2.0)
    assert policy.upper_bound == pytest.approx(value, rel=1e-3)
    assert policy.value(np.array([1.0, 0.0])) == pytest.approx(value, rel=1e-3)
    assert policy.value(np.array([0.0, 1.0])) == pytest.approx(0.0, abs=1e-9)
    assert policy.probs(np.array([1.0, 0.0])).tolist() == [1.0, 0.0]
    # Mass on the end neither earns nor sways: half a chance to be alive is worth half.
    assert policy.value(np.array([0.5, 0.5])) == pytest.approx(value / 2, rel=1e-3)
    if policy.lower_bound is not None:
        assert policy.lower_bound == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("method", solver_names())
def test_solver_decides_under_uncertainty_before_the_end(method: str) -> None:
    # Either action ends: "safe" pays 1, "bold" pays 5 in the first state and −6 in the second.
    transition = np.zeros((3, 2, 3))
    transition[:, :, 2] = 1.0
    model = TabularPOMDP(
        transition,
        np.ones((2, 3, 1)),
        np.array([[1.0, 5.0], [1.0, -6.0], [0.0, 0.0]]),
        [0.5, 0.5, 0.0],
        1.0,
        terminal=[False, False, True],
    )
    policy = solve(model, method)
    assert policy.upper_bound == pytest.approx(1.0)
    beliefs = np.array([[0.5, 0.5, 0.0], [0.7, 0.3, 0.0], [0.07, 0.03, 0.9]])
    assert policy.action(beliefs[0]) == 0
    # The other beliefs are never met from the start, so only a look-ahead is sure to be right there.
    careful = policy.with_(execution="lookahead")
    assert careful.action(beliefs).tolist() == [0, 1, 1]
    best = careful.action_values(beliefs).max(axis=-1)
    np.testing.assert_allclose(best, [1.0, 1.7, 0.17], atol=1e-9)

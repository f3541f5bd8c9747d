"""Values of alpha vectors at beliefs: CSR vectors on a base are worth what dense ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents import AlphaVectorPolicy
from imm_rl.agents.restricted.vector_values import VectorValues
from imm_rl.agents.solvers import lower_bound as lower_bound_module
from imm_rl.agents.solvers import sarsop
from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError

N_STATES, N_ACTIONS = 30, 4
GROUPS = ([0, 3, 4, 9], [9, 10, 11], list(range(12, 25)), [3], [28, 29])
"""Some overlap; states 1 and 2 are in none. Action 2 has no vector."""


def spread_vectors(seed: int = 0) -> tuple[sp.csr_array, np.ndarray, FloatArray]:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=N_STATES) - 3.0
    rows, columns, data, actions = [], [], [], []
    for number in range(20):
        states = GROUPS[number % len(GROUPS)]
        rows += [number] * len(states)
        columns += states
        data += list(rng.random(len(states)) * 4.0 * (rng.random(len(states)) < 0.8))
        actions.append(int(rng.choice([0, 1, 3])))
    indptr = np.searchsorted(rows, np.arange(21))
    shape = (20, N_STATES)  # entries that are 0 are kept: they say which states a vector is for
    return sp.csr_array((data, columns, indptr), shape=shape), np.array(actions), base


def beliefs_of_every_kind() -> FloatArray:
    """Within groups, across them, on states in none, corners."""
    rng = np.random.default_rng(1)
    inside = np.zeros((40, N_STATES))
    for row in inside:
        states = GROUPS[rng.integers(len(GROUPS))]
        row[states] = rng.dirichlet(np.ones(len(states)))
    across = rng.dirichlet(np.full(N_STATES, 0.1), size=40) * (rng.random((40, N_STATES)) < 0.5)
    across[:, 1] += 0.1
    across /= across.sum(axis=1, keepdims=True)
    return np.concatenate([inside, across, np.eye(N_STATES)])


def both(seed: int = 0) -> tuple[VectorValues, VectorValues]:
    """The same vectors, CSR and dense."""
    rows, actions, base = spread_vectors(seed)
    dense = rows.toarray() + base
    return (
        VectorValues(rows, actions, base, N_ACTIONS),
        VectorValues(dense, actions, None, N_ACTIONS),
    )


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("seed", range(3))
def test_spread_vectors_are_worth_what_dense_ones_are(form: Any, seed: int) -> None:
    spread, dense = both(seed)
    beliefs = beliefs_of_every_kind()
    np.testing.assert_allclose(spread.best(form(beliefs)), dense.best(beliefs), atol=1e-12)
    found, expected = spread.by_action(form(beliefs)), dense.by_action(beliefs)
    assert np.isneginf(expected[:, 2]).all()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # By the definition too.
    rows, actions, base = spread_vectors(seed)
    scores = beliefs @ (rows.toarray() + base).T
    np.testing.assert_allclose(expected[:, 3], scores[:, actions == 3].max(axis=1), atol=1e-12)
    np.testing.assert_allclose(spread.best(form(beliefs)), scores.max(axis=1), atol=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_values_are_homogeneous_and_take_any_number_of_beliefs(which: int) -> None:
    values, beliefs = both()[which], beliefs_of_every_kind()
    for form in (np.asarray, sp.csr_array):
        part = form(0.25 * beliefs)
        np.testing.assert_allclose(values.best(part), 0.25 * values.best(beliefs), atol=1e-12)
    assert values.best(np.zeros((2, N_STATES))).tolist() == [0.0, 0.0]
    assert values.best(np.empty((0, N_STATES))).shape == (0,)
    assert values.by_action(sp.csr_array((0, N_STATES))).shape == (0, N_ACTIONS)


def test_spread_vectors_may_name_their_states_in_any_order() -> None:
    vectors = sp.csr_array(([5.0, 1.0, 2.0, 7.0], [2, 0, 0, 2], [0, 2, 4]), shape=(2, 3))
    values = VectorValues(vectors, np.array([0, 1]), np.array([0.0, -1.0, 0.0]), 2)
    beliefs = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    expected = [[1.0, 2.0], [5.0, 7.0], [-1.0, -1.0], [0.0, 0.5]]
    np.testing.assert_allclose(values.by_action(beliefs), expected)


@pytest.fixture(scope="module")
def rocks() -> tuple[TabularPOMDP, Solution]:
    """RockSample and its vectors by region, as huge models have them."""
    model = imm_rl.make("rocksample(4,4)").model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower_bound_module, "DENSE_ENTRIES", 0)
        solution = sarsop.solve(model, SolveSettings(time_limit=2.0, precision=1e-3, seed=0))
    assert isinstance(solution.vectors, sp.csr_array)
    return model, solution


def spread_policy(rocks: tuple[TabularPOMDP, Solution], **options: Any) -> AlphaVectorPolicy:
    model, solution = rocks
    return AlphaVectorPolicy(
        solution.vectors, solution.actions, base=solution.base, model=model, **options
    )


def rock_beliefs(model: TabularPOMDP) -> FloatArray:
    rng = np.random.default_rng(0)
    drawn = rng.dirichlet(np.full(16, 0.5), size=17)
    beliefs = np.zeros((18, model.n_states))
    for index, (row, part) in enumerate(zip(beliefs, drawn, strict=False)):
        row[(np.arange(16) + 16 * index) % model.n_states] = part
    beliefs[17] = model.initial
    return beliefs


@pytest.mark.parametrize("execution", ["vectors", "lookahead"])
def test_policy_of_spread_vectors_is_the_dense_ones(
    rocks: tuple[TabularPOMDP, Solution], execution: str
) -> None:
    model, solution = rocks
    assert isinstance(solution.vectors, sp.csr_array)
    spread = spread_policy(rocks, execution=execution)
    dense = AlphaVectorPolicy(
        solution.vectors.toarray() + solution.base,
        solution.actions,
        model=model,
        execution=execution,
    )
    beliefs = rock_beliefs(model)
    for form in (np.asarray, sp.csr_array):
        for ask in ("value", "action_values", "probs"):
            found, expected = (getattr(p, ask)(form(beliefs)) for p in (spread, dense))
            np.testing.assert_allclose(found, expected, atol=1e-9)
    assert spread.value(beliefs.reshape(3, 6, -1)).shape == (3, 6)
    assert spread.value(model.initial) == pytest.approx(solution.lower_bound)


def test_save_and_load_keep_spread_vectors(
    rocks: tuple[TabularPOMDP, Solution], tmp_path: Path
) -> None:
    model, _ = rocks
    saved = spread_policy(rocks, execution="vectors", lower_bound=1.5, notes=("mine",))
    saved.save(tmp_path / "p.npz")
    loaded = AlphaVectorPolicy.load(tmp_path / "p.npz", model)
    assert isinstance(loaded.vectors, sp.csr_array)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(loaded.vectors, part), getattr(saved.vectors, part))
    np.testing.assert_array_equal(loaded.base, saved.base)
    np.testing.assert_array_equal(loaded.vector_actions, saved.vector_actions)
    assert (loaded.execution, loaded.lower_bound, loaded.notes) == ("vectors", 1.5, ("mine",))
    beliefs = rock_beliefs(model)
    np.testing.assert_array_equal(loaded.probs(beliefs), saved.probs(beliefs))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"base": None}, r"hold the entries \['base'\]"),
        ({"vectors_indices": np.full(4, 99)}, "wrong entry"),
        ({"vectors_shape": np.array([2, 4])}, "base must have shape"),
        ({"vectors_data": np.array([1.0, np.nan, 0.0, 1.0])}, "must be finite and ≥ 0"),
        ({"vectors_data": np.array([1.0, -5.0, 0.0, 1.0])}, "must be finite and ≥ 0"),
    ],
)
def test_load_refuses_wrong_spread_vectors(tmp_path: Path, entries: Any, message: str) -> None:
    vectors = sp.csr_array(([5.0, 1.0, 2.0, 7.0], [0, 2, 0, 2], [0, 2, 4]), shape=(2, 3))
    path = tmp_path / "p.npz"
    AlphaVectorPolicy(vectors, [0, 1], base=np.zeros(3), execution="vectors").save(path)
    with np.load(path) as archive:
        content = {**archive, **entries}
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(InvalidInputError, match=message):
        AlphaVectorPolicy.load(path)


def test_spread_vectors_need_a_base_and_dense_ones_take_none() -> None:
    with pytest.raises(InvalidInputError, match="base must be given with sparse vectors"):
        AlphaVectorPolicy(sp.csr_array(np.eye(2)), [0, 1])
    with pytest.raises(InvalidInputError, match="base must be left out with dense vectors"):
        AlphaVectorPolicy(np.eye(2), [0, 1], base=np.zeros(2))

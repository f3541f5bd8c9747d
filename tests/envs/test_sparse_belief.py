"""Sparse beliefs against the dense filter, on models of both storages and at their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.envs import belief, belief_filter, sparse_belief
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sparse_belief import SparseBayes, repeated
from imm_rl.errors import InvalidInputError

SIZES = (40, 3, 4)


def random_model(*, sparse: bool, terminal: bool = False) -> TabularPOMDP:
    """About four outcomes a row, and observations that some states never give."""
    rng = np.random.default_rng(5)
    n_states, n_actions, n_observations = SIZES

    def rows(*shape: int, share: float) -> np.ndarray:
        drawn = rng.random(shape) * (rng.random(shape) < share)
        drawn[..., 0] += 0.1
        return drawn / drawn.sum(axis=-1, keepdims=True)

    transition = rows(n_states, n_actions, n_states, share=0.1)
    ends = None
    if terminal:
        transition[-1] = 0.0
        transition[-1, :, -1] = 1.0
        ends = np.arange(n_states) == n_states - 1
    observation = rows(n_actions, n_states, n_observations, share=0.6)
    reward = np.zeros((n_states, n_actions))
    initial = rows(n_states, share=0.2)
    if terminal:
        initial[-1] = 0.0
        initial /= initial.sum()
    given: tuple[Any, Any] = (transition, observation)
    if sparse:
        given = (
            [sp.csr_array(transition[:, a]) for a in range(n_actions)],
            [sp.csr_array(observation[a]) for a in range(n_actions)],
        )
    return TabularPOMDP(*given, reward, initial, 0.9, terminal=ends)


def some_beliefs(n_rows: int) -> np.ndarray:
    """Three to a dozen states a row."""
    rng = np.random.default_rng(6)
    drawn = rng.random((n_rows, SIZES[0])) * (rng.random((n_rows, SIZES[0])) < 0.2)
    drawn[:, :3] += 0.01
    return drawn / drawn.sum(axis=1, keepdims=True)


def steps(model: TabularPOMDP, dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actions and observations (B,) that are possible from beliefs (B, S)."""
    actions = np.arange(len(dense)) % SIZES[1]
    return actions, belief.likelihood(dense, actions, model).argmax(axis=1)


@pytest.mark.parametrize("most", [0, sparse_belief.MOST_LIKELIHOODS])
@pytest.mark.parametrize("sparse", [False, True])
def test_sparse_bayes_equals_the_dense_filter(
    sparse: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_belief, "MOST_LIKELIHOODS", most)
    model, dense = random_model(sparse=sparse), some_beliefs(50)
    actions, seen = steps(model, dense)
    bayes, rows = SparseBayes(model), sp.csr_array(dense)
    predicted = bayes.predict(rows, actions)
    np.testing.assert_allclose(
        predicted.toarray(), belief.predict(dense, actions, model), atol=1e-15
    )
    np.testing.assert_allclose(
        bayes.likelihood(rows, actions), belief.likelihood(dense, actions, model), atol=1e-15
    )
    after, evidence, lost = bayes.update(rows, actions, seen)
    expected = belief.update(dense, actions, seen, model)
    np.testing.assert_allclose(after.toarray(), expected, atol=1e-14)
    told = belief.likelihood(dense, actions, model)[np.arange(50), seen]
    np.testing.assert_allclose(evidence, told, atol=1e-15)
    np.testing.assert_array_equal(lost, np.zeros(50))
    # The form that others rely on: sorted, and an entry for each state that is possible, no other.
    assert (expected == 0.0).sum() > 500
    assert after.nnz == (expected > 0.0).sum()
    assert (after.data > 0.0).all()
    for row in range(50):
        assert (np.diff(after.indices[after.indptr[row] : after.indptr[row + 1]]) > 0).all()


def test_sparse_bayes_leaves_its_arguments_as_they_are() -> None:
    model, dense = random_model(sparse=True), some_beliefs(6)
    rows = sp.csr_array(dense)
    SparseBayes(model).update(rows, *steps(model, dense))
    np.testing.assert_array_equal(rows.toarray(), dense)


def test_sparse_bayes_refuses_beliefs_of_another_size() -> None:
    model = random_model(sparse=True)
    with pytest.raises(InvalidInputError, match=r"belief must have shape \(B, S\) = \(2, 40\)"):
        SparseBayes(model).predict(sp.csr_array(np.ones((2, 39)) / 39), np.zeros(2, dtype=int))


def test_truncation_drops_small_entries_normalises_the_rest_and_says_what_was_lost() -> None:
    eye = [sp.csr_array(np.eye(4))]
    model = TabularPOMDP(eye, [sp.csr_array(np.ones((4, 1)))], np.zeros((4, 1)), np.eye(4)[0], 0.9)
    dense = np.array([[0.8, 0.19, 0.01, 0.0], [0.25, 0.25, 0.25, 0.25]])
    zeros = np.zeros(2, dtype=int)
    # 0.01 is below 2 % of 0.8; nothing in the second row is.
    after, _, lost = SparseBayes(model, truncate=0.02).update(sp.csr_array(dense), zeros, zeros)
    np.testing.assert_allclose(
        after.toarray(), [[0.8 / 0.99, 0.19 / 0.99, 0.0, 0.0], [0.25] * 4], atol=1e-15
    )
    assert after.nnz == 6
    np.testing.assert_allclose(lost, [0.01, 0.0], atol=1e-15)
    filtered = BeliefFilter(model, truncate=0.02)
    assert filtered.lost_mass == (0.0, 0.0)
    filtered.update(sp.csr_array(dense), zeros, zeros)
    np.testing.assert_allclose(filtered.lost_mass, (0.01, 0.005), atol=1e-15)


def test_repeated_gives_the_belief_in_every_row() -> None:
    found = repeated(np.array([0.0, 0.3, 0.0, 0.7]), 3)
    assert found.nnz == 6
    np.testing.assert_array_equal(found.toarray(), [[0.0, 0.3, 0.0, 0.7]] * 3)
    assert repeated(np.ones(1), 0).shape == (0, 1)


@pytest.mark.parametrize(
    ("spec", "sparse"),
    [("tiger", False), ("hallway", False), ("tag", True), ("rocksample(5,7)", True)],
)
def test_filter_keeps_beliefs_sparse_by_the_size_of_the_model(spec: str, sparse: bool) -> None:
    model = imm_rl.make(spec).model
    start = BeliefFilter(model).start(2)
    assert isinstance(start, np.ndarray) is not sparse
    dense = start if isinstance(start, np.ndarray) else start.toarray()
    np.testing.assert_array_equal(dense, np.stack([model.initial] * 2))


def test_filter_keeps_beliefs_dense_where_transitions_are() -> None:
    n = belief_filter.MOST_DENSE_STATES + 1
    transition = np.full((n, 1, n), 1.0 / n)
    model = TabularPOMDP(transition, np.ones((1, n, 1)), np.zeros((n, 1)), np.eye(n)[0], 0.9)
    assert not BeliefFilter(model).is_sparse


@pytest.mark.parametrize("terminal", [False, True])
def test_filter_gives_the_same_sparse_and_dense(terminal: bool) -> None:
    model = random_model(sparse=True, terminal=terminal)
    dense = some_beliefs(30)
    actions, seen = steps(model, dense)
    going = np.arange(30) % 3 != 0
    filtered = BeliefFilter(model)
    expected = filtered.update(dense, actions, seen)
    found = filtered.update(sp.csr_array(dense), actions, seen)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-14)
    if terminal:
        assert belief.update(dense, actions, seen, model)[:, -1].max() > 0.01
        assert (expected[:, -1] == 0.0).all()
    followed = filtered.follow(dense, actions, seen, going)
    np.testing.assert_allclose(followed[going], expected[going], atol=1e-15)
    np.testing.assert_array_equal(followed[~going], np.tile(model.initial, (10, 1)))


def test_filter_follows_sparse_beliefs_over_the_ends_of_episodes() -> None:
    pair = imm_rl.make("rocksample(4,4)")
    model, rng = pair.model, np.random.default_rng(2)
    filtered = BeliefFilter(model)
    dense, rows = np.tile(model.initial, (8, 1)), filtered.start(8)
    states, kinds = pair.sampler.initial(rng.random(8)), set()
    for t in range(40):
        actions = rng.integers(model.n_actions, size=8)
        step = pair.sampler.step(states, actions, rng.random(8), rng.random(8))
        going = ~step.terminated & (rng.random(8) < (0.0 if t == 20 else 0.9))
        kinds.add(int(going.sum()))
        rows = filtered.follow(rows, actions, step.observations, going)
        dense = filtered.follow(dense, actions, step.observations, going)
        states = np.where(going, step.next_states, pair.sampler.initial(rng.random(8)))
        assert not isinstance(rows, np.ndarray)
        np.testing.assert_allclose(rows.toarray(), dense, atol=1e-12)
    assert {0, 8} < kinds


def test_filter_says_what_is_impossible_of_sparse_beliefs() -> None:
    model = imm_rl.make("rocksample(4,4)").model
    filtered = BeliefFilter(model)
    start, leave = filtered.start(2), model.action_names.index("ame")
    # Moves show the first observation alone.
    with pytest.raises(InvalidInputError, match="observation 1 .* is impossible after"):
        filtered.update(start, np.array([leave, leave]), np.array([0, 1]))
    edge = np.flatnonzero(model.transition_of(leave)[:, model.terminal].sum(axis=1) > 0.0)
    at_edge = sp.csr_array(np.eye(model.n_states)[edge[:1]])
    with pytest.raises(InvalidInputError, match="goes on, but the belief .* has ended"):
        filtered.update(at_edge, np.array([leave]), np.array([0]))

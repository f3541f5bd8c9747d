"""Backups and the lower bound they raise, on whole models and by region."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents.restricted.vector_values import VectorValues
from imm_rl.agents.solvers import backup as backup_module
from imm_rl.agents.solvers import lower_bound as lower_bound_module
from imm_rl.agents.solvers.backup import Backup
from imm_rl.agents.solvers.base import SolveSettings, VectorSet
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.lower_bound import LowerBound, worst_values
from imm_rl.agents.solvers.mdp import policy_values
from imm_rl.agents.solvers.regions import Regions
from imm_rl.envs import belief as belief_filter
from imm_rl.envs.model import FloatArray, TabularPOMDP

TIGER = imm_rl.make("tiger").model
ROCKS = imm_rl.make("rocksample(4,4)").model
LISTEN = 0


def limits(seconds: float = 60.0) -> SolveSettings:
    return SolveSettings(time_limit=seconds, precision=1e-3, seed=0)


def tiger_beliefs(most: int) -> FloatArray:
    """Every belief of tiger up to a surplus of `most` growls on one side."""
    odds = (0.85 / 0.15) ** np.arange(-most, most + 1)
    return np.stack([odds / (1 + odds), 1 / (1 + odds)], axis=1)


def random_sets(dynamics: Dynamics, n: int) -> list[FloatArray]:
    """Beliefs (n, N) of every region."""
    rng = np.random.default_rng(n)
    return [rng.dirichlet(np.full(len(r.states), 0.5), size=n) for r in dynamics.regions]


def padded(model: TabularPOMDP, states: np.ndarray, beliefs: FloatArray) -> FloatArray:
    """Beliefs (B, N) over all states."""
    rows = np.zeros((len(beliefs), model.n_states))
    rows[:, states] = beliefs
    return rows


@pytest.mark.parametrize("table_entries", [0, 10**6])
def test_backups_give_the_exact_values_of_tiger(
    monkeypatch: pytest.MonkeyPatch, table_entries: int
) -> None:
    monkeypatch.setattr(backup_module, "TABLE_ENTRIES", table_entries)
    beliefs, dynamics = tiger_beliefs(10), Dynamics(TIGER)
    vectors, values = np.zeros((1, 2)), []
    for _ in range(10):
        vectors = Backup(dynamics, 0, [vectors])(beliefs).vectors
        values.append((vectors @ [0.5, 0.5]).max())
    expected = [-1.0, -1.95, 2.3098, 1.7955, 2.7631, 4.4285]
    np.testing.assert_allclose(values[:6], expected, atol=5e-5)
    assert values[9] == pytest.approx(6.6934, abs=5e-5)


@pytest.mark.parametrize("table_entries", [0, 10**6])
@pytest.mark.parametrize("sparse", [False, True])
def test_backup_equals_its_definition(
    monkeypatch: pytest.MonkeyPatch, table_entries: int, sparse: bool
) -> None:
    monkeypatch.setattr(backup_module, "TABLE_ENTRIES", table_entries)
    rng = np.random.default_rng(0)
    S, A, n_seen, V = 4, 3, 3, 5
    transition = rng.dirichlet(np.full(S, 0.4), size=(S, A))
    observation = rng.dirichlet(np.full(n_seen, 0.4), size=(A, S))
    parts: list[list[Any]] = [
        [sp.csr_array(transition[:, a]) for a in range(A)],
        [sp.csr_array(observation[a]) for a in range(A)],
    ]
    stacks: Any = parts if sparse else (transition, observation)
    model = TabularPOMDP(*stacks, rng.normal(size=(S, A)), np.full(S, 0.25), 0.8)
    vectors = rng.normal(size=(V, S))
    beliefs = rng.dirichlet(np.ones(S), size=6)
    found = Backup(Dynamics(model), 0, [vectors])(beliefs)
    assert len(found.vectors) == len(found.actions) == len(np.unique(found.plans))
    for b, plan, value in zip(beliefs, found.plans, found.values, strict=True):
        plans = {}  # all A · V^O plans: do a, then follow the vector chosen for each observation
        for a, picks in itertools.product(range(A), itertools.product(range(V), repeat=n_seen)):
            after = sum(observation[a][:, o] * vectors[j] for o, j in enumerate(picks))
            plans[a, picks] = model.reward[:, a] + 0.8 * transition[:, a] @ after
        best = max(plans, key=lambda plan: plans[plan] @ b)
        assert found.actions[plan] == best[0]
        np.testing.assert_allclose(found.vectors[plan], plans[best], atol=1e-12)
        assert value == pytest.approx(plans[best] @ b)


def test_backups_agree_with_pomdp_py(
    pomdp_py_value: Callable[[TabularPOMDP, FloatArray, int], float],
) -> None:
    rng = np.random.default_rng(5)
    transition = rng.dirichlet(np.ones(2), size=(2, 2))
    observation = rng.dirichlet(np.ones(2), size=(2, 2))
    model = TabularPOMDP(transition, observation, rng.normal(size=(2, 2)), [0.3, 0.7], 0.9)
    reachable = [model.initial]
    for horizon in range(1, 4):
        vectors = np.zeros((1, 2))
        for _ in range(horizon):
            vectors = Backup(Dynamics(model), 0, [vectors])(np.array(reachable)).vectors
        value = pomdp_py_value(model, model.initial, horizon)
        assert (vectors @ model.initial).max() == pytest.approx(value)
        reachable += [
            belief_filter.update(b, a, o, model)
            for b, a, o in itertools.product(list(reachable), range(2), range(2))
        ]


@pytest.mark.parametrize("name", ["rocksample(4,4)", "tag"])
def test_backups_by_region_are_the_whole_ones(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(backup_module, "TABLE_ENTRIES", 0)  # the whole model's are untabulated too
    model = imm_rl.make(name).model
    dynamics, whole = Dynamics(model), Dynamics.whole(model)
    assert len(dynamics) > 16
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, model.n_states))
    parts = [np.ascontiguousarray(vectors[:, region.states]) for region in dynamics.regions]
    flat = Backup(whole, 0, [vectors])
    for region in (0, 1, 7, len(dynamics) - 1):
        here = dynamics.regions[region]
        beliefs = rng.dirichlet(np.full(len(here.states), 0.5), size=9)
        found = Backup(dynamics, region, parts)(beliefs)
        expected = flat(padded(model, here.states, beliefs))
        np.testing.assert_allclose(found.values, expected.values, atol=1e-12)
        for belief, plan, other in zip(beliefs, found.plans, expected.plans, strict=True):
            assert found.actions[plan] == expected.actions[other]
            # Where a state of the region has no mass, either plan may be taken.
            held = belief > 0.0
            np.testing.assert_allclose(
                found.vectors[plan][held], expected.vectors[other][here.states][held], atol=1e-12
            )


def test_first_vectors_are_blind_policies_that_none_exceeds() -> None:
    lower = LowerBound(Dynamics(TIGER))
    # Opening a door for ever: now by luck, 10 or −100, afterwards −45 a step. Listening is better.
    assert policy_values(TIGER, 2).max() == pytest.approx(10 - 855)
    assert [actions.tolist() for actions in lower.actions] == [[LISTEN]]
    np.testing.assert_allclose(lower.vectors[0], [[-20.0, -20.0]])
    assert lower.at_root() == pytest.approx(-20.0)
    assert lower.act(0, tiger_beliefs(2)).tolist() == [LISTEN] * 5


def test_first_vectors_of_regions_are_blind_policies() -> None:
    dynamics = Dynamics(ROCKS)
    lower = LowerBound(dynamics)
    blind = np.stack([policy_values(ROCKS, action) for action in range(ROCKS.n_actions)])
    assert len(lower) == sum(len(actions) for actions in lower.actions)
    for index, beliefs in enumerate(random_sets(dynamics, 5)):
        states = dynamics.regions[index].states
        expected = (beliefs @ blind[:, states].T).max(axis=1)
        np.testing.assert_allclose(lower.at(index, beliefs), expected, atol=1e-12)
        np.testing.assert_array_equal(lower.vectors[index], blind[lower.actions[index]][:, states])


@pytest.mark.parametrize("name", ["4x3", "rocksample(4,4)"])
def test_sweep_lowers_no_belief(name: str) -> None:
    dynamics = Dynamics(imm_rl.make(name).model)
    rng = np.random.default_rng(0)
    lower = LowerBound(dynamics)
    sets = random_sets(dynamics, 150 if name == "4x3" else 20)
    sets[-1] = sets[-1][:0]  # a region that no belief was met in
    if len(sets) == 1:
        sets = random_sets(dynamics, 150)

    def values() -> FloatArray:
        return np.concatenate([lower.at(i, rows) for i, rows in enumerate(sets)])

    first = values()
    for _ in range(15):
        before = values()
        rise = lower.sweep(sets, rng, limits())
        assert (values() >= before - 1e-12).all()
        assert rise == pytest.approx((values() - before).max())
    assert (values() > first + 1e-3).mean() > 0.5
    for vectors, actions in zip(lower.vectors, lower.actions, strict=True):
        assert len(vectors) == len(actions) > 0


def test_sweep_out_of_time_keeps_the_vectors_it_has() -> None:
    lower = LowerBound(Dynamics(TIGER))
    beliefs = tiger_beliefs(3)
    before = lower.at(0, beliefs)
    assert lower.sweep([beliefs], np.random.default_rng(0), limits(1e-9)) <= 1e-12
    np.testing.assert_allclose(lower.at(0, beliefs), before)


def test_sweep_without_beliefs_does_nothing() -> None:
    lower = LowerBound(Dynamics(TIGER))
    assert lower.sweep([np.empty((0, 2))], np.random.default_rng(0), limits()) == 0.0
    assert len(lower) == 1


def test_prune_dominated_keeps_every_value() -> None:
    dynamics = Dynamics(ROCKS)
    lower = LowerBound(dynamics)
    lower.vectors = [np.concatenate([v, v - 1.0]) for v in lower.vectors]
    lower.actions = [np.concatenate([a, a]) for a in lower.actions]
    size, sets = len(lower), random_sets(dynamics, 4)
    before = [lower.at(i, rows) for i, rows in enumerate(sets)]
    lower.prune_dominated()
    assert len(lower) <= size // 2
    for index, rows in enumerate(sets):
        np.testing.assert_allclose(lower.at(index, rows), before[index], atol=1e-12)


def test_worst_values_by_hand() -> None:
    # The tiger's door at every step.
    np.testing.assert_allclose(worst_values(TIGER), [-2000.0, -2000.0])


@pytest.mark.parametrize("sparse", [False, True])
def test_worst_values_are_the_least_of_all_policies(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(4), size=(4, 2))
    transition[3] = [0.0, 0.0, 0.0, 1.0]
    reward = rng.normal(size=(4, 2))
    reward[3] = 0.0
    stacks: Any = (transition, np.ones((2, 4, 1)))
    if sparse:
        stacks = (
            [sp.csr_array(transition[:, a]) for a in range(2)],
            [sp.csr_array(np.ones((4, 1)))] * 2,
        )
    model = TabularPOMDP(
        *stacks, reward, np.full(4, 0.25), 0.9, terminal=[False, False, False, True]
    )
    every = [policy_values(model, list(p)) for p in itertools.product(range(2), repeat=4)]
    np.testing.assert_allclose(worst_values(model), np.min(every, axis=0), atol=1e-9)
    np.testing.assert_array_equal(model.reward, reward)  # as it was


def raised(dynamics: Dynamics) -> LowerBound:
    lower = LowerBound(dynamics)
    for _ in range(6):
        lower.sweep(random_sets(dynamics, 15), np.random.default_rng(0), limits())
    return lower


def value_of(found: VectorSet, n_actions: int, beliefs: FloatArray) -> FloatArray:
    return VectorValues(found.vectors, found.actions, found.base, n_actions).best(beliefs)


def tree_values(model: TabularPOMDP, beliefs: FloatArray, horizon: int) -> FloatArray:
    """Exact values (B,) of unnormalised beliefs (B, S) over a horizon: the whole tree."""
    if horizon == 0:
        return np.zeros(len(beliefs))
    moves, seen = np.asarray(model.transition), np.asarray(model.observation)
    after = np.einsum("bs,sap,apo->baop", beliefs, moves, seen)
    values = tree_values(model, after.reshape(-1, model.n_states), horizon - 1)
    future = values.reshape(after.shape[:3]).sum(axis=2)
    return np.asarray((beliefs @ model.reward + model.discount * future).max(axis=1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("entries", [0, 20_000_000])
def test_vector_set_is_a_lower_bound_at_every_belief(
    monkeypatch: pytest.MonkeyPatch, entries: int, seed: int
) -> None:
    monkeypatch.setattr(lower_bound_module, "DENSE_ENTRIES", entries)
    # Two rooms of two states; "go" changes the room, "stay" does not, states are drawn anew.
    rng = np.random.default_rng(seed)
    transition = np.zeros((4, 2, 4))
    for state, action in itertools.product(range(4), range(2)):
        room = (state // 2 + action) % 2
        transition[state, action, 2 * room : 2 * room + 2] = rng.dirichlet(np.ones(2))
    model = TabularPOMDP(
        transition,
        rng.dirichlet(np.ones(2), size=(2, 4)),
        rng.normal(size=(4, 2)),
        [0.5, 0.5, 0.0, 0.0],
        0.5,
    )
    dynamics = Dynamics(model, Regions(4, [np.array([0, 1]), np.array([2, 3])]))
    lower = raised(dynamics)
    found = lower.vector_set()
    drawn = rng.dirichlet(np.full(4, 0.5), size=30)
    beliefs = np.concatenate([*(padded(model, r.states, drawn[:9, :2]) for r in dynamics.regions)])
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    values = value_of(found, 2, beliefs)
    exact = tree_values(model, beliefs, 7)
    tail = 0.5**7 * np.abs(model.reward).max() / 0.5
    assert (values <= exact + tail).all()
    assert (values >= exact - 0.1).all()  # and not far below, in its regions
    assert (value_of(found, 2, drawn) <= tree_values(model, drawn, 7) + tail).all()


@pytest.mark.parametrize("entries", [0, 20_000_000])
def test_vector_set_holds_every_regions_vectors(
    monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(lower_bound_module, "DENSE_ENTRIES", entries)
    dynamics = Dynamics(ROCKS)
    lower = raised(dynamics)
    found = lower.vector_set()
    assert isinstance(found.vectors, sp.csr_array) == (entries == 0)
    assert (found.base is None) == (entries > 0)
    assert found.vectors.shape == (len(lower), ROCKS.n_states)
    np.testing.assert_array_equal(found.actions, np.concatenate(lower.actions))
    for index, beliefs in enumerate(random_sets(dynamics, 6)):
        rows = padded(ROCKS, dynamics.regions[index].states, beliefs)
        values = value_of(found, ROCKS.n_actions, rows)
        np.testing.assert_allclose(values, lower.at(index, beliefs), atol=1e-9)
    # Elsewhere a vector is what the worst policy earns.
    dense = found.vectors if found.base is None else found.vectors.toarray() + found.base
    row, worst = 0, worst_values(ROCKS)
    for region, vectors in zip(dynamics.regions, lower.vectors, strict=True):
        expected = np.tile(worst, (len(vectors), 1))
        expected[:, region.states] = vectors
        np.testing.assert_allclose(dense[row : row + len(vectors)], expected, atol=1e-9)
        row += len(vectors)
    assert row == len(dense)


def test_vector_set_of_a_small_model_is_as_it_is() -> None:
    lower = LowerBound(Dynamics(TIGER))
    found = lower.vector_set()
    assert found.base is None
    assert found.vectors is lower.vectors[0]

"""Point-based value iteration: exact values, known problems, and what its policy really earns."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents import AlphaVectorPolicy, solve
from imm_rl.agents.solvers import backup as backup_module
from imm_rl.agents.solvers.backup import Backup
from imm_rl.agents.solvers.base import SolveProgress, SolveSettings
from imm_rl.agents.solvers.collect import BeliefSet, walk
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.mdp import policy_values
from imm_rl.agents.solvers.pbvi import LowerBound
from imm_rl.envs import belief as belief_filter
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sampler import Sampler

TIGER = imm_rl.make("tiger").model
LISTEN = 0


def tiger_beliefs(most: int) -> np.ndarray:
    """Every belief of tiger up to a surplus of `most` growls on one side."""
    odds = (0.85 / 0.15) ** np.arange(-most, most + 1)
    return np.stack([odds / (1 + odds), 1 / (1 + odds)], axis=1)


@pytest.mark.parametrize("table_entries", [0, 10**6])
def test_backups_give_the_exact_values_of_tiger(
    monkeypatch: pytest.MonkeyPatch, table_entries: int
) -> None:
    monkeypatch.setattr(backup_module, "TABLE_ENTRIES", table_entries)
    beliefs, dynamics = tiger_beliefs(10), Dynamics(TIGER)
    vectors, values = np.zeros((1, 2)), []
    for _ in range(10):
        vectors = Backup(dynamics, vectors)(beliefs).vectors
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
    found = Backup(Dynamics(model), vectors)(beliefs)
    for b, vector, action, value in zip(beliefs, *found, strict=True):
        plans = {}  # all A · V^O plans: do a, then follow the vector chosen for each observation
        for a, picks in itertools.product(range(A), itertools.product(range(V), repeat=n_seen)):
            after = sum(observation[a][:, o] * vectors[j] for o, j in enumerate(picks))
            plans[a, picks] = model.reward[:, a] + 0.8 * transition[:, a] @ after
        best = max(plans, key=lambda plan: plans[plan] @ b)
        assert action == best[0]
        np.testing.assert_allclose(vector, plans[best], atol=1e-12)
        assert value == pytest.approx(plans[best] @ b)


def test_backups_agree_with_pomdp_py() -> None:
    oracle = pytest.importorskip(
        "pomdp_py.algorithms.value_function", reason="pomdp-py is not installed"
    )

    class Table:
        """What pomdp-py asks of a model, answered from arrays."""

        def __init__(self, table: np.ndarray) -> None:
            self.table = table

        def probability(self, outcome: int, *given: int) -> float:
            return float(self.table[(*given, outcome)])

        def sample(self, state: int, action: int, _: int) -> float:
            return float(self.table[state, action])

    rng = np.random.default_rng(5)
    transition = rng.dirichlet(np.ones(2), size=(2, 2))
    observation = rng.dirichlet(np.ones(2), size=(2, 2))
    model = TabularPOMDP(transition, observation, rng.normal(size=(2, 2)), [0.3, 0.7], 0.9)
    every = [0, 1]
    # pomdp-py asks T.probability(s', s, a) and O.probability(o, s', a).
    seen = Table(observation.transpose(1, 0, 2))
    moves, rewards = Table(model.transition), Table(model.reward)
    start = dict(enumerate(model.initial))
    reachable = [model.initial]
    for horizon in range(1, 4):
        value = oracle.value(start, every, every, every, moves, seen, rewards, 0.9, horizon=horizon)
        vectors = np.zeros((1, 2))
        for _ in range(horizon):
            vectors = Backup(Dynamics(model), vectors)(np.array(reachable)).vectors
        assert (vectors @ model.initial).max() == pytest.approx(value)
        reachable += [
            belief_filter.update(b, a, o, model)
            for b, a, o in itertools.product(list(reachable), every, every)
        ]


def test_first_vectors_are_blind_policies() -> None:
    lower = LowerBound(Dynamics(TIGER))
    np.testing.assert_allclose(lower.vectors[LISTEN], [-20.0, -20.0])
    # Opening a door for ever: now by luck, afterwards −45 a step.
    np.testing.assert_allclose(np.sort(lower.vectors[1]), [-100 - 855, 10 - 855])
    np.testing.assert_allclose(lower.vectors[2], policy_values(TIGER, 2))


def test_sweep_lowers_no_belief() -> None:
    model = imm_rl.make("4x3").model
    rng = np.random.default_rng(0)
    lower = LowerBound(Dynamics(model))
    limits = SolveSettings(time_limit=60.0, precision=1e-3, seed=0)
    beliefs = np.concatenate([model.initial[None, :], rng.dirichlet(np.ones(11), size=150)])
    for _ in range(15):
        before = lower.at(beliefs)
        rise = lower.sweep(beliefs, rng, limits)
        assert (lower.at(beliefs) >= before - 1e-12).all()
        assert rise == pytest.approx((lower.at(beliefs) - before).max())
    assert len(lower.vectors) == len(lower.actions)


def test_sweep_out_of_time_keeps_the_vectors_it_has() -> None:
    lower = LowerBound(Dynamics(TIGER))
    before = lower.at(tiger_beliefs(3))
    limits = SolveSettings(time_limit=1e-9, precision=1e-3, seed=0)
    assert lower.sweep(tiger_beliefs(3), np.random.default_rng(0), limits) <= 1e-12
    np.testing.assert_allclose(lower.at(tiger_beliefs(3)), before)


def test_belief_set_knows_beliefs_again() -> None:
    beliefs = BeliefSet(2)
    first = beliefs.add(np.array([[0.5, 0.5], [0.5, 0.500001], [1.0, 0.0], [0.0, 1.0]]), 2)
    assert first.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert beliefs.add(np.array([[1.0, -0.0], [0.0, 1.0]]), 5).tolist() == [[0.0, 1.0]]
    assert len(beliefs) == 3
    assert beliefs.add(np.array([[0.2, 0.8]]), -4).shape == (0, 2)


def test_walk_of_a_listener_meets_the_beliefs_of_tiger() -> None:
    met = walk(
        TIGER,
        lambda beliefs: np.full(len(beliefs), LISTEN),
        np.random.default_rng(0),
        walks=20,
        steps=6,
        explore=0.0,
    )
    assert met.shape == (120, 2)
    distance = np.abs(met[:, None, :] - tiger_beliefs(6)[None]).max(axis=2).min(axis=1)
    assert distance.max() < 1e-12
    assert len(np.unique(met.round(6), axis=0)) >= 9


def test_walk_starts_anew_at_the_end() -> None:
    transition = np.array([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]])
    model = TabularPOMDP(
        transition,
        np.ones((1, 3, 1)),
        np.zeros((3, 1)),
        [1.0, 0.0, 0.0],
        0.9,
        terminal=[False, False, True],
    )
    met = walk(
        model,
        lambda beliefs: np.zeros(len(beliefs), dtype=np.int64),
        np.random.default_rng(0),
        walks=1,
        steps=4,
        explore=0.5,
    )
    assert met.argmax(axis=1).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "lower"),
    [("tiger", 19.3714), ("cheese", 3.4860), ("crying-baby", -16.3055)],
)
def test_pbvi_closes_the_gap_on_small_problems(name: str, lower: float) -> None:
    policy = solve(imm_rl.make(name).restricted_model, "pbvi")
    assert policy.lower_bound is not None
    assert policy.upper_bound is not None
    precision = 1e-3 * abs(lower)
    assert lower - precision <= policy.lower_bound <= lower + 1e-4
    assert lower - 1e-4 <= policy.upper_bound <= lower + precision
    assert policy.converged
    assert policy.notes == ()
    assert (policy.execution, policy.method) == ("lookahead", "pbvi")
    assert policy.value(imm_rl.make(name).model.initial) == pytest.approx(policy.lower_bound)


def test_pbvi_takes_a_finer_precision() -> None:
    policy = solve(TIGER, "pbvi", precision=1e-6)
    assert policy.gap is not None
    assert policy.gap < 2e-5
    assert policy.lower_bound == pytest.approx(19.37137, abs=2e-5)


# Start values: C++ SARSOP's bounds and a batched Perseus, both run on these files.
KNOWN = {
    "tiger.95": 19.3712,
    "1d": 1.2603,
    "4x3.95": 1.8898,
    "4x4.95": 3.7321,
    "cheese.95": 3.4860,
    "mini-hall2": 2.7141,
    "shuttle.95": 32.8896,
    "network": 293.185,
    "paint.95": 3.2934,
    "web-mall": 6.9041,
}


@pytest.mark.parametrize("name", KNOWN)
def test_pbvi_reaches_known_values(shared_data: Path, name: str) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    policy = solve(model, "pbvi", time_limit=60.0)
    assert policy.lower_bound == pytest.approx(KNOWN[name], rel=2e-3)
    assert policy.upper_bound is not None
    assert policy.upper_bound >= KNOWN[name] - 1e-4 * abs(KNOWN[name])
    assert policy.converged == (name != "network")
    if name == "network":  # its upper bound falls slowly, for other solvers too
        assert "no longer improved" in policy.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lower"),
    [("tiger-grid", 2.1), ("hallway", 0.93), ("hallway2", 0.40), ("RockSample_4_4", 17.9)],
)
def test_pbvi_is_good_on_larger_problems(shared_data: Path, name: str, lower: float) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    policy = solve(model, "pbvi", time_limit=30.0)
    assert policy.lower_bound is not None
    assert policy.upper_bound is not None
    assert lower <= policy.lower_bound <= policy.upper_bound


def discounted_returns(model: TabularPOMDP, policy: AlphaVectorPolicy, n: int) -> np.ndarray:
    """Returns (n,) of episodes played in the environment on filtered beliefs."""
    rng = np.random.default_rng(7)
    sampler = Sampler(model)
    states, beliefs = sampler.initial(rng.random(n)), np.tile(model.initial, (n, 1))
    total, alive, factor = np.zeros(n), np.ones(n, dtype=bool), 1.0
    while factor > 1e-3:
        cumulative = policy.probs(beliefs).cumsum(axis=1)[:, :-1]
        actions = (rng.random(n)[:, None] >= cumulative).sum(axis=1)
        step = sampler.step(states, actions, rng.random(n), rng.random(n))
        total += factor * step.rewards * alive
        alive &= ~step.terminated
        beliefs = belief_filter.update(beliefs, actions, step.observations, model)
        states, factor = step.next_states, factor * model.discount
    return total


@pytest.mark.parametrize("execution", ["lookahead", "vectors"])
@pytest.mark.parametrize("name", ["tiger", "cheese", "4x3"])
def test_pbvi_earns_what_its_lower_bound_promises(name: str, execution: str) -> None:
    pair = imm_rl.make(name)
    policy = solve(pair.model, "pbvi").with_(execution=execution)
    returns = discounted_returns(pair.model, policy, 1500)
    assert policy.lower_bound is not None
    assert policy.upper_bound is not None
    spread = 3.0 * returns.std() / np.sqrt(len(returns))
    assert returns.mean() >= policy.lower_bound - spread
    assert returns.mean() <= policy.upper_bound + spread


def test_pbvi_gathers_information_on_tiger() -> None:
    policy = solve(TIGER, "pbvi")
    # Listen until one side has two growls more than the other.
    assert policy.action(tiger_beliefs(1)).tolist() == [LISTEN] * 3
    left, right = policy.action(tiger_beliefs(2)[[0, -1]])
    assert {int(left), int(right)} == {1, 2}


@pytest.mark.parametrize("sparse", [False, True])
def test_pbvi_gives_the_same_policy_again(sparse: bool) -> None:
    model = imm_rl.make("cheese").model
    if sparse:
        actions = range(model.n_actions)
        parts: list[list[Any]] = [
            [sp.csr_array(model.transition_of(a)) for a in actions],
            [sp.csr_array(model.observation_of(a)) for a in actions],
        ]
        model = TabularPOMDP(
            *parts, model.reward, model.initial, model.discount, terminal=model.terminal
        )
    one, two = (solve(model, "pbvi", cache=False, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)


def test_pbvi_of_another_seed_differs_within_the_precision() -> None:
    model = imm_rl.make("4x3").model
    one, two = (solve(model, "pbvi", precision=0.01, seed=seed) for seed in (0, 1))
    assert one.vectors.shape != two.vectors.shape or (one.vectors != two.vectors).any()
    assert one.lower_bound == pytest.approx(two.lower_bound, abs=0.02)


def test_pbvi_out_of_time_says_so_and_keeps_its_bounds_true() -> None:
    policy = solve(TIGER, "pbvi", time_limit=1e-6)
    assert not policy.converged
    assert "time limit of 1e-06 s" in policy.notes[0]
    assert policy.lower_bound == pytest.approx(-20.0)
    assert policy.upper_bound == pytest.approx(189.0, rel=1e-6)
    assert policy.gap == pytest.approx(209.0, rel=1e-6)


def test_pbvi_keeps_to_its_time_limit() -> None:
    policy = solve(imm_rl.make("grid(size=15)").restricted_model, "pbvi", time_limit=0.3)
    assert policy.seconds is not None
    assert policy.seconds < 2.0


def test_pbvi_reports_its_rounds() -> None:
    seen: list[SolveProgress] = []
    policy = solve(TIGER, "pbvi", cache=False, progress=seen.append)
    lower = [report.lower_bound or -np.inf for report in seen]
    upper = [report.upper_bound or np.inf for report in seen]
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)
    assert (lower[-1], upper[-1]) == pytest.approx((policy.lower_bound, policy.upper_bound))
    assert all(report.n_vectors > 0 and report.seconds > 0 for report in seen)

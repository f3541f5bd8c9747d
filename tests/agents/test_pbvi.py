"""Point-based value iteration: its beliefs, known problems, and what its policy really earns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import imm_rl
from imm_rl.agents import AlphaVectorPolicy, solve
from imm_rl.agents.solvers import pbvi
from imm_rl.agents.solvers.base import SolveProgress, SolveSettings
from imm_rl.agents.solvers.collect import BeliefSet, Located, walk
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.regions import Regions
from imm_rl.envs import belief as belief_filter
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sampler import Sampler

TIGER = imm_rl.make("tiger").model
LISTEN = 0


def limits(*, precision: float = 1e-3, seed: int = 0) -> SolveSettings:
    return SolveSettings(time_limit=60.0, precision=precision, seed=seed)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops after two idle rounds instead of ten, to save time."""
    monkeypatch.setattr(pbvi, "PATIENCE", 2)


def tiger_beliefs(most: int) -> np.ndarray:
    """Every belief of tiger up to a surplus of `most` growls on one side."""
    odds = (0.85 / 0.15) ** np.arange(-most, most + 1)
    return np.stack([odds / (1 + odds), 1 / (1 + odds)], axis=1)


def located(*beliefs: list[float]) -> list[Located]:
    return [Located(0, np.array(belief)) for belief in beliefs]


def listen(region: int, beliefs: np.ndarray) -> np.ndarray:
    return np.full(len(beliefs), LISTEN)


def test_belief_set_knows_beliefs_again() -> None:
    beliefs = BeliefSet(Dynamics(TIGER))
    first = beliefs.add(located([0.5, 0.5], [0.5, 0.500001], [1.0, 0.0], [0.0, 1.0]), 2)
    assert [item.belief.tolist() for item in first] == [[0.5, 0.5], [1.0, 0.0]]
    (second,) = beliefs.add(located([1.0, -0.0], [0.0, 1.0]), 5)
    assert second.belief.tolist() == [0.0, 1.0]
    assert beliefs.add(located([0.2, 0.8]), -4) == []
    assert len(beliefs) == 3
    assert beliefs.sets[0].tolist() == [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]


def test_belief_set_tells_regions_apart() -> None:
    regions = Regions(2, [np.arange(2), np.array([0]), np.array([1])])
    beliefs = BeliefSet(Dynamics(TIGER, regions))
    sure = np.array([1.0])
    assert len(beliefs.add([Located(1, sure), Located(2, sure), Located(1, sure)], 9)) == 2
    assert [rows.shape for rows in beliefs.sets] == [(0, 2), (1, 1), (1, 1)]


def test_walk_of_a_listener_meets_the_beliefs_of_tiger() -> None:
    rng = np.random.default_rng(0)
    walked = walk(Dynamics(TIGER), listen, rng, walks=20, steps=6, explore=0.0)
    met = np.stack([item.belief for item in walked.met])
    assert met.shape == (120, 2)
    distance = np.abs(met[:, None, :] - tiger_beliefs(6)[None]).max(axis=2).min(axis=1)
    assert distance.max() < 1e-12
    assert len(np.unique(met.round(6), axis=0)) >= 9
    # Listening costs 1 a step.
    np.testing.assert_allclose(walked.earned, -(1 - 0.95**6) / 0.05)
    np.testing.assert_allclose(walked.weights, 0.95**6)


def test_walk_starts_anew_at_the_end() -> None:
    transition = np.array([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]])
    model = TabularPOMDP(
        transition,
        np.ones((1, 3, 1)),
        np.array([[1.0], [10.0], [0.0]]),
        [1.0, 0.0, 0.0],
        0.9,
        terminal=[False, False, True],
    )
    rng = np.random.default_rng(0)
    walked = walk(Dynamics(model), listen, rng, walks=1, steps=4, explore=0.5)
    assert [int(item.belief.argmax()) for item in walked.met] == [1, 0, 1, 0]
    # What is earned is the first episode's.
    assert walked.earned.tolist() == [1.0 + 0.9 * 10.0]
    assert walked.weights.tolist() == [0.0]


def test_walk_stays_in_the_regions_it_names() -> None:
    model = imm_rl.make("rocksample(4,4)").model
    dynamics = Dynamics(model)
    assert len(dynamics) > 1

    def wander(region: int, beliefs: np.ndarray) -> np.ndarray:
        assert beliefs.shape[1] == len(dynamics.regions[region].states)
        return np.zeros(len(beliefs), dtype=np.int64)

    rng = np.random.default_rng(0)
    walked = walk(dynamics, wander, rng, walks=10, steps=15, explore=1.0)
    assert len({item.region for item in walked.met}) > 4
    for item in walked.met:
        assert item.belief.shape == dynamics.regions[item.region].states.shape
        assert item.belief.min() >= 0.0
        assert item.belief.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [("tiger", 19.3714, 87.1795), ("cheese", 3.4860, 3.5216), ("crying-baby", -16.3055, -16.0714)],
)
def test_pbvi_raises_the_lower_bound_to_the_known_value(
    name: str, lower: float, upper: float
) -> None:
    model = imm_rl.make(name).restricted_model
    policy = solve(model, "pbvi")
    assert policy.lower_bound is not None
    assert lower - 1e-4 * abs(lower) <= policy.lower_bound <= lower + 2e-4
    assert policy.upper_bound == pytest.approx(upper, abs=1e-3)  # FIB's
    assert not policy.converged
    assert policy.notes[0].endswith("rounds, as the lower bound no longer rose")
    assert policy.method == "pbvi"
    assert policy.value(model.initial) == pytest.approx(policy.lower_bound)


def test_pbvi_converges_where_its_precision_is_met() -> None:
    policy = solve(imm_rl.make("cheese").model, "pbvi", precision=0.05)
    assert policy.converged
    assert policy.notes == ()
    assert policy.gap is not None
    assert 0.0 <= policy.gap <= 0.05 * 3.49


def test_pbvi_takes_a_finer_precision() -> None:
    coarse, fine = (solve(TIGER, "pbvi", precision=p) for p in (0.1, 1e-6))
    assert fine.lower_bound == pytest.approx(19.37137, abs=2e-5)
    assert coarse.lower_bound is not None
    assert coarse.lower_bound <= fine.lower_bound + 1e-9


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


FAST = ("tiger.95", "4x4.95", "shuttle.95", "paint.95")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in KNOWN]
)
def test_pbvi_reaches_known_values(shared_data: Path, name: str) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    policy = solve(model, "pbvi", time_limit=60.0)
    assert policy.lower_bound is not None
    low, high = KNOWN[name] * (1 - 1e-3), KNOWN[name] * (1 + 1e-4)
    assert low <= policy.lower_bound <= high
    assert policy.upper_bound == pytest.approx(solve(model, "fib").upper_bound)
    assert policy.upper_bound >= low
    assert policy.converged == (name == "shuttle.95")  # where FIB's bound is the value
    assert bool(policy.notes) != policy.converged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lower"),
    [("tiger-grid", 2.1), ("hallway", 0.93), ("hallway2", 0.40), ("RockSample_4_4", 17.9)],
)
def test_pbvi_is_good_on_larger_problems(shared_data: Path, name: str, lower: float) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    policy = solve(model, "pbvi", time_limit=10.0)  # each is there within 2 s
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


def test_pbvi_gives_the_same_policy_again(cheese_model: TabularPOMDP, impatient: None) -> None:
    one, two = (pbvi.solve(cheese_model, limits(seed=3)) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)
    np.testing.assert_array_equal(one.actions, two.actions)


def test_pbvi_of_another_seed_differs_within_the_precision(impatient: None) -> None:
    model = imm_rl.make("4x3").model
    one, two = (pbvi.solve(model, limits(precision=0.01, seed=seed)) for seed in (0, 1))
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
    assert policy.seconds < 30.0


def test_pbvi_reports_its_rounds() -> None:
    seen: list[SolveProgress] = []
    policy = solve(TIGER, "pbvi", cache=False, progress=seen.append)
    assert len(seen) > 2
    lower = [report.lower_bound or -np.inf for report in seen]
    upper = [report.upper_bound or np.inf for report in seen]
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)
    assert (lower[-1], upper[-1]) == pytest.approx((policy.lower_bound, policy.upper_bound))
    assert all(report.n_vectors > 0 and report.seconds > 0 for report in seen)

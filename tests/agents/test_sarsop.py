"""Point-based solving with both bounds: known values, its rounds, how it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents import solve
from imm_rl.agents.simulation import discounted_returns
from imm_rl.agents.solvers import sarsop
from imm_rl.agents.solvers.base import SolveProgress, SolveSettings
from imm_rl.envs.model import TabularPOMDP

TIGER = imm_rl.make("tiger").model
# Lower and upper bounds of the C++ SARSOP where it closes the gap; for 4x4 a batched Perseus and its
# simulated return; network's gap is its own.
KNOWN = {
    "tiger.95": (19.3711, 19.3721),
    "1d": (1.2603, 1.2613),
    "4x3.95": (1.8899, 1.8909),
    "4x4.95": (3.7321, 3.770),
    "cheese.95": (3.4853, 3.4862),
    "mini-hall2": (2.7142, 2.7150),
    "shuttle.95": (32.8890, 32.8897),
    "network": (293.185, 294.037),
    "paint.95": (3.2936, 3.2946),
    "saci-s12-a6-z5.95": (14.8338, 14.8345),
    "web-mall": (6.9042, 6.9051),
}


def limits(seconds: float = 60.0, precision: float = 1e-3, **more: Any) -> SolveSettings:
    return SolveSettings(**{"time_limit": seconds, "precision": precision, "seed": 0, **more})


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "network" else []) for n in KNOWN]
)
def test_sarsop_brackets_known_values(shared_data: Path, name: str) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    found = sarsop.solve(model, limits())
    low, high = KNOWN[name]
    assert found.converged
    assert found.note == ""
    assert found.lower_bound is not None
    assert found.upper_bound is not None
    assert found.lower_bound <= high + 1e-4
    assert found.upper_bound >= low - 1e-4
    assert 0.0 <= found.upper_bound - found.lower_bound <= 1e-3 * max(1.0, abs(low)) * 1.001
    # The vectors are worth what is promised.
    dense = np.asarray(found.vectors)
    assert (dense @ model.initial).max() == pytest.approx(found.lower_bound)


@pytest.mark.slow
def test_sarsop_closes_the_gap_on_rocksample(shared_data: Path) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / "RockSample_4_4.POMDP")
    policy = solve(model, "sarsop", time_limit=90.0, precision=1e-5)
    assert policy.converged
    assert policy.lower_bound == pytest.approx(17.9245, abs=1e-4)
    assert policy.upper_bound == pytest.approx(17.9245, abs=3e-4)
    earned = discounted_returns(model, policy, episodes=2000, seed=1)
    assert earned.mean() == pytest.approx(17.9245, abs=4.0 * earned.std() / 2000**0.5)


def test_sarsop_raises_one_bound_and_lowers_the_other() -> None:
    seen: list[SolveProgress] = []
    model = imm_rl.make("4x3").model
    found = sarsop.solve(model, limits(precision=1e-2, progress=seen.append))
    lower = [report.lower_bound or -np.inf for report in seen]
    upper = [report.upper_bound or np.inf for report in seen]
    assert len(seen) > 2
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)
    assert lower[-1] > lower[0]
    assert upper[-1] < upper[0]
    assert found.lower_bound is not None
    assert found.lower_bound >= lower[-1] - 1e-12  # the policy's own beliefs may raise it
    assert found.upper_bound == upper[-1]
    assert all(report.n_vectors > 0 and report.seconds > 0 for report in seen)


def test_sarsop_raises_and_lowers_bounds_by_region() -> None:
    seen: list[SolveProgress] = []
    model = imm_rl.make("rocksample(4,4)").model
    sarsop.solve(model, limits(2.0, progress=seen.append))
    lower = [report.lower_bound or -np.inf for report in seen]
    upper = [report.upper_bound or np.inf for report in seen]
    assert lower == sorted(lower)
    assert upper == sorted(upper, reverse=True)
    assert 7.0 < lower[-1] <= 17.92451  # driving east at once is worth 10 · 0.95³ or so
    assert 17.92449 <= upper[-1] < 22.41  # QMDP's


def test_sarsop_gives_the_same_vectors_again(cheese_model: TabularPOMDP) -> None:
    one, two = (sarsop.solve(cheese_model, limits(seed=3)) for _ in range(2))
    assert one.converged
    np.testing.assert_array_equal(one.vectors, two.vectors)
    np.testing.assert_array_equal(one.actions, two.actions)
    assert (one.lower_bound, one.upper_bound) == (two.lower_bound, two.upper_bound)


def test_sarsop_takes_a_finer_precision() -> None:
    found = sarsop.solve(TIGER, limits(precision=1e-6))
    assert found.converged
    assert found.lower_bound == pytest.approx(19.37137, abs=2e-5)
    assert found.upper_bound == pytest.approx(19.37137, abs=2e-5)


def test_sarsop_out_of_time_says_so_and_keeps_its_bounds_true() -> None:
    policy = solve(TIGER, "sarsop", time_limit=1e-6)
    assert not policy.converged
    assert policy.notes == ("stopped by the time limit of 1e-06 s",)
    assert policy.lower_bound == pytest.approx(-20.0)
    assert policy.upper_bound == pytest.approx(189.0, rel=1e-6)


def test_sarsop_out_of_time_keeps_the_best_vector_of_the_start() -> None:
    # The first state is left at once and never met again; its own best action is no good after it.
    transition = np.zeros((2, 2, 2))
    transition[:, :, 1] = 1.0
    reward = np.array([[3.0, 0.0], [0.0, 1.0]])
    model = TabularPOMDP(transition, np.ones((2, 2, 1)), reward, [1.0, 0.0], 0.5)
    found = sarsop.solve(model, limits(1e-6))
    assert found.lower_bound == pytest.approx(3.0)  # 3, then nothing; the optimum is 3 + ½ · 2
    assert sarsop.solve(model, limits()).lower_bound == pytest.approx(4.0)


def test_sarsop_keeps_to_its_time_limit() -> None:
    policy = solve(imm_rl.make("rocksample(5,5)").model, "sarsop", time_limit=1.0, cache=False)
    assert policy.seconds is not None
    assert policy.seconds < 30.0
    assert policy.notes[0] == "stopped by the time limit of 1 s"


def test_sarsop_stops_where_the_bounds_no_longer_improve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarsop, "PATIENCE", 1)
    model = imm_rl.make("crying-baby").model
    found = sarsop.solve(model, limits(precision=1e-15))
    assert not found.converged
    assert found.note.endswith("as the bounds no longer improved")
    assert found.lower_bound is not None
    assert found.upper_bound is not None
    assert found.upper_bound - found.lower_bound < 1e-3


def test_sarsop_counts_undiscounted_until_the_end() -> None:
    # "go" earns 1 and ends with ½; "listen" costs 0.1 and tells nothing.
    transition = np.zeros((2, 2, 2))
    transition[0] = [[0.5, 0.5], [0.5, 0.5]]
    transition[1, :, 1] = 1.0
    reward = np.array([[1.0, -0.1], [0.0, 0.0]])
    model = TabularPOMDP(
        transition, np.ones((2, 2, 1)), reward, [1.0, 0.0], 1.0, terminal=[False, True]
    )
    found = sarsop.solve(model, limits())
    assert found.converged
    assert found.lower_bound == pytest.approx(2.0, rel=1e-3)


def test_default_method_is_sarsop_past_the_small_ones() -> None:
    assert solve(imm_rl.make("4x3").model, time_limit=1.0, precision=0.1).method == "sarsop"

"""The exact solver: known values, its bounds, and how it stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents.solvers import exact, incremental_pruning
from imm_rl.agents.solvers.base import SolveProgress, SolveSettings
from imm_rl.agents.solvers.incremental_pruning import IncrementalPruning
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError

TIGER = imm_rl.make("tiger").model
# h = 1: listen. 2: listen twice. 3: listen twice, open where both agree. From pomdp-solve's tables.
TIGER_VALUES = {1: -1.0, 2: -1.95, 3: 2.3098, 4: 1.7955, 5: 2.7631, 6: 4.4285, 10: 6.6934}
# lower and upper bounds of the C++ SARSOP, where it closes the gap
ARCHIVE = {
    "1d": (1.2603, 1.2613),
    "cheese.95": (3.4853, 3.4862),
    "mini-hall2": (2.7142, 2.7150),
    "paint.95": (3.2936, 3.2946),
    "saci-s12-a6-z5.95": (14.8338, 14.8345),
    "shuttle.95": (32.8890, 32.8897),
    "tiger.95": (19.3711, 19.3721),
    "web-mall": (6.9042, 6.9051),
}


def limits(seconds: float = 60.0, precision: float = 1e-3, **more: Any) -> SolveSettings:
    return SolveSettings(time_limit=seconds, precision=precision, seed=0, **more)


@pytest.mark.parametrize(("horizon", "value"), TIGER_VALUES.items())
def test_exact_horizon_gives_the_known_values_of_tiger(horizon: int, value: float) -> None:
    solution = exact.exact_horizon(TIGER, horizon, limits())
    assert solution.lower_bound == pytest.approx(value, abs=5e-5)
    assert solution.upper_bound == solution.lower_bound
    assert solution.converged
    assert solution.note == ""
    assert (solution.vectors @ TIGER.initial).max() == solution.lower_bound
    if horizon == 10:
        assert len(solution.vectors) == 27


def test_exact_horizon_agrees_with_pomdp_py(
    pomdp_py_value: Callable[[TabularPOMDP, FloatArray, int], float],
) -> None:
    for horizon in range(1, 5):
        solution = exact.exact_horizon(TIGER, horizon, limits())
        for p in (0.5, 0.15, 0.01, 1.0):
            belief = np.array([p, 1.0 - p])
            value = pomdp_py_value(TIGER, belief, horizon)
            assert (solution.vectors @ belief).max() == pytest.approx(value, abs=1e-6)


def test_exact_horizon_counts_plainly_without_discount() -> None:
    # Listen twice, then open on agreement: γ = 1 changes the weights only.
    model = TabularPOMDP(TIGER.transition, TIGER.observation, TIGER.reward, TIGER.initial, 1.0)
    agree = 0.85**2 + 0.15**2
    right = 0.85**2 / agree
    value = -2.0 + agree * (10.0 * right - 100.0 * (1.0 - right)) + (1.0 - agree) * -1.0
    assert exact.exact_horizon(model, 3, limits()).lower_bound == pytest.approx(value)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, "2", True, None])
def test_exact_horizon_refuses_what_is_no_horizon(horizon: Any) -> None:
    with pytest.raises(InvalidInputError, match="horizon must be a whole number ≥ 1"):
        exact.exact_horizon(TIGER, horizon, limits())


def test_exact_horizon_bounds_the_value_when_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    # Backups from 60 numbers on are given up: a horizon of 6 needs more.
    monkeypatch.setattr(incremental_pruning, "SUM_ENTRIES", 60)
    solution = exact.exact_horizon(TIGER, 6, limits())
    assert not solution.converged
    assert "exact for the last 3 of 6 steps only: stopped as sums of" in solution.note
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert -6.0 <= solution.lower_bound <= 4.42854 <= solution.upper_bound < 23.0944
    assert (solution.vectors @ TIGER.initial).max() == solution.lower_bound
    # Each vector is a plan: nowhere above the exact value.
    monkeypatch.undo()
    best = exact.exact_horizon(TIGER, 6, limits())
    beliefs = np.column_stack([np.linspace(0, 1, 41), np.linspace(1, 0, 41)])
    found = (beliefs @ solution.vectors.T).max(axis=1)
    assert (found <= (beliefs @ best.vectors.T).max(axis=1) + 1e-7).all()


def test_exact_horizon_keeps_to_the_time_limit() -> None:
    model = imm_rl.make("4x3").model
    started = time.perf_counter()
    solution = exact.exact_horizon(model, 30, limits(0.5))
    assert time.perf_counter() - started < 60.0
    assert "stopped by the time limit of 0.5 s" in solution.note
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert solution.lower_bound < solution.upper_bound


def test_exact_solves_tiger_for_good() -> None:
    progress: list[SolveProgress] = []
    solution = exact.solve(TIGER, limits(precision=1e-4, progress=progress.append))
    assert solution.converged
    assert solution.execution == "vectors"
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert solution.lower_bound <= 19.3714 + 5e-5
    assert solution.upper_bound >= 19.3714 - 5e-5
    assert solution.upper_bound - solution.lower_bound <= 1e-4 * 19.3715
    assert len(solution.vectors) == 9  # the optimal policy's nine beliefs, from open to open
    lows = [p.lower_bound for p in progress]
    highs = [p.upper_bound for p in progress]
    assert lows == sorted(lows)
    assert highs == sorted(highs, reverse=True)
    assert (lows[-1], highs[-1]) == (solution.lower_bound, solution.upper_bound)


@pytest.mark.parametrize("name", ARCHIVE)
def test_exact_agrees_with_the_archives_bounds(shared_data: Path, name: str) -> None:
    model = TabularPOMDP.load(shared_data / "pomdp" / f"{name}.POMDP")
    solution = exact.solve(model, limits())
    low, high = ARCHIVE[name]
    assert solution.converged
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert solution.lower_bound <= high + 1e-4
    assert solution.upper_bound >= low - 1e-4
    assert solution.upper_bound - solution.lower_bound <= 1e-3 * max(1.0, low)


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_exact_ends_at_terminal_states(discount: float) -> None:
    # "go" pays 1 and ends the episode every other time: 1 / (1 − γ/2). "no" pays 0 and ends it.
    go, no = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    model = TabularPOMDP(
        np.stack([go, no], axis=1),
        np.ones((2, 2, 1)),
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        [1.0, 0.0],
        discount,
        terminal=[False, True],
    )
    solution = exact.solve(model, limits())
    value = 1.0 / (1.0 - discount / 2.0)
    assert solution.converged
    assert solution.lower_bound == pytest.approx(value, rel=1e-3)
    assert solution.upper_bound == pytest.approx(value, rel=1e-3)
    assert solution.vectors[:, 1].tolist() == [0.0] * len(solution.vectors)


def test_exact_refuses_an_endless_sum() -> None:
    model = TabularPOMDP(TIGER.transition, TIGER.observation, TIGER.reward, TIGER.initial, 1.0)
    with pytest.raises(InvalidInputError, match="discount must be below 1"):
        exact.solve(model, limits())


def test_exact_refuses_large_models_before_it_starts() -> None:
    n = 2000
    step, seen = sp.csr_array(sp.eye_array(n)), sp.csr_array(np.ones((n, 1)))
    model = TabularPOMDP([step] * 3, [seen] * 3, np.zeros((n, 3)), np.full(n, 1 / n), 0.9)
    for run in (
        lambda: exact.solve(model, limits()),
        lambda: exact.exact_horizon(model, 2, limits()),
    ):
        with pytest.raises(InvalidInputError, match="received 2000·2000·3·1. Point-based solvers"):
            run()


def test_exact_says_when_the_clock_stopped_it() -> None:
    solution = exact.solve(TIGER, limits(1e-6))
    assert not solution.converged
    assert solution.lower_bound == pytest.approx(-20.0)  # listens for ever
    assert solution.upper_bound == pytest.approx(189.0, abs=0.1)  # as if the state were seen
    assert solution.note == "stopped by the time limit of 1e-06 s, at a gap of 209"


def test_exact_keeps_to_the_time_limit() -> None:
    started = time.perf_counter()
    solution = exact.solve(imm_rl.make("4x3").model, limits(1.0, precision=1e-6))
    assert time.perf_counter() - started < 60.0
    assert "stopped by the time limit of 1 s, at a gap of" in solution.note
    assert solution.lower_bound is not None
    assert solution.upper_bound is not None
    assert 0.0 < solution.lower_bound <= 1.8909
    assert solution.upper_bound >= 1.8899


def test_exact_says_when_a_backup_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_pruning, "SUM_ENTRIES", 20)
    solution = exact.solve(TIGER, limits())
    assert not solution.converged
    assert solution.note.startswith("stopped as sums of ")
    assert solution.lower_bound is not None
    assert solution.lower_bound <= 19.3714 + 1e-4


def test_exact_ends_where_rounding_keeps_the_bounds_apart() -> None:
    solution = exact.solve(TIGER, limits(30.0, precision=1e-13))
    assert not solution.converged
    assert solution.note.startswith("stopped as rounding keeps the bounds apart, at a gap of ")
    assert solution.lower_bound == pytest.approx(19.3714, abs=1e-4)
    assert solution.upper_bound == pytest.approx(19.3714, abs=1e-4)


def test_backups_merge_observations_that_tell_the_same_apart() -> None:
    # Two observations that say nothing, beside two that do: one step, and two.
    seen = np.array([[[0.2, 0.8], [0.2, 0.8]], [[0.2, 0.8], [0.4, 0.6]]])
    model = TabularPOMDP(
        np.full((2, 2, 2), 0.5), seen, np.array([[1.0, 0.0], [0.0, 1.0]]), [0.5, 0.5], 0.9
    )
    backups = IncrementalPruning(model, lambda: None)
    assert backups.prunings == 4
    blind = TabularPOMDP(model.transition, seen[[0, 0]], model.reward, model.initial, 0.9)
    assert IncrementalPruning(blind, lambda: None).prunings == 2

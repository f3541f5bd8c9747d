from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.envs.registry import make

Command = Callable[..., Any]


def test_solve_prints_bounds_and_simulated_return_and_keeps_the_policy(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "tiger.npz"

    outcome = imm_rl_command("solve", "--env", "tiger", "--json", "--out", out)

    found = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert found["lower_bound"] <= 19.3714 <= found["upper_bound"]  # γ = 0.95, uniform start
    assert found["gap"] == pytest.approx(found["upper_bound"] - found["lower_bound"])
    assert found["converged"]
    assert found["seconds"] > 0.0
    assert list(found["simulated"]) == ["mean_return", "ci95", "episodes", "steps"]
    low, high = found["simulated"]["ci95"]
    assert low < found["simulated"]["mean_return"] < high
    policy = AlphaVectorPolicy.load(out, make("tiger").model)
    assert len(policy.vectors) == found["vectors"]
    assert policy.lower_bound == found["lower_bound"]


def test_solve_prints_the_same_for_a_person(imm_rl_command: Command, tmp_path: Path) -> None:
    out = imm_rl_command("solve", "--env", "tiger", "--out", tmp_path / "tiger.npz").out

    for text in ("lower bound", "upper bound", "gap", "vectors", "1,000 episodes of 50 steps"):
        assert text in out
    assert out.splitlines()[-1] == f"policy: {tmp_path / 'tiger.npz'}"


def test_solve_says_when_it_stopped_early_and_the_gap(imm_rl_command: Command) -> None:
    words = ["solve", "--env", "grid", "--method", "pbvi", "--time-limit", "0.05"]

    shown = imm_rl_command(*words, "--precision", "1e-9")
    found = json.loads(imm_rl_command(*words, "--precision", "1e-9", "--json").out)

    assert not found["converged"]
    assert found["notes"]
    assert "stopped before the precision was reached; the gap is " in shown.out


def test_solve_says_what_is_not_proven(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command("solve", "--env", "tiger", "--method", "qmdp", "--json").out)

    assert (found["lower_bound"], found["gap"]) == (None, None)
    assert "not proven" in imm_rl_command("solve", "--env", "tiger", "--method", "qmdp").out


def test_solve_solves_the_model_that_the_solver_is_given(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "grid.npz"

    imm_rl_command("solve", "--env", "grid", "--method", "fib", "--out", out)

    pair = make("grid")
    assert AlphaVectorPolicy.load(out).fingerprint == pair.restricted_model.fingerprint()
    assert pair.restricted_model.fingerprint() != pair.model.fingerprint()


def test_solve_simulates_the_same_each_time(imm_rl_command: Command) -> None:
    words = ["solve", "--env", "cheese", "--json"]

    first, second = (json.loads(imm_rl_command(*words).out)["simulated"] for _ in range(2))
    other = json.loads(imm_rl_command(*words, "--seed", "1").out)["simulated"]

    assert first == second
    assert first != other

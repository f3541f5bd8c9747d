from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.solve import solver_names
from imm_rl.cli.solve_result import EPISODES, FEWEST_EPISODES, affordable
from imm_rl.envs.registry import make

Command = Callable[..., Any]

SOLVE = sys.modules["imm_rl.agents.solve"]  # its name in the package is the function's


def test_solve_prints_bounds_and_simulated_values_and_keeps_the_policy(
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


def test_solve_simulates_the_discounted_value_that_the_bounds_are_of(
    imm_rl_command: Command,
) -> None:
    found = json.loads(imm_rl_command("solve", "--env", "tiger", "--json").out)

    value = found["simulated_value"]
    assert value["episodes"] == 1000
    assert 0.95 ** value["steps"] < 1e-3 < 0.95 ** (value["steps"] - 2)
    low, high = value["ci95"]
    assert low < 19.3714 < high  # the seed is fixed
    assert high - low < 5.0


def test_solve_prints_the_same_for_a_person(imm_rl_command: Command, tmp_path: Path) -> None:
    out = imm_rl_command("solve", "--env", "tiger", "--out", tmp_path / "tiger.npz").out

    for text in (
        "lower bound",
        "upper bound",
        "gap",
        "vectors",
        "1,000 episodes, discounted",
        "1,000 episodes of 50 steps, undiscounted",
        "discounted by γ = 0.95, from the start belief, without the cut after 50 steps",
    ):
        assert text in out
    assert out.splitlines()[-1] == f"policy: {tmp_path / 'tiger.npz'}"


@pytest.mark.parametrize("name", ["tiger.npz", "tiger.policy", "tiger.policyx", "tiger.alpha"])
def test_solve_keeps_the_policy_in_the_format_of_the_file_name(
    imm_rl_command: Command, tmp_path: Path, name: str
) -> None:
    out = imm_rl_command("solve", "--env", "tiger", "--method", "fib", "--out", tmp_path / name)

    assert out.code == 0
    policy = AlphaVectorPolicy.load(tmp_path / name)
    assert policy.value(np.array([0.5, 0.5])) == pytest.approx(87.1795, abs=1e-3)  # FIB of Tiger


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


def test_solve_says_when_the_policy_was_kept_from_an_earlier_solve(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path))
    words = ["solve", "--env", "4x3", "--method", "fib"]

    first, second = (imm_rl_command(*words).out for _ in range(2))

    assert "kept from an earlier solve" not in first
    assert first.replace(" s\n", " s, kept from an earlier solve\n", 1) == second


def test_solve_solves_the_model_that_the_solver_is_given(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "grid.npz"

    shown = imm_rl_command("solve", "--env", "grid", "--method", "fib", "--out", out).out

    pair = make("grid")
    assert AlphaVectorPolicy.load(out).fingerprint == pair.restricted_model.fingerprint()
    assert pair.restricted_model.fingerprint() != pair.model.fingerprint()
    assert "the model that the solver is given, which is not the environment's" in shown


def test_solve_simulates_the_same_each_time(imm_rl_command: Command) -> None:
    words = ["solve", "--env", "cheese", "--json"]

    first, second = (json.loads(imm_rl_command(*words).out) for _ in range(2))
    other = json.loads(imm_rl_command(*words, "--seed", "1").out)

    for key in ("simulated", "simulated_value"):
        assert first[key] == second[key]
        assert first[key] != other[key]


def test_solve_simulates_as_many_episodes_as_asked(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command("solve", "--env", "tiger", "--episodes", "7", "--json").out)

    assert found["simulated"]["episodes"] == found["simulated_value"]["episodes"] == 7


def test_affordable_episodes_fall_with_the_size_of_the_policy() -> None:
    model = make("tiger").model  # 3 actions, 2 observations

    def policy(n_vectors: int, execution: str = "lookahead") -> AlphaVectorPolicy:
        vectors = np.zeros((n_vectors, 2))
        return AlphaVectorPolicy(
            vectors, np.zeros(n_vectors, int), model=model, execution=execution
        )

    assert affordable(model, policy(5), steps=135) == EPISODES
    # 100,000 · 2 · 3 · 2 products a step, 100 steps: 1.2e8 an episode.
    assert affordable(model, policy(100_000), steps=100) == 416
    assert affordable(model, policy(100_000, "vectors"), steps=100) == EPISODES
    assert affordable(model, policy(1_000_000), steps=1000) == FEWEST_EPISODES


def test_solve_hands_the_horizon_on_and_says_it(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def solve(model: Any, method: str, **options: Any) -> AlphaVectorPolicy:
        asked.append(options["horizon"])
        return AlphaVectorPolicy(
            [[-1.0, -1.0]], [0], n_actions=3, execution="vectors", method=method
        )

    monkeypatch.setattr(SOLVE, "solve", solve)
    words = ["solve", "--env", "tiger", "--horizon", "2", "--method", "fib"]

    shown = imm_rl_command(*words).out
    found = json.loads(imm_rl_command(*words, "--json").out)

    assert asked == [2, 2]
    assert "horizon             2 steps" in shown
    assert "The bounds are of the first 2 steps" in shown
    # Listening twice earns −1 − 0.95, always.
    assert found["simulated_value"]["mean"] == pytest.approx(-1.95)
    assert found["simulated_value"]["steps"] == found["horizon"] == 2


def test_solve_help_lists_every_method(imm_rl_command: Command) -> None:
    text = " ".join(imm_rl_command("solve", "--help").out.split())

    for name in solver_names():
        assert name in text.rpartition("--method NAME ")[2].partition("--compare")[0]


def test_solve_shows_no_progress_where_nobody_watches(imm_rl_command: Command) -> None:
    assert imm_rl_command("solve", "--env", "tiger", "--method", "fib").err == ""


def test_solve_shows_one_live_line_on_a_terminal_and_takes_it_away(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    words = ["solve", "--env", "4x3", "--method", "pbvi", "--precision", "0.05"]

    live = imm_rl_command(*words).err
    silent = [imm_rl_command(*words, option).err for option in ("--quiet", "--json")]

    assert "value between" in live
    assert "\n" not in live
    assert live.endswith("\r")
    assert not live.split("\r")[-2].strip()
    assert silent == ["", ""]

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.state_policy import StatePolicy
from imm_rl.runs import RunFolder

Command = Callable[..., Any]

# Tiger, states left and right; actions listen, open-left, open-right.
BEST = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
MOSTLY = np.array([[0.25, 0.0, 0.75], [0.25, 0.75, 0.0]])


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(env: str = "tiger", seeds: tuple[int, ...] = (3,), eval_steps: str = "null") -> RunFolder:
    """A finished run whose policies are known."""
    files = {"config.yaml": f"env: {env}\neval_steps: {eval_steps}\n", "versions.json": "{}"}
    folder = RunFolder.create("runs", env, "reinforce-pomdp", files)
    for i, seed in enumerate(seeds):
        place = folder.of_seed(seed, seeds).path
        place.mkdir(exist_ok=True)
        table = BEST if i == 0 else MOSTLY
        StatePolicy(table, {"env": env, "seed": seed}).save(place / "model.zip")
    (folder.path / "summary.json").write_text("{}")
    return folder


def test_evaluate_plays_sampled_and_most_likely_actions(
    imm_rl_command: Command, at_home: Path
) -> None:
    StatePolicy(MOSTLY, {"env": "tiger"}).save("model.zip")

    found = json.loads(imm_rl_command("evaluate", "model.zip", "--json").out)

    # 50 steps of 0.25 · (−1) + 0.75 · 10, deviation 11 · √(0.25 · 0.75), 1,000 times; and of 10.
    low, high = found["eval"]["ci95"]
    assert low < 50 * 7.25 < high
    assert high - low == pytest.approx(2 * 1.96 * 4.763 * (50 / 1000) ** 0.5, rel=0.1)
    assert found["eval_deterministic"] == {"mean_return": 500.0, "ci95": [500.0, 500.0]}
    assert found["oracle"] == {"mean_return": 500.0}
    assert found["eval"]["episodes"] == 1000


def test_evaluate_takes_the_latest_run_when_none_is_named(
    imm_rl_command: Command, at_home: Path
) -> None:
    _run()
    latest = _run()

    outcome = imm_rl_command("evaluate")

    assert outcome.code == 0
    assert outcome.out.startswith(f"{latest.path} in tiger: 1,000 episodes of 50 steps, seed 0\n")
    assert "100%" in outcome.out


def test_evaluate_takes_the_newest_finished_run_and_names_a_newer_one_that_is_not(
    imm_rl_command: Command, at_home: Path
) -> None:
    unfinished = _run()
    (unfinished.path / "summary.json").unlink()
    os.utime(unfinished.path / "config.yaml", (2_000_000_000, 2_000_000_000))
    resume = f"imm-rl train --resume {unfinished.path}"

    outcome = imm_rl_command("evaluate")
    assert outcome.code == 2
    assert outcome.err == (
        "imm-rl evaluate: error: there is no finished run below runs. "
        f"Go on with the newest: {resume}\n"
    )

    finished = _run()
    outcome = imm_rl_command("evaluate")
    assert outcome.code == 0
    assert outcome.out.startswith(f"{finished.path} in tiger")
    assert outcome.err == (
        f"passed over {unfinished.path}, which is newer: it is not finished; go on with it: {resume}\n"
    )


def test_evaluate_takes_all_seeds_of_a_run_in_order(imm_rl_command: Command, at_home: Path) -> None:
    folder = _run(seeds=(10, 9))

    found = json.loads(imm_rl_command("evaluate", folder.path, "--episodes", "50", "--json").out)
    one = json.loads(imm_rl_command("evaluate", folder.path / "seed_10", "--json").out)

    assert found["trained_seeds"] == [9, 10]
    assert found["eval"]["per_seed"][1] == 500.0
    assert found["eval"]["episodes"] == 100
    assert one["trained_seeds"] == [10]


def test_evaluate_plays_episodes_as_long_as_the_runs_own(
    imm_rl_command: Command, at_home: Path
) -> None:
    found = json.loads(imm_rl_command("evaluate", _run(eval_steps="22").path, "--json").out)

    assert found["episode_steps"] == 22
    assert found["eval"]["mean_return"] == 220.0


def test_evaluate_gives_every_policy_the_same_random_numbers(
    imm_rl_command: Command, at_home: Path
) -> None:
    StatePolicy(MOSTLY, {"env": "tiger"}).save("a.zip")
    StatePolicy(MOSTLY, {"env": "tiger"}).save("b.zip")

    first, second = (
        json.loads(imm_rl_command("evaluate", f"{name}.zip", "--json").out)["eval"] for name in "ab"
    )
    other = json.loads(imm_rl_command("evaluate", "a.zip", "--seed", "1", "--json").out)["eval"]

    assert first == second
    assert first != other


def test_evaluate_plays_a_restricted_policy_on_its_beliefs(
    imm_rl_command: Command, at_home: Path
) -> None:
    imm_rl_command("solve", "--env", "tiger", "--out", "tiger.npz")
    solved = json.loads(imm_rl_command("solve", "--env", "tiger", "--json").out)["simulated"]

    found = json.loads(imm_rl_command("evaluate", "tiger.npz", "--env", "tiger", "--json").out)

    assert found["eval"]["mean_return"] == solved["mean_return"]  # both with seed 0
    assert found["eval"]["mean_return"] < 100.0 < found["oracle"]["mean_return"]


def test_evaluate_plays_elsewhere_when_told_so(imm_rl_command: Command, at_home: Path) -> None:
    folder = _run()

    found = json.loads(
        imm_rl_command("evaluate", folder.path, "--env", "tiger(max_steps=5)", "--json").out
    )
    refused = imm_rl_command("evaluate", folder.path, "--env", "cheese")

    assert found["eval_deterministic"]["mean_return"] == 50.0
    assert refused.code == 2
    assert "is for 2 states and 3 actions; cheese has 11 states and 4 actions" in refused.err


def test_evaluate_says_when_a_run_is_not_finished(imm_rl_command: Command, at_home: Path) -> None:
    folder = RunFolder.create("runs", "tiger", "reinforce-pomdp", {"config.yaml": "env: tiger\n"})

    outcome = imm_rl_command("evaluate")

    assert outcome.code == 2
    assert f"imm-rl train --resume {folder.path}" in outcome.err


def test_evaluate_of_a_real_run_agrees_with_its_summary(
    imm_rl_command: Command, at_home: Path, tiny: list[str]
) -> None:
    imm_rl_command("train", "--env", "tiger", "--seeds", "3", *tiny)

    found = json.loads(imm_rl_command("evaluate", "--episodes", "4000", "--json").out)

    summary = json.loads(Path("runs/tiger/reinforce-pomdp-1/summary.json").read_text())
    assert list(found["eval"]) == list(summary["eval"])
    assert found["episode_steps"] == 10
    low, high = summary["eval"]["ci95"]
    width = high - low
    assert low - width < found["eval"]["mean_return"] < high + width


def test_evaluate_says_what_it_leaves_out_of_an_interpolation(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    for schedule, noted in (("1", True), ("linear:1->0@0.5", False)):
        words = ["--method", "interpolate", "--lambda", schedule, "--logdir", tmp_path, *tiny]
        imm_rl_command("train", "--env", "tiger", "--seeds", "3", "--quiet", *words)

        outcome = imm_rl_command("evaluate", "--logdir", tmp_path)

        assert outcome.code == 0
        assert ("this is the agent alone" in outcome.out) == noted

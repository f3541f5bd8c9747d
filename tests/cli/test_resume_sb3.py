from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.utils import get_parameters_by_name
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import imm_rl.agents.sb3
from imm_rl.cli import sb3_keeper
from imm_rl.cli.console import Progress

Command = Callable[..., Any]

# So that episodes go on over the ends of rollouts.
TIGER, CHEESE = "tiger(max_steps=8)", "cheese(max_steps=8)"


@pytest.fixture(autouse=True)
def _ctrl_c_is_for_us() -> Iterator[None]:
    """Python's own handler, also where the tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupted(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Trains and presses Ctrl-C after the update of that number, counted from 1; folder and outcome."""

    def train(number: int, *words: object) -> tuple[Path, Any]:
        updates = []

        def update(self: Progress, env_steps: int) -> None:
            updates.append(env_steps)
            if len(updates) == number:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Progress, "update", update)
            outcome = imm_rl_command("train", "--logdir", tmp_path, *words)
        folder = outcome.out.splitlines()[0].removeprefix("run folder: ")
        return Path(folder), outcome

    return train


def _weights(folder: Path, algorithm: Any) -> list[np.ndarray]:
    policy = algorithm.load(folder / "model.zip", device="cpu").policy
    return [p.numpy() for p in get_parameters_by_name(policy, [""])]


@pytest.mark.parametrize(
    ("agent", "env", "extra"),
    [
        ("ppo", TIGER, []),
        ("ppo", TIGER, ["--restricted", "none", "--view", "restricted"]),
        ("ppo", TIGER, ["--lambda", "target-kl:0.05"]),
        ("ppo", CHEESE, ["--lambda", "1"]),
        ("a2c", CHEESE, ["--lambda", "0.3"]),
    ],
)
def test_resume_ends_where_an_uninterrupted_run_ends(
    interrupted: Callable[..., Any],
    imm_rl_command: Command,
    tiny_ppo: list[str],
    tmp_path: Path,
    agent: str,
    env: str,
    extra: list[str],
) -> None:
    tiny = [*tiny_ppo[:8], *tiny_ppo[12:]] if agent == "a2c" else tiny_ppo
    words = ["--env", env, "--agent", agent, "--seeds", "3", *tiny, *extra]
    folder, stopped = interrupted(3, *words)
    assert stopped.code == 130
    assert stopped.out.splitlines()[-1] == f"stopped; go on with: imm-rl train --resume {folder}"
    assert not (folder / "summary.json").exists()

    resumed = imm_rl_command("train", "--resume", folder)
    imm_rl_command("train", "--logdir", tmp_path, *words)

    whole = folder.with_name(folder.name.removesuffix("-1") + "-2")
    assert resumed.code == 0
    assert "going on at 60 steps\n" in resumed.out
    algorithm = {"ppo": PPO, "a2c": A2C}[agent]
    for a, b in zip(_weights(folder, algorithm), _weights(whole, algorithm), strict=True):
        assert np.array_equal(a, b)
    summaries = [json.loads((path / "summary.json").read_text()) for path in (folder, whole)]
    for key in ("eval", "eval_deterministic", "curve", "restricted_eval", "env_steps"):
        assert summaries[0][key] == summaries[1][key]
    assert (folder / "progress.csv").read_bytes() == (whole / "progress.csv").read_bytes()
    accumulator = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in accumulator.Scalars("eval/mean_reward")] == [40, 80, 120]


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
def test_resume_logs_means_over_updates_of_before_the_stop_as_well(
    interrupted: Callable[..., Any],
    imm_rl_command: Command,
    tiny_ppo: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    agent: str,
) -> None:
    monkeypatch.setattr(sb3_keeper, "LOG_POINTS", 1)  # rows with evaluations, each second update
    monkeypatch.setattr(imm_rl.agents.sb3, "MEASURE_EVERY", 1)
    tiny = [*tiny_ppo[:8], *tiny_ppo[12:]] if agent == "a2c" else tiny_ppo
    words = ["--env", TIGER, "--agent", agent, "--seeds", "3", *tiny]
    folder, stopped = interrupted(3, *words)
    rows = (folder / "progress.csv").read_text().splitlines()
    imm_rl_command("train", "--resume", folder)
    imm_rl_command("train", "--logdir", tmp_path, *words)

    whole = folder.with_name(folder.name.removesuffix("-1") + "-2")
    assert (stopped.code, len(rows)) == (130, 2)  # the header, and the row before the stop
    found, expected = ((f / "progress.csv").read_text() for f in (folder, whole))
    assert "imm/loss" in expected
    assert found == expected


def test_resume_begins_new_episodes_where_an_environment_cannot_be_stored(
    interrupted: Callable[..., Any], imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    words = ["--env", "CartPole-v1", "--observe", "2,3", "--seeds", "3", *tiny_ppo]
    imm_rl_command("train", "--logdir", tmp_path, *words)
    view = tmp_path / "CartPole-v1-observe-2-3" / "ppo-view-1"
    folder, stopped = interrupted(3, *words, "--restricted", view)
    (view / "model.zip").unlink()  # the run has a copy of its own

    resumed = imm_rl_command("train", "--resume", folder)

    assert (stopped.code, resumed.code) == (130, 0)
    assert "going on at 60 steps" in resumed.out
    assert "its episodes begin anew" in resumed.out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["curve"]["env_steps"] == [40, 80, 120]
    assert summary["restricted_eval"]["mean_return"] > 1.0


def test_resume_takes_up_seeds_that_are_done(
    interrupted: Callable[..., Any], imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    words = ["--env", TIGER, "--agent", "ppo", "--seeds", "3,4", *tiny_ppo]
    folder, stopped = interrupted(8, *words)  # in the second seed
    model = (folder / "seed_3" / "model.zip").read_bytes()

    resumed = imm_rl_command("train", "--resume", folder)
    imm_rl_command("train", "--logdir", tmp_path, *words)

    assert (stopped.code, resumed.code) == (130, 0)
    assert (folder / "seed_3" / "model.zip").read_bytes() == model
    assert "seed 3:" not in resumed.out
    whole = folder.with_name("ppo-pomdp-2")
    found, expected = (json.loads((f / "summary.json").read_text()) for f in (folder, whole))
    assert found["eval"] == expected["eval"]
    assert found["curve"] == expected["curve"]


def test_resume_refuses_a_checkpoint_of_another_training(
    interrupted: Callable[..., Any], imm_rl_command: Command, tiny_ppo: list[str]
) -> None:
    folder, _ = interrupted(3, "--env", TIGER, "--agent", "ppo", "--seeds", "3", *tiny_ppo)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("hidden_sizes: [8]", "hidden_sizes: [9]"))
    other = imm_rl_command("train", "--resume", folder)
    (folder / "config.yaml").write_text(config)
    checkpoint = folder / "checkpoints" / "latest.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    damaged = imm_rl_command("train", "--resume", folder)

    assert (other.code, damaged.code) == (2, 2)
    assert "hidden_sizes was [8] and is [9]" in other.err
    assert "is no checkpoint of an agent" in damaged.err

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.agents.state_policy import StatePolicy
from imm_rl.cli.console import Progress

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _ctrl_c_is_for_us() -> Iterator[None]:
    """Python's own handler, also where the tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupted(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Any]:
    """A run that met Ctrl-C in the update after its first evaluation; folder and outcome."""
    updates = []

    def update(self: Progress, env_steps: int) -> None:
        updates.append(env_steps)
        if len(updates) == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", update)
        outcome = imm_rl_command(
            "train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny
        )
    assert updates == [20, 40, 60]
    return tmp_path / "tiger" / "reinforce-pomdp-1", outcome


def test_ctrl_c_keeps_the_state_and_tells_how_to_go_on(interrupted: tuple[Path, Any]) -> None:
    folder, outcome = interrupted

    assert outcome.code == 130
    assert outcome.out.splitlines()[-1] == f"stopped; go on with: imm-rl train --resume {folder}"
    with np.load(folder / "checkpoints" / "latest.npz") as state:
        assert state["env_steps"] == 60
    assert not (folder / "summary.json").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resume_ends_where_an_uninterrupted_run_ends(
    interrupted: tuple[Path, Any], imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    folder, _ = interrupted

    resumed = imm_rl_command("train", "--resume", folder)
    imm_rl_command("train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny)

    whole = tmp_path / "tiger" / "reinforce-pomdp-2"
    assert resumed.code == 0
    assert "going on at 60 steps" in resumed.out
    assert (folder / "progress.csv").read_bytes() == (whole / "progress.csv").read_bytes()
    tables = [StatePolicy.load(path / "model.zip").table for path in (folder, whole)]
    assert np.array_equal(*tables)
    summaries = [json.loads((path / "summary.json").read_text()) for path in (folder, whole)]
    for key in ("eval", "eval_deterministic", "curve", "restricted_eval", "env_steps"):
        assert summaries[0][key] == summaries[1][key]
    accumulator = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in accumulator.Scalars("eval/mean_reward")] == [40, 80, 120]


def test_resume_adds_up_the_time(interrupted: tuple[Path, Any], imm_rl_command: Command) -> None:
    folder, _ = interrupted
    (folder / "checkpoints" / "clock.json").write_text('{"wall_seconds": 1000.0}')

    imm_rl_command("train", "--resume", folder)

    assert json.loads((folder / "summary.json").read_text())["wall_seconds"] > 1000.0


def test_resume_starts_anew_without_a_checkpoint(
    interrupted: tuple[Path, Any], imm_rl_command: Command
) -> None:
    folder, _ = interrupted
    (folder / "checkpoints" / "latest.npz").unlink()

    outcome = imm_rl_command("train", "--resume", folder)

    assert outcome.code == 0
    assert "going on" not in outcome.out
    accumulator = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in accumulator.Scalars("eval/mean_reward")] == [40, 80, 120]


def test_resume_of_a_finished_run_prints_its_summary(
    interrupted: tuple[Path, Any], imm_rl_command: Command
) -> None:
    folder, _ = interrupted
    imm_rl_command("train", "--resume", folder)
    before = (folder / "summary.json").read_bytes()

    again = imm_rl_command("train", "--resume", folder)
    as_json = imm_rl_command("train", "--resume", folder, "--json")

    assert again.code == 0
    assert "is finished" in again.out
    assert "optimum" in again.out
    assert json.loads(as_json.out) == json.loads(before)
    assert (folder / "summary.json").read_bytes() == before


@pytest.mark.parametrize(
    "words", [["--steps", "5"], ["--env", "tiger"], ["--fast"], ["--gamma", "0.9"], ["--dry-run"]]
)
def test_resume_refuses_other_training_options(
    interrupted: tuple[Path, Any], imm_rl_command: Command, words: list[str]
) -> None:
    outcome = imm_rl_command("train", "--resume", interrupted[0], *words)

    assert outcome.code == 2
    assert words[0] in outcome.err


def test_resume_refuses_a_checkpoint_that_is_damaged_or_of_another_agent(
    interrupted: tuple[Path, Any], imm_rl_command: Command
) -> None:
    folder, _ = interrupted
    checkpoint = folder / "checkpoints" / "latest.npz"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    damaged = imm_rl_command("train", "--resume", folder)
    checkpoint.write_bytes(whole)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("hidden_sizes: [32]", "hidden_sizes: [9]"))
    other = imm_rl_command("train", "--resume", folder)

    assert (damaged.code, other.code) == (2, 2)
    assert "is no checkpoint of an agent" in damaged.err
    assert "is a checkpoint of another agent" in other.err


def test_a_copy_of_a_run_folder_goes_on_from_its_new_place(
    interrupted: tuple[Path, Any], imm_rl_command: Command, tmp_path: Path
) -> None:
    shutil.copytree(interrupted[0], tmp_path / "moved run")

    outcome = imm_rl_command("train", "--resume", tmp_path / "moved run")

    assert outcome.code == 0
    assert (tmp_path / "moved run" / "summary.json").is_file()

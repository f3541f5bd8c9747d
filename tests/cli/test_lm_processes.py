"""`imm-rl lm train` in two processes that `torchrun` starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Command = Callable[..., Any]

TINY = [
    *("--hidden-size", "8", "--layers", "1", "--epochs", "6", "--batch-size", "4", "--seeds", "3"),
    *("--unroll", "10", "--eval-batch-size", "3", "--learning-rate", "5", "--device", "cpu"),
    *("--method", "sampled", "--k", "3", "--history", "4", "--every", "2"),
]

# Stops process 1 at the start of an update: by a signal, or by an error.
STOPPING = """
import os, signal, sys
how, at = sys.argv.pop(1), int(sys.argv.pop(1))
from imm_rl.language.lm_training import LMTrainer
update = LMTrainer._update

def stopping(self):
    if self.updates == at and self.processes.rank == 1:
        if how == "OutOfMemoryError":
            import torch
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 1 has")
        os.kill(os.getpid(), getattr(signal, how))
    return update(self)

LMTrainer._update = stopping
from imm_rl.cli import main
sys.exit(main())
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """228 words of training: four streams of 56 pairs, six updates an epoch."""
    folder = tmp_path / "text"
    folder.mkdir()
    lines = ["a b c d", "b c d a", "c d", "a b a b c"]
    for part, times in (("train", 12), ("valid", 3), ("test", 2)):
        (folder / f"{part}.txt").write_text("\n".join(lines * times) + "\n")
    return folder


def torchrun(*words: object, count: int = 2) -> subprocess.CompletedProcess[str]:
    """The words after `torchrun --nproc-per-node 2`; a hang is a failure."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    with subprocess.Popen(
        [*launcher, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # the launcher ends those that it started
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def spoken(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What imm-rl said on stderr; torchrun reports too."""
    return [line for line in done.stderr.splitlines() if line.startswith("imm-rl")]


def train(
    text: Path, logdir: Path, program: Sequence[object] = ("-m", "imm_rl.cli"), count: int = 2
) -> Any:
    where = ("--corpus", text, "--logdir", logdir)
    return torchrun(*program, "lm", "train", *TINY, *where, count=count)


def result(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves but its times."""
    summary = json.loads((folder / "summary.json").read_text())
    del summary["wall_seconds"]
    found: dict[str, Any] = {"summary": summary}
    for name in ("model.npz", "checkpoints/latest.npz"):
        with np.load(folder / name) as arrays:
            kept = {key: arrays[key] for key in arrays if key not in ("records", "counters")}
            found[name] = {key: value.tobytes() for key, value in kept.items()}
    rows = (folder / "progress.csv").read_text().splitlines()
    found["progress"] = [row.rsplit(",", 1)[0] for row in rows]  # time is the last one
    accumulator = EventAccumulator(str(folder)).Reload()
    for tag in sorted(set(accumulator.Tags()["scalars"]) - {"time/words_per_second"}):
        found[tag] = [(e.step, e.value) for e in accumulator.Scalars(tag)]
    return found


@pytest.mark.slow
def test_a_run_of_two_processes_stopped_and_killed_ends_as_one_left_alone(
    imm_rl_command: Command, text: Path, tmp_path: Path
) -> None:
    stopping = tmp_path / "stopping.py"
    stopping.write_text(STOPPING)
    alone = train(text, tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.count("restricted model:") == 1  # one of them speaks
    assert spoken(alone) == []
    whole = tmp_path / "alone" / "lm" / "text" / "lstm-sampled-1"
    assert (
        (whole / "command.txt")
        .read_text()
        .startswith("torchrun --nproc-per-node 2 -m imm_rl.cli lm train --hidden-size 8 ")
    )
    with np.load(whole / "checkpoints" / "latest.npz") as arrays:
        assert json.loads(str(arrays["identity"]))["processes"] == 2
        assert arrays["carried/0"].shape == arrays["process_1/carried/0"].shape == (1, 2, 8)
        assert not np.array_equal(arrays["dropout"], arrays["process_1/dropout"])

    # Killed, resumed, stopped, resumed.
    killed = train(text, tmp_path / "killed", (stopping, "SIGKILL", 20))
    folder = tmp_path / "killed" / "lm" / "text" / "lstm-sampled-1"
    assert killed.returncode == 1  # torchrun's own
    (said,) = spoken(killed)
    assert said.startswith(
        "imm-rl lm train: error: another process of this training ended, or cannot be reached: "
    )
    resume = ("lm", "train", "--resume", folder)
    stopped = torchrun(stopping, "SIGTERM", 28, *resume)
    assert spoken(stopped) == []
    assert stopped.stdout.splitlines()[-1] == (
        f"stopped; go on with: torchrun --nproc-per-node 2 -m imm_rl.cli lm train --resume {folder}"
    )
    assert not (folder / "summary.json").exists()
    one = imm_rl_command(*resume)
    assert (one.code, one.err) == (
        2,
        f"imm-rl lm train: error: {folder / 'checkpoints' / 'latest.npz'} is a checkpoint of a training "
        "in 2 processes, and 1 was started: each has streams and random numbers of its own. Go on with: "
        f"torchrun --nproc-per-node 2 -m imm_rl.cli lm train --resume {folder}\n",
    )
    resumed = torchrun("-m", "imm_rl.cli", *resume)
    assert (resumed.returncode, spoken(resumed)) == (0, [])
    assert result(folder) == result(whole)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_to_a_later_end(text: Path, tmp_path: Path) -> None:
    program = ("-m", "imm_rl.cli", "lm", "train")
    words = (*TINY, "--corpus", text, "--seeds", "3,4", "--epochs", 2)
    done = torchrun(*program, *words, "--logdir", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "lm" / "text" / "lstm-sampled-1"

    done = torchrun(*program, "--resume", folder, "--epochs", 3)

    assert (done.returncode, spoken(done)) == (0, [])
    assert done.stdout.count("going on at 448 words") == 2  # no process took a seed for finished
    summary = json.loads((folder / "summary.json").read_text())
    assert {seed: len(curve["words"]) for seed, curve in summary["curves"].items()} == {
        "3": 3,
        "4": 3,
    }


@pytest.mark.slow
def test_an_error_of_one_process_is_one_line(text: Path, tmp_path: Path) -> None:
    stopping = tmp_path / "stopping.py"
    stopping.write_text(STOPPING)
    done = train(text, tmp_path / "runs", (stopping, "OutOfMemoryError", 5))
    folder = tmp_path / "runs" / "lm" / "text" / "lstm-sampled-1"
    (told,) = spoken(done)
    assert told.startswith(
        "imm-rl lm train: error: process 1 of 2: out of memory: the GPU's memory ended where 2 GiB more "
        "were asked for. What helps: a smaller batch_size, unroll or hidden_size;"
    )
    assert told.endswith(
        "The last checkpoint is kept; go on with: torchrun --nproc-per-node 2 -m imm_rl.cli lm train "
        f"--resume {folder}"
    )


@pytest.fixture
def _launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the first of three, and finds no store."""
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)


@pytest.mark.usefixtures("_launched")
def test_streams_that_cannot_be_split_are_refused_before_anything_is_written(
    imm_rl_command: Command, text: Path, tmp_path: Path
) -> None:
    where = ("--corpus", text, "--logdir", tmp_path / "runs")
    outcome = imm_rl_command("lm", "train", *TINY, *where)
    assert (outcome.code, outcome.err) == (
        2,
        "imm-rl lm train: error: batch_size must be divisible by the number of processes, 3; received "
        "4.\n",
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("_launched")
def test_other_commands_are_refused_in_several_processes(imm_rl_command: Command) -> None:
    outcome = imm_rl_command("train", "--env", "tiger")
    assert (outcome.code, outcome.err) == (
        2,
        "imm-rl train: error: train runs in one process, and 3 were started. Start it as: imm-rl train\n",
    )


@pytest.mark.usefixtures("_launched")
def test_the_first_process_alone_shows_what_would_run(
    imm_rl_command: Command, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("lm", "train", *TINY, "--batch-size", "6", "--corpus", text, "--dry-run")
    assert imm_rl_command(*words).out.endswith("and nothing was trained\n")
    monkeypatch.setenv("RANK", "1")
    assert imm_rl_command(*words) == (0, "", "")

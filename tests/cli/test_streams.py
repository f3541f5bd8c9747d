"""Output that nobody takes: a closed pipe, a full disk, no stdout at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

STARTED = [sys.executable, "-m", "imm_rl.cli"]


@contextmanager
def _closed_pipe() -> Iterator[IO[bytes]]:
    """What a command writes to after `| head -1` has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "wb", buffering=0)
    try:
        yield file
    finally:
        file.close()


def _command(
    words: Sequence[str], place: Path, stdout: Any, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STARTED, *words],
        stdout=stdout,
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        cwd=place,
        timeout=300,
        check=False,
        **options,
    )


@pytest.mark.parametrize("words", ["envs", "envs tiger", "solve --env tiger --explain", "--help"])
def test_commands_that_print_end_without_noise_where_a_pipe_is_closed(
    words: str, tmp_path: Path
) -> None:
    with _closed_pipe() as closed:
        done = _command(words.split(), tmp_path, closed)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_without_a_buffer_ends_without_noise_too(tmp_path: Path) -> None:
    with _closed_pipe() as closed:
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        done = _command(["envs"], tmp_path, closed, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_keeps_its_exit_code_where_stderr_is_closed(tmp_path: Path) -> None:
    with _closed_pipe() as closed:
        done = _command(["envs", "nowhere"], tmp_path, closed, stderr=closed)
    assert done.returncode == 2


@pytest.mark.slow
def test_a_training_goes_on_to_its_end_where_nobody_reads_it(
    tmp_path: Path, tiny: list[str]
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "1", *tiny]
    with _closed_pipe() as closed:
        done = _command(words, tmp_path, closed, stderr=closed)
    assert done.returncode == 0
    (summary,) = tmp_path.glob("runs/tiger/*/summary.json")
    assert json.loads(summary.read_text())["env_steps"] >= 120


@pytest.mark.slow
def test_watch_ends_where_nobody_looks_on(tmp_path: Path, tiny: list[str]) -> None:
    trained = ["train", "--env", "tiger", "--seeds", "1", *tiny]
    assert _command(trained, tmp_path, subprocess.DEVNULL).returncode == 0
    with _closed_pipe() as closed:
        # At a step in 1,000 seconds an episode would not end within the time that the test has.
        words = ["watch", "--fps", "0.001"]
        done = _command(words, tmp_path, closed)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_told_with_the_folder_of_the_run(
    tmp_path: Path, tiny: list[str]
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "1", *tiny, "--quiet"]
    with open("/dev/full", "wb") as full:
        done = _command(words, tmp_path, full)
        listing = _command(["envs"], tmp_path, full)
    assert done.returncode == 1
    assert done.stderr == (
        "imm-rl train: error: cannot write to standard output: No space left on device. "
        "The run is complete: runs/tiger/reinforce-pomdp-1\n"
    )
    assert (tmp_path / "runs" / "tiger" / "reinforce-pomdp-1" / "summary.json").is_file()
    assert listing.returncode == 1
    assert listing.stderr == (
        "imm-rl envs: error: cannot write to standard output: No space left on device.\n"
    )


def test_a_command_without_any_stdout_ends_as_it_should(tmp_path: Path) -> None:
    done = _command(["envs"], tmp_path, None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")

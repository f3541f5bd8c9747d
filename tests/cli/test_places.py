"""A place that takes no file is one line and exit code 2, before anything is computed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

FOLDERS = {
    "train": "train --env tiger --steps 100 --eval-points 1 --logdir {}",
    "train, dry": "train --env tiger --dry-run --logdir {}",
    "compare": "compare --env tiger --methods none,imm --steps 100 --logdir {}",
    "compare, dry": "compare --env tiger --methods none,imm --dry-run --logdir {}",
    "sweep": "sweep sweep.yaml --out {}",
    "sweep, dry": "sweep sweep.yaml --dry-run --out {}",
    "reproduce": "reproduce figure-2 --runs 2 --out {}",
    "lm train": "lm train --corpus text --batch-size 2 --logdir {}",
    "lm train, dry": "lm train --corpus text --batch-size 2 --dry-run --logdir {}",
}
FILES = {
    "solve": "solve --env tiger --out {}.npz",
    "solve, plot": "solve --env tiger --plot {}.png",
    "plot": "plot run --out {}.png",
    "watch": "watch policy.npz --env tiger --out {}.png",
}
LONG = "n" * 300


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_text("")
    (tmp_path / "sweep.yaml").write_text("env: tiger\nseeds: 0\ngrid: {lambda: [0.1, 1]}\n")
    (tmp_path / "text").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "text" / f"{part}.txt").write_text("a b c d\nb c d a\nc d\n" * 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _refused(command: Command, folder: Path, words: str, place: str) -> str:
    before = sorted(os.listdir(folder))

    outcome = command(*shlex.split(words.format(place)))

    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert place in outcome.err
    assert sorted(os.listdir(folder)) == before
    return str(outcome.err)


@pytest.mark.parametrize("place", ["/proc/x", "file/x", LONG, f"{LONG}/x"], ids=lambda p: p[:8])
@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_made_is_one_line(
    words: str, place: str, imm_rl_command: Command, folder: Path
) -> None:
    error = _refused(imm_rl_command, folder, words, place)

    assert "cannot write" in error


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_home_folder_of_nobody_is_one_line(
    words: str, imm_rl_command: Command, folder: Path
) -> None:
    error = _refused(imm_rl_command, folder, words, "~nosuchuser/t")

    assert "the home folder ~nosuchuser is not known here. Give the whole path" in error


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_home_folder_that_the_shell_left_alone_is_found(
    words: str, imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "home").mkdir()
    (folder / "home/taken").write_text("")
    monkeypatch.setenv("HOME", str(folder / "home"))

    outcome = imm_rl_command(*shlex.split(words.format("~/taken/runs")))

    assert outcome.code == 2
    assert f"{folder}/home/taken" in outcome.err
    assert not (folder / "~").exists()


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_takes_no_file_is_one_line(
    words: str, imm_rl_command: Command, folder: Path
) -> None:
    _refused(imm_rl_command, folder, words, "/proc")


@pytest.mark.parametrize("place", ["/proc/x", "file/x", LONG], ids=lambda p: p[:8])
@pytest.mark.parametrize("words", FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_written_is_one_line(
    words: str, place: str, imm_rl_command: Command, folder: Path
) -> None:
    _refused(imm_rl_command, folder, words, place)

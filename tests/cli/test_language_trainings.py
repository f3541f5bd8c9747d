"""The trainings of a table side by side: real processes that end, fail, are killed or are stopped."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.cli.language_trainings import train_all
from imm_rl.cli.reproduce_job import StoppedError
from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.runs import RunFolder

TRAININGS = '''
"""Trainings that do one thing each: `config` says which."""
import os, signal, time
from imm_rl.cli.worker import worker_stop
from imm_rl.errors import InvalidInputError

def train(config, path, command, threads, quiet):
    path.mkdir()
    if config.startswith("killed"):
        awaited = "go" if config == "killed-later" else "wait"
        while not (path.parent / awaited).is_dir():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    if config == "fails":
        raise InvalidInputError("the examples have changed.")
    if config == "wait":
        while not worker_stop()():
            time.sleep(0.01)
        (path / "saved").touch()
        return False
    (path / "summary.json").write_text("{}")
    return True
'''


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "some_trainings.py").write_text(TRAININGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("some_trainings").train


def run(tmp_path: Path, train: Any, *kinds: str) -> None:
    """Two at a time, each in a folder of its kind's name; with a number where the kind was there."""
    names = [f"{kind}-{i}" if kind in kinds[:i] else kind for i, kind in enumerate(kinds)]
    places = [RunFolder(tmp_path / name) for name in names]
    train_all(kinds, places, "imm-rl again", jobs=2, quiet=True, train=train)


def stopped(interrupt: Callable[[], None], tmp_path: Path, train: Any, *kinds: str) -> None:
    """As `run`, with Ctrl-C by another thread, and its line."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    presser = threading.Thread(target=interrupt)
    presser.start()
    try:
        with pytest.raises(StoppedError, match="stopped; go on with: imm-rl again"):
            run(tmp_path, train, *kinds)
    finally:
        presser.join()
        signal.signal(signal.SIGINT, before)


def test_all_of_them_come_to_their_end(tmp_path: Path, train: Any) -> None:
    run(tmp_path, train, "one", "two", "three")
    assert all((tmp_path / name / "summary.json").is_file() for name in ("one", "two", "three"))


def test_a_killed_one_is_one_line_and_the_others_save_their_state(
    tmp_path: Path, train: Any
) -> None:
    told = (
        "was killed, perhaps for want of memory: fewer --jobs need less. Go on with: imm-rl again"
    )
    with pytest.raises(RunFailedError, match=told):
        run(tmp_path, train, "wait", "killed", "two", "three")
    assert (tmp_path / "wait/saved").is_file()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.3])
def test_workers_may_be_killed_at_any_moment_of_their_start(
    tmp_path: Path, train: Any, delay: float
) -> None:
    def kill_one() -> None:  # as the system does where memory ends
        while not (found := multiprocessing.active_children()):
            time.sleep(0.001)
        time.sleep(delay)
        found[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    told = None
    try:
        run(tmp_path, train, "one", "two", "three")
    except RunFailedError as error:  # it was busy
        told = str(error)
    finally:
        killer.join()
    assert told is None or "was killed, perhaps for want of memory" in told
    assert not multiprocessing.active_children()


def test_what_one_of_them_raises_is_raised_and_those_that_wait_are_not_begun(
    tmp_path: Path, train: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"the examples have changed\."):
        run(tmp_path, train, "wait", "fails", "wait", "three")
    assert (tmp_path / "wait/saved").is_file()
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.3, 1.0])
def test_ctrl_c_at_any_moment_of_their_start_stops_them(
    tmp_path: Path, train: Any, delay: float, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:  # as a terminal does: all of them get it
        while not (found := multiprocessing.active_children()):
            time.sleep(0.001)
        time.sleep(delay)
        for process in {*found, *multiprocessing.active_children()}:
            os.kill(int(process.pid or 0), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    stopped(interrupt, tmp_path, train, "wait", "wait", "two")
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "two").exists()
    assert not multiprocessing.active_children()


def test_workers_that_die_after_ctrl_c_are_no_failure(tmp_path: Path, train: Any) -> None:
    def interrupt() -> None:
        while not (tmp_path / "killed-later").is_dir():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        while not (tmp_path / "wait/saved").is_file():  # it has heard
            time.sleep(0.01)
        (tmp_path / "go").mkdir()

    stopped(interrupt, tmp_path, train, "wait", "killed-later")


def test_ctrl_c_lets_them_save_their_state(tmp_path: Path, train: Any) -> None:
    def interrupt() -> None:
        while not ((tmp_path / "wait").is_dir() and (tmp_path / "wait-1").is_dir()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    stopped(interrupt, tmp_path, train, "wait", "wait", "two")
    assert (tmp_path / "wait/saved").is_file()
    assert (tmp_path / "wait-1/saved").is_file()
    assert not (tmp_path / "two").exists()

"""A job of a sweep, as a worker runs it: the points of one tensor program, or a single one.

Its arguments are a folder and numbers, so it can be sent to a process or to another machine; everything
else is read from the folder. What is finished is left alone, what was stopped goes on.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.errors import RunFailedError
from imm_rl.files import write_text

if TYPE_CHECKING:
    from imm_rl.cli.sweep_plan import SweepPlan

ATTEMPTS, ERROR = "attempts.txt", "error.txt"


class StoppedError(RunFailedError):
    """A job was asked to stop, and its state is saved."""


def run_job(
    folder: str, numbers: tuple[int, ...], stopped: Callable[[], bool] | None = None
) -> None:
    """Trains points of the sweep in a folder.

    Args:
        folder: The sweep's, the same for driver and workers.
        numbers: Of points that are trained as one.
        stopped: Whether the sweep was stopped before the job could hear of it.

    Raises:
        RunFailedError: A training failed.
        StoppedError: Ctrl-C.
    """
    with _interruptible():
        # Asked once Ctrl-C is heard: whoever sets it first and sends Ctrl-C then is never missed.
        if stopped is not None and stopped():
            raise StoppedError("stopped")
        try:
            _run(folder, numbers)
        except KeyboardInterrupt:
            raise StoppedError("stopped") from None


def _run(folder: str, numbers: tuple[int, ...]) -> None:
    from imm_rl.cli.console import Console
    from imm_rl.cli.train_run import checked_policy, run_files, trained
    from imm_rl.runs import CONFIG

    plan, sweep = _plan(folder), Path(folder)
    runs = []
    for number in numbers:
        run = plan.points[number].folder(sweep)
        if not run.finished:
            runs.append((*plan.points[number].resolved(), run))
    if not runs:
        return
    command = (sweep / "command.txt").read_text(encoding="utf-8").strip()
    for config, _, run in runs:
        run.path.mkdir(exist_ok=True)
        (run.path / ERROR).unlink(missing_ok=True)
        write_text(run.path / ATTEMPTS, f"{attempts(run.path) + 1}\n", durable=False)
        files = run_files(config, command)
        for name in sorted(files, key=lambda name: name == CONFIG):  # last: it says "a run"
            write_text(run.path / name, files[name], durable=False)
    config, pair, first = runs[0]
    summary = trained(
        config,
        pair,
        first,
        Console(quiet=True),
        checked_policy(config, pair),
        others=[(other, run) for other, _, run in runs[1:]],
    )
    if summary is None:
        raise StoppedError("stopped")


@functools.lru_cache(maxsize=1)
def _plan(folder: str) -> SweepPlan:
    """The plan, which never changes once its folder is made: a worker reads it for its first job alone."""
    from imm_rl.cli.sweep_plan import read_folder

    return read_folder(folder)


def attempts(run: Path) -> int:
    """How often a point was started."""
    try:
        return int((run / ATTEMPTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


class _interruptible:  # noqa: N801  reads as the verb it is
    """Lets Ctrl-C reach a job in a worker whose pool ignores it."""

    def __enter__(self) -> None:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

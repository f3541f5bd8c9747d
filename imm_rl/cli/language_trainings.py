"""The trainings of a language table: some at a time, stopped by Ctrl-C, taken up by the same command.

`reproduce_language` and `reproduce_table_2` call `train_all`. With several jobs each training runs in a
process of its own; a Ctrl-C reaches them through a mark, so that each saves its state first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from imm_rl.cli.reproduce_job import StoppedError
from imm_rl.cli.worker import begin, stop_mark, worker_stop
from imm_rl.errors import RunFailedError

if TYPE_CHECKING:
    from imm_rl.cli.lm_config import LMConfig
    from imm_rl.runs import RunFolder

Config = TypeVar("Config")
Train: TypeAlias = Callable[[Config, Path, str, int, bool], bool]
"""Makes one training; whether it came to its end."""


def train_all(
    configs: Sequence[Config],
    places: Sequence[RunFolder],
    command: str,
    *,
    jobs: int,
    quiet: bool,
    train: Train[Config] | None = None,
) -> None:
    """Trains what is not finished, each in its place.

    Args:
        configs: One a training.
        places: Their run folders; made where they are not there yet.
        command: What the user typed.
        jobs: Trainings at a time.
        quiet: No line for each training.
        train: Makes one training in its folder; None: that of `imm-rl lm train`. Its arguments are the
            configuration, the folder, the command, PyTorch's threads (0: as they are) and `quiet`.

    Raises:
        StoppedError: By Ctrl-C; all states are saved.
        RunFailedError: A training failed.
    """
    left = [(c, p.path) for c, p in zip(configs, places, strict=True) if not p.finished]
    one: Train[Any] = train or _trained
    if jobs == 1 or len(left) < 2:
        complete = all(one(config, path, command, 0, quiet) for config, path in left)
    else:
        complete = _side_by_side(left, command, jobs, quiet, one)
    if not complete:
        raise StoppedError(f"stopped; go on with: {command}")


def _side_by_side(
    left: Sequence[tuple[Any, Path]], command: str, jobs: int, quiet: bool, one: Train[Any]
) -> bool:
    """Whether all came to their end; the first failure stops the others and is raised."""
    from concurrent.futures import FIRST_EXCEPTION, Future, wait
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    from pebble import ProcessExpired, ProcessPool

    from imm_rl.cli.interrupt import held_back, stop_on_interrupt

    jobs = min(jobs, len(left))
    context = get_context("spawn")
    stop = stop_mark()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPool(jobs, initializer=_start_worker, initargs=(stop,), context=context)
    given = [(one, config, path, command, threads, quiet) for config, path in left]
    with stop_on_interrupt() as asked:
        try:
            try:
                with held_back():  # the first one begins the workers
                    futures = [pool.schedule(_unless_stopped, args=args) for args in given]
            except RuntimeError:  # it takes no more
                raise BrokenProcessPool from None
            others: set[Future[bool]] = set(futures)
            while others:
                done, others = wait(others, timeout=0.2, return_when=FIRST_EXCEPTION)
                if asked.is_set() or any(future.exception() is not None for future in done):
                    # Those that train save their state, those that wait are not begun.
                    stop.value = 1
                if others and not pool.active:  # a pool without any worker left gives some no end
                    raise BrokenProcessPool
            return all([future.result() for future in futures])
        except (ProcessExpired, BrokenProcessPool):
            if asked.is_set():  # whoever pressed it may have ended them too
                return False
            raise RunFailedError(
                "a training's process was killed, perhaps for want of memory: fewer --jobs need less. "
                f"Go on with: {command}"
            ) from None
        finally:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble's own annotation is missing
            pool.join()


def _start_worker(stop: Any) -> None:
    """Ignores Ctrl-C, which the parent hears; see `worker.begin` too."""
    from imm_rl.cli.streams import go_on_unread

    go_on_unread()
    begin(stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unless_stopped(
    one: Train[Any], config: Any, path: Path, command: str, threads: int, quiet: bool
) -> bool:
    """In a worker: one training, unless the table was stopped before; whether it came to its end."""
    stopped = worker_stop()
    if stopped is not None and stopped():
        return False
    return one(config, path, command, threads, quiet)


def _trained(config: LMConfig, path: Path, command: str, threads: int, quiet: bool) -> bool:
    """One training in its folder; whether it came to its end."""
    import torch

    from imm_rl.cli.console import Console
    from imm_rl.cli.lm_folder import run_corpus, run_files
    from imm_rl.cli.lm_run import trained
    from imm_rl.runs import RunFolder

    stopped = worker_stop()
    if threads:
        torch.set_num_threads(threads)
    folder = RunFolder.ensure(path, run_files(config, run_corpus(config), command))
    Console(quiet=quiet).note(f"{config.method}, seed {config.seeds[0]}: {path}")
    try:
        return trained(config, folder, Console(quiet=True), stopped) is not None
    except RunFailedError as error:
        told = f"{config.method}, seed {config.seeds[0]}: {error} Its files are in {path}"
        raise RunFailedError(told) from error

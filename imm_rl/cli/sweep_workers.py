"""Who runs a sweep's jobs: processes of this machine (pebble) or a Ray cluster; both with one face.

Pebble's pool and Ray do the scheduling, each as it is. A worker that dies takes only its own job with it.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from imm_rl.cli.interrupt import held_back
from imm_rl.cli.sweep_job import run_job
from imm_rl.cli.worker import begin, stop_mark, worker_stop
from imm_rl.errors import InvalidInputError

Job = tuple[int, ...]
GRACE = 30.0
"""Seconds that stopped trainings have to save their state."""


class Workers(Protocol):
    """Runs jobs; `sweep_run` hands it a few at a time."""

    def submit(self, job: Job) -> None:
        """Begins a job, or queues it where every worker is busy."""

    def done(self) -> list[tuple[Job, str]]:
        """Waits until a job ends; gives those that have, with an error's text or ""."""

    def interrupt(self) -> None:
        """Asks running trainings to save their state, drops the jobs that wait, and waits a little."""

    def close(self) -> None:
        """Ends all workers."""


class LocalWorkers:
    """Processes of this machine that keep PyTorch loaded from job to job.

    Args:
        folder: The sweep's.
        n_workers: How many.
    """

    def __init__(self, folder: str, n_workers: int) -> None:
        self._folder = folder
        self._n_workers = n_workers
        self._stop = stop_mark()
        self._pool = _pool(n_workers, self._stop)
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self._renew()
        self._running[self._pool.schedule(_local_job, args=(self._folder, job))] = job

    def done(self) -> list[tuple[Job, str]]:
        """See `Workers`."""
        while True:
            ended, _ = wait_for(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
            if ended:
                return [(self._running.pop(future), _error_of(future)) for future in ended]
            self._renew()

    def _renew(self) -> None:
        """Another pool for one that ended since its workers were killed before any job was begun.

        It would give the jobs that it was handed no end; they count as those of a worker that died.
        """
        with held_back():  # pebble begins the workers of a new pool when it is first asked
            active = self._pool.active
        if active:
            return
        for future in [future for future in self._running if not future.done()]:
            lost: Future[None] = Future()
            lost.set_exception(BrokenProcessPool())
            self._running[lost] = self._running.pop(future)
        self.close()
        self._pool = _pool(self._n_workers, self._stop)

    def interrupt(self) -> None:
        """See `Workers`."""
        self._stop.value = 1  # before the signal: a job that begins just now does not hear that one
        for future in list(self._running):
            if not future.running():
                future.cancel()
        for process in multiprocessing.active_children():
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill(process.pid, signal.SIGINT)  # type: ignore[arg-type]  # None once it has ended
        # Workers that are still loading have begun none of those that are cancelled.
        wait_for([future for future in self._running if not future.cancelled()], timeout=GRACE)

    def close(self) -> None:
        """See `Workers`."""
        self._pool.stop()
        self._pool.join()


def _pool(n_workers: int, stop: Any) -> Any:
    from pebble import ProcessPool

    return ProcessPool(
        max_workers=n_workers,
        context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(stop,),
    )


def _error_of(future: Any) -> str:
    from pebble import ProcessExpired

    try:
        future.result()
    except ProcessExpired as error:
        return f"its worker died (exit code {error.exitcode})"
    except BrokenProcessPool:
        return "its worker died at its start"
    except CancelledError:
        return "cancelled"
    except Exception as error:  # whatever a training raises is told, and the sweep goes on
        return _line(error)
    return ""


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (
        text
        if isinstance(error, ValueError | RuntimeError) and text
        else f"{type(error).__name__}: {text}"
    )


def _begin(stop: Any) -> None:
    """At a worker's start: one thread, as workers would fight for cores; see `worker.begin` too."""
    begin(stop)
    if hasattr(os, "setsid"):
        # A terminal's Ctrl-C goes to the driver, which passes it on: twice would end a training unsaved.
        os.setsid()
        # Until now it was blocked (`held_back`), and pebble ignores it outside of a job.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import torch

    torch.set_num_threads(1)


def _local_job(folder: str, job: Job) -> None:
    """In a worker of this machine: a job, unless the sweep was stopped before."""
    run_job(folder, job, worker_stop())


class RayWorkers:
    """Tasks of a Ray cluster. Every node must see the sweep's folder under the same path.

    Args:
        folder: The sweep's.
        n_workers: CPUs of a cluster that is started here; with an address the cluster has its own.
        address: Of a running cluster, such as "auto"; None: one of this machine, which ends with the sweep.

    Raises:
        InvalidInputError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, folder: str, n_workers: int, address: str | None) -> None:
        try:
            import ray
        except ImportError:
            raise InvalidInputError(
                'backend ray needs Ray, which is not installed: pip install "imm-rl[ray]".'
            ) from None
        self._ray, self._folder = ray, folder
        cpus: dict[str, Any] = (
            {} if address is not None else {"num_cpus": n_workers, "include_dashboard": False}
        )
        environment = {
            "env_vars": {"OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        }
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment,
                **cpus,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InvalidInputError(
                f"there is no Ray cluster at {address}: {_line(error)}. Start one with `ray start "
                "--head`, or leave --address out."
            ) from None
        # A sweep retries by itself, so that both backends count alike.
        self._task = ray.remote(num_cpus=1, max_retries=0)(_ray_job)
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self._running[self._task.remote(self._folder, job)] = job

    def done(self) -> list[tuple[Job, str]]:
        """See `Workers`."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1)
        return [(self._running.pop(ref), self._error_of(ref)) for ref in ended]

    def _error_of(self, ref: Any) -> str:
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            return _line(error.cause if isinstance(error.cause, BaseException) else error)
        except self._ray.exceptions.WorkerCrashedError:
            return "its worker died"
        except self._ray.exceptions.RayError as error:
            return _line(error)
        return ""

    def interrupt(self) -> None:
        """See `Workers`."""
        for ref in self._running:
            self._ray.cancel(ref)  # KeyboardInterrupt in the worker, which saves and stops
        self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE)

    def close(self) -> None:
        """See `Workers`."""
        self._ray.shutdown()


def _ray_job(folder: str, job: Job) -> None:
    """As Ray runs it: on whatever node, which must see the folder."""
    import torch

    from imm_rl.cli.sweep_plan import SWEEP

    if not os.path.isfile(os.path.join(folder, SWEEP)):
        raise InvalidInputError(
            f"the node {os.uname().nodename} does not see {folder}. Give --out a folder that all "
            "nodes share."
        )
    torch.set_num_threads(1)
    run_job(folder, job)


@contextlib.contextmanager
def workers(backend: str, folder: str, n_workers: int, address: str | None) -> Iterator[Workers]:
    """The workers of a backend; they end with the block, whatever happens in it.

    Raises:
        InvalidInputError: See `RayWorkers`.
    """
    local = backend == "local"
    made: Workers = (
        LocalWorkers(folder, n_workers) if local else RayWorkers(folder, n_workers, address)
    )
    try:
        yield made
    finally:
        made.close()

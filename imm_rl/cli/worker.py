"""What the processes of a table and of a sweep share: a mark that stops them, and no life after the parent.

`language_trainings` and `sweep_workers` make a mark, give it to `begin` at each worker's start, and set its
`value` to 1 on Ctrl-C; what trains in a worker asks `worker_stop`.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

_in_worker: dict[str, Any] = {}
"""In a worker: `stop`, the mark of its parent."""


def stop_mark() -> Any:
    """A mark for workers that are spawned: `value`, 0 until the parent is stopped.

    Without a lock, which a worker that is killed could take with it.
    """
    return multiprocessing.get_context("spawn").Value("b", 0, lock=False)


def begin(stop: Any) -> None:
    """At a worker's start: keeps the mark, and ends the worker where its parent is killed.

    A worker without a parent would train on beside the command's repetition.
    """
    _in_worker["stop"] = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def worker_stop() -> Callable[[], bool] | None:
    """In a worker: whether its parent was stopped; None in a process of one's own."""
    stop = _in_worker.get("stop")
    return None if stop is None else lambda: bool(stop.value)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)

"""Ctrl-C during a training: the first one asks it to save its state and stop, the second stops at once.

SIGTERM too where a launcher sends it on: `torchrun` ends with it the processes that it started.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_interrupt(*, terminate: bool = False) -> Iterator[threading.Event]:
    """Sets the event on the first Ctrl-C; the second one stops at once.

    Args:
        terminate: Whether SIGTERM does so too.
    """
    asked = threading.Event()
    second: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }

    def ask(number: int, frame: object) -> None:  # noqa: ARG001  the signature of handlers
        asked.set()
        signal.signal(number, second[number])

    main = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM] if terminate else [signal.SIGINT]
    before = {number: signal.getsignal(number) for number in numbers}
    # E.g. under nohup: Ctrl-C is not for us.
    ours = {n: held for n, held in before.items() if main and held is not signal.SIG_IGN}
    for number in ours:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, held in ours.items():
            signal.signal(number, held)


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits for the block's end; threads and processes that are begun in it never get one.

    A terminal sends it to all of its processes, also to those that are still loading and have said nothing
    yet of what they do with it. They inherit the mask from the thread that begins them, so that workers
    which a thread of the block begins later on are safe too. Who wants it after all unblocks it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker  # late: few commands have workers

    # Where it is begun, with the first lock, it unblocks Ctrl-C afterwards.
    resource_tracker.ensure_running()
    late: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    ours = main and handler not in (signal.SIG_IGN, None)
    if ours:  # another thread, which does not block it, may be chosen to hear it
        signal.signal(signal.SIGINT, lambda number, _: late.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if late:
            signal.raise_signal(signal.SIGINT)

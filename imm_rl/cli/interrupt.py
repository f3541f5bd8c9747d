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

"""Ctrl-C during a training: the first one asks it to save its state and stop, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Sets the event on the first Ctrl-C; the second one stops at once."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:  # noqa: ARG001  the signature of handlers
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is signal.SIG_IGN:  # e.g. under nohup: Ctrl-C is not for us
        yield asked
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

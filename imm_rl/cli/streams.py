"""What becomes of output that nobody takes: a pipe that was closed, a disk that is full.

A command goes on to its end all the same, and what is still to be printed is thrown away: a training that
is read by `| head -1` is worth as much as any other.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from imm_rl.errors import RunFailedError


class _Patient(io.FileIO):
    """A file that takes everything, and remembers why it could not keep it.

    Attributes:
        failure: Of the first write that failed for another reason than a closed pipe.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes what can be written."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno != errno.EPIPE and self.failure is None:
                self.failure = error
            return memoryview(data).nbytes


_stdout: list[_Patient] = []
"""What stdout goes through at the moment; the last one."""


def go_on_unread() -> None:
    """Lets this process go on where nobody reads its stdout or stderr; for the rest of its life."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:  # somebody's own, such as that of a test
            continue
        try:
            stream.flush()
            raw = _Patient(stream.fileno(), "w", closefd=False)
        except (OSError, ValueError):  # closed, or none of a file
            continue
        if name == "stdout":
            _stdout.append(raw)
        buffer = raw if stream.write_through else io.BufferedWriter(raw)
        patient = io.TextIOWrapper(
            buffer,
            encoding=stream.encoding,
            errors="replace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, patient)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """As `go_on_unread`, within the block."""
    before = sys.stdout, sys.stderr
    depth = len(_stdout)
    go_on_unread()
    try:
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # `>&-` leaves none
            stream.flush()
        sys.stdout, sys.stderr = before
        del _stdout[depth:]


def check_stdout(kept: str = "") -> None:
    """Complains of output that was lost, but for that of a closed pipe.

    Args:
        kept: What the user has all the same; a sentence.

    Raises:
        RunFailedError: Some could not be written.
    """
    if not _stdout:
        return
    sys.stdout.flush()
    failure = _stdout[-1].failure
    if failure is not None:
        _stdout[-1].failure = None  # it is told once
        raise RunFailedError(
            f"cannot write to standard output: {os.strerror(failure.errno or 0)}. {kept}".strip()
        )

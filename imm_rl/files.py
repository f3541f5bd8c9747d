"""Writes files whole or not at all: to a temporary name beside the target, then renamed onto it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def write_atomically(
    path: str | Path, write: Callable[[IO[bytes]], Any], *, durable: bool = True
) -> None:
    """Calls write(file) on a temporary binary file and renames it to path when that succeeds.

    A crash, a full disk or a kill at any moment leaves the old file, or none, never half of one.
    `durable` makes sure of it for a power cut too, at the price of waiting for the disk; files that
    are written often and can be made again do without.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; give them the usual rights.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Writes UTF-8 text whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")), durable=durable)

"""Writes files whole or not at all: to a temporary name beside the target, then renamed onto it.

And says where files go that are kept between runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from imm_rl.errors import ImmRlError, InvalidInputError, RunFailedError


def cache_folder(given: str | Path | None = None) -> Path:
    """Where solved policies and downloads are kept: as given, `$IMM_RL_CACHE`, or `~/.cache/imm-rl`."""
    chosen = given or os.environ.get("IMM_RL_CACHE")
    return user_path(chosen) if chosen else user_path("~/.cache/imm-rl")


def user_path(path: str | Path) -> Path:
    """A path as users write it, with `~` and `~name` as home folders: a quoted one the shell left alone.

    Raises:
        InvalidInputError: There is no user of that name, or nobody knows where the home folder is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise InvalidInputError(
            f"{path}: the home folder {user} is not known here. Give the whole path, or ./{path} for a "
            "name that begins with ~."
        ) from None


def write_atomically(
    path: str | Path, write: Callable[[IO[bytes]], Any], *, durable: bool = True
) -> None:
    """Calls write(file) on a temporary binary file and renames it to path when that succeeds.

    A crash, a full disk or a kill at any moment leaves the old file, or none, never half of one.
    `durable` makes sure of it for a power cut too, at the price of waiting for the disk; files that
    are written often and can be made again do without.

    Raises:
        InvalidInputError: The path is a folder, or the folder it lies in is missing, is none or may not
            be written to.
        RunFailedError: The disk failed or is full; the old file is as it was.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InvalidInputError(f"{path} cannot be written: it is a folder.")
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _without_place(path, error) from error
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
    except BaseException as error:
        with contextlib.suppress(OSError):  # where the folder is gone, so is the file
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise _failed(path, error) from error
        raise


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Writes UTF-8 text whole or not at all.

    Raises:
        InvalidInputError, RunFailedError: As `write_atomically`.
    """
    write_atomically(path, lambda file: file.write(text.encode("utf-8")), durable=durable)


def _without_place(path: Path, error: OSError) -> ImmRlError:
    """Why no file can be begun beside the path: mostly the folder, else the disk."""
    folder = path.parent
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
        why = f"{error.strerror} in the folder {folder}"
    elif not os.path.exists(folder):
        why = f"there is no folder {folder}"
    elif not os.path.isdir(folder):
        why = f"{folder} is not a folder"
    else:
        return _failed(path, error)
    return InvalidInputError(f"{path} cannot be written: {why}.")


def _failed(path: Path, error: OSError) -> RunFailedError:
    return RunFailedError(f"{path} could not be written: {error.strerror or error}.")

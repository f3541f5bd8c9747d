"""Downloads one file: goes on where an earlier try stopped, and keeps only what has the right checksum.

The bytes go to `<name>.part`, which a failed or killed try leaves for the next one. A lock on
`<name>.lock` lets one process at a time write it; one that waited finds the finished file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from imm_rl.errors import InvalidInputError, RunFailedError

if sys.platform != "win32":
    import fcntl

TIMEOUT = 30.0
"""Seconds without a byte after which an address is given up."""

_CHUNK = 1 << 16
# Some servers turn away the name that urllib gives by itself.
_AGENT = "Mozilla/5.0 (compatible; imm-rl)"


class _RefusedError(Exception):
    """Why one address gave no file."""


def fetch(
    urls: str | Sequence[str],
    path: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Downloads a file unless it is there.

    Args:
        urls: Its address, or several of the same file, tried in order.
        path: Where it goes; the folder is made if need be.
        size: Bytes, where known.
        sha256: Checksum in hexadecimal; this one or the next is needed.
        md5: Likewise.
        timeout: Seconds without a byte after which an address is given up.

    Returns:
        The path.

    Raises:
        InvalidInputError: No checksum is given, or the folder cannot be made or written.
        RunFailedError: No address gave the file, or the disk failed. The part that came is kept for
            the next try, unless its checksum or size is wrong.
    """
    if not (sha256 or md5):
        raise InvalidInputError("a download must have a checksum, sha256 or md5; it has none.")
    addresses = [urls] if isinstance(urls, str) else list(urls)
    path = Path(path)
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    if sys.platform == "win32":  # no flock: a part of its own for each process
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
    reasons = []
    with _locked(path):
        for url in addresses:
            if path.is_file():  # another process fetched it meanwhile
                return path
            try:
                with _disk(part):
                    _download(url, part, size, timeout)
                    _verify(part, size, sha256, md5)
                    os.replace(part, path)
                return path
            except _RefusedError as refused:
                reasons.append(f"{url}: {refused}")
    raise RunFailedError(
        f"cannot download {path.name}. {' '.join(reasons)} "
        "Try again later, or download it yourself and give the folder it lies in: --corpus DIR."
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Makes the folder, and waits until no other process downloads to this path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock file stays: removing it would let two processes lock two files of one name.
        lock = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise InvalidInputError(
            f"cannot write downloads to {path.parent}: {error.strerror or error}. "
            "Set IMM_RL_CACHE to a folder that can be written."
        ) from None
    with lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _disk(part: Path) -> Iterator[None]:
    """Turns errors of the disk into the project's own; those of the network are `_RefusedError` by then."""
    try:
        yield
    except OSError as error:
        raise RunFailedError(f"{part} could not be written: {error.strerror or error}.") from error


def _download(url: str, part: Path, size: int | None, timeout: float) -> None:
    """Appends to the part what it lacks, or writes it anew where the server sends all of it."""
    there = part.stat().st_size if part.exists() else 0
    if there and size is not None and there >= size:
        return  # whole, or too long: the check of the checksum tells
    with _opened(url, there, timeout) as response:
        begin = there if response.status == http.client.PARTIAL_CONTENT else 0
        with part.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            got = begin + _copied(response, file, None if size is None else size - begin)
    stated = response.headers.get("Content-Length")
    whole = size if stated is None or not stated.isdigit() else begin + int(stated)
    too_long = size is not None and got > size  # given up on purpose
    if whole is not None and got < whole and not too_long:
        raise _RefusedError(
            f"the connection ended after {got:,} of {whole:,} bytes; they are kept, and the next "
            "try goes on there."
        )


def _opened(url: str, begin: int, timeout: float) -> http.client.HTTPResponse:
    """The server's answer; asks for the bytes from `begin` on, or for all where it will not give those."""
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if begin and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _opened(url, 0, timeout)
        raise _RefusedError(f"the server answers {error.code} {error.reason}.") from None
    except (OSError, http.client.HTTPException) as error:
        raise _RefusedError(f"{_reason(error)}.") from None
    if response.status == http.client.PARTIAL_CONTENT:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != begin:
            response.close()
            return _opened(url, 0, timeout)
    return response


def _copied(response: http.client.HTTPResponse, file: IO[bytes], most: int | None) -> int:
    """Bytes copied; stops one chunk after `most`, so that no server can fill the disk."""
    got = 0
    while most is None or got <= most:
        try:
            chunk = response.read(_CHUNK)
        except http.client.IncompleteRead as error:
            chunk = error.partial
        except (OSError, http.client.HTTPException) as error:
            kept = "what came is kept, and the next try goes on there"
            raise _RefusedError(f"the connection failed ({_reason(error)}); {kept}.") from None
        if not chunk:
            break
        file.write(chunk)
        got += len(chunk)
    return got


def _verify(part: Path, size: int | None, sha256: str | None, md5: str | None) -> None:
    """Removes a part of the wrong size or checksum."""
    found = part.stat().st_size
    wrong = None
    if size is not None and found != size:
        wrong = f"{found:,} bytes came, {size:,} were expected"
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if wrong is None and expected is not None:
            with part.open("rb") as file:
                digest = hashlib.new(name, usedforsecurity=False)
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            if digest.hexdigest() != expected.lower():
                wrong = f"its {name} is {digest.hexdigest()}, {expected} was expected"
    if wrong is not None:
        part.unlink()
        raise _RefusedError(f"not the file that was expected: {wrong}. What came was deleted.")


def _reason(error: BaseException) -> str:
    """An error of the network in a few words."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text).rstrip(".")

"""Starts the processes of one training as `torchrun` does, without its launcher; a hang is a failure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence


def start(
    words: Sequence[object], count: int, changes: Mapping[int, Mapping[str, str]] | None = None
) -> list[subprocess.Popen[str]]:
    """`python words...`, `count` times, each knowing its number.

    Args:
        words: What Python is called with.
        count: How many; one knows of no others.
        changes: Of the environment, by the number of the process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        told = {name: str(value) for name, value in place.items()} if count > 1 else {}
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            **told,
            **(changes or {}).get(rank, {}),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, *map(str, words)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def ended(started: Sequence[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; one that does not end in time fails the test."""
    try:
        texts = [process.communicate(timeout=seconds) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [(p.returncode, *text) for p, text in zip(started, texts, strict=True)]

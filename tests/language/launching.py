"""Starts the processes of one training as `torchrun` does, without its launcher; a hang is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch.distributed import TCPStore


class Started(NamedTuple):
    """Processes, and the store by which they find each other: as long as it is there, they can."""

    processes: list[subprocess.Popen[str]]
    store: TCPStore


def start(
    words: Sequence[object], count: int, changes: Mapping[int, Mapping[str, str]] | None = None
) -> Started:
    """`python words...`, `count` times, each knowing its number.

    The store is this process's, as it is the launcher's under `torchrun`: it listens at a port that the
    system gives before anybody is told of it, so that nobody else can take that.

    Args:
        words: What Python is called with.
        count: How many; one knows of no others.
        changes: Of the environment, by the number of the process.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
        place |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0}
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
    return Started(started, store)


def ended(started: Started, seconds: float) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; one that does not end in time fails the test."""
    try:
        texts = [process.communicate(timeout=seconds) for process in started.processes]
    finally:
        for process in started.processes:
            process.kill()
            process.wait()
    return [(p.returncode, *text) for p, text in zip(started.processes, texts, strict=True)]

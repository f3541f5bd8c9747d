"""What `torchrun` tells a process that it started beside others; free of torch.

`language.processes` makes a group of them; the command line asks here who it is, so that one of them alone
speaks.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from datetime import timedelta

joined = False
"""Whether this process has met others; `language.processes` says so."""

CONNECT_SECONDS = 10.0
"""How long a process that failed waits for the launcher to say whether it is the first."""


def launched() -> int:
    """How many processes were started together; 1 where this one was started alone."""
    # LOCAL_RANK too: some clusters set WORLD_SIZE for machines, before anything is launched.
    return _number("WORLD_SIZE", 1) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return _number("RANK", 0) if launched() > 1 else 0


def local_rank() -> int:
    """Its number among those of its machine."""
    return _number("LOCAL_RANK", 0)


def start_words(count: int | None = None) -> list[str]:
    """The words before `lm train` that start so many processes as now, or `count` on one machine."""
    count = launched() if count is None else count
    if count == 1:
        return ["imm-rl"]
    here = _number("LOCAL_WORLD_SIZE", count) if count == launched() else count
    machines = ["--nnodes", str(count // here)] if here < count else []
    return ["torchrun", *machines, "--nproc-per-node", str(here), "-m", "imm_rl.cli"]


def claim_the_word() -> bool:
    """Takes the word to say what went wrong; False where it is taken.

    Where one process fails, the others fail for want of it: only the first has something to say. A call
    counts: whoever has got the word speaks, and does not ask again. They count at the store by which they
    found each other; under `torchrun` it is the launcher's, and outlives them.

    Returns:
        Whether this is the first call in all processes that were started together; always True for a
        process that was started alone.
    """
    if launched() == 1:
        return True
    with contextlib.suppress(Exception):  # no store, no answer
        # Late: torch is slow to import.
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=CONNECT_SECONDS),
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(store.add(f"imm-rl/failed/{attempt}", 1)) == 1
    return rank() == 0


def end_at_once(code: int) -> None:
    """Lets this process end with a code as soon as Python is done, without PyTorch's own clean-up.

    Threads by which processes talked may outlive their group, and C++ then aborts the process
    ("terminate called without an active exception"): now and then a training that came to its end would
    be reported as one that failed. Everything of ours is written and closed by then.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
                stream.flush()
        os._exit(code)

    atexit.register(leave)


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default

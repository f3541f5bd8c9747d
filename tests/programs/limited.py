"""A program: `imm-rl` where memory ends at some moment, for real.

    python tests/programs/limited.py PATTERN imm-rl-words...

As soon as a file of the pattern exists, the address space may be no larger than it is, less `TAKEN`: from
then on nothing can be had from the system until that much is given back, as on a machine that is full.
MALLOC_MMAP_THRESHOLD_ is set, so that tensors come from the system and not from what lies about.
"""

from __future__ import annotations

import glob
import importlib
import os
import resource
import sys
import threading
import time

TAKEN = 64 << 20


def limit_once(pattern: str) -> None:
    while not glob.glob(pattern):
        time.sleep(0.001)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size() - TAKEN, hard))


def size() -> int:
    """Bytes of this process's address space."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    if os.environ.get("MALLOC_MMAP_THRESHOLD_") != "65536":
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # read when a process begins
        os.execv(sys.executable, [sys.executable, *sys.argv])
    pattern, *words = sys.argv[1:]
    # Libraries need room of their own, and are no part of what is tested.
    for name in ("agents.paper", "cli.paper_report", "cli.training", "cli.lm_run", "envs.registry"):
        importlib.import_module(f"imm_rl.{name}")
    threading.Thread(target=limit_once, args=(pattern,), daemon=True).start()
    from imm_rl.cli import main as imm_rl_main

    return imm_rl_main(words)


if __name__ == "__main__":
    sys.exit(main())

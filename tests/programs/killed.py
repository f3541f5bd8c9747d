"""A program: `imm-rl` that kills itself at some moment, for real.

    python tests/programs/killed.py NAME N half|after imm-rl-words...

It dies by SIGKILL at the N-th time that a file of this name is put in its place: "half" when half of it
is written, "after" when it is there. No handler runs and no buffer is flushed, as when a machine's
memory is full.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def die_at(name: str, number: int, moment: str) -> None:
    """Has the process die at the number-th `os.replace` onto a file of the name."""
    seen, replace = 0, os.replace

    def dying_replace(source: Any, target: Any) -> None:
        nonlocal seen
        mine = os.path.basename(target) == name
        seen += mine
        now = mine and seen == number
        if now and moment == "half":
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying_replace


def main() -> int:
    name, number, moment, *words = sys.argv[1:]
    die_at(name, int(number), moment)
    from imm_rl.cli import main as imm_rl_main

    return imm_rl_main(words)


if __name__ == "__main__":
    sys.exit(main())

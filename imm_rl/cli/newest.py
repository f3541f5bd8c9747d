"""The run that a command takes where none is named: the newest finished one."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from imm_rl.errors import InvalidInputError
from imm_rl.runs import RunFolder


def newest_finished(logdir: str | Path, resume: str) -> RunFolder:
    """The run that was started last of those that have come to their end.

    A newer one that is not finished is named on stderr.

    Args:
        logdir: Where runs lie.
        resume: The command that goes on with a run, before its folder.

    Raises:
        InvalidInputError: There is none.
    """
    every = RunFolder.every(logdir)
    passed = list(itertools.takewhile(lambda run: not run.finished, every))
    if not every:
        raise InvalidInputError(f"there is no finished run below {logdir}.")
    go_on = f"{resume} {every[0].path}"
    if len(passed) == len(every):
        raise InvalidInputError(
            f"there is no finished run below {logdir}. Go on with the newest: {go_on}"
        )
    if passed:
        pass_over(passed[0].path, f"not finished; go on with it: {go_on}")
    return every[len(passed)]


def pass_over(path: Path, why: str) -> None:
    """Says that something is not taken though it is newer than what is.

    Args:
        path: It.
        why: It is ...
    """
    print(f"passed over {path}, which is newer: it is {why}", file=sys.stderr)

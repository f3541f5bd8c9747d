"""The run that a command takes where none is named: the newest finished one."""

from __future__ import annotations

import itertools
import shlex
import sys
from pathlib import Path

from imm_rl.errors import InvalidInputError
from imm_rl.runs import RunFolder, nothing_at


def policy_path(given: str | None, logdir: str | None, command: str, of_language: str) -> str:
    """The run or policy of an agent that is named, else the newest finished run.

    Args:
        given: The user's word; None: none.
        logdir: Where the newest is looked for; None: `runs`.
        command: That asks.
        of_language: The command that is for runs of language models.

    Raises:
        InvalidInputError: There is none, it is something else, or a folder to look in is given with it.
    """
    if given is None:
        return str(newest_finished(logdir or "runs", "imm-rl train --resume").path)
    if logdir is not None:
        raise InvalidInputError(
            f"--logdir is for finding the latest run, and {given} is named. Give up one."
        )
    if not Path(given).exists():
        raise nothing_at(given, "run or policy")
    if given.lower().endswith(".pomdp"):
        problem = shlex.quote(given)
        raise InvalidInputError(
            f"{given} is a problem and no policy. It goes behind --env: {command} POLICY --env {problem}; "
            f"imm-rl solve --env {problem} --out policy.npz makes a policy."
        )
    found = RunFolder.around(given)
    if found is not None:
        found.refuse_language_model(of_language)
    return given


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

"""The latest of what `imm-rl train`, `compare` and `sweep` leave, for commands that take any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imm_rl.cli.compare_plan import PLAN
from imm_rl.cli.newest import pass_over
from imm_rl.cli.run_curves import COMPARISON
from imm_rl.cli.sweep_plan import SWEEP
from imm_rl.errors import InvalidInputError
from imm_rl.runs import CONFIG

KINDS = {CONFIG: "run", PLAN: "comparison", SWEEP: "sweep", COMPARISON: "comparison"}
"""By the file that a folder is known by; where it has several, the first of these, which is its oldest."""


@dataclass(frozen=True)
class Latest:
    """What was started last.

    Attributes:
        path: Its folder.
        told: What it is, and out of how many, in a line.
    """

    path: Path
    told: str


def latest(logdir: str | Path, usable: Callable[[Path], bool]) -> Latest:
    """The run, comparison or sweep that was started last of those that are of use; else the last of all.

    Args:
        logdir: They lie two levels below it.
        usable: Whether a folder is.

    Raises:
        InvalidInputError: There is none.
    """
    found: dict[Path, str] = {}
    for name in KINDS:
        for file in Path(logdir).glob(f"*/*/{name}"):
            if not file.parent.name.startswith("."):
                found.setdefault(file.parent, name)
    if not found:
        models = next(Path(logdir).glob(f"lm/*/*/{CONFIG}"), None)
        raise InvalidInputError(
            f"there is no run, comparison or sweep below {logdir}. "
            + (
                "Name a folder, or begin with: imm-rl train --env tiger"
                if models is None
                else f"Language models are there: tensorboard --logdir {logdir}/lm"
            )
        )
    ordered = sorted(found, key=lambda p: ((p / found[p]).stat().st_mtime_ns, str(p)), reverse=True)
    path = next(filter(usable, ordered), ordered[0])
    if path != ordered[0]:
        pass_over(ordered[0], "without anything to draw")
    counts: dict[str, int] = {}
    for name in found.values():
        counts[KINDS[name]] = counts.get(KINDS[name], 0) + 1
    listed = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items())
    which = "latest" if path == ordered[0] else "latest with something to draw"
    return Latest(path, f"the {which} below {logdir} ({listed}): the {KINDS[found[path]]} {path}")

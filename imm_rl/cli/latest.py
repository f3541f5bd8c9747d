"""The latest of what `imm-rl train`, `compare` and `sweep` leave, for commands that take any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imm_rl.cli.compare_plan import PLAN
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


def latest(logdir: str | Path) -> Latest:
    """The run, comparison or sweep that was started last.

    Args:
        logdir: They lie two levels below it.

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
    path = max(found, key=lambda p: ((p / found[p]).stat().st_mtime_ns, str(p)))
    counts: dict[str, int] = {}
    for name in found.values():
        counts[KINDS[name]] = counts.get(KINDS[name], 0) + 1
    listed = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items())
    return Latest(path, f"the latest below {logdir} ({listed}): the {KINDS[found[path]]} {path}")

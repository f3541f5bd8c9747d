"""What tables, legends and titles call an environment or a policy: of a path its last part.

Summaries and JSON keep paths whole; a legend with two absolute paths leaves no room for curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imm_rl.runs import MODEL


def env_name(text: str) -> str:
    """Of a .POMDP file its name, as run folders are called after it; else the text, options included."""
    target, bracket, options = text.partition("(")
    if target.lower().endswith(".pomdp"):
        target = _last(target).rpartition(".")[0]
    return target + bracket + options


def policy_name(text: str) -> str:
    """Of a path the file or folder; of a run's model.zip its folder. Names and factories as they are."""
    parts = [part for part in text.replace("\\", "/").split("/") if part]
    if len(parts) > 1 and parts[-1] == MODEL:
        return parts[-2]
    return parts[-1].removesuffix(".zip") if parts else text


def told_apart(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as few as tell them apart; whole where one is there twice."""
    deepest = max((len(path.parts) for path in paths), default=0)
    for depth in range(1, deepest + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(paths):
            return names
    return [str(path) for path in paths]


def _last(text: str) -> str:
    return text.replace("\\", "/").rpartition("/")[2]

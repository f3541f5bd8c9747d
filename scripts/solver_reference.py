"""Values to hold the solvers' table against, read from somebody's Markdown file, and the verdicts.

`bench_solvers.py --reference FILE.md` uses it. The file has a table with a column `problem`, one whose
head has `SARSOP` in it with cells like `0.979/1.219 (15)` (bounds, seconds), and one whose head has
`Perseus` in it with cells like `0.937 (10), 1.002 (21)` (lower bounds, seconds; the last one counts).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from imm_rl.errors import InvalidInputError

SHORTFALL = 0.01
"""How far, relatively, a lower bound may lie below its reference."""
EXCESS, SMALLEST_GAP = 1.3, 1e-3
"""How many times its reference a gap may be; a reference gap counts as at least the absolute precision."""

_NUMBER = r"[−-]?\d+(?:\.\d+)?"


class Reference(NamedTuple):
    """What a file says of one problem; None where it says nothing."""

    gap: float | None
    lower_bound: float | None


def read(path: str | Path) -> dict[str, Reference]:
    """References by normalised problem name.

    Raises:
        InvalidInputError: The file cannot be read, or has no such table.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}.") from None
    found: dict[str, Reference] = {}
    columns: dict[str, int] = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            columns = {}
        elif cells[0] == "problem":
            columns = {
                key: i for key in ("SARSOP", "Perseus") for i, c in enumerate(cells) if key in c
            }
        elif len(columns) == 2 and len(cells) > max(columns.values()) and cells[0].strip("-: "):
            gap, low = cells[columns["SARSOP"]], cells[columns["Perseus"]]
            found[normalised(cells[0])] = Reference(_gap(gap), _lower_bound(low))
    if not found:
        raise InvalidInputError(
            f"{path} has no table with columns problem, one with SARSOP and one with Perseus."
        )
    return found


def normalised(name: str) -> str:
    """A problem's name without case, marks and what follows in brackets after a space."""
    return re.sub(r"[^a-z0-9]", "", name.partition(" (")[0].lower())


def lower_bound_verdict(ours: float | None, reference: float | None) -> str:
    """The relative difference, and whether it is good enough."""
    if ours is None or reference is None:
        return "–"
    difference = (ours - reference) / abs(reference)
    return f"{difference:+.1%} {'ok' if difference >= -SHORTFALL else '**short**'}"


def gap_verdict(ours: float | None, reference: float | None) -> str:
    """The ratio of the gaps, and whether it is good enough."""
    if ours is None or reference is None:
        return "–"
    ratio = ours / max(reference, SMALLEST_GAP)
    return f"{ratio:.2f} {'ok' if ratio <= EXCESS else '**wide**'}"


def _gap(cell: str) -> float | None:
    match = re.search(f"({_NUMBER})/({_NUMBER})", cell)
    return None if match is None else _number(match[2]) - _number(match[1])


def _lower_bound(cell: str) -> float | None:
    numbers = re.findall(_NUMBER, re.sub(r"\([^)]*\)", "", cell))
    return _number(numbers[-1]) if numbers else None


def _number(text: str) -> float:
    return float(text.replace("−", "-"))

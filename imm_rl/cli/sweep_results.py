"""`results.csv` of a sweep: one row a point, read back from the run folders, never kept in memory.

So the driver's memory does not grow with what its runs bring, and the table is the same whoever ran them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imm_rl.cli.console import interval, number, ranges, table
from imm_rl.cli.sweep_job import ERROR, attempts
from imm_rl.cli.sweep_plan import Point, SweepPlan
from imm_rl.cli.values import plain
from imm_rl.files import write_atomically

RESULTS = "results.csv"
MEASURED = (
    *("seeds", "status", "attempts", "env_steps", "wall_seconds"),
    *("mean_return", "ci95_low", "ci95_high", "deterministic_return", "discounted_return"),
    *("run", "error"),
)
TIMES = ("wall_seconds", "attempts")
"""Columns that differ from one run of a sweep to the next."""


def varied_keys(plan: SweepPlan) -> list[str]:
    """The options that tell points apart, in order of their first use."""
    return list(dict.fromkeys(key for point in plan.points for key in point.varied))


def rows(plan: SweepPlan, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each point, in order; one at a time from disk."""
    for point in plan.points:
        yield _row(point, folder)


def _row(point: Point, folder: Path) -> dict[str, Any]:
    from imm_rl.cli.values import seeds

    run = point.folder(folder)
    row: dict[str, Any] = {"point": point.number}
    row |= {key: plain(value) for key, value in point.varied.items()}
    row |= {"seeds": ranges(seeds("seeds", point.options["seeds"])), "run": run.path.name}
    row["attempts"] = attempts(run.path)
    if run.finished:
        summary = run.summary()
        low, high = summary["eval"]["ci95"]
        return row | {
            "status": "done",
            "env_steps": summary["env_steps"],
            "wall_seconds": summary["wall_seconds"],
            "mean_return": summary["eval"]["mean_return"],
            "ci95_low": low,
            "ci95_high": high,
            "deterministic_return": summary["eval_deterministic"]["mean_return"],
            "discounted_return": summary["eval_discounted"]["mean_return"],
        }
    if (run.path / ERROR).is_file():
        error = (run.path / ERROR).read_text(encoding="utf-8").strip()
        return row | {"status": "failed", "error": error}
    return row | {"status": "unfinished" if row["attempts"] else "waiting"}


def write_results(plan: SweepPlan, folder: Path) -> None:
    """Writes `results.csv`, whole or not at all."""
    columns = ["point", *varied_keys(plan), *MEASURED]

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows(plan, folder):
            writer.writerow({k: "" if v is None else v for k, v in row.items()})
        text.flush()
        text.detach()

    write_atomically(folder / RESULTS, write, durable=False)


def report(plan: SweepPlan, folder: Path, most: int = 20) -> str:
    """The best points for a terminal, and how many there are of each status."""
    keys = varied_keys(plan)
    counts: dict[str, int] = {}
    best: list[tuple[float, list[str]]] = []
    for row in rows(plan, folder):
        counts[row["status"]] = counts.get(row["status"], 0) + 1
        if row["status"] == "done":
            ends = interval([row["ci95_low"], row["ci95_high"]])
            cells = [str(row["point"]), *(str(row.get(key, "")) for key in keys)]
            best.append((row["mean_return"], [*cells, number(row["mean_return"]), ends]))
            best = sorted(best, key=lambda entry: -entry[0])[:most]
    head = ["point", *keys, "mean return", "95 % interval"]
    said = ", ".join(f"{n} {status}" for status, n in counts.items())
    shown = table([head, *(cells for _, cells in best)], left=range(len(keys) + 1))
    note = "" if counts.get("done", 0) <= most else f"\nthe best {most} of {counts['done']}"
    return f"\n{shown}{note}\n\n{len(plan.points)} points: {said}"

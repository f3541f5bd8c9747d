"""The folder of a language table: one command at a time, one setting of each training, no report lost.

<out>/
    runs/<training>/                        a run folder of each training
    <table>.csv  <table>.png  <table>.md    the report; the CSV has a row a training
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.errors import InvalidInputError

if TYPE_CHECKING:
    from imm_rl.runs import RunFolder

REPORT = ("csv", "png", "md")
"""Suffixes of a report's files."""


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Keeps other commands out of a table's folder.

    Raises:
        InvalidInputError: Another one is at work there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InvalidInputError(
            f"another command is at work in {out}. Wait for it, or give --out another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_others(
    mine: Mapping[str, Any],
    place: RunFolder,
    complete: Callable[[dict[str, Any], str], Mapping[str, Any]],
) -> None:
    """Refuses a folder that holds the run of another configuration.

    Args:
        mine: The configuration, as its file has it.
        place: Its folder, there or not.
        complete: Adds to a configuration that was read from a file, of a name, what it lacks: settings
            that are newer than the run, whose defaults do what the code of then did.

    Raises:
        InvalidInputError: The run there is of other settings.
    """
    if not place.path.exists():
        return
    found = complete(place.config(), str(place.path / "config.yaml"))
    other = [key for key in {**mine, **found} if found.get(key) != mine.get(key)]
    other = [key for key in other if key not in ("logdir", "device")]
    if other:
        raise InvalidInputError(
            f"{place.path} holds a run of other settings: {other[0]} is {found.get(other[0])!r} there "
            f"and {mine.get(other[0])!r} now. Give --out another folder."
        )


def refuse_smaller(
    out: Path, name: str, columns: Sequence[str], asked: Collection[tuple[str, ...]]
) -> None:
    """Refuses to put a report in the place of one that has trainings which it would not have.

    Args:
        out: The table's folder.
        name: Of the report's files, without their suffix.
        columns: Of its CSV, those that tell trainings apart.
        asked: The trainings of the report that is to be written, values of those columns.

    Raises:
        InvalidInputError: The report there has others, or its CSV cannot be read.
    """
    path = out / f"{name}.csv"
    files = ", ".join(f"{name}.{suffix}" for suffix in REPORT[:-1]) + f" and {name}.{REPORT[-1]}"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            there = [tuple(row[column] for column in columns) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return
    except (OSError, KeyError, ValueError, csv.Error):
        raise InvalidInputError(
            f"{path} is no report of this command, which would write one in its place. Move it away, or "
            "give --out another folder."
        ) from None
    lost = [row for row in there if row not in asked]
    if lost:
        which = ", ".join(f"{c} {v}" for c, v in zip(columns, lost[0], strict=True))
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InvalidInputError(
            f"the report {path} has trainings that this command leaves out ({which}{more}) and would "
            f"replace it. Ask for them too, or move {files} away: the trainings in {out / 'runs'} stay, "
            "and are taken up."
        )

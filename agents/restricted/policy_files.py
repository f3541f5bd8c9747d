"""Alpha-vector policies on disk: one `.npz`, written whole or not at all, read without unpickling.

`AlphaVectorPolicy.save` and `.load` are the way in; so is the cache of `imm_rl.agents.solve`.
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically

FORMAT = "imm-rl alpha vectors 1"
"""First entry of every file; the number rises when an older reader would misread the file."""


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """What a file holds; the fields are `AlphaVectorPolicy`'s attributes of the same names."""

    vectors: FloatArray
    vector_actions: IntArray
    n_actions: int
    execution: str
    temperature: float | None
    ties: str
    lower_bound: float | None
    upper_bound: float | None
    method: str
    seconds: float | None
    converged: bool
    fingerprint: str | None
    notes: tuple[str, ...]


_TEXTS = ("execution", "ties", "method", "fingerprint")
_NUMBERS = ("temperature", "lower_bound", "upper_bound", "seconds")


def write(record: PolicyRecord, path: str | Path) -> None:
    """Writes a record; the file appears complete or stays as it was.

    Raises:
        InvalidInputError: The name does not end in .npz, or no file can be written there.
        RunFailedError: The disk failed or is full.
    """
    target = _checked_suffix(path)
    entries: dict[str, Any] = {"format": np.array(FORMAT)}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.name in _NUMBERS:
            value = np.nan if value is None else float(value)
        elif field.name in _TEXTS:
            value = value or ""
        elif field.name == "notes":
            value = np.array(value, dtype=np.str_)
        entries[field.name] = np.asarray(value)
    write_atomically(target, lambda file: np.savez(file, **entries))


def read(path: str | Path) -> PolicyRecord:
    """Reads a record.

    Raises:
        InvalidInputError: No such file, not an .npz, entries missing or of the wrong kind.
    """
    target = _checked_suffix(path)
    if not target.is_file():
        raise invalid("policy file", "exist", str(target))
    try:
        with target.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array")
            entries = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(
            f"policy file {target} must be an .npz of plain arrays: {str(error).split('. ')[0]}."
        ) from error
    wanted = ["format", *(field.name for field in dataclasses.fields(PolicyRecord))]
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise invalid(f"policy file {target}", f"hold the entries {missing}", sorted(entries))
    if str(entries["format"]) != FORMAT:
        raise invalid(f"format of policy file {target}", f"be {FORMAT!r}", str(entries["format"]))
    try:
        return _record(entries)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"policy file {target} has a wrong entry: {error}.") from error


def _record(entries: dict[str, Any]) -> PolicyRecord:
    numbers = {name: float(entries[name]) for name in _NUMBERS}
    return PolicyRecord(
        vectors=np.array(entries["vectors"], dtype=np.float64),
        vector_actions=np.array(entries["vector_actions"]),
        n_actions=int(entries["n_actions"]),
        execution=str(entries["execution"]),
        temperature=_known(numbers["temperature"]),
        ties=str(entries["ties"]),
        lower_bound=_known(numbers["lower_bound"]),
        upper_bound=_known(numbers["upper_bound"]),
        method=str(entries["method"]),
        seconds=_known(numbers["seconds"]),
        converged=bool(entries["converged"]),
        fingerprint=str(entries["fingerprint"]) or None,
        notes=tuple(str(note) for note in entries["notes"].tolist()),
    )


def _known(number: float) -> float | None:
    return None if np.isnan(number) else number


def _checked_suffix(path: str | Path) -> Path:
    target = Path(path)
    if target.suffix != ".npz":
        raise invalid("policy file", "be named .npz", str(path))
    return target

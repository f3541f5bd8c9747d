"""Alpha-vector policies on disk, in the format that the file's name ends in; written whole or not at all.

`.npz` is this package's own and keeps everything; it is read without unpickling. `.policy` and
`.policyx` (SARSOP) and `.alpha` (pomdp-solve) hold vectors and their actions, nothing else.
`AlphaVectorPolicy.save` and `.load` are the way in; so is the cache of `imm_rl.agents.solve`.
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.restricted import policyx_files, pomdp_solve_files
from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically

FORMAT = "imm-rl alpha vectors 1"
"""First entry of every `.npz`; the number rises when an older reader would misread the file."""
SPARSE_FORMAT = "imm-rl sparse alpha vectors 1"
"""The same where vectors are a CSR array and a base, kept as four arrays."""
SUFFIXES = (".npz", ".policy", ".policyx", ".alpha")
"""What the names of policy files end in, whatever the case."""
NO_BOUNDS = "read from a file that holds no bounds"
"""Note of a policy that came from a file of another format."""


def is_policy_file(text: str | Path) -> bool:
    """Whether a text is the name of a policy file, by its ending."""
    return Path(text).suffix.lower() in SUFFIXES


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """What a file holds; the fields are `AlphaVectorPolicy`'s attributes of the same names.

    `n_actions` is None where the file does not say it; `execution` is "" where it is the loader's to say.
    """

    vectors: FloatArray | sp.csr_array
    vector_actions: IntArray
    base: FloatArray | None = None
    n_actions: int | None
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
_VECTORS = ("vectors", "base")
_CSR = ("data", "indices", "indptr", "shape")
_NUMBERS = ("temperature", "lower_bound", "upper_bound", "seconds")


def write(record: PolicyRecord, path: str | Path, *, sparse: bool = False) -> None:
    """Writes a record; the file appears complete or stays as it was.

    Args:
        record: The policy. Formats other than `.npz` take its vectors and their actions alone.
        path: The file, named after its format.
        sparse: Whether a `.policy` or `.policyx` leaves out the zeros of the vectors.

    Raises:
        InvalidInputError: The name ends in none of `SUFFIXES`, the format has no sparse vectors, or no
            file can be written there.
        RunFailedError: The disk failed or is full.
    """
    suffix = _checked_suffix(path)
    if sparse and suffix not in (".policy", ".policyx"):
        raise invalid("sparse", "be left out unless a .policy or .policyx is written", str(path))
    if suffix == ".npz":
        _write_npz(record, path)
    elif suffix == ".alpha":
        pomdp_solve_files.write(path, _rows(record))
    else:
        n_vectors, n_states = record.vectors.shape
        policyx_files.write(
            path, _rows(record), n_states=n_states, n_vectors=n_vectors, sparse=sparse
        )


def read(path: str | Path) -> PolicyRecord:
    """Reads a record.

    Raises:
        InvalidInputError: No such file, a name that ends in none of `SUFFIXES`, or content that is not
            of that format.
    """
    suffix = _checked_suffix(path)
    if not Path(path).is_file():
        raise invalid("policy file", "exist", str(path))
    if suffix == ".npz":
        return _read_npz(Path(path))
    reader = pomdp_solve_files.read if suffix == ".alpha" else policyx_files.read
    vectors, vector_actions = reader(path)
    return PolicyRecord(
        vectors=vectors,
        vector_actions=vector_actions,
        n_actions=None,
        execution="",
        temperature=None,
        ties="split",
        lower_bound=None,
        upper_bound=None,
        method=f"{'alpha' if suffix == '.alpha' else 'policyx'} file",
        seconds=None,
        converged=False,
        fingerprint=None,
        notes=(NO_BOUNDS,),
    )


def _rows(record: PolicyRecord) -> Iterator[tuple[int, FloatArray]]:
    """The action and the numbers (S,) of one vector after another."""
    for row, action in enumerate(record.vector_actions.tolist()):
        vector: Any = record.vectors[[row]]
        yield action, vector[0] if record.base is None else vector.toarray()[0] + record.base


def _write_npz(record: PolicyRecord, path: str | Path) -> None:
    entries: dict[str, Any] = {"format": np.array(FORMAT)}
    vectors = record.vectors
    if not isinstance(vectors, np.ndarray):
        entries["format"] = np.array(SPARSE_FORMAT)
        entries["base"] = np.asarray(record.base)
        for part in _CSR:
            entries[f"vectors_{part}"] = np.asarray(getattr(vectors, part))
    else:
        entries["vectors"] = vectors
    for field in dataclasses.fields(record):
        if field.name in _VECTORS:
            continue
        value = getattr(record, field.name)
        if field.name in _NUMBERS:
            value = np.nan if value is None else float(value)
        elif field.name in _TEXTS:
            value = value or ""
        elif field.name == "notes":
            value = np.array(value, dtype=np.str_)
        entries[field.name] = np.asarray(value)
    write_atomically(path, lambda file: np.savez(file, **entries))


def _read_npz(target: Path) -> PolicyRecord:
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
    is_sparse = str(entries.get("format")) == SPARSE_FORMAT
    parts = ["base", *(f"vectors_{part}" for part in _CSR)] if is_sparse else ["vectors"]
    wanted = ["format", *parts]
    wanted += [f.name for f in dataclasses.fields(PolicyRecord) if f.name not in _VECTORS]
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise invalid(f"policy file {target}", f"hold the entries {missing}", sorted(entries))
    if not is_sparse and str(entries["format"]) != FORMAT:
        raise invalid(f"format of policy file {target}", f"be {FORMAT!r}", str(entries["format"]))
    try:
        return _record(entries)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"policy file {target} has a wrong entry: {error}.") from error


def _record(entries: dict[str, Any]) -> PolicyRecord:
    numbers = {name: float(entries[name]) for name in _NUMBERS}
    return PolicyRecord(
        vectors=_vectors(entries),
        base=entries.get("base"),
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


def _vectors(entries: dict[str, Any]) -> FloatArray | sp.csr_array:
    if "vectors" in entries:
        return np.array(entries["vectors"], dtype=np.float64)
    data, indices, indptr, shape = (entries[f"vectors_{part}"] for part in _CSR)
    rows = sp.csr_array((data, indices, indptr), shape=(int(shape[0]), int(shape[1])))
    rows.check_format()
    return rows


def _known(number: float) -> float | None:
    return None if np.isnan(number) else number


def _checked_suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise invalid(
            "policy file", f"be named {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}", str(path)
        )
    return suffix

"""Copies of models on views: a folder with the zip, its statistics, and how it is asked.

`SB3ViewPolicy.copy_to` writes one, `SB3ViewPolicy.load` reads it, for agents that are saved together with
their restricted policy. The zip alone would come back as another policy: with the default temperature,
say, or with views that nobody normalises.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.agents.restricted.sb3_zip import MODEL, STATISTICS
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically, write_text

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecNormalize

SETTINGS = "view_policy.json"
"""The file of `write`'s settings, beside the zip."""

KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "deterministic": (bool,),
    "temperature": (int, float, type(None)),
    "noise": (int, float, type(None)),
    "normalize": (bool,),
}
"""What the file says, all of it always."""


def stamp(path: Path) -> tuple[int, int] | None:
    """Tells a file from one that was written over it; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def write(
    folder: Path, path: Path, normalize: VecNormalize | None, settings: dict[str, Any]
) -> bool:
    """Writes a copy of the zip at `path`; False, and nothing, if the statistics cannot be pickled.

    Args:
        folder: Where to; made if it is missing.
        path: The zip; may be that of the folder itself.
        normalize: What views are normalised by.
        settings: The others of `KINDS`.

    Raises:
        InvalidInputError, RunFailedError: The folder or a file cannot be written.
    """
    try:
        statistics = None if normalize is None else _pickled(normalize)
    except Exception:  # whatever pickling a class of the user's raises
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be made: {error.strerror}.") from error
    target = folder / MODEL
    if path.resolve() != target.resolve():
        with path.open("rb") as source:
            write_atomically(target, lambda file: shutil.copyfileobj(source, file))
    if statistics is not None:
        write_atomically(folder / STATISTICS, lambda file: file.write(statistics))
    said = {**settings, "normalize": statistics is not None}
    write_text(folder / SETTINGS, json.dumps(said, indent=2) + "\n")
    return True


def _pickled(normalize: VecNormalize) -> bytes:
    """As `VecNormalize.save`, which fails for one that was loaded and has no environment yet."""
    twin = type(normalize).__new__(type(normalize))
    missing: dict[str, Any] = {"venv": None, "class_attributes": {}, "returns": None}
    twin.__dict__.update({**missing, **vars(normalize)})
    return pickle.dumps(twin)


def read(path: Path) -> dict[str, Any]:
    """The settings beside a zip; empty if it is no copy.

    Raises:
        InvalidInputError: The file is damaged, or the statistics that it speaks of are gone.
    """
    file = path.with_name(SETTINGS)
    if path.name != MODEL or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from None
    if (
        not isinstance(found, dict)
        or set(found) != set(KINDS)
        or not all(isinstance(found[name], kinds) for name, kinds in KINDS.items())
    ):
        raise InvalidInputError(
            f"{file} must say {', '.join(KINDS)} of the policy beside it, and says something else. Copy "
            "the policy anew, or remove the file to read the zip as it is."
        )
    if found["normalize"] and not path.with_name(STATISTICS).is_file():
        raise InvalidInputError(
            f"{file} says that views are normalised, and {STATISTICS} is not beside it. Put it back, or "
            "set normalize to false there."
        )
    return found

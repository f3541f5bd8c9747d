"""Run folders: what a training leaves on disk, and where. `imm-rl train` writes them, others read them.

    runs/<env>/<agent>-<restricted>-<n>/
        config.yaml  command.txt  versions.json     written before anything runs
        restricted.npz                              the restricted policy, where it can be saved;
                                                    restricted.zip: one of Stable-Baselines3
        checkpoints/latest.npz                      where a stopped run goes on; of ppo and a2c in
                                                    seed_<k>/, as are results of seeds that are done
        progress.csv  events.out.tfevents.*         curves; of several seeds in seed_<k>/
        model.zip  summary.json                     the result; of several seeds in seed_<k>/ as well
        summary.json                                of all seeds; says that the run is finished

Every file is written whole or not at all, so a run may be killed at any moment.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.files import user_path, write_text
from imm_rl.formats import read_yaml, to_csv, to_json

CONFIG, SUMMARY, MODEL = "config.yaml", "summary.json", "model.zip"
PROGRESS = "progress.csv"
_LONGEST_NAME = 60
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that no other folder name of the user's mends; whoever writes meets them and tells."""


class RunFolder:
    """One run's folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, logdir: str | Path, env: str, name: str, files: Mapping[str, str]) -> RunFolder:
        """Makes `<logdir>/<env>/<name>-<n>/` with the next free number n, and `files` in it.

        The folder is filled under a temporary name and then renamed, so that runs started together
        get different numbers and a folder without its configuration is never seen.

        Args:
            logdir: Made if need be.
            env: Environment, as users wrote it; made fit for a file name.
            name: Agent and restricted policy, likewise.
            files: File name -> text.

        Raises:
            InvalidInputError: The folder cannot be written.
        """
        parent = Path(logdir) / file_name(env)
        stem = file_name(name)
        staged = parent / f".{stem}.{secrets.token_hex(8)}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            staged.mkdir()
            for file, text in files.items():
                write_text(staged / file, text)
            number = _last_number(parent, stem) + 1
            while not _renamed(staged, parent / f"{stem}-{number}"):
                number += 1
        except OSError as error:
            raise InvalidInputError(
                f"cannot write a run folder below {logdir}: {error.strerror or error}. "
                "Give --logdir a folder that can be written."
            ) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # gone already where it was renamed
        return cls(parent / f"{stem}-{number}")

    @classmethod
    def ensure(cls, path: str | Path, files: Mapping[str, str]) -> RunFolder:
        """The folder at a path, made with `files` in it where it is not there yet; whole or not at all.

        Args:
            path: Of the folder; its parents are made too.
            files: File name -> text.

        Raises:
            InvalidInputError: It cannot be written.
        """
        folder = Path(path)
        staged = folder.parent / f".{folder.name}.{secrets.token_hex(8)}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not folder.exists():
                staged.mkdir()
                for file, text in files.items():
                    write_text(staged / file, text)
                _renamed(staged, folder)
        except OSError as error:
            raise InvalidInputError(
                f"cannot write the folder {folder}: {error.strerror or error}."
            ) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # gone already where it was renamed
        return cls(folder)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The run folder at a path.

        Raises:
            InvalidInputError: No such folder, or none of a run.
        """
        folder = cls(user_path(path))
        if not folder.path.is_dir():
            raise nothing_at(path, "folder")
        if not (folder.path / CONFIG).is_file():
            raise InvalidInputError(f"{path} is no run folder: it has no {CONFIG}.")
        return folder

    @classmethod
    def every(cls, logdir: str | Path) -> list[RunFolder]:
        """The runs below `logdir`, the one that was started last first."""
        found = [
            p for p in user_path(logdir).glob(f"*/*/{CONFIG}") if not p.parent.name.startswith(".")
        ]
        found.sort(key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True)
        return [cls(path.parent) for path in found]

    @classmethod
    def around(cls, path: str | Path) -> RunFolder | None:
        """The run that a folder or a file lies in, or is; None where it lies in none."""
        path = Path(path)
        for folder in (path, path.parent, path.parent.parent):
            if (folder / CONFIG).is_file() and (folder / "versions.json").is_file():
                return cls(folder)
        return None

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint is, or will be."""
        return self.path / "checkpoints" / "latest.npz"

    @property
    def restricted(self) -> Path:
        """Where the restricted policy is, if it could be saved."""
        return self.path / "restricted.npz"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / SUMMARY).is_file()

    def refuse_language_model(self, command: str) -> None:
        """Refuses a run of a language model where one of an agent is wanted.

        Args:
            command: What to do with the run instead.

        Raises:
            InvalidInputError: It is one.
        """
        if "corpus" in self.config():
            raise InvalidInputError(
                f"{self.path} is a run of a language model. Try: {command} {self.path}"
            )

    def config(self) -> dict[str, Any]:
        """The run's configuration.

        Raises:
            InvalidInputError: It cannot be read.
        """
        return read_yaml(self.path / CONFIG)

    def summary(self) -> dict[str, Any]:
        """The summary of a finished run.

        Raises:
            InvalidInputError: The run is not finished, or its summary cannot be read.
        """
        try:
            found = json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InvalidInputError(f"the run {self.path} is not finished.") from None
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"cannot read {self.path / SUMMARY}: {error}") from None
        if not isinstance(found, dict):
            raise InvalidInputError(f"{self.path / SUMMARY} is no summary of a run.")
        return found

    def of_seed(self, seed: int, seeds: Sequence[int]) -> RunFolder:
        """Where the files of one seed go: `seed_<k>/` below, or here where it is the only one."""
        return self if len(seeds) == 1 else RunFolder(self.path / f"seed_{seed}")

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes a JSON file; what is not a finite number becomes null."""
        write_text(self.path / name, to_json(values))

    def write_csv(self, name: str, rows: Iterable[Mapping[str, float]]) -> None:
        """Writes a table, see `to_csv`."""
        write_text(self.path / name, to_csv(rows), durable=False)

    def remove_leftovers(self) -> None:
        """Removes the temporary files of writers that were killed."""
        for name in (SUMMARY, "*.zip", PROGRESS, "*.npz", "*.json"):
            for path in self.path.rglob(f".{name}.*"):
                path.unlink(missing_ok=True)


def check_writable(folder: str | Path, what: str = "runs") -> None:
    """Refuses a folder that cannot be made or written, and leaves nothing on the disk.

    Rights alone do not tell: root has them all, and may still not write to `/proc` or a disk mounted
    read-only. So a file without content is made and removed.

    Args:
        folder: Which, there already or not.
        what: That is to be written to it, for the error.

    Raises:
        InvalidInputError: It, or the folder it would be made in, is no folder or takes no file.
    """
    path = Path(folder).absolute()
    try:
        while not path.exists() and path != path.parent:
            path = path.parent
        if not path.is_dir():
            raise InvalidInputError(f"cannot write {what} to {folder}: {path} is no folder.")
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidInputError(f"cannot write {what} to {folder}: {error.strerror}.") from None
        if error.errno not in _OF_THE_DISK:
            raise InvalidInputError(
                f"cannot write {what} to {folder}: {path} cannot be written."
            ) from None


def check_file(path: str | Path, what: str) -> None:
    """Refuses a file that `files.write_atomically` could not write, and leaves nothing on the disk.

    Args:
        path: Which; whether a file is there already does not matter.
        what: It is to hold, for the error.

    Raises:
        InvalidInputError: Its folder takes no file, or its name is too long.
    """
    path = Path(path)
    check_writable(path.parent, f"{what} {path}")
    try:
        os.lstat(path.with_name(f".{path.name}.{'x' * 8}"))  # as long as the temporary name
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InvalidInputError(f"cannot write {what} to {path}: {error.strerror}.") from None


def make_folder(folder: str | Path, what: str) -> Path:
    """Makes a folder, with those above it, where it is not there yet.

    Raises:
        InvalidInputError: It cannot be made, or not be written.
    """
    path = user_path(folder)
    check_writable(path, what)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise RunFailedError(f"cannot make the folder {path}: {error.strerror}.") from None
        raise InvalidInputError(
            f"cannot write {what} to {folder}: {error.strerror or error}."
        ) from None
    return path


def file_name(text: str) -> str:
    """A text made fit for the name of a file or folder: letters, digits, `.`, `_` and `-`."""
    kept = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:_LONGEST_NAME].rstrip("-.")
    return kept or "unnamed"


def file_stem(path: str | Path) -> str:
    """A file's name without its folder and its ending, made fit for a folder."""
    return file_name(Path(path).stem)


def nothing_at(path: str | Path, what: str) -> InvalidInputError:
    """Builds (does not raise) the error for a path where there is nothing, with the nearest one that is.

    Args:
        path: As the user wrote it.
        what: Is not there, e.g. "folder".
    """
    there = Path(path)
    while not there.parent.is_dir() and there != there.parent:
        there = there.parent
    rest = Path(path).relative_to(there)
    try:
        beside = [p.name for p in there.parent.iterdir() if not p.name.startswith(".")]
    except OSError:
        beside = []
    near = [there.with_name(name) for name in difflib.get_close_matches(there.name, beside)]
    whole = [p / rest for p in near if (p / rest).exists()]
    hint = f" Did you mean {(whole or near)[0]}?" if near else ""
    return InvalidInputError(f"there is no {what} {path}.{hint}")


def _last_number(parent: Path, stem: str) -> int:
    numbers = [re.fullmatch(re.escape(stem) + r"-(\d+)", p.name) for p in parent.iterdir()]
    return max((int(match[1]) for match in numbers if match), default=0)


def _renamed(staged: Path, target: Path) -> bool:
    """Whether the staged folder got this name; somebody else may have taken it meanwhile."""
    try:
        os.rename(staged, target)
    except OSError:
        if target.exists():
            return False
        raise
    return True

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO

import pytest

from imm_rl.errors import ImmRlError, InvalidInputError, RunFailedError
from imm_rl.files import cache_folder, user_path, write_atomically, write_text


def test_write_text_writes_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "λ → 0\n")

    assert (tmp_path / "a.txt").read_bytes() == "λ → 0\n".encode()


def test_write_atomically_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    write_atomically(path, lambda file: file.write(b"new"))

    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_write_atomically_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def half(file: IO[bytes]) -> None:
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(RunFailedError, match=r"a\.bin could not be written: disk full\."):
        write_atomically(path, half)

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_write_atomically_shows_the_file_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"x" * 100_000)
        seen.append(path.exists())

    write_atomically(path, write)

    assert seen == [False]
    assert path.stat().st_size == 100_000


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_write_atomically_gives_the_usual_rights(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_write_atomically_keeps_other_errors_of_the_writer(tmp_path: Path) -> None:
    def wrong(file: IO[bytes]) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_atomically(tmp_path / "a.bin", wrong)

    assert os.listdir(tmp_path) == []


def test_write_atomically_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"a\.txt cannot be written: there is no folder .*none"
    ):
        write_text(tmp_path / "none" / "a.txt", "")


def test_write_atomically_refuses_a_folder_and_what_lies_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    with pytest.raises(InvalidInputError, match="cannot be written: it is a folder"):
        write_text(tmp_path, "")
    with pytest.raises(InvalidInputError, match=r"cannot be written: .*file is not a folder\."):
        write_text(tmp_path / "file" / "a.txt", "")

    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EACCES, InvalidInputError, "cannot be written: Permission denied in the folder"),
        (errno.EROFS, InvalidInputError, "cannot be written: Read-only file system in the folder"),
        (errno.ENOSPC, RunFailedError, "could not be written: No space left on device"),
    ],
)
def test_write_atomically_says_why_no_file_can_be_begun(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[ImmRlError],
    message: str,
) -> None:
    def refused(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkstemp", refused)

    with pytest.raises(kind, match=message):
        write_text(tmp_path / "a.txt", "")


def test_write_atomically_says_so_when_its_folder_is_gone_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with pytest.raises(RunFailedError, match="could not be written: No such file"):
        write_atomically(folder / "a.bin", lambda file: shutil.rmtree(folder))


def test_user_path_knows_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs"
    assert user_path("runs/~") == Path("runs/~")
    assert cache_folder("~/kept") == tmp_path / "kept"
    monkeypatch.delenv("IMM_RL_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache/imm-rl"
    with pytest.raises(InvalidInputError, match=r"^~nosuchuser/t: the home folder ~nosuchuser is"):
        user_path("~nosuchuser/t")

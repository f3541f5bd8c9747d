from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import pytest

from imm_rl.files import write_atomically, write_text


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

    with pytest.raises(OSError, match="disk full"):
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


def test_write_atomically_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "")

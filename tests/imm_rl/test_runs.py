from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.runs import RunFolder, check_file, check_writable, file_name, file_stem, nothing_at

FILES = {"config.yaml": "env: tiger\n"}


def _create(logdir: Path, env: str = "tiger", name: str = "reinforce-pomdp") -> RunFolder:
    return RunFolder.create(logdir, env, name, FILES)


def test_create_makes_a_numbered_folder_with_its_files(tmp_path: Path) -> None:
    folder = _create(tmp_path / "runs")

    assert folder.path == tmp_path / "runs" / "tiger" / "reinforce-pomdp-1"
    assert folder.config() == {"env": "tiger"}
    assert not folder.finished


def test_create_takes_the_number_after_the_last(tmp_path: Path) -> None:
    (tmp_path / "tiger" / "reinforce-pomdp-7").mkdir(parents=True)
    (tmp_path / "tiger" / "reinforce-pomdp-x").mkdir()
    (tmp_path / "tiger" / "reinforce-pomdp-fast-9").mkdir()

    assert _create(tmp_path).path.name == "reinforce-pomdp-8"
    assert _create(tmp_path, name="other").path.name == "other-1"


def test_create_gives_runs_started_together_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: _create(tmp_path), range(40)))

    assert sorted(int(f.path.name.rpartition("-")[2]) for f in folders) == list(range(1, 41))
    assert all((f.path / "config.yaml").is_file() for f in folders)
    assert not [name for name in os.listdir(tmp_path / "tiger") if name.startswith(".")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiger", "tiger"),
        ("grid(size=7, variance=0.2)", "grid-size-7-variance-0.2"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "unnamed"),
        ("a/b:c\n d", "a-b-c-d"),
        ("x" * 100, "x" * 60),
    ],
)
def test_file_name_is_fit_for_a_folder(text: str, name: str) -> None:
    assert file_name(text) == name


def test_create_refuses_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInputError, match="cannot write a run folder below"):
        _create(tmp_path / "file")
    with pytest.raises(InvalidInputError, match="is no folder"):
        check_writable(tmp_path / "file" / "runs")


def test_check_writable_touches_no_disk(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "x" * 250])
def test_check_file_refuses_a_name_that_its_temporary_file_could_not_have(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="File name too long"):
        check_file(tmp_path / name, "a picture")
    with pytest.raises(InvalidInputError, match="/proc cannot be written"):
        check_file("/proc/x", "a picture")
    check_file(tmp_path / "x.png", "a picture")

    assert os.listdir(tmp_path) == []


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(InvalidInputError, match=r"it has no config\.yaml"):
        RunFolder.open(tmp_path)
    assert RunFolder.open(_create(tmp_path).path).path.name == "reinforce-pomdp-1"


def test_every_run_is_listed_with_the_one_that_was_started_last_first(tmp_path: Path) -> None:
    first, second = _create(tmp_path, "tiger"), _create(tmp_path, "cheese")
    os.utime(first.path / "config.yaml", (2_000_000_000, 2_000_000_000))
    os.utime(second.path / "config.yaml", (1_900_000_000, 1_900_000_000))

    assert [run.path for run in RunFolder.every(tmp_path)] == [first.path, second.path]
    assert RunFolder.every(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("gpl.txt", "gpl"),
        ("a/mon couloir.POMDP", "mon-couloir"),
        ("mon texte é.txt", "mon-texte"),
        ("a.b.yaml", "a.b"),
        ("é.txt", "unnamed"),
    ],
)
def test_file_stem_has_no_ending_and_is_fit_for_a_folder(path: str, name: str) -> None:
    assert file_stem(path) == name


def test_nothing_at_suggests_what_lies_beside(tmp_path: Path) -> None:
    (tmp_path / "runs" / "tiger" / "reinforce-pomdp-1").mkdir(parents=True)

    def said(path: Path) -> str:
        return str(nothing_at(path, "folder"))

    right = tmp_path / "runs" / "tiger" / "reinforce-pomdp-1"
    assert said(right.with_name("reinforce-pomdp-2")).endswith(f" Did you mean {right}?")
    mistyped = tmp_path / "runs" / "tigr" / "reinforce-pomdp-1"
    assert said(mistyped) == f"there is no folder {mistyped}. Did you mean {right}?"
    far = tmp_path / "runs" / "tigr" / "x"
    assert said(far).endswith(f" Did you mean {right.parent}?")
    assert said(tmp_path / "else") == f"there is no folder {tmp_path / 'else'}."
    assert said(Path("/")) == "there is no folder /."


def test_of_seed_is_a_folder_below_when_there_are_several(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)

    assert folder.of_seed(3, [3]).path == tmp_path
    assert folder.of_seed(3, [3, 4]).path == tmp_path / "seed_3"


def test_write_json_turns_what_json_has_not_into_null(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_json("summary.json", {"a": [1.5, math.nan], "b": {"c": math.inf}})

    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "a": [1.5, None],
        "b": {"c": None},
    }
    assert RunFolder(tmp_path).finished


def test_summary_of_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not finished"):
        RunFolder(tmp_path).summary()
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(InvalidInputError, match="cannot read"):
        RunFolder(tmp_path).summary()


def test_remove_leftovers_takes_what_a_killed_writer_left_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "seed_3").mkdir()
    kept = ["summary.json", "seed_3/progress.csv", ".hidden", "seed_3/events.out.tfevents.1"]
    gone = [
        ".summary.json.x1",
        ".latest.npz.ab.tmp",
        "seed_3/.progress.csv.y2",
        "seed_3/.model.zip.z",
    ]
    for name in kept + gone:
        (tmp_path / name).write_text("")

    RunFolder(tmp_path).remove_leftovers()

    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in gone)

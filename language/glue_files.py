"""The TSV files of GLUE as they are downloaded: one example a line, tabs between, no quoting.

    CoLA/train.tsv   no header: source, label, original judgement, sentence
    MRPC/train.tsv   Quality, #1 ID, #2 ID, #1 String, #2 String
    QNLI/train.tsv   index, question, sentence, label
    RTE/train.tsv    index, sentence1, sentence2, label

and `dev.tsv` likewise. UTF-8, with or without a byte order mark, lines ended by LF or CRLF.

A file that was cut off within a text that stands last in its row looks whole but for the missing end of its
last line; files written by hand often lack it too. So that is a doubt, and no error.

GLUE makes MRPC's two files of one, `msr_paraphrase_train.txt`, by a list of pairs of ids. That one may
stand in for `train.tsv`: its pairs that are in `dev.tsv` are left out, which gives GLUE's own `train.tsv`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from imm_rl.errors import InvalidInputError
from imm_rl.files import user_path
from imm_rl.language.glue import Example, Task, TaskData

PARTS = {"train": "training", "dev": "development"}
OTHER_NAMES = {("mrpc", "train"): "msr_paraphrase_train.txt"}
"""Files that may stand in for `<part>.tsv`, by task and part; they hold the other part's examples too."""


class _Row(NamedTuple):
    """An example, and what tells it from others; () where nothing does."""

    example: Example
    ids: tuple[str, ...]


def read_parts(folder: str | Path, task: Task) -> TaskData:
    """Reads a task.

    Args:
        folder: Of all tasks.
        task: Which one.

    Returns:
        Its training and its development examples; what was done to them, and what is doubtful.

    Raises:
        InvalidInputError: A file is missing, not UTF-8, empty or cut off, or a line is wrong (the error
            says which file and line, and what was found); or both files have an example.
    """
    places = {part: _path(user_path(folder), task, part) for part in PARTS}
    (train, first), (dev, second) = (_rows(places[part], task) for part in ("train", "dev"))
    held_out = {row.ids for row in dev} - {()}
    note = ""
    shared = [row.ids for row in train if row.ids in held_out]
    if shared and places["train"].name == OTHER_NAMES.get((task.name, "train")):
        train = [row for row in train if row.ids not in held_out]
        note = (
            f"{len(shared):,} examples of {places['train'].name} that are in dev.tsv were left out of the "
            f"training examples of {task.name}"
        )
    elif shared:
        raise InvalidInputError(
            f"{places['train']} and {places['dev']} share {len(shared):,} examples, such as that of the "
            f"ids {' and '.join(shared[0])}: what is scored must not be trained on. Download them again."
        )
    if len({row.example.label for row in train}) < 2:
        raise InvalidInputError(
            f"{places['train']}: all examples have one label; there is nothing to learn."
        )
    doubts = tuple(filter(None, (first, second)))
    return TaskData(task, [r.example for r in train], [r.example for r in dev], note, doubts)


def _rows(path: Path, task: Task) -> tuple[list[_Row], str]:
    """The examples of a file, and what is doubtful about it, or nothing."""
    lines, ended = _lines(path)
    columns, first = task.columns, 1
    if not columns:
        columns, first = tuple(lines[0].split("\t")), 2
        missing = [name for name in (*task.texts, task.label, *task.ids) if name not in columns]
        if missing:
            raise _wrong(path, 1, f"the header has no column {missing[0]!r}", lines[0])
    where = [columns.index(name) for name in task.texts]
    telling = [columns.index(name) for name in task.ids]
    label = columns.index(task.label)
    found = []
    for number, line in enumerate(lines[first - 1 :], start=first):
        cells = line.split("\t")
        if len(cells) != len(columns):
            what = f"{len(columns)} columns are expected and there are {len(cells)}"
            raise _wrong(path, number, what, line)
        if cells[label] not in task.labels:
            known = " or ".join(task.labels)
            raise _wrong(path, number, f"the label must be {known}", cells[label])
        texts = tuple(cells[i].strip() for i in where)
        if not all(texts):
            raise _wrong(path, number, "a sentence is empty", line)
        ids = tuple(cells[i].strip() for i in telling)
        found.append(_Row(Example(texts, task.labels[cells[label]]), ids))
    if not found:
        raise InvalidInputError(f"{path} has no examples.")
    if ended:
        return found, ""
    last = lines[-1] if len(lines[-1]) <= 60 else f"...{lines[-1][-57:]}"
    return found, (
        f"{path}: the last line, {len(lines)}, has no line end, as in a file that was cut off; it ends in "
        f"{last!r}. Download the file again or, if it is whole, end that line"
    )


def _path(folder: Path, task: Task, part: str) -> Path:
    if not folder.is_dir():
        raise InvalidInputError(f"GLUE: there is no folder {folder}.")
    names = [f"{part}.tsv"]
    if (task.name, part) in OTHER_NAMES:
        names.append(OTHER_NAMES[task.name, part])
    for name in names:
        if (folder / task.folder / name).is_file():
            return folder / task.folder / name
    raise InvalidInputError(
        f"GLUE: {folder} has no {PARTS[part]} examples of {task.name}: looked for is "
        f"{' or '.join(f'{task.folder}/{name}' for name in names)}."
    )


def _lines(path: Path) -> tuple[list[str], bool]:
    """The lines of a file, without their ends; and whether the last one has an end."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"{path} is no UTF-8 text: line {line} has the byte 0x{content[error.start]:02x}."
        ) from None
    if not text.strip():
        raise InvalidInputError(f"{path} is empty.")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    ended = not lines[-1]
    return lines[:-1] if ended else lines, ended


def _wrong(path: Path, line: int, what: str, found: str) -> InvalidInputError:
    shown = found if len(found) <= 80 else f"{found[:77]}..."
    return InvalidInputError(f"{path}, line {line}: {what}; found {shown!r}. Download it again.")

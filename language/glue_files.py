"""The TSV files of GLUE as they are downloaded: one example a line, tabs between, no quoting.

    CoLA/train.tsv   no header: source, label, original judgement, sentence
    MRPC/train.tsv   Quality, #1 ID, #2 ID, #1 String, #2 String (also msr_paraphrase_train.txt)
    QNLI/train.tsv   index, question, sentence, label
    RTE/train.tsv    index, sentence1, sentence2, label

and `dev.tsv` likewise. UTF-8, with or without a byte order mark, lines ended by LF or CRLF.
"""

from __future__ import annotations

from pathlib import Path

from imm_rl.errors import InvalidInputError
from imm_rl.language.glue import Example, Task

PARTS = {"train": "training", "dev": "development"}
OTHER_NAMES = {("mrpc", "train"): "msr_paraphrase_train.txt"}
"""Files that may stand in for `<part>.tsv`, by task and part."""


def read_part(folder: str | Path, task: Task, part: str) -> list[Example]:
    """Reads one part of a task.

    Args:
        folder: Of all tasks.
        task: Which one.
        part: "train" or "dev".

    Raises:
        InvalidInputError: A file is missing, not UTF-8, empty or cut off, or a line is wrong; the error
            says which file and line, and what was found.
    """
    path = _path(Path(folder).expanduser(), task, part)
    lines = _lines(path)
    columns, first = task.columns, 1
    if task.header:
        columns, first = tuple(lines[0].split("\t")), 2
        missing = [name for name in (*task.texts, task.label) if name not in columns]
        if missing:
            raise _wrong(path, 1, f"the header has no column {missing[0]!r}", lines[0])
    where = [columns.index(name) for name in task.texts]
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
        found.append(Example(texts, task.labels[cells[label]]))
    if not found:
        raise InvalidInputError(f"{path} has no examples.")
    if part == "train" and len({example.label for example in found}) < 2:
        raise InvalidInputError(f"{path}: all examples have one label; there is nothing to learn.")
    return found


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


def _lines(path: Path) -> list[str]:
    """The lines of a file, without their ends."""
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
    if not lines[-1]:
        lines.pop()
    return lines


def _wrong(path: Path, line: int, what: str, found: str) -> InvalidInputError:
    shown = found if len(found) <= 80 else f"{found[:77]}..."
    return InvalidInputError(f"{path}, line {line}: {what}; found {shown!r}. Download it again.")

"""Four tasks of GLUE: sentences or pairs of them, with two classes.

    cola   is it English?                        one sentence            Matthews correlation
    mrpc   do they say the same?                 two sentences           F1 of "yes"
    qnli   does the sentence answer it?          question and sentence   accuracy
    rte    does the second follow?               two sentences           accuracy

From a folder with the official TSV files (`glue_files`), or from Hugging Face's hub. Results are given
on what GLUE calls `dev`: the answers of its test part are not public.

Source: Wang et al. 2019, "GLUE: A multi-task benchmark and analysis platform for natural language
understanding", ICLR.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from imm_rl.errors import InvalidInputError, unknown_name

NAMES = ("cola", "mrpc", "qnli", "rte")


class Task(NamedTuple):
    """One task.

    Attributes:
        name: As GLUE has it, in lower case.
        folder: Of its TSV files.
        texts: Columns of the sentences in the TSV files.
        fields: The same on the hub.
        label: Column of the label in the TSV files.
        labels: Label as the TSV files write it -> class.
        columns: Of TSV files without a header; () where the files name them.
        ids: Columns that tell examples apart, where training and development share a source.
        metric: "matthews", "f1" or "accuracy".
    """

    name: str
    folder: str
    texts: tuple[str, ...]
    fields: tuple[str, ...]
    label: str
    labels: Mapping[str, int]
    metric: str
    columns: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


_YES_NO = MappingProxyType({"0": 0, "1": 1})
_FOLLOWS = MappingProxyType({"entailment": 0, "not_entailment": 1})

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "cola": Task(
            "cola",
            "CoLA",
            ("sentence",),
            ("sentence",),
            "label",
            _YES_NO,
            "matthews",
            columns=("source", "label", "star", "sentence"),
        ),
        "mrpc": Task(
            "mrpc",
            "MRPC",
            ("#1 String", "#2 String"),
            ("sentence1", "sentence2"),
            "Quality",
            _YES_NO,
            "f1",
            ids=("#1 ID", "#2 ID"),
        ),
        "qnli": Task(
            "qnli",
            "QNLI",
            ("question", "sentence"),
            ("question", "sentence"),
            "label",
            _FOLLOWS,
            "accuracy",
        ),
        "rte": Task(
            "rte",
            "RTE",
            ("sentence1", "sentence2"),
            ("sentence1", "sentence2"),
            "label",
            _FOLLOWS,
            "accuracy",
        ),
    }
)
"""By name. Classes are numbered as on the hub: of QNLI and RTE, 0 is entailment."""

METRICS = MappingProxyType({"matthews": "Matthews correlation", "f1": "F1", "accuracy": "accuracy"})


class Example(NamedTuple):
    """One or two sentences and their class."""

    texts: tuple[str, ...]
    label: int


class TaskData(NamedTuple):
    """A task's examples.

    Attributes:
        task: What they are of.
        train: To train on.
        dev: What results are given on.
        note: What was done to the examples, a sentence; empty for nothing.
        doubts: What may be wrong with its files, a sentence each.
    """

    task: Task
    train: Sequence[Example]
    dev: Sequence[Example]
    note: str = ""
    doubts: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any text or label."""
        found = hashlib.sha256()
        for part in (self.train, self.dev):
            for example in part:
                found.update("\t".join((*example.texts, str(example.label))).encode() + b"\n")
            found.update(b"\n")
        return found.hexdigest()[:16]


def checked_task(name: str) -> Task:
    """A task by its name, in any case.

    Raises:
        InvalidInputError: There is no such task.
    """
    task = TASKS.get(name.strip().lower())
    if task is None:
        raise unknown_name("task", name.strip(), NAMES)
    return task


def load_task(name: str, folder: str | Path | None = None, *, cached: bool = False) -> TaskData:
    """Reads a task.

    Args:
        name: One of `NAMES`.
        folder: Of GLUE's TSV files, with `CoLA/train.tsv` and so on; None: from Hugging Face's hub, or
            what was downloaded from it before.
        cached: What was downloaded before is tried first, without asking the hub: for a command that has
            read the task once, in this process or in its parent.

    Raises:
        InvalidInputError: There is no such task, a file is missing or wrong, or there is neither hub nor
            download.
    """
    from imm_rl.language.glue_files import read_parts

    task = checked_task(name)
    if folder is not None:
        return read_parts(folder, task)
    parts = _of_hub(task, cached=cached)
    return TaskData(task, _examples(task, parts["train"]), _examples(task, parts["validation"]))


def score(task: Task, labels: Sequence[int], predicted: Sequence[int]) -> float:
    """The task's metric, by scikit-learn; in [−1, 1] for Matthews correlation, else in [0, 1]."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    truth, found = np.asarray(labels), np.asarray(predicted)
    if task.metric == "matthews":
        return float(matthews_corrcoef(truth, found))
    if task.metric == "f1":
        return float(f1_score(truth, found, zero_division=0.0))
    return float(accuracy_score(truth, found))


def _examples(task: Task, rows: Any) -> list[Example]:
    columns = [rows[field] for field in task.fields]
    return [
        Example(tuple(texts), int(label))
        for *texts, label in zip(*columns, rows["label"], strict=True)
    ]


def _of_hub(task: Task, *, cached: bool) -> Any:
    """The task's parts by Hugging Face's `datasets`, offline where the hub does not answer."""
    from imm_rl.language.hub import revision
    from imm_rl.language.masked_checkpoint import require

    require("datasets")
    if cached:
        with contextlib.suppress(Exception):  # datasets has many of its own
            return _parts(task, offline=True)
    answers = revision("dataset", "nyu-mll/glue") is not None
    try:
        return _parts(task, offline=not answers)
    except Exception as error:  # noqa: BLE001, RUF100  datasets has many of its own
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        why = reason if answers else "Hugging Face's hub cannot be reached"
        raise InvalidInputError(
            f"GLUE's task {task.name} cannot be loaded: {why}, and it was not downloaded before. Give "
            f"--glue FOLDER with GLUE's TSV files, {task.folder}/train.tsv and {task.folder}/dev.tsv."
        ) from None


def _parts(task: Task, *, offline: bool) -> Any:
    """`load_dataset`; offline it takes what it has, where it would try the hub for half a minute else."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if offline:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset("nyu-mll/glue", task.name)
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before

"""GLUE's TSV files: golden lines of each task, what is amiss with a file, and the metrics."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.language.glue import NAMES, TASKS, Example, checked_task, load_task, score

MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
RTE = "index\tsentence1\tsentence2\tlabel\n"


def written(folder: Path, name: str, text: str | bytes, part: str = "train") -> Path:
    """A file in the place where GLUE has it, beside a good one of the other part."""
    place = folder / name
    place.mkdir(exist_ok=True)
    for other in {"train", "dev"} - {part}:
        (place / f"{other}.tsv").write_text(
            {
                "CoLA": "s\t1\t\tA good one.\ns\t0\t*\tA one good.\n",
                "MRPC": f"{MRPC}1\t51\t52\tA.\tB.\n0\t51\t53\tA.\tC.\n",
                "RTE": f"{RTE}0\tA.\tB.\tentailment\n1\tA.\tC.\tnot_entailment\n",
                "QNLI": "index\tquestion\tsentence\tlabel\n0\tA?\tB.\tentailment\n",
            }[name]
        )
    data = text if isinstance(text, bytes) else text.encode()
    (place / f"{part}.tsv").write_bytes(data)
    return place / f"{part}.tsv"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "CoLA",
            'gj04\t1\t\tThey said "no".\ngj04\t0\t*\tThey no "said.\n',
            [Example(('They said "no".',), 1), Example(('They no "said.',), 0)],
        ),
        (
            "MRPC",
            f'{MRPC}1\t7\t8\tHe " left.\tHe went.\n0\t7\t9\tHe left.\tIt rained.\n',
            [Example(('He " left.', "He went."), 1), Example(("He left.", "It rained."), 0)],
        ),
        (
            "QNLI",
            "index\tquestion\tsentence\tlabel\n"
            "0\tWho?\tHe did.\tentailment\n1\tWhy?\tNo.\tnot_entailment\n",
            [Example(("Who?", "He did."), 0), Example(("Why?", "No."), 1)],
        ),
        (
            "RTE",
            f"{RTE}0\tIt rains.\tIt is wet.\tentailment\n1\tIt rains.\tSun.\tnot_entailment\n",
            [Example(("It rains.", "It is wet."), 0), Example(("It rains.", "Sun."), 1)],
        ),
    ],
)
@pytest.mark.parametrize("form", ["plain", "windows"])
def test_load_task_reads_golden_lines(
    tmp_path: Path, name: str, text: str, expected: list[Example], form: str
) -> None:
    if form == "windows":  # a byte order mark, and CRLF
        text = "\ufeff" + text.replace("\n", "\r\n")
    written(tmp_path, name, text)
    data = load_task(name.lower(), tmp_path)
    assert data.train == expected
    assert len(data.dev) >= 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_last_line_without_its_end_is_a_doubt_and_no_error(tmp_path: Path, end: str) -> None:
    """Cut within the last sentence, the file looks whole but for that; so may one written by hand."""
    long = "It rained " * 9 + "all da"
    path = written(tmp_path, "MRPC", f"{MRPC}1\t7\t8\tHe left.\tHe went.\n0\t7\t9\tA.\t{long}{end}")
    data = load_task("mrpc", tmp_path)
    assert data.train[1] == Example(("A.", long), 0)
    assert data.doubts == (
        ()
        if end
        else (
            f"{path}: the last line, 3, has no line end, as in a file that was cut off; it ends in "
            f"'...{long[-57:]}'. Download the file again or, if it is whole, end that line",
        )
    )


TRAIN = f"{MRPC}1\t1\t2\tA.\tB.\n0\t51\t53\tA.\tC.\n0\t1\t3\tA.\tD.\n1\t53\t51\tC.\tA.\n"


def test_load_task_takes_the_paraphrase_corpus_less_the_development_examples(
    tmp_path: Path,
) -> None:
    """GLUE makes both parts of it; dev.tsv has the pairs 51 52 and 51 53, in this order."""
    path = written(tmp_path, "MRPC", TRAIN)
    path.rename(path.parent / "msr_paraphrase_train.txt")
    data = load_task("mrpc", tmp_path)
    assert data.train == [
        Example(("A.", "B."), 1),
        Example(("A.", "D."), 0),
        Example(("C.", "A."), 1),
    ]
    assert len(data.dev) == 2
    assert data.note == (
        "1 examples of msr_paraphrase_train.txt that are in dev.tsv were left out of the training "
        "examples of mrpc"
    )


def test_load_task_refuses_training_examples_that_are_scored(tmp_path: Path) -> None:
    path = written(tmp_path, "MRPC", TRAIN)
    with pytest.raises(
        InvalidInputError, match="share 1 examples, such as that of the ids 51 and"
    ) as e:
        load_task("mrpc", tmp_path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("RTE", "", "train.tsv is empty"),
        ("RTE", RTE, "train.tsv has no examples"),
        ("MRPC", MRPC.replace("#2 ID", "2 ID"), "line 1: the header has no column '#2 ID'"),
        ("RTE", "index\tsentence1\tlabel\n", "line 1: the header has no column 'sentence2'"),
        ("RTE", f"{RTE}0\tA.\tB.\tentailed\n", "line 2: the label must be entailment or not_ent"),
        (
            "RTE",
            f"{RTE}0\tA.\tB.\tentailment\n1\tA.",
            "line 3: 4 columns are expected and there are 2",
        ),
        ("RTE", f"{RTE}0\tA.\t \tentailment\n", "line 2: a sentence is empty"),
        ("RTE", f"{RTE}0\tA.\tB.\tentailment\n", "all examples have one label"),
        ("CoLA", "a\t1\t\tGood.\nb\t2\t\tBad.\n", "line 2: the label must be 0 or 1; found '2'"),
        ("CoLA", b"a\t1\t\tGood.\nb\t0\t\tB\xe9d.\n", "line 2 has the byte 0xe9"),
        ("MRPC", f"{MRPC}1\t1\t2\tA.\tB.\n\n", "line 3: 5 columns are expected and there are 1"),
    ],
)
def test_load_task_says_where_a_file_is_wrong(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InvalidInputError) as caught:
        load_task(name.lower(), tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_load_task_names_the_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="MRPC/train.tsv or MRPC/msr_paraphrase_train.txt"):
        load_task("mrpc", tmp_path)
    with pytest.raises(InvalidInputError, match="there is no folder"):
        load_task("mrpc", tmp_path / "none")


def test_unknown_task_gets_the_nearest() -> None:
    assert checked_task(" CoLA").name == "cola"
    with pytest.raises(InvalidInputError, match="Did you mean 'qnli'"):
        checked_task("qnl")


@pytest.mark.parametrize("cached", [False, True])
def test_load_task_without_a_hub_fails_soon_and_names_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached: bool
) -> None:
    import datasets
    from huggingface_hub import constants

    # A hub that refuses connections, and an empty cache: real code on both sides of the socket.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    began = time.perf_counter()
    with pytest.raises(InvalidInputError, match="--glue FOLDER with GLUE's TSV files, RTE/train"):
        load_task("rte", cached=cached)
    assert time.perf_counter() - began < 60.0
    assert not constants.HF_HUB_OFFLINE


def test_fingerprint_changes_with_a_label(tmp_path: Path) -> None:
    written(tmp_path, "RTE", f"{RTE}0\tA.\tB.\tentailment\n1\tA.\tC.\tnot_entailment\n")
    first = load_task("rte", tmp_path).fingerprint()
    assert load_task("rte", tmp_path).fingerprint() == first
    written(tmp_path, "RTE", f"{RTE}0\tA.\tB.\tnot_entailment\n1\tA.\tC.\tentailment\n")
    assert load_task("rte", tmp_path).fingerprint() != first


def test_score_is_each_tasks_metric() -> None:
    # 3 true positives, 1 false positive, 2 false negatives, 2 true negatives
    truth = [1, 1, 1, 0, 1, 1, 0, 0]
    found = [1, 1, 1, 1, 0, 0, 0, 0]
    assert score(TASKS["rte"], truth, found) == pytest.approx(5 / 8)
    assert score(TASKS["mrpc"], truth, found) == pytest.approx(6 / 9)
    matthews = (3 * 2 - 1 * 2) / (4 * 5 * 4 * 3) ** 0.5
    assert score(TASKS["cola"], truth, found) == pytest.approx(matthews)
    assert score(TASKS["cola"], truth, [1] * 8) == 0.0
    assert set(TASKS) == set(NAMES)

"""`imm-rl reproduce table-2` for real on a small BERT and small tasks: whole, resumed, refused."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from imm_rl.cli import bert_report as report
from imm_rl.language.glue import TASKS, score
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.statistics import mean_ci95

QUICK = ("--epochs", "1", "--batch-size", "8", "--learning-rate", "0.01", "--k", "2")


@pytest.fixture(autouse=True)
def _folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_bert: Path, small_glue: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_bert, "bert")
    shutil.copytree(small_glue, "glue")


def table(*more: str) -> list[str]:
    given = ["reproduce", "table-2", "--out", "made", "--model", "bert", "--glue", "glue"]
    return [*given, *QUICK, *more]


def rows_of() -> list[dict[str, str]]:
    with Path("made/table-2.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_2_trains_each_task_column_and_restart_and_reports_them(
    imm_rl_command: Callable[..., Any],
) -> None:
    outcome = imm_rl_command(*table("--restarts", "2", "--tasks", "cola,rte", "--seed", "4"))
    assert outcome.code == 0, outcome.err
    rows = rows_of()
    assert [(r["seed"], r["task"], r["method"]) for r in rows] == [
        (seed, task, method)
        for seed in "45"
        for task in ("cola", "rte")
        for method in ("plain", "mlm", "imm")
    ]
    note = Path("made/table-2.md").read_text()
    for task, title in (("cola", "CoLA"), ("rte", "RTE")):
        for method in ("plain", "mlm", "imm"):
            summaries = [
                json.loads(Path(f"made/runs/{task}-{method}-seed-{s}/summary.json").read_text())
                for s in (4, 5)
            ]
            scores = [100 * summary["score"] for summary in summaries]
            mean, low, high = mean_ci95(scores)
            shown = f"{mean:.1f}" + ("" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]")
            line = next(line for line in note.splitlines() if line.startswith(f"| {title} |"))
            assert shown in line
            mine = [r for r in rows if (r["task"], r["method"]) == (task, method)]
            assert [float(r["score"]) * 100 for r in mine] == pytest.approx(scores, abs=1e-3)
    assert "fine-tuning < + MLM < + MLM + IMM" in note
    assert "--seed 4" in note
    assert Path("made/table-2.png").read_bytes().startswith(b"\x89PNG")
    assert not list(Path("made").rglob("checkpoint-*"))


def test_a_table_grows_and_keeps_what_is_finished(imm_rl_command: Callable[..., Any]) -> None:
    assert imm_rl_command(*table("--tasks", "rte", "--restarts", "1")).code == 0
    summaries = sorted(Path("made").rglob("summary.json"))
    times = [path.stat().st_mtime_ns for path in summaries]
    assert imm_rl_command(*table("--tasks", "rte,mrpc", "--restarts", "1", "--quiet")).code == 0
    assert [path.stat().st_mtime_ns for path in summaries] == times
    assert len(rows_of()) == 6
    # A smaller table does not take the larger one's place.
    outcome = imm_rl_command(*table("--tasks", "rte", "--restarts", "1"))
    assert outcome.code == 2
    assert "leaves out (task mrpc, method plain, seed 0 and 2 more)" in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(rows_of()) == 6
    outcome = imm_rl_command(*table("--tasks", "rte", "--restarts", "1", "--lambda", "1"))
    assert outcome.code == 2
    assert "rte-imm-seed-0 holds a run of other settings: lambda is '0.5' there" in outcome.err
    lines = Path("glue/RTE/train.tsv").read_text().splitlines()
    Path("glue/RTE/train.tsv").write_text("\n".join(lines[:-2]))
    outcome = imm_rl_command(*table("--tasks", "rte", "--restarts", "1"))
    assert outcome.code == 2
    assert "data_fingerprint" in outcome.err


def test_with_lambda_zero_the_last_two_columns_are_one(imm_rl_command: Callable[..., Any]) -> None:
    options = ("--tasks", "qnli", "--restarts", "1", "--lambda", "0")
    assert imm_rl_command(*table(*options)).code == 0
    summaries = [
        json.loads(Path(f"made/runs/qnli-{method}-seed-0/summary.json").read_text())
        for method in ("plain", "mlm", "imm")
    ]
    plain, mlm, imm = ([s["losses"], s["dev_predictions"]] for s in summaries)
    assert mlm == imm
    assert plain != mlm


def test_a_table_begun_before_a_setting_was_there_is_taken_up(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--tasks", "rte", "--restarts", "1")
    assert imm_rl_command(*table(*few)).code == 0
    times = {path: path.stat().st_mtime_ns for path in Path("made").rglob("summary.json")}
    for path in Path("made/runs").glob("*/config.yaml"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(x for x in lines if not x.startswith(("precision:", "context:"))))
    assert imm_rl_command(*table(*few)).code == 0
    assert {path: path.stat().st_mtime_ns for path in Path("made").rglob("summary.json")} == times
    outcome = imm_rl_command(*table(*few, "--context", "both"))
    assert outcome.code == 2
    assert "context is 'left' there and 'both' now" in outcome.err


def test_a_file_without_its_last_line_end_is_told_and_read(
    imm_rl_command: Callable[..., Any],
) -> None:
    path = Path("glue/CoLA/train.tsv")
    path.write_text(path.read_text()[:-8])  # within the last sentence
    outcome = imm_rl_command(*table("--tasks", "cola", "--restarts", "1"))
    assert outcome.code == 0
    (told,) = [line for line in outcome.err.splitlines() if "warning" in line]
    assert told.startswith(
        f"imm-rl reproduce: warning: {path.absolute()}: the last line, 16, has no line end"
    )
    assert len(rows_of()) == 3


def rows(answers: dict[str, list[list[int]]], truth: list[int], task: str) -> list[report.Row]:
    """Trainings of a column's restarts with these answers."""
    return [
        report.Row(
            task,
            method,
            seed,
            {
                "score": score(TASKS[task], truth, predicted),
                "dev_predictions": predicted,
                "train_seconds": 1.0,
                "updates": 2,
                "resumed_at": 0,
            },
        )
        for method, restarts in answers.items()
        for seed, predicted in enumerate(restarts)
    ]


@pytest.mark.parametrize(("task", "least"), [("rte", 0.0), ("cola", -100.0)])
def test_picture_shows_no_score_that_cannot_be(
    task: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Student's t of two restarts reaches below the least score and above 100."""
    truth = [0, 1, 0, 1, 0, 1, 0, 1]
    good, poor = truth, [1, 1, 0, 0, 1, 1, 0, 0]
    found = rows({method: [good, poor] for method in report.METHODS}, truth, task)
    mean, low, high = mean_ci95([row.percent for row in found[:2]])
    assert low < least < mean < 100.0 < high
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))

    report.picture(Path("x.png"), found)

    (axes,) = drawn[0].axes
    assert axes.get_ylim() == (least, 100.0)
    drawn_to = np.concatenate([line.get_ydata() for line in axes.lines])
    assert (drawn_to.min(), drawn_to.max()) == (least, 100.0)


def test_classifiers_that_answer_one_class_get_a_remark() -> None:
    truth = [0, 1, 1, 0]
    found = rows(
        {
            "plain": [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]],
            "mlm": [[1, 1, 1, 1]] * 4,
            "imm": [[0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]],
        },
        truth,
        "rte",
    )
    found += rows(
        {
            "plain": [[1, 1, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]],
            "mlm": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
            "imm": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]],
        },
        truth,
        "mrpc",
    )
    note = report.note(found, "", GlueSettings())
    remarks = note.partition("Scores that say little:\n\n")[2].partition("\n\n")[0]
    assert remarks.splitlines() == [
        "- RTE, fine-tuning: 2 of 4 restarts answer `entailment` always; 1 of 4 restarts answers "
        "`not_entailment` always",
        "- RTE, + MLM: 4 of 4 restarts answer `not_entailment` always; all restarts have the same score, "
        "so the interval has no width",
        "- MRPC, fine-tuning: 1 of 4 restarts answers `1` always",
        "- MRPC, + MLM: all restarts have the same score, so the interval has no width",
    ]
    sound = [row for row in found if row.task == "mrpc" and row.seed > 1]
    assert "Scores that say little" not in report.note(
        [row for row in sound if row.method == "imm"]
        + [
            row._replace(method=m) for m in ("plain", "mlm") for row in sound if row.method == "imm"
        ],
        "",
        GlueSettings(),
    )


def truncate(path: str) -> Callable[[], None]:
    def cut() -> None:
        content = Path(path).read_text()
        Path(path).write_text(content[: len(content) - 30])

    return cut


@pytest.mark.parametrize(
    ("spoil", "more", "message"),
    [
        (None, ("--tasks", "cola,mrcp"), "unknown task 'mrcp'. Did you mean 'mrpc'?"),
        (None, ("--tasks", "rte,RTE"), "--tasks names a task twice"),
        (None, ("--model", "./none"), "there is no such folder"),
        (None, ("--model", "glue"), "has no config.json"),
        (None, ("--glue", "none"), "there is no folder"),
        (None, ("--restarts", "0"), "--restarts must be a whole number"),
        (None, ("--lambda", "target-kl:1"), "of no use to masked language models"),
        (None, ("--context", "rigt"), "unknown context"),
        (None, ("--max-length", "129"), "max_length must be at most 128, the positions of this"),
        (None, ("--precision", "float16"), "unknown precision"),
        (None, ("--workers", "1e20"), "--workers must be at most 1,000; received '1e20'"),
        (None, ("--workers", "-1"), "--workers must be a whole number"),
        (None, ("--restarts", "1e20"), "--restarts must be at most 2,147,483,647"),
        (None, ("--batch-size", "1e20"), "batch_size must be at most 2,147,483,647"),
        (None, ("--seed", "4294967296"), "--seed must be at most 4,294,967,295"),
        (
            None,
            ("--seed", "4294967295", "--restarts", "2"),
            "--seed must be at most 4,294,967,294, for 2 seeds in a row; received 4294967295",
        ),
        (None, ("--model", "~nosuchuser/t"), "the home folder ~nosuchuser is not known here"),
        (None, ("--glue", "~nosuchuser/t"), "the home folder ~nosuchuser is not known here"),
        (None, ("--epochs", "x"), "epochs must be a whole number"),
        (None, ("--seeds", "0-3"), "--seeds belongs to"),
        (truncate("glue/RTE/dev.tsv"), (), "RTE/dev.tsv, line 9: 4 columns are expected"),
        (lambda: Path("glue/RTE/train.tsv").write_text(""), (), "train.tsv is empty"),
        (truncate("bert/config.json"), (), "configuration cannot be loaded"),
    ],
)
def test_table_2_refuses_in_one_line_before_anything_is_written(
    imm_rl_command: Callable[..., Any],
    spoil: Callable[[], object] | None,
    more: tuple[str, ...],
    message: str,
) -> None:
    if spoil is not None:
        spoil()
    outcome = imm_rl_command(*table("--restarts", "1", *more))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("made").exists()


def test_a_model_of_the_hub_without_network_fails_soon(
    imm_rl_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A hub that refuses connections: real code on both sides of the socket.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    began = time.perf_counter()
    outcome = imm_rl_command(*table("--model", "no-such-owner/no-such-bert-here"))
    assert outcome.code == 2
    assert "hub cannot be reached" in outcome.err
    assert "Give --model the path of a folder" in outcome.err
    assert time.perf_counter() - began < 60.0


def test_a_missing_extra_is_named(
    imm_rl_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "accelerate" else real(name, *rest),
    )
    outcome = imm_rl_command(*table())
    assert outcome.code == 2
    assert "need accelerate, which is not installed: pip install 'imm-rl[language]'" in outcome.err


def test_help_is_that_of_the_settings_and_needs_no_torch() -> None:
    code = """
import argparse, dataclasses, sys
from imm_rl.cli import reproduce_table_2 as table
from imm_rl.language.glue_settings import GlueSettings
parser = argparse.ArgumentParser()
table.add_arguments(parser)
assert not {"torch", "transformers"} & set(sys.modules)
shown = " ".join(parser.format_help().split())
for field in dataclasses.fields(GlueSettings):
    name = {"imm_lambda": "lambda"}.get(field.name, field.name)
    assert table.OPTIONS[name] == field.default
    assert f"--{name.replace('_', '-')} " in shown
    assert f"{field.metadata['help']} (default: {field.default})" in shown
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_table_that_diverges_fails_in_one_line(imm_rl_command: Callable[..., Any]) -> None:
    given = ("--learning-rate", "1e30", "--epochs", "4", "--tasks", "rte", "--restarts", "1")
    outcome = imm_rl_command(*table(*given))
    assert outcome.code == 1
    assert "diverged" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(Path("made").rglob("summary.json"))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_models_are_kept_where_they_are_wanted(imm_rl_command: Callable[..., Any]) -> None:
    few = ("--tasks", "rte", "--restarts", "1")
    assert imm_rl_command(*table(*few, "--keep", "--workers", "1")).code == 0
    models = sorted(path.parent for path in Path("made").glob("runs/*/model/model.safetensors"))
    assert len(models) == 3
    assert "--workers 1 --keep" in Path("made/table-2.md").read_text()
    assert not list(Path("made").rglob("checkpoint-*"))
    # What was kept can be fine-tuned in its turn; neither option makes another table.
    assert imm_rl_command(*table(*few)).code == 0
    again = ("--out", "again", "--model", models[0])
    assert imm_rl_command(*table(*few, *again)).code == 0


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line_and_the_table_goes_on(
    imm_rl_command: Callable[..., Any],
) -> None:
    command = table("--tasks", "rte", "--restarts", "1", "--epochs", "4")

    def kill_one() -> None:  # as the system does where memory ends
        while len(list(Path("made").glob("runs/*/config.yaml"))) < 2:
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = imm_rl_command(*command, "--jobs", "2")
    killer.join()
    assert outcome.code == 1
    assert "process was killed, perhaps for want of memory: fewer --jobs need less" in outcome.err
    assert "Go on with: imm-rl reproduce table-2 --out made" in outcome.err
    assert outcome.err.count("\n") == 1
    assert imm_rl_command(*command).code == 0
    assert len(rows_of()) == 3


@pytest.mark.slow
def test_ctrl_c_stops_and_the_same_command_goes_on(imm_rl_command: Callable[..., Any]) -> None:
    command = table("--tasks", "rte", "--restarts", "1", "--epochs", "20")
    program = [sys.executable, "-c", "import sys; from imm_rl.cli import main; sys.exit(main())"]
    # A shell in the background lets its programs ignore Ctrl-C; this one is to hear it.
    process = subprocess.Popen(
        [*program, *command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    limit = time.monotonic() + 120
    while not list(Path("made").glob("runs/*/checkpoints/*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; go on with: imm-rl reproduce table-2 --out made" in out
    assert not Path("made/table-2.csv").exists()
    assert imm_rl_command(*command).code == 0
    resumed = json.loads(Path("made/runs/rte-plain-seed-0/summary.json").read_text())
    assert resumed["resumed_at"] >= 1
    shutil.move("made", "cut")
    assert imm_rl_command(*command).code == 0
    whole = json.loads(Path("made/runs/rte-plain-seed-0/summary.json").read_text())
    assert whole["losses"] == resumed["losses"]
    assert whole["dev_predictions"] == resumed["dev_predictions"]


@pytest.mark.slow
def test_jobs_side_by_side_give_the_table_of_one_at_a_time(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--tasks", "rte", "--restarts", "1")
    assert imm_rl_command(*table(*few)).code == 0
    Path("made").rename("alone")
    assert imm_rl_command(*table(*few, "--jobs", "2")).code == 0
    found = {
        place: {
            method: json.loads(Path(f"{place}/runs/rte-{method}-seed-0/summary.json").read_text())
            for method in ("plain", "mlm", "imm")
        }
        for place in ("alone", "made")
    }
    losses = [found["alone"][method]["losses"][0] for method in ("plain", "mlm", "imm")]
    assert min(np.diff(sorted(losses))) > 0.01  # so that a column in another's place is seen
    for method, summary in found["made"].items():
        assert summary["losses"] == pytest.approx(found["alone"][method]["losses"], rel=1e-4)
    assert [(row["method"], float(row["score"])) for row in rows_of()] == [
        (method, pytest.approx(summary["score"], rel=1e-5))
        for method, summary in found["made"].items()
    ]

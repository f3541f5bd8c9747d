"""`imm-rl reproduce table-1` and `table-bigram` on a small text: real trainings, shared and resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from imm_rl.cli import language_report as report
from imm_rl.cli.table_folder import held
from imm_rl.language.lm_presets import PRESETS
from imm_rl.language.lm_settings import LMSettings
from imm_rl.runs import RunFolder

WORDS = ["sun", "rain", "wind", "is", "was", "cold", "warm", "here"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of PTB's form, and settings of a second."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("text").mkdir()
    for part, lines in (("train", 60), ("valid", 15), ("test", 15)):
        text = [" ".join(rng.choice(WORDS, size=5)) for _ in range(lines)]
        Path(f"text/{part}.txt").write_text("\n".join(text))
    Path("small.yaml").write_text("epochs: 2\nhidden_size: 8\nbatch_size: 4\nunroll: 8\n")


def rows_of(name: str) -> list[dict[str, str]]:
    with Path(f"made/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table(name: str, *more: str) -> list[str]:
    return ["reproduce", name, "--out", "made", "--corpus", "text", "--config", "small.yaml", *more]


def test_table_1_trains_every_method_and_seed_and_reports_them(
    imm_rl_command: Callable[..., Any],
) -> None:
    outcome = imm_rl_command(*table("table-1", "--seeds", "0-1"))
    assert outcome.code == 0
    rows = rows_of("table-1")
    assert [(r["method"], r["seed"]) for r in rows] == [
        (method, seed) for seed in "01" for method in ("none", "noising", "batch", "sampled")
    ]
    assert Path("made/table-1.png").read_bytes().startswith(b"\x89PNG")
    note = Path("made/table-1.md").read_text()
    assert (
        "`imm-rl reproduce table-1 --out made --corpus text --seeds 0-1 --config small.yaml`"
        in note
    )
    for row in rows:
        summary = RunFolder(f"made/runs/{row['method']}-seed-{row['seed']}").summary()
        mean = summary["valid_perplexity"]["mean"]
        assert float(row["valid_perplexity"]) == pytest.approx(mean, rel=1e-5)
    differences = [float(r["valid_perplexity"]) for r in rows if r["seed"] == "0"]
    assert f"{differences[2] - differences[1]:+.2f}" in note


def test_table_bigram_takes_up_the_trainings_of_table_1(imm_rl_command: Callable[..., Any]) -> None:
    few = ("--methods", "none,batch", "--seeds", "3")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    models = sorted(Path("made").rglob("model.npz"))
    times = [model.stat().st_mtime_ns for model in models]
    assert imm_rl_command(*table("table-bigram", *few)).code == 0
    assert [model.stat().st_mtime_ns for model in models] == times
    assert len(models) == 2
    rows = rows_of("table-bigram")
    assert all(float(row["induced_valid_perplexity"]) > 1.0 for row in rows)
    assert "Kneser-Ney of order 2" in Path("made/table-bigram.md").read_text()


def test_every_method_of_a_table_is_measured_with_its_order(
    imm_rl_command: Callable[..., Any],
) -> None:
    with Path("small.yaml").open("a") as file:
        file.write("order: 3\n")
    few = ("--methods", "none,batch", "--seeds", "0")
    assert imm_rl_command(*table("table-bigram", *few)).code == 0
    runs = {name: RunFolder(f"made/runs/{name}-seed-0") for name in ("none", "batch")}
    summaries = {name: run.summary() for name, run in runs.items()}
    assert {name: found["ngram_order"] for name, found in summaries.items()} == {
        "none": 3,
        "batch": 3,
    }
    assert [run.config()["order"] for run in runs.values()] == [3, 3]
    note = Path("made/table-bigram.md").read_text()
    assert "induced model of order 3, validation" in note
    kneser_ney = summaries["batch"]["ngram_valid_perplexity"]
    assert f"| Kneser-Ney of order 3 |  | {kneser_ney:.4g} |" in note
    # The trainings of another order are no part of a table of this one.
    Path("small.yaml").write_text(Path("small.yaml").read_text().replace("order: 3", "order: 2"))
    outcome = imm_rl_command(*table("table-bigram", *few))
    assert outcome.code == 2
    assert "order is 3 there and 2 now" in outcome.err


def test_rows_that_were_measured_with_other_orders_are_refused(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--methods", "none,batch", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    report_before = Path("made/table-1.md").read_bytes()
    place = RunFolder("made/runs/none-seed-0")
    place.write_json("summary.json", {**place.summary(), "ngram_order": 3})
    outcome = imm_rl_command(*table("table-1", *few))
    assert outcome.code == 2
    assert outcome.err == (
        "imm-rl reproduce: error: the training none, seed 0, was measured with order 3, and the table is "
        "of order 2. Give --out another folder.\n"
    )
    assert Path("made/table-1.md").read_bytes() == report_before


@pytest.mark.parametrize(
    ("methods", "text", "message"),
    [
        (
            "none,batch",
            "heads: 3",
            "heads, which is of no use to the model 'lstm'. Leave it out, or",
        ),
        ("none,batch", "memory: 7", "memory, which is of no use to the model 'lstm'"),
        (
            "none,batch",
            "k: 0",
            "k, which is of no use to any of the table's methods (none, batch). Leave it out, or add "
            "sampled to --methods.",
        ),
        ("none,batch", "between: rubbish", "between, which is of no use to any of"),
        ("none", "start: epoch:1", "(none). Leave it out, or add batch to --methods."),
        ("none,sampled", "k: 0", "k must be a whole number ≥ 1"),
        ("none,sampled", "between: rubbish", "unknown between 'rubbish'"),
        (
            "none,sampled",
            "every: 1\nbetween: none",
            "between, which is of no use where every update draws (every: 1)",
        ),
    ],
)
def test_a_config_s_setting_that_nothing_in_the_table_uses_is_refused(
    methods: str, text: str, message: str, imm_rl_command: Callable[..., Any]
) -> None:
    with Path("small.yaml").open("a") as file:
        file.write(text)
    outcome = imm_rl_command(*table("table-1", "--methods", methods, "--seeds", "0"))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("made").exists()


def test_a_preset_s_own_model_may_have_its_settings(imm_rl_command: Callable[..., Any]) -> None:
    Path("small.yaml").write_text(
        "epochs: 1\nhidden_size: 8\nlayers: 1\nbatch_size: 4\nunroll: 8\nheads: 2\nmemory: 3\n"
        "warmup: 0\nprecision: float32\ncompile: false\n"
    )
    few = ("--preset", "gpu", "--methods", "none", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    config = RunFolder("made/runs/none-seed-0").config()
    assert (config["model"], config["heads"], config["memory"]) == ("transformer", 2, 3)


def test_counts_are_written_as_everywhere(imm_rl_command: Callable[..., Any]) -> None:
    few = ("--methods", "none", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few, "--jobs", "2e0", "--quiet")).code == 0
    assert len(rows_of("table-1")) == 1


def test_a_table_may_grow_by_methods_and_seeds(imm_rl_command: Callable[..., Any]) -> None:
    assert imm_rl_command(*table("table-1", "--methods", "none", "--seeds", "0")).code == 0
    first = RunFolder("made/runs/none-seed-0").summary()
    more = table("table-1", "--methods", "none,batch", "--seeds", "0-1", "--quiet")
    assert imm_rl_command(*more).code == 0
    assert RunFolder("made/runs/none-seed-0").summary() == first
    assert len(list(Path("made/runs").iterdir())) == 4


@pytest.mark.slow
def test_jobs_side_by_side_give_the_table_of_one_at_a_time(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--methods", "none,sampled", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    alone = [float(r["valid_perplexity"]) for r in rows_of("table-1")]
    Path("made").rename("alone")
    assert imm_rl_command(*table("table-1", *few, "--jobs", "2")).code == 0
    beside = [float(r["valid_perplexity"]) for r in rows_of("table-1")]
    assert beside == pytest.approx(alone, rel=1e-3)  # threads add up in another order


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--methods", "none,imm,batch"], "--methods names a method twice"),
        (["--methods", "batched"], "Did you mean 'batch'?"),
        (["--preset", "labtop"], "Did you mean 'laptop'?"),
        (["--seeds", "x"], "--seeds must be whole numbers"),
        (["--jobs", "0"], "--jobs must be"),
        (["--jobs", "1.5"], "--jobs must be a whole number ≥ 1"),
        (["--jobs", "1e20"], "--jobs must be at most 1,000"),
        (["--seeds", "4294967296"], "--seeds must be at most 4,294,967,295"),
        (["--runs", "3"], "--runs belongs to"),
        (["--device", "cudda"], "Did you mean 'cuda'?"),
    ],
)
def test_table_1_refuses(more: list[str], message: str, imm_rl_command: Callable[..., Any]) -> None:
    outcome = imm_rl_command(*table("table-1", *more))
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: none", "sets method, which the table sets itself"),
        ("device: cuda", "sets device, which the table sets itself"),
        ("epoch: 3", "Did you mean 'epochs'?"),
        ("epochs: many", "epochs must be"),
        ("model: transfomer", "unknown model 'transfomer'. Did you mean 'transformer'?"),
        ("model: [lstm]", "unknown model ['lstm']"),
        ("warmup: 1000", "warmup must be less than the updates of the training"),
    ],
)
def test_table_1_refuses_a_config(
    text: str, message: str, imm_rl_command: Callable[..., Any]
) -> None:
    Path("small.yaml").write_text(text)
    outcome = imm_rl_command(*table("table-1"))
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("made").exists()


def test_table_1_refuses_a_folder_with_trainings_of_other_settings(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--methods", "none", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    Path("small.yaml").write_text("epochs: 3\nhidden_size: 8\nbatch_size: 4\nunroll: 8\n")
    outcome = imm_rl_command(*table("table-1", *few))
    assert outcome.code == 2
    assert "epochs is 2 there and 3 now" in outcome.err


@pytest.mark.parametrize(
    ("fewer", "which"),
    [
        (("--methods", "none", "--seeds", "0-1"), "method batch, seed 0 and 1 more"),
        (("--methods", "none,batch", "--seeds", "1-2"), "method none, seed 0 and 1 more"),
        (("--methods", "none,batch,noising", "--seeds", "0"), "method none, seed 1 and 1 more"),
    ],
)
def test_a_report_is_not_replaced_by_one_of_fewer_trainings(
    imm_rl_command: Callable[..., Any], fewer: tuple[str, ...], which: str
) -> None:
    # What is there are two methods of two seeds.
    assert imm_rl_command(*table("table-1", "--methods", "none,batch", "--seeds", "0-1")).code == 0
    before = {path: path.read_bytes() for path in Path("made").rglob("*") if path.is_file()}
    outcome = imm_rl_command(*table("table-1", *fewer))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "imm-rl reproduce: error: the report made/table-1.csv has trainings that this command leaves out "
        f"({which}) and would replace it. Ask for them too, or move table-1.csv, table-1.png and "
        "table-1.md away: the trainings in made/runs stay, and are taken up.\n"
    )
    assert {path: path.read_bytes() for path in Path("made").rglob("*") if path.is_file()} == before


def test_a_smaller_report_is_made_once_the_larger_one_is_moved(
    imm_rl_command: Callable[..., Any],
) -> None:
    assert imm_rl_command(*table("table-1", "--methods", "none,batch", "--seeds", "0")).code == 0
    Path("made/table-1.csv").rename("larger.csv")
    model = Path("made/runs/none-seed-0/model.npz").stat().st_mtime_ns
    assert imm_rl_command(*table("table-1", "--methods", "none", "--seeds", "0")).code == 0
    assert [(row["method"], row["seed"]) for row in rows_of("table-1")] == [("none", "0")]
    assert Path("made/runs/none-seed-0/model.npz").stat().st_mtime_ns == model


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe"])
def test_a_file_that_is_no_report_is_not_overwritten(
    imm_rl_command: Callable[..., Any], content: bytes
) -> None:
    Path("made").mkdir()
    Path("made/table-1.csv").write_bytes(content)
    outcome = imm_rl_command(*table("table-1", "--methods", "none", "--seeds", "0"))
    assert outcome.code == 2
    assert "made/table-1.csv is no report of this command" in outcome.err
    assert outcome.err.count("\n") == 1
    assert Path("made/table-1.csv").read_bytes() == content
    assert not Path("made/runs").exists()


def test_a_table_begun_before_a_setting_was_there_goes_on(
    imm_rl_command: Callable[..., Any],
) -> None:
    few = ("--methods", "none,batch", "--seeds", "0")
    assert imm_rl_command(*table("table-1", *few)).code == 0
    models = sorted(Path("made").rglob("model.npz"))
    times = [model.stat().st_mtime_ns for model in models]
    for path in Path("made/runs").glob("*/config.yaml"):
        made = yaml.safe_load(path.read_text())
        for name in ("precision", "annealing", "warmup", "preset"):
            del made[name]
        path.write_text(yaml.safe_dump(made))
    Path("made/runs/batch-seed-0/summary.json").unlink()  # it was stopped before its end
    assert imm_rl_command(*table("table-1", *few)).code == 0
    assert models[1].stat().st_mtime_ns == times[1]  # of none
    assert RunFolder("made/runs/batch-seed-0").finished
    # Another value than that of the time is another setting.
    with Path("small.yaml").open("a") as file:
        file.write("precision: bfloat16\n")
    outcome = imm_rl_command(*table("table-1", *few))
    assert outcome.code == 2
    assert "precision is 'float32' there and 'bfloat16' now" in outcome.err


SLOW = "epochs: 400\nhidden_size: 8\nbatch_size: 4\nunroll: 8\nk: 3\n"


def _started(words: list[str]) -> subprocess.Popen[str]:
    """The command in a process group of its own.

    Ctrl-C is heeded even where the tests run in the background, which ignores it.
    """
    start = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from imm_rl.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_a_table_and_the_same_command_goes_on(jobs: str) -> None:
    Path("small.yaml").write_text(SLOW)
    started = _started(table("table-1", "--seeds", "0-1", "--jobs", jobs))
    first = Path("made/runs/none-seed-0/checkpoints/latest.npz")
    ends = time.monotonic() + 120
    while not first.is_file() and started.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
    out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (130, "")
    assert "stopped; go on with: imm-rl reproduce table-1 --out made" in out
    made = sorted(path.name for path in Path("made/runs").iterdir())
    assert made == (["none-seed-0"] if jobs == "1" else ["noising-seed-0", "none-seed-0"])
    before = float(load_records(first)[-1]["epoch"])
    assert 0 < before < 400


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.5, 2.0])
def test_ctrl_c_while_a_table_s_workers_start_says_how_to_go_on(delay: float) -> None:
    Path("small.yaml").write_text(SLOW)
    started = _started(table("table-1", "--seeds", "0-1", "--jobs", "2"))
    ends = time.monotonic() + 120
    while not Path("made/.lock").is_file() and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
    out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (130, "")
    assert "stopped; go on with: imm-rl reproduce table-1 --out made" in out


def test_ctrl_c_before_the_trainings_says_how_to_go_on() -> None:
    os.mkfifo("pipe")
    words = ["reproduce", "table-1", "--out", "made", "--corpus", "pipe", "--seeds", "0"]
    started = _started(words)
    writing = None
    ends = time.monotonic() + 120
    while writing is None and time.monotonic() < ends:
        try:
            writing = os.open("pipe", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # the command has not begun to read the text
            time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert writing is not None
    os.close(writing)
    assert (started.returncode, err) == (130, "")
    assert out == f"stopped; go on with: imm-rl {' '.join(words)}\n"


def load_records(checkpoint: Path) -> list[dict[str, float]]:
    with np.load(checkpoint) as state:
        found: list[dict[str, float]] = json.loads(str(state["records"]))
    return found


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_training_of_a_table_that_diverges_is_named(
    jobs: str, imm_rl_command: Callable[..., Any]
) -> None:
    with Path("small.yaml").open("a") as file:
        file.write("init_range: 1.0e+30\n")
    few = ("--methods", "none,batch", "--seeds", "0", "--jobs", jobs, "--quiet")
    outcome = imm_rl_command(*table("table-1", *few))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "none, seed 0: " in outcome.err or "batch, seed 0: " in outcome.err
    assert "the training diverged: after none of its 2 epochs was the validation" in outcome.err
    assert "-seed-0" in outcome.err
    assert not list(Path("made").glob("runs/*/summary.json"))
    assert not Path("made/table-1.md").exists()


def test_a_folder_that_another_command_works_in_is_refused(
    imm_rl_command: Callable[..., Any],
) -> None:
    Path("made").mkdir()
    with held(Path("made")):
        outcome = imm_rl_command(*table("table-1"))
    assert outcome.code == 2
    assert "another command is at work in made" in outcome.err


def test_texts_that_are_too_short_are_refused_before_a_folder_is_made(
    imm_rl_command: Callable[..., Any],
) -> None:
    Path("text/train.txt").write_text("sun rain")
    outcome = imm_rl_command(*table("table-1"))
    assert outcome.code == 2
    assert "batch_size 4 needs at least 5" in outcome.err
    assert not Path("made").exists()


def summary_of(perplexity: float | None, curve: list[float | None]) -> dict[str, Any]:
    mean = {"mean": perplexity, "ci95": [None, None]}
    return {
        "valid_perplexity": mean,
        "test_perplexity": mean,
        "induced_valid_perplexity": mean,
        "ngram_order": 2,
        "ngram_valid_perplexity": 9.0,
        "ngram_test_perplexity": 9.5,
        "wall_seconds": 1.0,
        "words": 100,
        "notes": [],
        "curves": {"0": {"words": [1, 2, 3], "valid_perplexity": curve}},
    }


def test_a_run_that_diverged_is_told_and_drawn() -> None:
    rows = [
        report.Row("none", "0", 0, summary_of(8.0, [10.0, None, 8.0])),
        report.Row("none", "0", 1, summary_of(8.5, [10.0, 9.0, 8.5])),
        report.Row("batch", "0.5", 0, summary_of(None, [None, None, None])),
        report.Row("batch", "0.5", 1, summary_of(7.0, [9.0, 8.0, 7.0])),
    ]
    note = report.note(rows, "", LMSettings(), "laptop", bigram=False)
    assert "| none |  | 8.250 [5.073, 11.43] |" in note
    assert "- IMM, in-batch − none: - (by seed: +nan, -1.50)" in note
    assert "| IMM, in-batch | 0.5 | - | - | 0, 1 |" in note
    assert report.to_text(rows).splitlines()[3] == "batch,0.5,0,,,,1,100"
    report.picture(Path("drawn.png"), rows, bigram=False)
    assert Path("drawn.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_note_says_where_the_weights_of_its_preset_come_from(preset: str) -> None:
    rows = [report.Row("batch", "0.5", 0, summary_of(8.0, [10.0, 9.0, 8.0]))]
    for model in PRESETS[preset]:
        note = report.note(rows, "", LMSettings.preset(preset, model=model), preset, bigram=False)
        assert ("laptop preset were chosen on pydoc" in note) == (preset == "laptop")
        assert report.CHOICE[preset][model] in note

"""`imm-rl reproduce table-1` and `table-bigram` on a small text: real trainings, shared and resumed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
    Path("small.yaml").write_text("epochs: 2\nhidden_size: 8\nbatch_size: 4\nunroll: 8\nk: 3\n")


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
        ("epoch: 3", "Did you mean 'epochs'?"),
        ("epochs: many", "epochs must be"),
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

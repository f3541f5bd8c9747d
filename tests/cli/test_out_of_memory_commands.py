"""Commands that run out of memory: one line, exit code 1, and `--resume` goes on to the same end."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.cli import main

LIMITED = Path(__file__).parents[1] / "programs" / "limited.py"
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space, /proc")


def limited(pattern: Path | str, *words: object) -> subprocess.CompletedProcess[str]:
    """`imm-rl` with no more memory from the moment on at which a file of the pattern exists."""
    command = [sys.executable, LIMITED, pattern, *words]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)


def only_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error:" in line]
    assert "Traceback" not in text
    assert len(lines) == 1
    return lines[0]


def test_a_network_that_no_memory_holds_is_one_clear_line(
    imm_rl_command: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = imm_rl_command(
        *("train", "--env", "tiger", "--restricted", "none", "--steps", "100"),
        *("--hidden-sizes", "2000000,20000000", "--logdir", tmp_path, "--quiet"),
    )
    assert outcome.code == 1
    line = only_line(outcome.err)
    assert line.startswith("imm-rl train: error: out of memory: memory ended where 291 TiB more")
    assert "fewer --seeds at a time" in line
    assert f"go on with: imm-rl train --resume {tmp_path}/tiger/reinforce-none-1" in line


def test_a_language_model_that_no_memory_holds_is_refused_before_it_is_made(
    imm_rl_command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "text" / f"{part}.txt").write_text("a b c d e f g h\n" * 80)
    outcome = imm_rl_command(
        *("lm", "train", "--corpus", tmp_path / "text", "--hidden-size", "10000000"),
        *("--logdir", tmp_path / "runs", "--quiet"),
    )
    assert outcome.code == 2
    assert "memory" in only_line(outcome.err)
    assert not (tmp_path / "runs").exists()


def test_an_error_that_has_nothing_to_do_with_memory_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(args: object) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("imm_rl.cli.envs.run", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        main(["envs"])


@linux
@pytest.mark.slow
def test_a_training_that_memory_ended_resumes_to_the_end_of_one_in_one_go(tmp_path: Path) -> None:
    options = [
        *("--env", "grid", "--restricted", "qmdp", "--seeds", "0-29", "--hidden-sizes", "1024"),
        *("--steps", "300", "--eval-points", "3", "--eval-episodes", "2", "--quiet"),
    ]
    run = tmp_path / "cut" / "grid" / "reinforce-qmdp-1"
    checkpoint = run / "checkpoints"
    done = limited(checkpoint / "clock.json", "train", *options, "--logdir", tmp_path / "cut")
    assert done.returncode == 1, done.stderr
    line = only_line(done.stderr)
    assert "out of memory: memory ended where" in line
    assert f"The last checkpoint is kept; go on with: imm-rl train --resume {run}" in line
    assert not (run / "summary.json").exists()
    kept = len(list(checkpoint.glob("*.npz")))
    assert kept == 1
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert main(["train", *options, "--logdir", str(tmp_path / "whole")]) == 0
    whole = tmp_path / "whole" / "grid" / "reinforce-qmdp-1"
    curves = [json.loads((r / "summary.json").read_text())["curve"] for r in (run, whole)]
    assert curves[0] == curves[1]
    models = [np.load(r / "seed_7" / "model.zip") for r in (run, whole)]
    for name in models[0].files:
        if name.endswith("table.npy"):
            np.testing.assert_array_equal(models[0][name], models[1][name])


@linux
@pytest.mark.slow
def test_a_language_model_that_memory_ended_resumes_to_the_end_of_one_in_one_go(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "text").mkdir()
    for part, size in (("train", 10_000), ("valid", 2_000), ("test", 2_000)):
        words = [f"w{i}" for i in rng.integers(300, size=size)]
        (tmp_path / "text" / f"{part}.txt").write_text(" ".join(words))
    options = [
        *("--corpus", str(tmp_path / "text"), "--hidden-size", "32", "--seeds", "0", "--quiet"),
        *("--epochs", "4", "--lambda", "0.5"),
    ]
    logdir = tmp_path / "cut"
    pattern = logdir / "*" / "*" / "*" / "checkpoints" / "*.npz"
    done = limited(pattern, "lm", "train", *options, "--logdir", logdir)
    assert done.returncode == 1, done.stderr
    line = only_line(done.stderr)
    assert "--method serialized" in line
    (run,) = (p.parents[1] for p in logdir.glob("**/checkpoints/*.npz"))
    assert f"go on with: imm-rl lm train --resume {run}" in line
    assert main(["lm", "train", "--resume", str(run), "--quiet"]) == 0
    assert main(["lm", "train", *options, "--logdir", str(tmp_path / "whole")]) == 0
    (whole,) = (p.parent for p in (tmp_path / "whole").glob("**/summary.json"))
    columns = ("epoch", "valid/perplexity", "train/perplexity", "learning_rate", "imm/kl")
    cut, one_go = (
        [[row[c] for c in columns] for row in csv.DictReader(io.StringIO(r.read_text()))]
        for r in (run / "progress.csv", whole / "progress.csv")
    )
    assert len(cut) == 4
    assert cut == one_go


@linux
@pytest.mark.slow
def test_reproduce_that_runs_out_of_memory_is_one_clear_line(tmp_path: Path) -> None:
    out = tmp_path / "figure"
    done = limited(out, "reproduce", "figure-2", "--out", out, "--runs", "1000", "--quiet")
    assert done.returncode == 1, done.stderr
    line = only_line(done.stderr)
    assert line.startswith("imm-rl reproduce: error: out of memory: memory ended")
    assert "fewer --runs" in line

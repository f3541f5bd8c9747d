"""`imm-rl lm` with a transformer: trained, evaluated, let write; what its model cannot use is refused."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.cli.lm_config import resolve

SMALL = [
    *("--hidden-size", "16", "--heads", "2", "--memory", "8", "--warmup", "4"),
    *("--epochs", "2", "--batch-size", "4", "--unroll", "8"),
]


@pytest.fixture
def text(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    words = ["sun", "rain", "wind", "is", "was", "cold"]
    lines = [" ".join(rng.choice(words, size=5)) for _ in range(120)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    return str(tmp_path / "text.txt")


@pytest.mark.parametrize("method", ["batch", "sampled"])
def test_a_transformer_is_trained_evaluated_and_writes(
    imm_rl_command: Callable[..., Any], text: str, tmp_path: Path, method: str
) -> None:
    logdir = ["--logdir", str(tmp_path / "runs")]
    options = ["--corpus", text, "--model", "transformer", "--method", method, "--order", "3"]
    trained = imm_rl_command("lm", "train", *options, *SMALL, "--seeds", "1", *logdir, "--json")
    assert trained.code == 0
    (run,) = (tmp_path / "runs" / "lm").glob(f"*/transformer-{method}-1")
    assert "heads: 2" in (run / "config.yaml").read_text()
    assert "init_range: 0.05" in (run / "config.yaml").read_text()  # of the transformer's preset
    assert "ngram 3=" in _arpa(run)
    found = json.loads(imm_rl_command("lm", "evaluate", str(run), "--json").out)
    assert found["models"][0]["valid_perplexity"] == pytest.approx(
        json.loads(trained.out)["valid_perplexity"]["mean"], rel=1e-5
    )
    told = imm_rl_command("lm", "generate", str(run), "--words", "12", "--seed", "2")
    assert told.code == 0
    assert set(told.out.split()) <= {"sun", "rain", "wind", "is", "was", "cold"}


def _arpa(run: Path) -> str:
    with gzip.open(run / "restricted.arpa.gz", "rt") as file:
        return file.read()


def test_an_lstm_s_configuration_has_nothing_of_a_transformer_s() -> None:
    assert not {"heads", "memory", "compile"} & set(resolve({}, {}).as_dict())
    shown = resolve({"model": "transformer"}, {}).as_dict()
    assert (shown["heads"], shown["memory"], shown["optimizer"]) == (4, 64, "adam")
    again = resolve({}, shown)
    assert again.settings == resolve({"model": "transformer"}, {}).settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--heads", "2"], "heads is of no use to the model 'lstm'"),
        (["--model", "transformer", "--preset", "paper"], "preset 'paper' is one of lstm"),
        (["--model", "transfomer"], "Did you mean 'transformer'?"),
        (["--model", "transformer", "--hidden-size", "36"], "multiple of twice the heads, 8"),
        (["--precision", "float16"], "unknown precision 'float16'"),
    ],
)
def test_what_a_model_cannot_use_is_refused(
    imm_rl_command: Callable[..., Any], text: str, tmp_path: Path, words: list[str], message: str
) -> None:
    outcome = imm_rl_command(
        "lm", "train", "--corpus", text, "--logdir", str(tmp_path / "runs"), *words
    )
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow  # PyTorch's compiler takes seconds to find that there is none
def test_a_model_that_cannot_be_compiled_is_one_line(text: str, tmp_path: Path) -> None:
    words = ["--corpus", text, "--model", "transformer", *SMALL, "--logdir", str(tmp_path / "runs")]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "CXX": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "imm_rl.cli", "lm", "train", *words, "--compile", "true"],
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("imm-rl lm train: error: the model cannot be compiled here: ")
    assert "without --compile" in line


def test_a_warm_up_of_the_preset_gives_way_to_a_short_text_and_a_typed_one_does_not(
    imm_rl_command: Callable[..., Any], text: str, tmp_path: Path
) -> None:
    logdir = tmp_path / "runs"
    small = [*SMALL[:6], *SMALL[8:]]  # without --warmup
    words = ["--corpus", text, "--model", "transformer", "--logdir", logdir, "--seeds", "0", *small]

    planned = imm_rl_command("lm", "train", *words, "--dry-run")
    trained = imm_rl_command("lm", "train", *words)
    typed = imm_rl_command("lm", "train", *words, "--warmup", "100")

    assert (planned.code, trained.code, typed.code) == (0, 0, 2)
    said = "warm-up: 3 updates, a tenth of the training's 36; the 100 of preset laptop are for a longer"
    assert f"{said} text" in planned.out.splitlines()
    assert f"{said} text" in trained.out.splitlines()
    assert "warmup must be less than the updates of the training, 36" in typed.err
    (run,) = (logdir / "lm" / "text").iterdir()
    assert "warmup: 3\n" in (run / "config.yaml").read_text()


def test_a_warm_up_that_a_text_has_room_for_is_that_of_the_preset() -> None:
    from imm_rl.cli.lm_folder import run_corpus, with_fitting_warmup

    config = resolve({"model": "transformer", "seeds": "0"}, {})
    assert with_fitting_warmup(config, run_corpus(config)) == (config, "")

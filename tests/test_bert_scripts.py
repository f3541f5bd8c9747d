"""The two scripts of docs/bert.md, run as a user runs them, with few updates."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from imm_rl.language.glue import NAMES, load_task

ROOT = Path(__file__).resolve().parents[1]


def script(name: str, *options: str) -> str:
    command = [sys.executable, str(ROOT / "scripts" / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_bert_trainer_runs_and_the_term_makes_a_difference() -> None:
    out = script("bert_trainer.py", "--updates", "5")
    found = re.findall(r"(with|without) IMM: (\d\.\d+) nats", out)
    assert [name for name, _ in found] == ["without", "with"]
    assert found[0][1] != found[1][1]


@pytest.mark.slow
def test_small_glue_makes_a_bert_and_four_tasks(tmp_path: Path) -> None:
    from imm_rl.language.masked_checkpoint import check_architecture, load_model, load_tokenizer

    counts = ("--updates", "3", "--train", "20", "--dev", "10")
    assert "pydoc" in script("small_glue.py", str(tmp_path), *counts)
    place = str(tmp_path / "bert")
    check_architecture(place)
    assert load_model(place, 2).config.vocab_size == len(load_tokenizer(place))
    for name in NAMES:
        data = load_task(name, tmp_path / "glue")
        assert Counter(example.label for example in data.train) == {0: 10, 1: 10}
        assert len(data.dev) == 10
        known = {text for example in data.train for text in example.texts}
        assert sum(text in known for example in data.dev for text in example.texts) <= 1

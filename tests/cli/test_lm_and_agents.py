"""Runs of language models and of agents are told apart by every command that takes a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.runs import RunFolder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of a language model, as far as its configuration tells."""
    monkeypatch.chdir(tmp_path)
    files = {"config.yaml": "corpus: pydoc\n", "versions.json": "{}", "summary.json": "{}"}
    return str(RunFolder.create("runs/lm", "pydoc", "lstm-batch", files).path)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["train", "--resume"], "imm-rl lm train --resume"),
        (["evaluate"], "imm-rl lm evaluate"),
        (["watch"], "imm-rl lm generate"),
        (["plot", "--out", "a.png"], "tensorboard --logdir"),
    ],
)
def test_commands_of_agents_refuse_a_run_of_a_language_model(
    words: list[str], advice: str, run: str, imm_rl_command: Callable[..., Any]
) -> None:
    outcome = imm_rl_command(*words, run)
    assert outcome.code == 2
    assert outcome.err.strip().endswith(f"{run} is a run of a language model. Try: {advice} {run}")


def test_compare_of_runs_of_language_models_says_what_to_type(
    run: str, imm_rl_command: Callable[..., Any]
) -> None:
    shutil.copytree(run, f"{run}b")
    outcome = imm_rl_command("compare", run, f"{run}b")
    assert outcome.code == 2
    assert outcome.err == (
        "imm-rl compare: error: imm-rl compare is for runs of agents, and these are of language models. "
        f"Try: imm-rl lm evaluate {run} {run}b\n"
    )


def test_the_newest_run_of_an_agent_is_none_of_a_language_model(run: str) -> None:
    del run
    assert RunFolder.every("runs") == []
    assert [found.path.name for found in RunFolder.every("runs/lm")] == ["lstm-batch-1"]

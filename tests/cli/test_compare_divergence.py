"""`imm-rl compare` where a method diverges: the others are trained, and everything says what happened."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from imm_rl.cli import compare_training
from imm_rl.cli.curve_picture import Line, figure

Command = Callable[..., Any]

WILD = "imm(lambda=1e39)"
"""A weight that a 32-bit number cannot hold: its loss is infinite at the first update."""


@pytest.fixture
def small(tiny: list[str], tmp_path: Path) -> list[str]:
    return ["--env", "tiger", "--seeds", "0-2", "--logdir", str(tmp_path / "runs"), *tiny]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "tiger" / "compare-1"


def test_a_method_that_diverges_takes_no_other_with_it(
    small: list[str], imm_rl_command: Command, folder: Path
) -> None:
    outcome = imm_rl_command("compare", *small, "--methods", f"none,{WILD},noising", "--json")

    assert outcome.code == 1
    error = outcome.err.splitlines()[-1]
    assert (
        f"1 of 3 methods diverged and are in no statistics: {WILD} diverged at step 0, the "
        in error
    )
    assert "a smaller learning rate or λ may help. --resume does not try" in error
    assert f"imm-rl compare {folder} RUN" in error
    result = json.loads(outcome.out)
    assert [arm["label"] for arm in result["arms"]] == ["none", "noising"]
    (diverged,) = result["diverged"]
    assert (diverged["label"], diverged["run"]) == (WILD, str(folder / "imm-lambda-1e39"))
    assert "is not finite" in diverged["error"]
    assert result == json.loads((folder / "comparison.json").read_text())
    told = f"diverged at step {diverged['env_steps']}"
    report = (folder / "comparison.md").read_text()
    assert "# tiger: 3 methods, 3 seeds" in report
    assert f"**{WILD} {told} and is in no statistics: " in report
    assert f"| {WILD} | {told} |" in report
    with open(folder / "comparison.csv", newline="") as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    assert rows[WILD]["diverged_at"] == str(diverged["env_steps"])
    assert rows[WILD]["final_iqm_iqm"] == rows["none"]["error"] == ""
    assert (folder / "curves.png").is_file()
    assert f"\n{WILD}," not in (folder / "curves.csv").read_text()


def test_the_others_have_the_numbers_of_a_comparison_without_it(
    small: list[str], imm_rl_command: Command
) -> None:
    found, expected = (
        json.loads(imm_rl_command("compare", *small, "--methods", methods, "--json").out)["arms"]
        for methods in (f"none,{WILD},noising", "none,noising")
    )

    for arm in (*found, *expected):
        del arm["run"], arm["wall_seconds"]
    assert found == expected


def test_resume_leaves_alone_what_diverged_and_what_is_done(
    small: list[str], imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = imm_rl_command("compare", *small, "--methods", f"none,{WILD},noising", "--json")
    (folder / "noising" / "summary.json").unlink()  # as where it was stopped
    original = compare_training.trained
    methods = []

    def noted(config: Any, *args: Any) -> Any:
        methods.append(config.method)
        return original(config, *args)

    monkeypatch.setattr(compare_training, "trained", noted)

    again = imm_rl_command("compare", "--resume", folder, "--json")

    assert methods == ["noising"]
    assert again.code == 1
    assert again.err.splitlines()[-1] == first.err.splitlines()[-1]
    assert json.loads(again.out)["diverged"] == json.loads(first.out)["diverged"]


def test_resume_trains_a_diverged_method_whose_folder_was_deleted(
    small: list[str], imm_rl_command: Command, folder: Path
) -> None:
    imm_rl_command("compare", *small, "--methods", f"none,{WILD}", "--quiet", "--json")
    record = folder / "imm-lambda-1e39" / "diverged.json"
    before = record.read_text()
    for path in sorted(record.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    record.parent.rmdir()

    outcome = imm_rl_command("compare", "--resume", folder)

    assert outcome.code == 1
    assert record.read_text() == before


def test_nothing_is_held_against_a_reference_that_diverged(
    small: list[str], imm_rl_command: Command, folder: Path
) -> None:
    words = ("--methods", f"none,noising,{WILD}", "--reference", WILD)
    outcome = imm_rl_command("compare", *small, *words)

    assert outcome.code == 1
    assert f"reference {WILD}, which diverged, so that nothing is held against it" in outcome.out
    result = json.loads((folder / "comparison.json").read_text())
    assert [arm["against_reference"] for arm in result["arms"]] == [None, None]
    assert result["reference"] == WILD


def test_where_every_method_diverges_there_is_no_result(
    small: list[str], imm_rl_command: Command, folder: Path
) -> None:
    outcome = imm_rl_command("compare", *small, "--methods", f"{WILD},noising(lambda=1e39)")

    assert outcome.code == 1
    assert "2 of 2 methods diverged" in outcome.err
    assert not (folder / "comparison.json").exists()


def test_a_failure_of_another_kind_ends_the_comparison(
    small: list[str], imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    original = compare_training.trained

    def full(config: Any, pair: Any, run: Any, *args: Any) -> Any:
        def replace(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            if config.method == "imm":
                patch.setattr("os.replace", replace)
            return original(config, pair, run, *args)

    monkeypatch.setattr(compare_training, "trained", full)

    outcome = imm_rl_command("compare", *small, "--methods", "none,imm,noising")

    assert outcome.code == 1
    assert "method imm: " in outcome.err
    assert "No space left on device" in outcome.err
    assert f"go on with: imm-rl compare --resume {folder}" in outcome.err
    assert not (folder / "imm" / "diverged.json").exists()
    assert not (folder / "noising" / "summary.json").exists()


def test_a_diverged_run_is_left_out_of_a_folder_and_refused_by_name(
    small: list[str], imm_rl_command: Command, folder: Path, tmp_path: Path
) -> None:
    imm_rl_command("compare", *small, "--methods", f"none,{WILD},noising", "--quiet", "--json")
    out = ("--logdir", tmp_path / "out")

    whole = imm_rl_command("compare", folder, *out)
    named = imm_rl_command("compare", folder / "none", folder / "imm-lambda-1e39", *out)

    assert whole.code == 0, whole.err
    assert f"left out: {folder / 'imm-lambda-1e39'}, which diverged at step" in whole.out
    assert named.code == 2
    assert "diverged at step" in named.err


def test_plot_says_which_lines_end_early(
    small: list[str], imm_rl_command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imm_rl.agents.advantages import Advantages

    usual = Advantages.__call__
    calls: list[int] = []

    def poisoned(self: Advantages, rollout: Any) -> Any:
        calls.append(1)
        return usual(self, rollout) * (np.nan if len(calls) == 11 else 1.0)

    monkeypatch.setattr(Advantages, "__call__", poisoned)  # the second method's fifth update of six
    imm_rl_command("compare", *small, "--methods", f"none,imm,{WILD}", "--quiet", "--json")

    outcome = imm_rl_command("plot", folder, "--out", folder / "x.png", "--labels", "A,B,C")

    assert "A: its line ends early, as it diverged at step 80\n" in outcome.out
    left = folder / "imm-lambda-1e39"
    assert f"left out: B, {left}: it has no progress.csv: it diverged before" in outcome.out


def test_ppo_that_diverges_is_left_out_too(
    tiny_ppo: list[str], imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = PPO.train

    def poisoned(self: PPO) -> None:
        if self.gamma == 0.5 and self.num_timesteps > 40:
            self.rollout_buffer.advantages[:] = np.nan
        usual(self)

    monkeypatch.setattr(PPO, "train", poisoned)
    words = ["--env", "tiger(max_steps=10)", "--agent", "ppo", "--seeds", "0,1", *tiny_ppo]

    outcome = imm_rl_command(
        *("compare", *words, "--methods", "none,none(gamma=0.5),imm"),
        *("--logdir", tmp_path, "--json"),
    )

    assert outcome.code == 1
    result = json.loads(outcome.out)
    assert [arm["label"] for arm in result["arms"]] == ["none", "imm"]
    assert result["diverged"][0]["label"] == "none(gamma=0.5)"
    assert result["diverged"][0]["env_steps"] == 60


def test_the_legend_names_what_has_no_line() -> None:
    steps = np.arange(1.0, 6.0) * 100
    line = Line("none", steps, steps, steps - 1, steps + 1)

    drawn = figure([line], y_label="return", missing=["imm (diverged at step 100)"])

    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names == ["none", "imm (diverged at step 100)"]
    assert drawn.axes[0].get_ylim()[0] > 0

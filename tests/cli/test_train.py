from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.state_policy import StatePolicy

Command = Callable[..., Any]

SUMMARY_KEYS = [
    *("env", "agent", "restricted", "method", "imm_lambda", "seeds", "env_steps", "wall_seconds"),
    *("steps_per_second", "eval", "eval_deterministic", "eval_discounted"),
    *("eval_discounted_deterministic", "curve", "restricted_eval", "oracle"),
]
TIMES = ("wall_seconds", "steps_per_second")
TAGS = {
    *("rollout/ep_rew_mean", "eval/mean_reward", "time/fps", "imm/loss", "imm/lambda", "imm/kl"),
    *("imm/naive_kl", "imm/agreement", "imm/grad_cosine", "imm/weight"),
}


def _summary(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in found.items() if key not in TIMES}


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_train_leaves_a_whole_run_folder(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = imm_rl_command("train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny)

    folder = tmp_path / "tiger" / "reinforce-pomdp-1"
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == f"run folder: {folder}"
    assert outcome.out.splitlines()[-1] == f"run folder: {folder}"
    assert f"tensorboard --logdir {folder}" in outcome.out
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {
        *("config.yaml", "command.txt", "versions.json", "progress.csv", "checkpoints"),
        *("model.zip", "restricted.npz", "summary.json"),
    }
    assert (folder / "command.txt").read_text().startswith("imm-rl train --env tiger --seeds 3 ")
    assert json.loads((folder / "versions.json").read_text()).keys() >= {
        "imm-rl",
        "python",
        "torch",
    }
    assert (folder / "checkpoints" / "latest.npz").is_file()


def test_train_writes_a_summary_of_the_agreed_form(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = imm_rl_command(
        "train", "--env", "tiger", "--seeds", "3,4", "--json", "--logdir", tmp_path, *tiny
    )

    summary = json.loads(outcome.out)
    folder = tmp_path / "tiger" / "reinforce-pomdp-1"
    assert list(summary) == SUMMARY_KEYS
    assert summary == json.loads((folder / "summary.json").read_text())
    assert (summary["env"], summary["agent"], summary["restricted"]) == (
        "tiger",
        "reinforce",
        "pomdp",
    )
    assert (summary["seeds"], summary["env_steps"]) == ([3, 4], 120)
    assert list(summary["eval"]) == ["mean_return", "ci95", "episodes", "per_seed"]
    assert summary["eval"]["episodes"] == 10
    assert summary["eval"]["mean_return"] == pytest.approx(np.mean(summary["eval"]["per_seed"]))
    assert list(summary["eval_deterministic"]) == ["mean_return", "ci95", "per_seed"]
    assert list(summary["curve"]) == ["env_steps", "mean_return", "ci95_low", "ci95_high"]
    assert summary["curve"]["env_steps"] == [40, 80, 120]
    assert summary["oracle"] == {"mean_return": 100.0}  # ten steps of the door with the prize
    assert list(summary["restricted_eval"]) == ["mean_return", "ci95"]


def test_train_writes_each_seed_beside_the_summary_of_all(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    imm_rl_command("train", "--env", "tiger", "--seeds", "3,4", "--logdir", tmp_path, *tiny)

    folder = tmp_path / "tiger" / "reinforce-pomdp-1"
    whole = _summary(folder)
    for i, seed in enumerate((3, 4)):
        below = folder / f"seed_{seed}"
        one = _summary(below)
        assert one["seeds"] == [seed]
        assert one["eval"]["mean_return"] == whole["eval"]["per_seed"][i]
        assert StatePolicy.load(below / "model.zip").about["seed"] == seed
        with open(below / "progress.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(r["eval/mean_reward"]) for r in rows] == one["curve"]["mean_return"]
        assert [int(r["env_steps"]) for r in rows] == [40, 80, 120]
        scalars = _scalars(below)
        assert set(scalars) == TAGS
        assert [step for step, _ in scalars["eval/mean_reward"]] == [40, 80, 120]
        for tag in ("imm/lambda", "imm/kl", "eval/mean_reward"):
            shown = [value for _, value in scalars[tag]]
            assert shown == pytest.approx([float(r[tag]) for r in rows if r[tag]], rel=1e-6)
    assert not (folder / "model.zip").exists()
    assert (folder / "restricted.npz").is_file()


def test_train_gives_the_same_numbers_for_the_same_seed(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "7", "--logdir", tmp_path, *tiny]
    imm_rl_command(*words)
    imm_rl_command(*words)
    imm_rl_command(*words[:4], "7,8", *words[5:])

    first, second, beside = (tmp_path / "tiger" / f"reinforce-pomdp-{n}" for n in (1, 2, 3))
    assert _summary(first) == _summary(second)
    assert (first / "progress.csv").read_bytes() == (second / "progress.csv").read_bytes()
    assert (first / "progress.csv").read_bytes() == (
        beside / "seed_7" / "progress.csv"
    ).read_bytes()
    tables = [StatePolicy.load(f / "model.zip").table for f in (first, second, beside / "seed_7")]
    assert np.array_equal(tables[0], tables[1])
    assert np.array_equal(tables[0], tables[2])


def test_train_without_a_restricted_policy_has_nothing_of_one(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["--restricted", "none", "--seeds", "3", "--logdir", tmp_path, *tiny]
    outcome = imm_rl_command("train", "--env", "tiger", *words)

    folder = tmp_path / "tiger" / "reinforce-none-1"
    assert outcome.code == 0
    summary = _summary(folder)
    assert (summary["imm_lambda"], summary["restricted_eval"]) == ("0", None)
    assert set(_scalars(folder)) == {"rollout/ep_rew_mean", "eval/mean_reward", "time/fps"}
    assert not (folder / "restricted.npz").exists()


def test_train_takes_a_file_or_a_factory_for_the_restricted_policy(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_cli_policies.py").write_text(
        "import numpy as np\n"
        "class Listen:\n"
        "    name, n_states, n_actions = 'listen', 2, 3\n"
        "    def probs(self, beliefs):\n"
        "        return np.broadcast_to([1.0, 0.0, 0.0], (*beliefs.shape[:-1], 3))\n"
        "def listen(model):\n"
        "    return Listen()\n"
    )
    imm_rl_command("solve", "--env", "tiger", "--method", "qmdp", "--out", "mine.npz")
    words = ["train", "--env", "tiger", "--seeds", "3", *tiny]

    by_file = imm_rl_command(*words, "--restricted", "mine.npz", "--temperature", "5")
    by_factory = imm_rl_command(*words, "--restricted", "my_cli_policies:listen")

    assert (by_file.code, by_factory.code) == (0, 0)
    kept = AlphaVectorPolicy.load("runs/tiger/reinforce-mine-1/restricted.npz")
    assert (kept.method, kept.temperature) == ("qmdp", 5.0)
    listening = Path("runs/tiger/reinforce-my_cli_policies-listen-1")
    assert _summary(listening)["restricted_eval"]["mean_return"] == -10.0
    assert not (listening / "restricted.npz").exists()


@pytest.mark.parametrize(
    ("factory", "extra", "message"),
    [
        ("lambda model: 7", [], "restricted must have a method probs"),
        ("lambda model: Other()", [], "is for 3 states and 2 actions; tiger has 2 states"),
        ("lambda model: Fitting()", ["--temperature", "1"], "has none. Give up one"),
        ("lambda model: {}['key']", [], "cannot be made: KeyError: 'key'"),
    ],
)
def test_train_refuses_a_factory_whose_policy_does_not_fit(
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factory: str,
    extra: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_misfits", raising=False)
    (tmp_path / "my_misfits.py").write_text(
        "class Other:\n"
        "    name, n_states, n_actions = 'other', 3, 2\n"
        "    def probs(self, beliefs): ...\n"
        "class Fitting(Other):\n"
        "    n_states, n_actions = 2, 3\n"
        f"factory = {factory}\n"
    )

    outcome = imm_rl_command(
        "train", "--env", "tiger", "--restricted", "my_misfits:factory", *extra
    )

    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_dry_run_says_what_would_run_and_touches_no_disk(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    outcome = imm_rl_command(
        "train", "--env", "tiger", "--seeds", "0-9", "--steps", "2e4", "--dry-run"
    )

    assert (outcome.code, outcome.err) == (0, "")
    assert "tiger, 2 states, 3 actions, 2 observations" in outcome.out
    assert "20,000 steps, seeds 0-9" in outcome.out
    assert os.listdir(tmp_path) == []


def test_print_config_can_be_read_back(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    printed = imm_rl_command("train", "--env", "tiger", "--seeds", "3", *tiny, "--print-config").out
    (tmp_path / "f.yaml").write_text(printed)

    again = imm_rl_command("train", "--config", tmp_path / "f.yaml", "--print-config")

    assert again.out == printed
    assert "seeds: [3]\n" in printed


def test_a_drawn_seed_is_printed_and_kept(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = imm_rl_command("train", "--env", "tiger", "--logdir", tmp_path, *tiny)

    match = re.search(r"seed (\d+) \(drawn\)", outcome.out)
    assert match is not None
    config = (tmp_path / "tiger" / "reinforce-pomdp-1" / "config.yaml").read_text()
    assert f"seeds: [{match[1]}]\n" in config


def test_fast_ends_in_seconds(imm_rl_command: Command, tmp_path: Path) -> None:
    outcome = imm_rl_command("train", "--env", "tiger", "--fast", "--json", "--logdir", tmp_path)

    assert outcome.code == 0
    assert json.loads(outcome.out)["wall_seconds"] < 60.0


def test_output_is_what_was_asked_for(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny]

    usual, quiet = imm_rl_command(*words), imm_rl_command(*words, "--quiet")
    as_json, silent = imm_rl_command(*words, "--json"), imm_rl_command(*words, "--json", "--quiet")

    assert usual.out.count(" steps   return ") == 3  # a line for each evaluation
    assert quiet.out.count(" steps   return ") == 0
    assert "optimum" in quiet.out
    assert json.loads(as_json.out)["env"] == "tiger"
    assert as_json.err.count(" steps   return ") == 3
    assert json.loads(silent.out)["env"] == "tiger"
    assert silent.err == ""


def test_a_run_of_its_own_prints_no_control_character_and_no_warning(
    tiny: list[str], tmp_path: Path
) -> None:
    code = "import sys; from imm_rl.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny]

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"[^\n -\U0010ffff]", done.stdout) is None


def test_a_terminal_gets_a_bar(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    outcome = imm_rl_command("train", "--env", "tiger", "--logdir", tmp_path, *tiny)

    assert outcome.code == 0
    assert "120/120" in outcome.err
    assert " steps   return " not in outcome.out


def test_a_training_that_diverges_is_a_line_and_1(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imm_rl.agents.advantages import Advantages

    usual = Advantages.__call__
    calls = []

    def poisoned(self: Advantages, rollout: Any) -> Any:
        calls.append(1)
        return usual(self, rollout) * (np.nan if len(calls) == 5 else 1.0)

    monkeypatch.setattr(Advantages, "__call__", poisoned)

    outcome = imm_rl_command("train", "--env", "tiger", "--seeds", "3", "--logdir", tmp_path, *tiny)

    folder = tmp_path / "tiger" / "reinforce-pomdp-1"
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "seed 3" in outcome.err
    assert str(folder) in outcome.err
    assert (folder / "checkpoints" / "latest.npz").is_file()  # of the evaluation at 80 steps
    assert not (folder / "summary.json").exists()


FACTORIES = """
import numpy as np


class Uniform:
    n_states, n_actions = 2, 3

    def probs(self, beliefs):
        return np.full((len(beliefs), 3), 1 / 3)


class Unsure(Uniform):
    def probs(self, beliefs):
        return np.full((len(beliefs), 3), np.nan)


class Sizeless:
    def probs(self, beliefs):
        return np.full((len(beliefs), 3), 1 / 3)


def uniform(model):
    return Uniform()


def unsure(model):
    return Unsure()


def sizeless(model):
    return Sizeless()
"""


def test_train_takes_a_factorys_policy_with_nothing_but_what_the_guide_asks_for(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_policies.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = imm_rl_command(
        "train",
        "--env",
        "tiger",
        "--restricted",
        "my_policies:uniform",
        "--logdir",
        tmp_path,
        *tiny,
    )
    assert outcome.code == 0
    assert "restricted policy: Uniform; earns" in outcome.out


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("unsure", "be ≥ 0 and sum to 1 in every row"),
        ("sizeless", "must have n_states and n_actions"),
    ],
)
@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_train_asks_a_factorys_policy_before_it_makes_a_folder(
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factory: str,
    message: str,
    extra: list[str],
) -> None:
    (tmp_path / "my_policies.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--restricted", f"my_policies:{factory}", "--logdir", tmp_path / "runs", *extra]
    outcome = imm_rl_command("train", "--env", "tiger", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "runs").exists()

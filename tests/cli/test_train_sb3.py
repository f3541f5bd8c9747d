from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.utils import get_parameters_by_name
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.cli import sb3_keeper

Command = Callable[..., Any]

TIGER = "tiger(max_steps=10)"
SUMMARY_KEYS = [
    *("env", "agent", "restricted", "method", "imm_lambda", "seeds", "env_steps", "wall_seconds"),
    *("steps_per_second", "eval", "eval_deterministic", "eval_discounted"),
    *("eval_discounted_deterministic", "curve", "restricted_eval", "oracle"),
]
TAGS = {"rollout/ep_rew_mean", "eval/mean_reward", "time/fps", "train/value_loss"}
IMM_TAGS = {f"imm/{n}" for n in ("loss", "lambda", "kl", "agreement", "grad_cosine", "weight")}


def _run(command: Command, logdir: Path, *words: object, code: int = 0) -> tuple[Path, Any]:
    """The run folder and what was printed."""
    outcome = command("train", "--logdir", logdir, *words)
    assert outcome.code == code, outcome.err
    return Path(outcome.out.splitlines()[0].removeprefix("run folder: ")), outcome


def _read(folder: Path, name: str = "summary.json") -> Any:
    return json.loads((folder / name).read_text())


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def _weights(file: Path, algorithm: Any = PPO) -> list[np.ndarray]:
    policy = algorithm.load(file, device="cpu").policy
    return [p.numpy() for p in get_parameters_by_name(policy, [""])]


def test_a_tabular_run_leaves_a_whole_folder(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    folder, outcome = _run(
        imm_rl_command, tmp_path, "--env", TIGER, "--agent", "ppo", "--seeds", "3", *tiny_ppo
    )

    assert folder == tmp_path / "tiger-max_steps-10" / "ppo-pomdp-1"
    # Nobody is warned of anything; that 120 steps are few may be noted.
    assert [line for line in outcome.err.splitlines() if not line.startswith("note: ")] == []
    assert outcome.out.count(" steps   return ") == 3
    assert "note:" not in outcome.out
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {
        *("config.yaml", "command.txt", "versions.json", "progress.csv", "checkpoints"),
        *("model.zip", "restricted.npz", "summary.json"),
    }
    summary = _read(folder)
    assert list(summary) == SUMMARY_KEYS
    assert (summary["agent"], summary["restricted"], summary["env_steps"]) == ("ppo", "pomdp", 120)
    assert summary["curve"]["env_steps"] == [40, 80, 120]
    assert summary["oracle"] == {"mean_return": 100.0}
    assert summary["eval"]["episodes"] == 4
    assert AlphaVectorPolicy.load(folder / "restricted.npz").n_states == 2
    assert _read(folder, "versions.json")["stable-baselines3"]
    rows = _rows(folder)
    assert [int(row["env_steps"]) for row in rows] == [20, 40, 60, 80, 100, 120]
    evaluated = [float(r["eval/mean_reward"]) for r in rows if r["eval/mean_reward"]]
    assert evaluated == summary["curve"]["mean_return"]
    accumulator = EventAccumulator(str(folder)).Reload()
    assert set(accumulator.Tags()["scalars"]) >= TAGS | IMM_TAGS
    assert [e.step for e in accumulator.Scalars("eval/mean_reward")] == [40, 80, 120]
    lambdas = [float(r["imm/lambda"]) for r in rows if r["imm/lambda"]]
    assert lambdas[0] > lambdas[-1] == 0.0
    assert PPO.load(folder / "model.zip").observation_space.n == 2


def test_the_same_seed_gives_the_same_numbers_whoever_trains_beside_it(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    words = ["--env", TIGER, "--agent", "ppo", *tiny_ppo, "--seeds"]
    first, _ = _run(imm_rl_command, tmp_path, *words, "7")
    np.random.seed(99)  # noqa: NPY002  what was drawn before must not matter
    second, outcome = _run(imm_rl_command, tmp_path, *words, "6,7")

    assert (first / "progress.csv").read_bytes() == (second / "seed_7/progress.csv").read_bytes()
    for a, b in zip(
        _weights(first / "model.zip"), _weights(second / "seed_7/model.zip"), strict=True
    ):
        assert np.array_equal(a, b)
    both, one = _read(second), _read(second / "seed_7")
    assert (both["seeds"], one["seeds"]) == ([6, 7], [7])
    assert both["eval"]["per_seed"][1] == one["eval"]["mean_return"]
    assert one["eval"] == _read(first)["eval"]
    assert one["curve"] == _read(first)["curve"]
    assert "seed 6:\n" in outcome.out
    assert not (second / "model.zip").exists()


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
def test_an_evaluation_leaves_the_training_as_it_is(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path, agent: str
) -> None:
    options = tiny_ppo[:8] if agent == "a2c" else tiny_ppo[:12]
    words = ["--env", TIGER, "--agent", agent, "--seeds", "7", *options]
    seldom, _ = _run(imm_rl_command, tmp_path, *words, "--eval-points", "1", "--eval-episodes", "2")
    often, _ = _run(imm_rl_command, tmp_path, *words, "--eval-points", "6", "--eval-episodes", "9")

    assert len(_read(seldom)["curve"]["env_steps"]) == 1
    assert len(_read(often)["curve"]["env_steps"]) == 6
    algorithm = {"ppo": PPO, "a2c": A2C}[agent]
    for a, b in zip(
        _weights(seldom / "model.zip", algorithm),
        _weights(often / "model.zip", algorithm),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_three_commands_train_the_restricted_policy_use_it_and_evaluate(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--env", "CartPole-v1", "--observe", "2,3", "--seeds", "3", *tiny_ppo]
    view, first = _run(imm_rl_command, Path("runs"), *words)
    helped, second = _run(imm_rl_command, Path("runs"), *words, "--restricted", view)
    evaluated = imm_rl_command("evaluate", "--episodes", "6", "--json")
    of_view = imm_rl_command("evaluate", view / "model.zip", "--episodes", "6", "--json")

    assert view == Path("runs/CartPole-v1-observe-2-3/ppo-view-1")
    assert "seeing the restricted view" in first.out
    assert PPO.load(view / "model.zip").observation_space.shape == (2,)
    assert PPO.load(helped / "model.zip").observation_space.shape == (4,)
    config = yaml.safe_load((helped / "config.yaml").read_text())
    assert config["env"] == "CartPole-v1(observe=[2, 3])"
    assert config["restricted"] == str((tmp_path / view).absolute())
    assert (config["view"], config["agent"]) == ("full", "ppo")
    assert (helped / "restricted.zip").read_bytes() == (view / "model.zip").read_bytes()
    summary = _read(helped)
    assert summary["oracle"] is None
    assert summary["restricted_eval"]["mean_return"] > 1.0
    assert _read(view)["restricted_eval"] is None
    assert "restricted policy: ppo-view-1; earns" in second.out
    assert "optimum" not in second.out
    found = json.loads(evaluated.out)
    assert (found["policy"], found["view"]) == (str(helped), "full")
    assert (found["trained_seeds"], found["oracle"]) == ([3], None)
    assert json.loads(of_view.out)["view"] == "restricted"


def test_a_factory_is_asked_for_the_pairs_restricted_policy(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_angles.py").write_text(
        "def upright(view_space, action_space):\n"
        "    assert (view_space.shape, action_space.n) == ((1,), 2)\n"
        "    return lambda views: (views[:, 0] > 0).astype(int)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["--env", "CartPole-v1", "--observe", "2", "--restricted", "my_angles:upright"]

    folder, _ = _run(imm_rl_command, tmp_path, *words, "--seeds", "3", *tiny_ppo)

    assert folder.name == "ppo-my_angles-upright-1"
    assert 30.0 < _read(folder)["restricted_eval"]["mean_return"] < 60.0
    assert not (folder / "restricted.zip").exists()


def test_continuous_actions_are_matched_too(imm_rl_command: Command, tmp_path: Path) -> None:
    words = ["--env", "Pendulum-v1", "--observe", "0,1", "--agent", "a2c", "--seeds", "3"]
    words += ["--n-envs", "4", "--n-steps", "25", "--steps", "200", "--hidden-sizes", "8"]
    words += ["--eval-points", "1", "--eval-episodes", "2"]
    view, _ = _run(imm_rl_command, tmp_path, *words)
    helped, _ = _run(imm_rl_command, tmp_path, *words, "--restricted", view, "--lambda", "0.5")

    assert view.name == "a2c-view-1"
    assert A2C.load(helped / "model.zip").action_space.shape == (1,)
    assert {row["imm/lambda"] for row in _rows(helped)} - {""} == {"0.5"}


def test_a_tabular_pairs_restricted_view_can_be_trained_on(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    words = ["--env", TIGER, "--agent", "ppo", "--view", "restricted", "--seeds", "3", *tiny_ppo]
    folder, _ = _run(imm_rl_command, tmp_path, *words)
    found = json.loads(imm_rl_command("evaluate", folder, "--episodes", "5", "--json").out)

    assert folder.name == "ppo-view-1"
    assert PPO.load(folder / "model.zip").observation_space.n == 3  # two, and "nothing yet"
    assert _read(folder)["restricted_eval"] is None
    assert (found["view"], found["oracle"]) == ("restricted", {"mean_return": 100.0})


def test_dry_run_and_print_config_train_nothing(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--env", "CartPole-v1", "--observe", "2,3", "--seeds", "3"]

    plan = imm_rl_command(*words, "--batch-size", "100", "--dry-run")
    printed = imm_rl_command(*words, "--print-config")
    (tmp_path / "f.yaml").write_text(printed.out)
    again = imm_rl_command("train", "--config", "f.yaml", "--print-config")

    assert plan.code == printed.code == 0
    assert "restricted view Box(2,), episodes of at most 500 steps" in plan.out
    assert "its last minibatch has 12" in plan.out
    assert again.out == printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["f.yaml"]


def test_fast_and_json_go_together(imm_rl_command: Command, tmp_path: Path) -> None:
    words = ["--env", TIGER, "--agent", "a2c", "--fast", "--json", "--logdir", tmp_path]
    words += ["--steps", "400", "--eval-episodes", "3"]
    outcome = imm_rl_command("train", *words)

    assert outcome.code == 0
    assert json.loads(outcome.out)["env_steps"] == 512  # four updates of 8 × 16
    assert outcome.err.count(" steps   return ") == 4


def test_a_training_that_diverges_is_a_line_and_1(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = PPO.train
    calls: list[int] = []

    def poisoned(self: PPO) -> None:
        calls.append(1)
        if len(calls) == 5:
            self.rollout_buffer.advantages[:] = np.nan
        usual(self)

    monkeypatch.setattr(PPO, "train", poisoned)

    words = ["train", "--env", TIGER, "--agent", "ppo", "--seeds", "3", "--logdir", tmp_path]
    outcome = imm_rl_command(*words, *tiny_ppo)

    folder = tmp_path / "tiger-max_steps-10" / "ppo-pomdp-1"
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "the training of seed 3 diverged" in outcome.err
    assert str(folder) in outcome.err
    assert (folder / "checkpoints" / "latest.npz").is_file()  # of the evaluation at 80 steps
    assert not (folder / "summary.json").exists()


def test_curves_have_as_many_points_as_people_look_at(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sb3_keeper, "LOG_POINTS", 2)
    words = ["--env", TIGER, "--agent", "ppo", "--restricted", "none", "--seeds", "3", *tiny_ppo]
    folder, _ = _run(imm_rl_command, tmp_path, *words)

    assert [int(row["env_steps"]) for row in _rows(folder)] == [40, 60, 80, 120]
    assert not any(tag.startswith("imm/") for tag in _rows(folder)[0])
    assert _read(folder)["imm_lambda"] == "0"


def test_statistics_beside_a_restricted_zip_go_with_it(
    imm_rl_command: Command, tiny_ppo: list[str], tmp_path: Path
) -> None:
    from stable_baselines3.common.vec_env import VecNormalize

    from imm_rl.envs.registry import make

    pair = make("CartPole-v1", observe=[2, 3])
    env = VecNormalize(pair.sb3_vector(1, "pomdp"))
    (tmp_path / "angle").mkdir()
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").save(tmp_path / "angle/model.zip")
    env.save(str(tmp_path / "angle/vecnormalize.pkl"))
    words = ["--env", "CartPole-v1", "--observe", "2,3", "--restricted", tmp_path / "angle"]

    folder, outcome = _run(imm_rl_command, tmp_path, *words, "--seeds", "3", *tiny_ppo)

    assert folder.name == "ppo-angle-1"
    assert {p.name for p in (folder / "restricted").iterdir()} == {"model.zip", "vecnormalize.pkl"}
    assert "Views are normalised by" in outcome.out
    assert imm_rl_command("evaluate", folder, "--episodes", "2").code == 0

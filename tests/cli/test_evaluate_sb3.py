from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C, PPO

from imm_rl.envs.registry import make

Command = Callable[..., Any]


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def zips(at_home: Path) -> None:
    """Policies of both views of CartPole-v1, and one of a tabular pair's."""
    pair = make("CartPole-v1", observe=[2, 3])
    small: dict[str, Any] = {"device": "cpu", "policy_kwargs": {"net_arch": [4]}, "seed": 1}
    A2C("MlpPolicy", pair.sb3_vector(1), **small).save("full.zip")
    PPO("MlpPolicy", pair.sb3_vector(1, "pomdp"), n_steps=8, batch_size=8, **small).save("view.zip")
    A2C("MlpPolicy", make("tiger").sb3_vector(1, "pomdp"), **small).save("tiger.zip")


def _json(command: Command, *words: object) -> Any:
    outcome = command("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_evaluate_tells_the_view_of_a_zip_by_its_space(imm_rl_command: Command, zips: None) -> None:
    words = ["--env", "CartPole-v1(observe=[2, 3])", "--episodes", "6"]
    full = _json(imm_rl_command, "full.zip", *words)
    view = _json(imm_rl_command, "view.zip", *words)
    tiger = _json(imm_rl_command, "tiger.zip", "--env", "tiger", "--episodes", "6")

    assert [found["view"] for found in (full, view, tiger)] == ["full", "restricted", "restricted"]
    assert full["eval"]["episodes"] == 6
    assert (full["episode_steps"], full["oracle"]) == (500, None)
    assert tiger["oracle"] == {"mean_return": 500.0}
    assert full["trained_seeds"] is None


def test_evaluate_depends_on_the_seed_alone(imm_rl_command: Command, zips: None) -> None:
    words = ["full.zip", "--env", "CartPole-v1", "--episodes", "6"]
    first, second = (_json(imm_rl_command, *words)["eval"] for _ in range(2))
    other = _json(imm_rl_command, *words, "--seed", "1")["eval"]

    assert first == second != other


def test_evaluate_prints_no_optimum_where_nobody_knows_it(
    imm_rl_command: Command, zips: None
) -> None:
    words = ["full.zip", "--env", "CartPole-v1", "--episodes", "6"]
    out = imm_rl_command("evaluate", *words).out

    assert "full.zip in CartPole-v1: 6 episodes of at most 500 steps, seed 0\n" in out
    assert "optimum" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("full.zip", "does not say which environment it is for. Give --env"),
        ("full.zip --env tiger", "observes Box"),
        ("view.zip --env CartPole-v1", "CartPole-v1 shows Box"),
        ("full.zip --env Pendulum-v1(observe=[0])", "Pendulum-v1 shows Box"),
        ("tiger.zip --env network", "acts in Discrete(3); network has Discrete(4)"),
        ("tiger.zip --env cheese", "cheese shows Discrete(11) or Discrete(8)"),
    ],
)
def test_evaluate_refuses_what_does_not_fit(
    imm_rl_command: Command, zips: None, words: str, message: str
) -> None:
    outcome = imm_rl_command("evaluate", *words.split())

    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_envs_shows_the_spaces_of_a_gymnasium_environment(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command("envs", "CartPole-v1(observe=[2])", "--json").out)
    shown = imm_rl_command("envs", "CartPole-v1").out

    assert found["actions"] == "Discrete(2)"
    assert (found["max_steps"], found["spec"]) == (500, "CartPole-v1(observe=[2])")
    assert found["restricted_view"].startswith("Box(")
    assert "none; --observe gives one" in shown

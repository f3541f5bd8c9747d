from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from stable_baselines3 import PPO

from imm_rl.agents.defaults import ANY_TABULAR, TRAINING
from imm_rl.agents.sb3_settings import SETTINGS, A2CSettings, PPOSettings, setting_names
from imm_rl.cli.train_config import DEFAULTS, FAST, TrainConfig, resolve

CARTPOLE = {"env": "CartPole-v1"}
SEEING = {"env": "CartPole-v1", "observe": "2,3"}


def _config(
    flags: dict[str, Any], file: dict[str, Any] | None = None, **options: Any
) -> TrainConfig:
    return resolve(flags, file or {}, source="f.yaml", **options)[0]


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy for the two last entries of CartPole-v1."""
    from imm_rl.envs.registry import make

    path = tmp_path_factory.mktemp("zip") / "angle.zip"
    pair = make("CartPole-v1", observe=[2, 3])
    PPO("MlpPolicy", pair.sb3_vector(1, "pomdp"), n_steps=8, batch_size=8, device="cpu").save(path)
    return str(path)


@pytest.mark.parametrize(
    ("flags", "agent", "view", "restricted"),
    [
        ({"env": "tiger"}, "reinforce", "full", "pomdp"),
        ({"env": "tiger", "agent": "ppo"}, "ppo", "full", "pomdp"),
        ({"env": "tiger", "agent": "a2c", "view": "restricted"}, "a2c", "restricted", "none"),
        (CARTPOLE, "ppo", "full", "none"),
        (SEEING, "ppo", "restricted", "none"),
        ({**SEEING, "agent": "a2c", "view": "full"}, "a2c", "full", "none"),
        ({**SEEING, "restricted": "none"}, "ppo", "full", "none"),
        ({"env": "CartPole-v1(observe=[0])"}, "ppo", "restricted", "none"),
    ],
)
def test_agent_view_and_restricted_policy_follow_the_environment(
    flags: dict[str, Any], agent: str, view: str, restricted: str
) -> None:
    config = _config(flags)

    assert (config.agent, config.view, config.restricted) == (agent, view, restricted)
    own = TRAINING[agent].get("tiger", {}).get("lambda", "linear:1->0@0.5")
    assert config.imm_lambda == ("0" if restricted == "none" else own)
    assert isinstance(config.settings, SETTINGS[agent])


def test_a_restricted_policy_makes_the_view_full_and_is_kept_from_the_root(
    zipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(zipped).parent)

    config = _config({**SEEING, "restricted": "angle.zip"})

    assert (config.view, config.restricted) == ("full", zipped)
    assert config.imm_lambda == "linear:1->0@0.5"


def test_observe_becomes_a_part_of_the_environment() -> None:
    for file in ({"observe": [2, 3]}, {"observe": "2,3"}):
        assert _config(CARTPOLE, file).env == "CartPole-v1(observe=[2, 3])"
    config, pair = resolve({"env": "Pendulum-v1(g=9.0)", "observe": "1"}, {})
    assert config.env == "Pendulum-v1(g=9.0, observe=[1])"
    assert pair.spec == config.env


def test_the_environments_defaults_lie_between_the_agents_and_the_file() -> None:
    table = {**TRAINING["ppo"][ANY_TABULAR], **TRAINING["ppo"]["tiger"]}
    tiger = {"env": "tiger", "agent": "ppo"}
    usual = _config(tiger)
    assert usual.steps == table.pop("steps")
    assert usual.imm_lambda == table.pop("lambda")
    assert usual.settings == PPOSettings(**table)
    assert _config(tiger, {"n_envs": 3}).settings == PPOSettings(**{**table, "n_envs": 3})
    assert _config({**tiger, "n_envs": "4"}, {"n_envs": 3}).settings.n_envs == 4
    fast = _config(tiger, {"n_steps": 9, "steps": 7, "eval_points": 3}, fast=True)
    assert (fast.steps, fast.settings.eval_points) == (2_000, FAST["ppo"]["eval_points"])
    assert _config({**tiger, "n_steps": "9"}, fast=True).settings.n_steps == 9
    assert _config({"env": "Taxi-v4"}).settings == PPOSettings()


@pytest.mark.parametrize(
    "flags",
    [
        {"env": "tiger", "agent": "ppo", "gamma": "0.9", "refresh": "1"},
        {"env": "tiger", "agent": "a2c", "view": "restricted", "seeds": "1,2"},
        SEEING,
        {**SEEING, "agent": "a2c", "view": "full", "hidden_sizes": "8"},
    ],
)
def test_the_yaml_of_a_configuration_gives_it_again(flags: dict[str, Any]) -> None:
    config = _config(flags)
    told = yaml.safe_load(config.to_yaml())

    found, pair = resolve({}, told, source="config.yaml")

    assert list(told) == [*DEFAULTS, *setting_names(config.agent)]
    assert found == dataclasses.replace(config, seeds_drawn=False)
    assert pair.spec == config.env


@pytest.mark.parametrize("kind", [PPOSettings, A2CSettings])
def test_every_setting_can_be_given_as_text_and_as_value(kind: type[Any]) -> None:
    agent = {PPOSettings: "ppo", A2CSettings: "a2c"}[kind]
    for field in dataclasses.fields(kind):
        default = field.default
        if field.name == "completions":  # there is a model
            continue
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        given = {"env": "cheese", "agent": agent}
        file = {field.name: list(default) if isinstance(default, tuple) else default}
        for config in (_config({**given, field.name: text}), _config(given, file)):
            assert getattr(config.settings, field.name) == default


def test_help_groups_the_settings_by_the_agents_that_have_them(imm_rl_command: Any) -> None:
    shown = imm_rl_command("train", "--help").out

    groups = shown.split("\n\n")
    of = {group.split(":\n")[0]: group for group in groups if group.startswith("settings of ")}
    assert set(of) == {
        *("settings of every agent", "settings of ppo and a2c"),
        *("settings of reinforce", "settings of ppo"),
    }
    assert "--batch-size" in of["settings of ppo"]
    assert "--gae-lambda" in of["settings of ppo and a2c"]
    assert "--baseline" in of["settings of reinforce"]
    rate = " ".join(of["settings of every agent"].split())
    assert "step size (default: reinforce 0.03; ppo 0.0003; a2c 0.0007)" in rate

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from imm_rl.agents.defaults import training_steps
from imm_rl.agents.sb3_settings import setting_names
from imm_rl.agents.settings import PRESETS, ReinforceSettings
from imm_rl.cli.train_config import DEFAULTS, TrainConfig, resolve
from imm_rl.errors import InvalidInputError


def _config(
    flags: dict[str, Any], file: dict[str, Any] | None = None, **options: Any
) -> TrainConfig:
    config, _ = resolve({"env": "tiger", **flags}, file or {}, source="f.yaml", **options)
    return config


def test_resolve_needs_no_more_than_an_environment() -> None:
    config, pair = resolve({"env": "tiger"}, {})

    assert (config.env, config.restricted, config.agent) == ("tiger", "pomdp", "reinforce")
    assert config.steps == training_steps("tiger")
    assert config.seeds_drawn
    assert len(config.seeds) == 1
    assert pair.name == "tiger"


def test_resolve_draws_another_seed_each_time() -> None:
    assert len({_config({}).seeds for _ in range(5)}) > 1


def test_resolve_lays_preset_file_fast_and_flags_over_each_other() -> None:
    assert _config({"preset": "paper"}).settings.eval_episodes == PRESETS["paper"]["eval_episodes"]
    file = {"preset": "paper", "eval_episodes": 33, "eval_points": 9, "steps": 7_000}
    assert _config({}, file).settings.eval_episodes == 33
    assert _config({}, file).settings.n_steps == PRESETS["paper"]["n_steps"]
    fast = _config({"eval_points": "3"}, file, fast=True)
    assert fast.settings.eval_points == 3
    assert fast.steps < 7_000
    assert fast.settings.eval_episodes < 33
    assert _config({"steps": "8_000"}, file, fast=True).steps == 8_000


def test_resolve_lets_flags_override_the_files_environment_and_preset() -> None:
    config, pair = resolve({"env": "cheese"}, {"env": "tiger", "preset": "paper"}, source="f.yaml")
    assert (config.env, pair.name, config.preset) == ("cheese", "cheese", "paper")
    again, _ = resolve({"preset": "default"}, {"env": "tiger", "preset": "paper"}, source="f.yaml")
    assert again.settings == _config({}).settings


@pytest.mark.parametrize("field", dataclasses.fields(ReinforceSettings), ids=lambda f: f.name)
def test_every_setting_can_be_given_as_text_and_as_value(field: dataclasses.Field[Any]) -> None:
    default = getattr(ReinforceSettings(), field.name)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)

    method = {"method": "bc"} if field.name.startswith("bc_") else {}

    by_text = _config({field.name: shown, **method}).settings
    by_value = _config(
        method, {field.name: list(default) if isinstance(default, tuple) else default}
    )

    assert getattr(by_text, field.name) == default
    assert getattr(by_value.settings, field.name) == default


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"restricted": "none", "seeds": "3,4"},
        {"preset": "paper", "lambda": "paper", "hidden_sizes": "8,8"},
        {"restricted": "fib", "temperature": "0.5", "lambda": "target-kl:0.05", "device": "cpu"},
        {"env": "grid(size=7, variance=0.2)"},
    ],
)
def test_the_yaml_of_a_configuration_gives_it_again(flags: dict[str, Any]) -> None:
    config = _config(flags)

    found, pair = resolve({}, yaml.safe_load(config.to_yaml()), source="config.yaml")

    assert found == dataclasses.replace(config, seeds_drawn=False)
    assert pair.spec == config.env


def test_the_yaml_has_every_key_and_no_other() -> None:
    assert list(yaml.safe_load(_config({}).to_yaml())) == [*DEFAULTS, *setting_names("reinforce")]


def test_paths_are_kept_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imm_rl_command: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.POMDP").write_text(
        "discount: 0.9\nvalues: reward\nstates: 2\nactions: 2\nobservations: 2\n"
        "T: * uniform\nO: * uniform\nR: 0 : * : * : * 1.0\n"
    )
    assert imm_rl_command("solve", "--env", "mine.POMDP", "--out", "p.npz").code == 0

    config, pair = resolve({"env": "mine.POMDP(max_steps=9)", "restricted": "p.npz"}, {})

    assert config.env == f"{tmp_path}/mine.POMDP(max_steps=9)"
    assert config.restricted == f"{tmp_path}/p.npz"
    assert pair.max_steps == 9


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"stepz": 3}, r"unknown key 'stepz' in f\.yaml. Did you mean 'steps'"),
        ({"learning-rate": 3}, "Did you mean 'learning_rate'"),
        ({"restricted": None}, "restricted must be a text"),
        ({"seeds": {"a": 1}}, "seeds must be whole numbers"),
        ({"lambda": [1]}, "λ schedule"),
        ({"hidden_sizes": []}, "hidden_sizes"),
    ],
)
def test_resolve_names_what_is_wrong_in_a_file(file: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _config({}, file)


def test_resolve_says_which_factory_failed_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_failing_envs.py").write_text("def broken():\n    return {}['key']\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        InvalidInputError, match="my_failing_envs:broken' cannot be built: KeyError"
    ):
        resolve({"env": "my_failing_envs:broken"}, {})
    with pytest.raises(InvalidInputError, match="os:getcwd must return an EnvPair"):
        resolve({"env": "os:getcwd"}, {})

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from stable_baselines3 import A2C, PPO

from imm_rl.agents.defaults import ANY_OTHER, ANY_TABULAR, TRAINING, training_defaults
from imm_rl.agents.sb3 import BATCH_SIZE, REFRESH
from imm_rl.agents.sb3_settings import (
    SETTINGS,
    A2CSettings,
    PPOSettings,
    agents_with,
    setting_names,
)
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize(("settings", "algorithm"), [(PPOSettings(), PPO), (A2CSettings(), A2C)])
def test_defaults_are_those_of_stable_baselines3(settings: Any, algorithm: Any) -> None:
    theirs = inspect.signature(algorithm.__init__).parameters

    ours = settings.sb3_arguments()

    assert ours.pop("policy_kwargs") == {"net_arch": [64, 64]}
    assert ours == {name: theirs[name].default for name in ours}
    assert {"batch_size", "n_epochs", "clip_range"} <= ours.keys() or algorithm is A2C


def test_arguments_of_matching_leave_the_callbacks_defaults_alone() -> None:
    assert PPOSettings().imm_arguments() == {"batch_size": BATCH_SIZE, "refresh": REFRESH}
    given = PPOSettings(imm_batch=9, refresh=2, completions="equal", context_weight="uniform")
    assert given.imm_arguments() == {
        "completions": "equal",
        "context_weight": "uniform",
        "batch_size": 9,
        "refresh": 2,
    }


def test_gamma_is_the_settings_else_the_models_else_099() -> None:
    assert PPOSettings(gamma=0.5).sb3_arguments(0.95)["gamma"] == 0.5
    assert PPOSettings().sb3_arguments(0.95)["gamma"] == 0.95
    assert PPOSettings().sb3_arguments()["gamma"] == 0.99


@pytest.mark.parametrize("kind", [PPOSettings, A2CSettings])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hidden_sizes", v) for v in ((), (0,), "64", 2.5)),
        *(("learning_rate", v) for v in (0, -1.0, float("nan"), "1", True)),
        *((name, v) for name in ("n_envs", "n_steps", "imm_batch", "refresh") for v in (0, 1.5)),
        *((name, v) for name in ("eval_episodes", "eval_points") for v in (0, "3")),
        *(("gamma", v) for v in (0.0, 1.5)),
        *(("gae_lambda", v) for v in (-0.1, 1.5)),
        *((name, -1.0) for name in ("entropy_coef", "value_coef")),
        ("max_grad_norm", 0.0),
        ("context_weight", "heavy"),
        ("completions", 3),
    ],
)
def test_a_bad_value_is_refused_by_name(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 1},
        {"clip_range": 0.0},
        {"n_epochs": 0},
        {"n_envs": 1, "n_steps": 1},
        {"n_envs": 1, "n_steps": 65, "batch_size": 64},
    ],
)
def test_ppo_refuses_what_it_could_not_normalise_by(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        PPOSettings(**values)


def test_settings_keep_their_values_and_cannot_be_changed() -> None:
    settings = PPOSettings(hidden_sizes=[8, 9], gae_lambda=1)  # type: ignore[arg-type]

    assert settings.hidden_sizes == (8, 9)
    assert settings.gae_lambda == 1.0
    assert settings.rollout_size == 2048
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.n_envs = 3  # type: ignore[misc]


def test_shared_names_mean_the_same_kind_of_value() -> None:
    for name in {n for agent in SETTINGS for n in setting_names(agent)}:
        fields = [
            field
            for agent in agents_with(name)
            for field in dataclasses.fields(SETTINGS[agent])
            if field.name == name
        ]
        kinds = {str(field.type).removesuffix(" | None") for field in fields}
        assert len(kinds) == 1, name
        assert all(field.metadata["help"] for field in fields)
    assert agents_with("batch_size") == ("ppo",)
    assert agents_with("gae_lambda") == ("ppo", "a2c")
    assert agents_with("learning_rate") == ("reinforce", "ppo", "a2c")


@pytest.mark.parametrize("agent", TRAINING)
def test_the_table_of_defaults_is_of_valid_settings(agent: str) -> None:
    for name in TRAINING[agent]:
        if agent == "reinforce" and name == ANY_OTHER:
            continue
        tabular = "-v" not in name and name != ANY_OTHER
        found = training_defaults(agent, name, tabular=tabular)
        assert found.pop("steps") > 0
        found.pop("lambda", None)
        SETTINGS[agent](**found)


def test_an_environments_own_defaults_go_before_those_of_any() -> None:
    TRAINING["ppo"]["my-env"] = {"n_envs": 3}
    try:
        found = training_defaults("ppo", "my-env")
    finally:
        del TRAINING["ppo"]["my-env"]

    assert found == {**TRAINING["ppo"][ANY_TABULAR], "n_envs": 3}
    assert training_defaults("ppo", "my-env") == TRAINING["ppo"][ANY_TABULAR]

"""ReinforceSettings: what is refused, and what the presets say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from imm_rl.agents.settings import PRESETS, ReinforceSettings
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_envs": 0}, "n_envs must be a whole number ≥ 1; received 0"),
        ({"n_envs": True}, "n_envs must be a whole number"),
        ({"n_steps": 2.5}, "n_steps must be a whole number ≥ 1; received 2.5"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0; received 0.0"),
        ({"entropy_coef": "x"}, "entropy_coef must be a finite number ≥ 0; received 'x'"),
        ({"hidden_sizes": 32.0}, "hidden_sizes must be whole numbers ≥ 1, one a layer"),
        ({"hidden_sizes": None}, "hidden_sizes must be whole numbers ≥ 1, one a layer"),
        ({"baseline": "mean"}, "baseline 'mean' changes nothing under normalize_advantage"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"learning_rate": "fast"}, "learning_rate must be a finite number"),
        ({"entropy_coef": -1.0}, "entropy_coef must be a finite number ≥ 0"),
        ({"gamma": 1.5}, r"gamma must be a finite number in \(0, 1\]; received 1.5"),
        ({"gamma": 0.0}, r"gamma must be a finite number in \(0, 1\]"),
        ({"baseline": "valu"}, "unknown baseline 'valu'. Did you mean 'value'?"),
        ({"contexts": "agents"}, "Did you mean 'agent'?"),
        ({"context_weight": "certain"}, "Did you mean 'certainty'?"),
        ({"hidden_sizes": ()}, "hidden_sizes must name at least one layer"),
        ({"hidden_sizes": (32, 0)}, "hidden_sizes must be a whole number ≥ 1; received 0"),
        ({"hidden_sizes": "wide"}, "hidden_sizes must be"),
        ({"normalize_advantage": 1}, "normalize_advantage must be true or false"),
        ({"baseline": "none", "bootstrap": True}, "bootstrap goes on with the value baseline"),
        ({"eval_points": 0}, "eval_points must be a whole number ≥ 1"),
    ],
)
def test_settings_refuse_bad_values(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ReinforceSettings(**changes)  # type: ignore[arg-type]


def test_settings_take_one_layer_as_a_number() -> None:
    assert ReinforceSettings(hidden_sizes=8).hidden_sizes == (8,)  # type: ignore[arg-type]


def test_settings_take_numpy_numbers_as_plain_ones() -> None:
    settings = ReinforceSettings(n_envs=np.int64(3), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(settings.n_envs), type(settings.learning_rate)) == (int, float)


def test_bootstrap_follows_the_baseline_unless_said() -> None:
    assert ReinforceSettings().bootstraps
    assert not ReinforceSettings(baseline="none").bootstraps
    assert not ReinforceSettings(bootstrap=False).bootstraps


def test_settings_are_frozen_and_every_field_has_help() -> None:
    settings = ReinforceSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.n_envs = 2  # type: ignore[misc]
    assert all(field.metadata["help"] for field in dataclasses.fields(settings))


def test_replaced_refuses_unknown_names_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="unknown setting 'n_env'. Did you mean 'n_envs'?"):
        ReinforceSettings().replaced(n_env=3)


def test_paper_preset_is_the_papers_setting() -> None:
    paper = ReinforceSettings.preset("paper")
    assert (paper.n_envs, paper.n_steps, paper.gamma, paper.learning_rate) == (1, 50, 0.9, 0.01)
    assert (paper.baseline, paper.normalize_advantage, paper.bootstrap) == ("none", False, False)
    assert (paper.hidden_sizes, paper.eval_episodes, paper.eval_steps) == ((32,), 10, 22)
    # Every setting but how often to evaluate, and those of a method that the paper does not have, is
    # said, so that new defaults do not change the paper's.
    others = {"eval_points", "bc_episodes", "bc_updates"}
    assert set(PRESETS["paper"]) == {f.name for f in dataclasses.fields(paper)} - others


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_takes_changes(name: str) -> None:
    assert ReinforceSettings.preset(name, eval_points=7).eval_points == 7


def test_preset_refuses_unknown_names() -> None:
    with pytest.raises(InvalidInputError, match="unknown preset 'papr'. Did you mean 'paper'?"):
        ReinforceSettings.preset("papr")

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imm_rl.cli.lm_config import FAST, LMConfig, resolve
from imm_rl.errors import InvalidInputError
from imm_rl.language.lm_presets import DEFAULT_LAMBDA
from imm_rl.language.lm_settings import LMSettings


def test_defaults_are_those_of_the_laptop_preset() -> None:
    config = resolve({}, {})
    assert config.settings == LMSettings()
    assert (config.corpus, config.method) == ("pydoc", "batch")
    assert config.imm_lambda == DEFAULT_LAMBDA["laptop"]
    assert (config.min_count, config.max_vocab, config.device) == (None, None, "auto")
    assert config.seeds_drawn
    assert len(config.seeds) == 1


def test_layers_lie_over_each_other() -> None:
    """defaults < preset < file < --fast < flags."""
    preset = resolve({"preset": "paper", "method": "sampled"}, {})
    assert (preset.settings.hidden_size, preset.imm_lambda) == (1500, DEFAULT_LAMBDA["paper"])
    file = {"preset": "paper", "method": "sampled", "hidden_size": 32, "epochs": 7, "layers": 1}
    assert resolve({}, file).settings == LMSettings.preset(
        "paper", hidden_size=32, epochs=7, layers=1
    )
    fast = resolve({}, file, fast=True)
    assert (fast.settings.hidden_size, fast.settings.epochs, fast.max_vocab) == (64, 4, 500)
    assert fast.settings.layers == 1
    flags = {"hidden_size": "16", "max_vocab": "20", "seeds": "3,4"}
    both = resolve(flags, file, fast=True)
    assert (both.settings.hidden_size, both.settings.epochs, both.max_vocab) == (16, 4, 20)
    assert (both.seeds, both.seeds_drawn) == ((3, 4), False)
    assert set(FAST) == {"max_vocab", "hidden_size", "epochs"}


@pytest.mark.parametrize("method", ["none", "batch", "noising"])
def test_contexts_may_be_longer_than_a_history_where_none_is_drawn(method: str) -> None:
    file: dict[str, Any] = (
        {"method": method} if method == "none" else {"method": method, "order": 12}
    )
    config = resolve({}, file)
    assert config.settings.history >= config.settings.order - 1
    assert "history" not in config.as_dict()
    with pytest.raises(InvalidInputError, match="history must hold the context, 11 words"):
        resolve({}, {"method": "sampled", "order": 12})
    with pytest.raises(InvalidInputError, match="order must be a whole number ≥ 2"):
        resolve({}, {"method": "batch", "order": 1})


def test_paths_are_taken_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "ptb").mkdir()

    def corpus(text: str) -> str:
        return resolve({"corpus": text}, {}).corpus

    assert corpus("text") == corpus("./text") == str(tmp_path / "text")
    assert corpus("ptb") == "ptb"
    assert corpus("./ptb") == str(tmp_path / "ptb")
    assert corpus("none") == "none"


def _again(config: LMConfig) -> LMConfig:
    return resolve({}, config.as_dict())


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"method": "none"},
        {"method": "sampled", "k": "3", "lambda": "linear:1->0@0.5"},
        {"method": "noising", "order": "12", "start_learning_rate": "2"},
        {"preset": "paper", "method": "serialized", "start": "epoch:3"},
    ],
    ids=str,
)
def test_a_configuration_comes_back_from_its_dict(flags: dict[str, str]) -> None:
    config = resolve({"seeds": "7", **flags}, {})
    assert _again(config) == config

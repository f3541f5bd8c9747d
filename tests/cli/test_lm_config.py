from __future__ import annotations

from pathlib import Path

import pytest

from imm_rl.cli.lm_config import LMConfig, resolve, resolve_again
from imm_rl.errors import InvalidInputError
from imm_rl.language.lm_presets import LAMBDAS
from imm_rl.language.lm_settings import LMSettings


def test_defaults_are_those_of_the_laptop_preset() -> None:
    config = resolve({}, {})
    assert config.settings == LMSettings()
    assert (config.corpus, config.method) == ("pydoc", "batch")
    assert config.imm_lambda == LAMBDAS["laptop"]["lstm"]["batch"]
    assert (config.min_count, config.max_vocab, config.device) == (None, None, "auto")
    assert config.seeds_drawn
    assert len(config.seeds) == 1


def test_layers_lie_over_each_other() -> None:
    """defaults < preset < file < --fast < flags."""
    preset = resolve({"preset": "paper", "method": "sampled"}, {})
    assert (preset.settings.hidden_size, preset.imm_lambda) == (
        1500,
        LAMBDAS["paper"]["lstm"]["sampled"],
    )
    file = {"preset": "paper", "method": "sampled", "hidden_size": 32, "epochs": 7, "layers": 1}
    assert resolve({}, file).settings == LMSettings.preset(
        "paper", hidden_size=32, epochs=7, layers=1
    )
    fast = resolve({}, file, fast=True)
    assert (fast.settings.hidden_size, fast.settings.epochs, fast.max_vocab) == (64, 4, 500)
    assert fast.settings.layers == 2
    flags = {"hidden_size": "16", "max_vocab": "20", "seeds": "3,4"}
    both = resolve(flags, file, fast=True)
    assert (both.settings.hidden_size, both.settings.epochs, both.max_vocab) == (16, 4, 20)
    assert (both.seeds, both.seeds_drawn) == ((3, 4), False)


@pytest.mark.parametrize("method", ["none", "batch", "noising"])
def test_contexts_may_be_longer_than_a_history_where_none_is_drawn(method: str) -> None:
    config = resolve({}, {"method": method, "order": 12})
    assert config.settings.history >= config.settings.order - 1 == 11
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
        {"preset": "paper", "optimizer": "adam"},
        {"model": "transformer", "method": "sampled", "every": "1"},
    ],
    ids=str,
)
def test_a_configuration_comes_back_from_its_dict(flags: dict[str, str]) -> None:
    config = resolve({"seeds": "7", **flags}, {})
    assert _again(config) == config
    assert resolve_again(config.as_dict(), "config.yaml") == config


@pytest.mark.parametrize("preset", ["laptop", "paper", "gpu"])
def test_fast_is_small_with_every_preset(preset: str) -> None:
    settings = resolve({"preset": preset}, {}, fast=True).settings
    assert (settings.layers, settings.hidden_size, settings.epochs) == (2, 64, 4)
    assert (settings.update_words, settings.warmup, settings.compile) == (700, 0, False)
    assert (settings.memory, settings.history, settings.precision) == (64, 8, "float32")
    compiled = resolve({"model": "transformer", "compile": "true"}, {}, fast=True)
    assert compiled.settings.compile


@pytest.mark.parametrize("chosen", [{"preset": "gpu"}, {"model": "transformer", "compile": "true"}])
def test_aligned_is_refused_where_layers_are_compiled(chosen: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="aligned:2 and compile is true"):
        resolve({**chosen, "lambda": "aligned:2"}, {})
    assert resolve({**chosen, "lambda": "target-kl:0.5"}, {}).imm_lambda == "target-kl:0.5"
    eager = resolve({**chosen, "lambda": "aligned:2", "compile": "false"}, {})
    assert eager.imm_lambda == "aligned:2"


def test_step_sizes_of_a_preset_give_way_where_another_optimizer_is_given() -> None:
    adam = resolve({"preset": "paper", "optimizer": "adam"}, {}).settings
    assert (adam.learning_rate, adam.start_learning_rate) == (0.002, None)
    sgd = resolve({}, {"model": "transformer", "optimizer": "sgd"}).settings
    assert (sgd.optimizer, sgd.learning_rate) == ("sgd", 20.0)


def test_settings_that_a_run_s_file_lacks_are_those_of_its_time() -> None:
    made = resolve({"model": "transformer", "seeds": "0"}, {})
    assert (made.settings.annealing, made.settings.warmup) == ("linear", 100)  # of today's preset
    file = made.as_dict()
    for name in ("annealing", "warmup", "precision", "compile"):
        del file[name]
    again = resolve_again(file, "config.yaml").settings
    assert (again.annealing, again.warmup, again.precision) == ("plateau", 0, "float32")
    assert again.learning_rate == made.settings.learning_rate
    # Written before `between` was left out where every update draws.
    file = {"method": "sampled", "every": 1, "between": "batch", "seeds": [0]}
    assert resolve_again(file, "config.yaml").settings.every == 1

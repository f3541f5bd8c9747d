from __future__ import annotations

from typing import Any

import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.language import lm_presets, lm_settings
from imm_rl.language.lm_settings import LMSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "lstn"}, "unknown model 'lstn'. Did you mean 'lstm'?"),
        ({"optimizer": "adm"}, "Did you mean 'adam'?"),
        ({"between": "sampled"}, "unknown between 'sampled'"),
        ({"hidden_size": 0}, "hidden_size must be a whole number ≥ 1"),
        ({"layers": True}, "layers must be a whole number ≥ 1"),
        ({"epochs": 2.0}, "epochs must be a whole number ≥ 1"),
        ({"order": 1}, "order must be a whole number ≥ 2"),
        ({"contexts": -1}, "contexts must be a whole number ≥ 0"),
        ({"tied": 1}, "tied must be true or false"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"decay": 0.0}, r"decay must be in \(0, 1\]"),
        ({"clip": float("inf")}, "clip must be > 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be > 0"),
        ({"init_range": "0.1"}, "init_range must be > 0"),
        ({"start_learning_rate": 0.0}, "start_learning_rate must be > 0"),
        ({"order": 4, "history": 2}, "history must hold the context, 3 words; received 2"),
        ({"start": "soon"}, "start must be epoch:N, N ≥ 0, or ppl:X, X ≥ 1; received 'soon'"),
        ({"start": "epoch:1.5"}, "start must be"),
        ({"start": "ppl:0.5"}, "start must be"),
        ({"start": "ppl:1.2.3"}, "start must be"),
        ({"start": None}, "start must be"),
        ({"precision": "bf16"}, "unknown precision 'bf16'"),
        ({"compile": 1}, "compile must be true or false"),
        ({"memory": -1}, "memory must be a whole number ≥ 0"),
        ({"warmup": 0.5}, "warmup must be a whole number ≥ 0"),
        ({"heads": 0}, "heads must be a whole number ≥ 1"),
        (
            {"model": "transformer", "hidden_size": 36, "heads": 4},
            "hidden_size must be a multiple of twice the heads, 8; received 36",
        ),
    ],
)
def test_settings_refuse_bad_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        LMSettings(**changes)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("epoch:0", ("epoch", 0.0)),
        (" epoch : 12 ", ("epoch", 12.0)),
        ("ppl:90.5", ("ppl", 90.5)),
        ("ppl:1e3", ("ppl", 1000.0)),
    ],
)
def test_start_rule_reads_the_text(text: str, rule: tuple[str, float]) -> None:
    assert LMSettings(start=text).start_rule() == rule


def test_presets_are_the_defaults_and_the_authors_settings() -> None:
    assert LMSettings.preset("laptop") == LMSettings()
    paper = LMSettings.preset("paper", epochs=3)
    assert (paper.hidden_size, paper.layers, paper.dropout, paper.epochs) == (1500, 2, 0.65, 3)
    assert (paper.batch_size, paper.unroll, paper.update_words) == (20, 35, 700)
    assert (paper.k, paper.every, paper.between) == (10, 5, "noising")
    assert paper.start_rule() == ("ppl", 90.0)
    with pytest.raises(InvalidInputError, match="unknown preset 'papr'. Did you mean 'paper'?"):
        LMSettings.preset("papr")


def test_presets_are_of_a_model() -> None:
    for name, models in lm_presets.PRESETS.items():
        for model in models:
            assert LMSettings.preset(name, model=model).model == model
    assert LMSettings.preset("laptop").model == "lstm"
    assert LMSettings.preset("gpu").model == "transformer"  # its only one
    with pytest.raises(InvalidInputError, match="Its presets are: laptop, gpu"):
        LMSettings.preset("paper", model="transformer")
    with pytest.raises(InvalidInputError, match="Did you mean 'transformer'?"):
        LMSettings.preset("laptop", model="tranformer")


def test_every_preset_has_a_weight_for_every_method() -> None:
    for name, models in lm_presets.PRESETS.items():
        assert lm_presets.LAMBDAS[name].keys() == models.keys()
        for model in models:
            methods = {*lm_presets.LAMBDAS[name][model], "none"}
            assert methods == set(lm_settings.METHODS)
            assert lm_presets.default_lambda(name, model, "none") == "0"
    assert lm_presets.default_lambda("paper", "lstm", "batch") == "0.1"
    assert "0.1 for gpu transformer" in lm_presets.told_lambdas()


@pytest.mark.parametrize("model", ["transfomer", ["lstm"]])
def test_presets_know_their_models(model: Any) -> None:
    with pytest.raises(InvalidInputError, match="unknown model"):
        lm_presets.preset_values("laptop", model)


@pytest.mark.parametrize(
    ("preset", "model", "other", "expected"),
    [
        ("paper", "lstm", "adam", 0.002),
        ("laptop", "transformer", "sgd", 20.0),
        ("gpu", "transformer", "sgd", 20.0),
    ],
)
def test_step_sizes_of_a_preset_are_for_its_own_optimizer(
    preset: str, model: str, other: str, expected: float
) -> None:
    changed = LMSettings.preset(preset, model=model, optimizer=other)
    assert (changed.learning_rate, changed.start_learning_rate) == (expected, None)
    own = LMSettings.preset(preset, model=model)
    again = LMSettings.preset(preset, model=model, optimizer=own.optimizer)
    assert again == own
    assert own.learning_rate == lm_presets.PRESETS[preset][model]["learning_rate"]
    chosen = LMSettings.preset(preset, model=model, optimizer=other, start_learning_rate=3.0)
    assert chosen.start_learning_rate == 3.0


def test_a_warm_up_must_end_before_the_training() -> None:
    LMSettings(epochs=2, warmup=19).check_length(10)
    message = (
        r"warmup must be less than the updates of the training, 20 \(2 epochs of 10\); received 20"
    )
    with pytest.raises(InvalidInputError, match=message):
        LMSettings(epochs=2, warmup=20).check_length(10)


def test_the_optimizer_is_the_model_s_where_nobody_says() -> None:
    assert LMSettings(model="transformer").optimizer == "adam"
    assert LMSettings(model="transformer", optimizer="sgd").step_size == 20.0
    assert LMSettings().optimizer == "sgd"


@pytest.mark.parametrize("name", lm_settings.TRANSFORMERS)
def test_settings_that_a_model_would_ignore_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} is of no use to the model 'lstm'"):
        lm_settings.refuse_unused("batch", {name: 1})
    lm_settings.refuse_unused("batch", {name: 1}, "transformer")


def test_methods_are_known_by_name() -> None:
    assert [lm_settings.checked_method(name) for name in lm_settings.METHODS] == [
        *lm_settings.METHODS
    ]
    assert lm_settings.checked_method("imm") == "batch"
    with pytest.raises(InvalidInputError, match="unknown method 'noisin'. Did you mean 'noising'?"):
        lm_settings.checked_method("noisin")


@pytest.mark.parametrize(
    ("method", "unused"),
    [
        ("none", {"k", "history", "contexts", "every", "between", "start"}),
        ("noising", {"k", "history", "contexts", "every", "between"}),
        ("batch", {"k", "history", "contexts", "every", "between"}),
        ("sampled", set()),
        ("serialized", set()),
    ],
)
def test_settings_that_a_method_would_ignore_are_refused(method: str, unused: set[str]) -> None:
    for name in ("k", "history", "contexts", "every", "between", "order", "start", "dropout"):
        if name in unused:
            with pytest.raises(InvalidInputError, match=f"^{name} is of no use to .*{method!r}"):
                lm_settings.refuse_unused(method, {"epochs": 3, name: 1})
        else:
            lm_settings.refuse_unused(method, {"epochs": 3, name: 1})


def test_the_step_size_is_the_optimizer_s_where_nobody_says() -> None:
    assert LMSettings().step_size == 20.0
    adam = LMSettings(optimizer="adam")
    assert (adam.learning_rate, adam.step_size) == (0.002, 0.002)
    assert LMSettings(optimizer="adam", learning_rate=0.1).step_size == 0.1

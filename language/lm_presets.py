"""Presets: settings to start from, by name and model, for `LMSettings.preset` and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imm_rl.errors import InvalidInputError, unknown_name

MODELS = ("lstm", "transformer")
OPTIMIZER_OF: Mapping[str, str] = MappingProxyType({"lstm": "sgd", "transformer": "adam"})
"""Where nobody says, by model."""

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "laptop": {
            "lstm": {},
            "transformer": {
                "hidden_size": 128,
                "layers": 3,
                "dropout": 0.3,
                "tied": True,
                "init_range": 0.05,
                "learning_rate": 0.002,
                "warmup": 100,
                "annealing": "linear",
                "epochs": 25,
            },
        },
        "paper": {
            "lstm": {
                "hidden_size": 1500,
                "dropout": 0.65,
                "epochs": 55,
                "learning_rate": 1.0,
                "clip": 5.0,
                "history": 35,
                "contexts": 0,
                "between": "noising",
                "start": "ppl:90",
                "start_learning_rate": 1.0,
            },
        },
        "gpu": {
            "transformer": {
                "hidden_size": 512,
                "layers": 8,
                "heads": 8,
                "memory": 256,
                "dropout": 0.3,
                "tied": True,
                "init_range": 0.035,
                "batch_size": 32,
                "unroll": 256,
                "learning_rate": 0.0005,
                "warmup": 1000,
                "annealing": "linear",
                "clip": 1.0,
                "epochs": 40,
                "history": 32,
                "precision": "bfloat16",
                "compile": True,
            },
        },
    }
)
"""By preset and model; a preset that is named without a model is that of its first one.

`paper` is the authors' LSTM for Penn Treebank: 2 × 1500, batch 20 × 35, at every fifth update 10 histories
of each context. Their λ 0.2 and step size 0.5 from perplexity 90 on stand beside a main gradient that is
doubled: here that is λ 0.1 and step size 1. `gpu` is a transformer of 8 × 512 for a million words and more.
"""

STEP_SIZES_OF_AN_OPTIMIZER = ("learning_rate", "start_learning_rate")

TERMS = ("noising", "batch", "sampled", "serialized")
"""Methods with a term to weigh."""

LAMBDAS: Mapping[str, Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "laptop": {
            "lstm": dict.fromkeys(TERMS, "0.5"),
            "transformer": {**dict.fromkeys(TERMS, "1"), "noising": "0.5"},
        },
        "paper": {"lstm": dict.fromkeys(TERMS, "0.1")},
        "gpu": {"transformer": dict.fromkeys(TERMS, "0.1")},
    }
)
"""λ by preset, model and method, where nobody says; `none` has no term to weigh. `language_report.CHOICE`
says where they come from."""


def default_lambda(preset: str, model: str, method: str) -> str:
    """λ where nobody says."""
    return "0" if method == "none" else LAMBDAS[preset][model][method]


def told_lambdas() -> str:
    """The table of λ in a line, for the command line's help."""
    return ", ".join(
        f"{'/'.join(dict.fromkeys(weights.values()))} for {name} {model}"
        for name, models in LAMBDAS.items()
        for model, weights in models.items()
    )


def preset_values(
    name: str, model: str | None = None, optimizer: str | None = None
) -> dict[str, Any]:
    """What a preset sets, by setting, `model` among them.

    Args:
        name: Of the preset.
        model: A name of `MODELS`; None: the preset's first.
        optimizer: Where one is asked for. The preset's step sizes are for its own optimizer, and are
            left out where this is another.

    Raises:
        InvalidInputError: There is no such preset or model, or it is none of that model.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    if model is not None and model not in MODELS:
        raise unknown_name("model", model, MODELS)
    models = PRESETS[name]
    chosen = next(iter(models)) if model is None else model
    if chosen not in models:
        others = [other for other in PRESETS if chosen in PRESETS[other]]
        raise InvalidInputError(
            f"preset {name!r} is one of {' and '.join(models)}, and the model is {chosen!r}. "
            f"Its presets are: {', '.join(others)}."
        )
    found = {"model": chosen, **models[chosen]}
    if optimizer not in (None, found.get("optimizer", OPTIMIZER_OF[chosen])):
        for step_size in STEP_SIZES_OF_AN_OPTIMIZER:
            found.pop(step_size, None)
    return found

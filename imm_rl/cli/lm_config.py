"""What `imm-rl lm train` is told, and by whom, checked before anything runs.

defaults < preset < file < --fast < flags

Every option of `imm-rl lm train --help` that shapes the training is a key of the configuration file under
the same name, with `_` for `-`; the same keys stand in a run folder's `config.yaml`.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any

from imm_rl.cli import values
from imm_rl.cli.setting_options import add_fields
from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.files import user_path
from imm_rl.language.lm_presets import PRESETS, default_lambda, preset_values, told_lambdas
from imm_rl.language.lm_settings import (
    DRAWS,
    METHODS,
    LMSettings,
    checked_method,
    refuse_unused,
)
from imm_rl.settings_checks import LARGEST

DEFAULTS: dict[str, Any] = {
    "corpus": "pydoc",
    "min_count": None,
    "max_vocab": None,
    "method": "batch",
    "lambda": None,
    "seeds": None,
    "device": "auto",
    "logdir": "runs",
    "preset": "laptop",
}
"""Of the keys that are no settings of the model; None: as corpus, preset and method suggest, or drawn."""

FAST: dict[str, Any] = {
    "max_vocab": 500,
    "hidden_size": 64,
    "layers": 2,
    "memory": 64,
    "history": 8,
    "batch_size": 20,
    "unroll": 35,
    "epochs": 4,
    "warmup": 0,
    "precision": "float32",
    "compile": False,
}
"""What `--fast` sets: enough to see that everything works, with any preset. An LSTM, which has no use for
`memory` and `compile`, has these values anyway."""

SETTINGS = tuple(field.name for field in dataclasses.fields(LMSettings))


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """A training as `config.yaml` has it: complete, with nothing left to a default.

    Attributes:
        corpus: A name or an absolute path.
        seeds_drawn: Whether nobody gave the seed.
        warmup_given: Whether somebody gave the warm-up; that of a preset gives way to a short text.
    """

    corpus: str
    min_count: int | None
    max_vocab: int | None
    method: str
    imm_lambda: str
    seeds: tuple[int, ...]
    device: str
    logdir: str
    preset: str
    settings: LMSettings
    seeds_drawn: bool = False
    warmup_given: bool = dataclasses.field(default=True, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Keys and plain values, as the file has them; settings that do not count are left out."""
        shown = {
            "corpus": self.corpus,
            "min_count": self.min_count,
            "max_vocab": self.max_vocab,
            "method": self.method,
            "lambda": self.imm_lambda,
            "seeds": list(self.seeds),
            "device": self.device,
            "logdir": self.logdir,
            "preset": self.preset,
        }
        return shown | counting(self.method, dataclasses.asdict(self.settings))

    def to_yaml(self) -> str:
        """The configuration file that makes this training again."""
        import yaml

        return str(yaml.safe_dump(self.as_dict(), sort_keys=False, default_flow_style=None))


def counting(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings that a method, and the model that they name, have a use for."""
    kept = {}
    for name, value in settings.items():
        try:
            # `between` alone depends on another one.
            beside = {"every": settings.get("every")} if name == "between" else {}
            model = str(settings.get("model", LMSettings.model))
            refuse_unused(method, {name: value, **beside}, model)
        except InvalidInputError:
            continue
        kept[name] = value
    return kept


def keys() -> list[str]:
    """Every key of a configuration file."""
    return [*DEFAULTS, *SETTINGS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every option of a training; values stay texts, checked by `resolve`."""
    what = parser.add_argument_group("what is trained")
    what.add_argument(
        "--corpus",
        metavar="NAME|PATH",
        help="pydoc (default: the prose of Python's documentation, nothing is downloaded), ptb, "
        "wikitext-2, or a folder with train, valid and test text, or one text file",
    )
    what.add_argument(
        "--min-count", metavar="N", help="rarer words become <unk> (default: 2 for pydoc, else 1)"
    )
    what.add_argument("--max-vocab", metavar="N", help="at most so many words (default: all)")
    methods = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
    what.add_argument(
        "--method", metavar="NAME", help=f"{methods} (default: batch, also called imm)"
    )
    what.add_argument(
        "--lambda", metavar="SCHEDULE", help=f"weight of the term (default: {told_lambdas()})"
    )
    what.add_argument("--seeds", metavar="K", help="such as 3, 0-2 or 3,4 (default: one, drawn)")
    what.add_argument("--device", metavar="NAME", help="auto (default), cpu or cuda")
    what.add_argument("--logdir", metavar="DIR", help="where run folders go (default: runs)")
    what.add_argument(
        "--preset",
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: laptop); each has settings of its own for each model",
    )
    group = parser.add_argument_group(
        "settings of model and training",
        "Defaults are the laptop LSTM's; --model transformer --print-config shows a transformer's.",
    )
    add_fields(group, LMSettings)


def resolve(
    flags: dict[str, Any], file: dict[str, Any], *, source: str = "", fast: bool = False
) -> LMConfig:
    """Lays the layers over each other and checks the result; no corpus is read.

    Args:
        flags: Key -> text, of the options that were given.
        file: Key -> value, of a configuration file.
        source: The file's name, for errors.
        fast: Whether `--fast` was given: it overrides the file, and flags override it.

    Raises:
        InvalidInputError: A key is unknown, a value out of range, or two contradict each other.
    """
    for key in file:
        if key not in keys():
            raise unknown_name("key", key, keys(), f"in {source}")
    given = {**file, **(FAST if fast else {}), **flags}
    texts = {
        key: values.text(key, given.get(key, DEFAULTS[key]))
        for key in ("corpus", "method", "device", "logdir", "preset")
    }
    texts["logdir"] = str(user_path(texts["logdir"]))
    method = checked_method(texts["method"])
    preset = preset_values(texts["preset"], given.get("model"), given.get("optimizer"))
    chosen = {**preset, **{key: value for key, value in given.items() if key in SETTINGS}}
    refuse_unused(method, {**file, **flags}, chosen["model"])
    settings = _settings(method, chosen)
    drawn = given.get("seeds") is None
    sizes = {
        key: None if given.get(key) is None else values.count(key, given[key])
        for key in ("min_count", "max_vocab")
    }
    return LMConfig(
        corpus=_absolute(texts["corpus"]),
        method=method,
        imm_lambda=_checked_lambda(
            given.get("lambda"),
            method,
            default_lambda(texts["preset"], settings.model, method),
            settings,
        ),
        seeds=(values.drawn_seed(),) if drawn else values.seeds("seeds", given["seeds"]),
        device=texts["device"],
        logdir=texts["logdir"],
        preset=texts["preset"],
        settings=settings,
        seeds_drawn=drawn,
        warmup_given="warmup" in given,
        **sizes,
    )


def resolve_again(made: dict[str, Any], source: str) -> LMConfig:
    """The configuration of a run that is taken up again.

    Settings that its file lacks are newer than the run: they are what the code of then did, the defaults of
    `LMSettings`, and not what the preset says now.

    Args:
        made: What `config.yaml` holds.
        source: Its name, for errors.

    Raises:
        InvalidInputError: As `resolve`.
    """
    settings = {field.name: field.default for field in dataclasses.fields(LMSettings)}
    settings |= {name: value for name, value in made.items() if name in SETTINGS}
    others = {name: value for name, value in made.items() if name not in SETTINGS}
    method = checked_method(values.text("method", made.get("method", DEFAULTS["method"])))
    return resolve({}, {**others, **counting(method, settings)}, source=source)


def _settings(method: str, chosen: dict[str, Any]) -> LMSettings:
    """The settings; a history is as long as it must be where nobody draws one."""
    if method not in DRAWS:
        longest = values.settings({**chosen, "history": LARGEST}, LMSettings)
        chosen = {**chosen, "history": max(LMSettings.history, longest.order - 1)}
    return values.settings(chosen, LMSettings)


def _checked_lambda(given: Any, method: str, default: str, settings: LMSettings) -> str:
    from imm_rl.schedules import parse

    if given is None:
        return default
    schedule = parse(given)
    if schedule.text == "paper":
        raise InvalidInputError(
            "lambda 'paper' is the rule of the paper's agents. Language models take a number or another "
            "schedule; --preset paper has the paper's weight."
        )
    if method == "none" and schedule.text != "0":
        raise InvalidInputError(
            f"lambda is {schedule.text}, and the method 'none' has no term to weigh. Leave it out, or "
            "choose --method batch."
        )
    settings.check_schedule(schedule)
    return schedule.text


def _absolute(corpus: str) -> str:
    """A path from the root, so that a run can be resumed from anywhere; names stay as they are."""
    from imm_rl.language.corpus import EMBEDDED
    from imm_rl.language.public_corpora import names

    if corpus == EMBEDDED or corpus in names():
        return corpus
    path = user_path(corpus)
    return str(path.absolute()) if path.exists() or "/" in corpus else corpus

"""Where a language model's training stands, as an `.npz`, and trained models as files.

`imm-rl lm train` writes a checkpoint after every epoch and on Ctrl-C, anywhere within an epoch; a resumed
run ends with the parameters of one that was never interrupted. Of several processes that train together
all call `save_checkpoint`, and the first one writes one file for all; it is taken up by as many.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from imm_rl import launch
from imm_rl.errors import InvalidInputError
from imm_rl.language.language_model import LanguageModel, build
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import FINAL_NOTES, Best, LMTrainer, bound_to_length
from imm_rl.language.lm_update import EpochSums
from imm_rl.language.vocabulary import Vocabulary
from imm_rl.runs import RunFolder
from imm_rl.state_file import (
    Arrays,
    check_identity,
    read_identity,
    state_part,
    with_prefix,
    write_state,
)

COUNTERS = ("epoch", "updates", "piece", "recoveries", "started", "learning_rate", "seconds")
KIND = "language model"


def save_checkpoint(trainer: LMTrainer, path: str | Path) -> None:
    """Writes the training's state to an `.npz`, whole or not at all."""
    state = training_state(trainer)
    if trainer.processes.first:
        write_state(path, identity(trainer), state)


def load_checkpoint(trainer: LMTrainer, path: str | Path) -> None:
    """Puts a new trainer of the same making where the checkpoint says.

    The trainer may have more epochs, where the training is the beginning of the longer one
    (`lm_training.bound_to_length`): also one that had come to its end goes on then.

    Raises:
        InvalidInputError: Not such a file, or one of another training; the error says how they differ.
    """
    made, state = read_identity(path, f"a {KIND}")
    count, now = made.get("processes", 1), trainer.processes.count
    if count != now:
        raise InvalidInputError(
            f"{path} is a checkpoint of a training in {count} process{'es' * (count != 1)}, and "
            f"{now} {'were' if now > 1 else 'was'} started: each has streams and random numbers of its "
            f"own. Go on with: {' '.join(launch.start_words(count))} lm train --resume {_run_of(path)}"
        )
    made = _prolonged(_with_all_settings(made), trainer)
    check_identity(path, made, identity(trainer), KIND)
    try:
        restore(trainer, state)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"{path} is a checkpoint of another version, or damaged: {reason}. Start a new run."
        ) from None


def _run_of(path: str | Path) -> str:
    """The run that a checkpoint lies in, as a word of a command line."""
    run = RunFolder.around(Path(path).parent.parent)
    return "RUN" if run is None else shlex.quote(str(run.path))


def _with_all_settings(made: dict[str, Any]) -> dict[str, Any]:
    """An identity with the settings that are newer than it; their defaults do what the code of then did."""
    defaults = {field.name: field.default for field in dataclasses.fields(LMSettings)}
    found = made.get("settings")
    return {**made, "settings": {**defaults, **found}} if isinstance(found, dict) else made


def _prolonged(made: dict[str, Any], trainer: LMTrainer) -> dict[str, Any]:
    """An identity with the trainer's epochs, where it had fewer and that makes no difference."""
    found, epochs = made.get("settings"), trainer.settings.epochs
    if not isinstance(found, dict) or found.get("epochs", epochs) >= epochs:
        return made
    if bound_to_length(trainer.settings, trainer.schedule):
        return made
    return {**made, "settings": {**found, "epochs": epochs}}


def identity(trainer: LMTrainer) -> dict[str, Any]:
    """What must be the same for a checkpoint to fit, JSON-able, by the name that errors use."""
    several = {} if trainer.processes.count == 1 else {"processes": trainer.processes.count}
    return {
        **several,
        "corpus": trainer.corpus.fingerprint(),
        "method": trainer.method,
        "lambda": trainer.schedule.text,
        "seed": trainer.seed,
        "device": trainer.device.type,  # random numbers go on on the same kind alone
        "settings": dataclasses.asdict(trainer.settings),
    }


def training_state(trainer: LMTrainer) -> Arrays:
    """The state of a training between two updates, as arrays by name.

    Of several processes: for the first one that of all, for the others nothing.
    """
    parts = trainer.processes.gathered(_own_state(trainer))
    if not trainer.processes.first:
        return {}
    best = trainer.best
    counters = [float(getattr(trainer, name)) for name in COUNTERS]
    state: dict[str, Any] = {
        "counters": np.array(counters),
        "records": np.array(json.dumps(trainer.records)),
        "notes": np.array(json.dumps(trainer.notes)),
        "best": np.array([best.perplexity, best.epoch]),
        "generator": trainer.generator.get_state().numpy(),
        **with_prefix("parameters", _arrays(trainer.model.state_dict())),
        **with_prefix("best_parameters", _arrays(best.parameters)),
        **with_prefix("controller", trainer.controller.state()),
    }
    for rank, part in enumerate(parts):
        state |= with_prefix(f"process_{rank}", part) if rank else part
    for index, held in trainer.optimizer.state_dict()["state"].items():
        named = {key: _array(value) for key, value in held.items() if value is not None}
        state |= with_prefix(f"optimizer/{index}", named)
    return state


def _own_state(trainer: LMTrainer) -> Arrays:
    """What each process has for itself."""
    carried = {str(i): _array(part) for i, part in enumerate(trainer.carried)}
    return {
        "sums": np.array(trainer.gradients.sums.values()),
        "dropout": trainer.dropout.state.numpy(),
        **with_prefix("carried", carried),
    }


def restore(trainer: LMTrainer, state: Arrays) -> None:
    """Puts a new trainer where `training_state` says."""
    device, rank = trainer.device, trainer.processes.rank
    own = state_part(f"process_{rank}", state) if rank else state
    for name, value in zip(COUNTERS, state["counters"], strict=True):
        setattr(trainer, name, type(getattr(trainer, name))(value))
    trainer.records = json.loads(str(state["records"]))
    trainer.notes = json.loads(str(state["notes"]))
    if not trainer.finished:  # of a training that had come to its end, and is prolonged
        trainer.notes = [note for note in trainer.notes if not note.startswith(FINAL_NOTES)]
    trainer.gradients.sums = EpochSums.of(own["sums"])
    best_parameters = _tensors(state_part("best_parameters", state), device)
    perplexity, epoch = state["best"]
    trainer.best = Best(float(perplexity), int(epoch), best_parameters)
    trainer.model.load_state_dict(_tensors(state_part("parameters", state), device))
    trainer.optimizer = trainer.new_optimizer()
    held: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _tensors(state_part("optimizer", state), device).items():
        index, _, name = key.partition("/")
        # Adam counts its steps on the CPU.
        held.setdefault(int(index), {})[name] = value.cpu() if name == "step" else value
    empty = trainer.optimizer.state_dict()
    trainer.optimizer.load_state_dict({**empty, "state": held})
    carried = _tensors(state_part("carried", own), device)
    trainer.carried = tuple(
        carried[str(i)].to(part.dtype) for i, part in enumerate(trainer.carried)
    )
    trainer.controller.restore(state_part("controller", state))
    trainer.dropout.state = torch.from_numpy(own["dropout"].copy())
    trainer.generator.set_state(torch.from_numpy(state["generator"].copy()))


class TrainedModel(NamedTuple):
    """A model as its file has it.

    Attributes:
        model: In evaluation mode, on the CPU.
        vocabulary: Its words.
        about: `kind`, `name` (the corpus's), `valid_perplexity`, and what `identity` gives, of which
            `corpus` is the text's fingerprint.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    about: dict[str, Any]


def save_model(trainer: LMTrainer, path: str | Path) -> None:
    """Writes the best state, with its vocabulary and settings, to an `.npz`."""
    about = {
        "kind": KIND,
        "name": trainer.corpus.name,
        **identity(trainer),
        "valid_perplexity": trainer.best.perplexity,
    }
    words = np.array(trainer.corpus.vocabulary.text())
    arrays = with_prefix("parameters", _arrays(trainer.best.parameters))
    write_state(path, about, {"vocabulary": words, **arrays})


def load_model(path: str | Path) -> TrainedModel:
    """Reads a trained model.

    Raises:
        InvalidInputError: Not such a file.
    """
    about, state = read_identity(path, "a language model")
    if about.get("kind") != KIND:
        raise InvalidInputError(f"{path} is no language model.")
    try:
        vocabulary = Vocabulary.from_text(str(state["vocabulary"]))
        # To compile is for long trainings: here it would cost more than it gains, or not work at all.
        settings = dataclasses.replace(LMSettings(**about["settings"]), compile=False)
        model = build(settings, len(vocabulary), 0)
        model.load_state_dict(_tensors(state_part("parameters", state), torch.device("cpu")))
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"{path} is a language model of another version: {reason}"
        ) from None
    return TrainedModel(model.eval(), vocabulary, about)


def _arrays(tensors: dict[str, torch.Tensor]) -> Arrays:
    return {name: _array(value) for name, value in tensors.items()}


def _array(tensor: torch.Tensor) -> Any:
    # NumPy has no bfloat16; a float32 holds the same number.
    held = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    return held.cpu().numpy()


def _tensors(arrays: Arrays, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.copy()).to(device) for name, value in arrays.items()}

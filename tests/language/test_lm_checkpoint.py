from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.corpus import Corpus
from imm_rl.language.lm_checkpoint import (
    identity,
    load_checkpoint,
    load_model,
    restore,
    save_checkpoint,
    save_model,
    training_state,
)
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_training import LMTrainer, Record
from imm_rl.state_file import read_identity, write_state

Trainers = Callable[..., LMTrainer]

TRAININGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "none": ("none", "0", {}),
    "batch": ("batch", "linear:1->0@0.5", {"order": 3}),
    "noising, adam": ("noising", "0.5", {"optimizer": "adam", "learning_rate": 0.02}),
    "sampled, tied": ("sampled", "0.5", {"tied": True}),
    "serialized": ("serialized", "0.5", {"between": "noising", "layers": 1}),
    "aligned": ("sampled", "aligned:1", {"every": 3}),
    "transformer": (
        "sampled",
        "0.5",
        {
            "model": "transformer",
            "heads": 2,
            "memory": 12,
            "learning_rate": 0.01,
            "warmup": 15,
            "annealing": "linear",
        },
    ),
    "bfloat16": ("batch", "0.5", {"model": "transformer", "heads": 2, "precision": "bfloat16"}),
    "bfloat16, lstm": ("serialized", "0.5", {"precision": "bfloat16"}),
    "target-kl": ("batch", "target-kl:0.05", {"start": "epoch:1", "start_learning_rate": 3.0}),
}


def final_state(one: LMTrainer) -> dict[str, Any]:
    """Everything but times, as bytes."""
    state = {key: value.tobytes() for key, value in training_state(one).items()}
    del state["records"]
    counters = training_state(one)["counters"].tolist()
    state["counters"] = counters[:-1]  # the last one is seconds
    state["records"] = [
        {k: v for k, v in record.items() if not k.startswith("time/")} for record in one.records
    ]
    return state


def stop_after(updates: int) -> Callable[[LMTrainer, Record | None], bool]:
    return lambda t, _: t.updates < updates


@pytest.fixture(scope="module")
def uninterrupted(trainer: Trainers) -> dict[str, dict[str, Any]]:
    found = {}
    for name, (method, weight, changes) in TRAININGS.items():
        one = trainer(method, weight, epochs=2, **changes)
        one.train()
        found[name] = final_state(one)
    return found


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("updates", [3, 10, 14, 20])
def test_a_training_goes_on_bit_for_bit_wherever_it_was_stopped(
    trainer: Trainers,
    uninterrupted: dict[str, dict[str, Any]],
    tmp_path: Path,
    name: str,
    updates: int,
) -> None:
    method, weight, changes = TRAININGS[name]
    stopped = trainer(method, weight, epochs=2, **changes)
    stopped.train(stop_after(updates))
    assert stopped.updates == updates
    save_checkpoint(stopped, tmp_path / "latest.npz")

    other = trainer(method, weight, epochs=2, **changes)
    load_checkpoint(other, tmp_path / "latest.npz")
    assert final_state(other) == final_state(stopped)
    other.train()

    assert final_state(other) == uninterrupted[name]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_checkpoint_written_while_training_goes_on_is_as_good(
    trainer: Trainers, uninterrupted: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    method, weight, changes = TRAININGS[name]

    def save(t: LMTrainer, record: Record | None) -> bool:
        if t.updates in (4, 10, 17):
            save_checkpoint(t, tmp_path / f"{t.updates}.npz")
        return True

    trainer(method, weight, epochs=2, **changes).train(save)

    for updates in (4, 10, 17):
        other = trainer(method, weight, epochs=2, **changes)
        load_checkpoint(other, tmp_path / f"{updates}.npz")
        other.train()
        assert final_state(other) == uninterrupted[name]


def test_a_training_goes_on_from_a_recovery(trainer: Trainers, tmp_path: Path) -> None:
    def spoil(t: LMTrainer, record: Record | None) -> bool:
        if t.updates == 21:
            with torch.no_grad():
                t.model.output.bias[0] = math.nan
            save_checkpoint(t, tmp_path / "latest.npz")  # before anybody noticed
        return True

    one, other = trainer("sampled"), trainer("sampled")
    one.train(spoil)
    load_checkpoint(other, tmp_path / "latest.npz")
    other.train()
    assert other.recoveries == 1
    assert final_state(other) == final_state(one)


def test_a_training_may_be_stopped_before_its_first_update(
    trainer: Trainers, uninterrupted: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    save_checkpoint(trainer("none", epochs=2), tmp_path / "latest.npz")
    other = trainer("none", epochs=2)
    load_checkpoint(other, tmp_path / "latest.npz")
    other.train()
    assert final_state(other) == uninterrupted["none"]


# --- prolonged ----------------------------------------------------------------------------------

BOUND = ("batch", "transformer")
"""Trainings whose λ or step size is laid out over their length."""
NEVER = {"a term that never set in": ("batch", "0.5", {"start": "ppl:1.01"})}


def ended(one: LMTrainer, path: Path) -> None:
    """Trains to the end; the checkpoint of the last epoch is at the path, as a run leaves it."""

    def save(t: LMTrainer, record: Record | None) -> bool:
        if record is not None:
            save_checkpoint(t, path)
        return True

    one.train(save)
    assert one.finished


@pytest.mark.parametrize("name", [*(n for n in TRAININGS if n not in BOUND), *NEVER])
def test_a_training_that_ended_goes_on_as_one_that_was_longer_from_the_start(
    trainer: Trainers, tmp_path: Path, name: str
) -> None:
    method, weight, changes = {**TRAININGS, **NEVER}[name]
    ended(trainer(method, weight, epochs=2, **changes), tmp_path / "latest.npz")
    longer, whole = (trainer(method, weight, epochs=4, **changes) for _ in range(2))
    load_checkpoint(longer, tmp_path / "latest.npz")
    longer.train()
    whole.train()
    assert final_state(longer) == final_state(whole)


@pytest.mark.parametrize("name", BOUND)
def test_a_training_that_is_laid_out_over_its_length_is_not_prolonged(
    trainer: Trainers, tmp_path: Path, name: str
) -> None:
    method, weight, changes = TRAININGS[name]
    ended(trainer(method, weight, epochs=2, **changes), tmp_path / "latest.npz")
    message = r"settings was \{'epochs': 2\} and is \{'epochs': 4\}"
    with pytest.raises(InvalidInputError, match=message):
        load_checkpoint(trainer(method, weight, epochs=4, **changes), tmp_path / "latest.npz")


# --- refusals -----------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(trainer: Trainers, tmp_path: Path) -> Path:
    one = trainer("batch", "0.5")
    one.train(stop_after(12))
    save_checkpoint(one, tmp_path / "latest.npz")
    return tmp_path / "latest.npz"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"method": "noising"}, "method was 'batch' and is 'noising'"),
        ({"weight": "0.25"}, "lambda was '0.5' and is '0.25'"),
        ({"hidden_size": 16}, "settings was {'hidden_size': 8} and is {'hidden_size': 16}"),
        (
            {"epochs": 2, "decay": 0.25},
            "settings was {'epochs': 3, 'decay': 0.5} and is {'epochs': 2, 'decay': 0.25}",
        ),
        ({"epochs": 4, "decay": 0.25}, "settings was {'decay': 0.5} and is {'decay': 0.25}"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(
    trainer: Trainers, checkpoint: Path, other: dict[str, Any], message: str
) -> None:
    one = trainer(**{"method": "batch", "weight": "0.5", **other})
    before = final_state(one)
    with pytest.raises(InvalidInputError) as refused:
        load_checkpoint(one, checkpoint)
    assert str(refused.value) == (
        f"{checkpoint} is a checkpoint of another language model: {message}."
    )
    assert final_state(one) == before


def test_a_checkpoint_of_another_text_is_refused(
    trainer: Trainers, checkpoint: Path, tiny_corpus: Corpus
) -> None:
    test = tiny_corpus.test.copy()
    test[5] = (test[5] + 1) % 7
    changed = Corpus("tiny", tiny_corpus.vocabulary, tiny_corpus.train, tiny_corpus.valid, test)
    with pytest.raises(InvalidInputError, match="corpus was '[0-9a-f]{16}' and is '[0-9a-f]{16}'"):
        load_checkpoint(trainer("batch", "0.5", corpus=changed), checkpoint)


def test_a_checkpoint_from_before_new_settings_is_taken_up(
    trainer: Trainers, checkpoint: Path
) -> None:
    made, state = read_identity(checkpoint, "it")
    del state["identity"]
    new = ("model", "heads", "memory", "warmup", "annealing", "precision", "compile")
    for name in new:
        del made["settings"][name]
    write_state(checkpoint, made, state)
    one = trainer("batch", "0.5")
    load_checkpoint(one, checkpoint)
    assert one.updates == 12
    message = "settings was {'annealing': 'plateau'} and is {'annealing': 'linear'}"
    with pytest.raises(InvalidInputError, match=message):
        load_checkpoint(trainer("batch", "0.5", annealing="linear"), checkpoint)


@pytest.mark.parametrize("below", ["", "seed_3"])
def test_a_checkpoint_of_more_processes_names_its_run(
    trainer: Trainers, checkpoint: Path, tmp_path: Path, below: str
) -> None:
    made, state = read_identity(checkpoint, "it")
    del state["identity"]
    run = tmp_path / "a run"
    other = run / below / "checkpoints" / "latest.npz"
    other.parent.mkdir(parents=True)
    for name in ("config.yaml", "versions.json"):
        (run / name).write_text("{}")
    for path, named in ((other, f"'{run}'"), (checkpoint, "RUN")):
        write_state(path, {**made, "processes": 2}, state)
        with pytest.raises(InvalidInputError) as refused:
            load_checkpoint(trainer("batch", "0.5"), path)
        assert str(refused.value).endswith(
            f"torchrun --nproc-per-node 2 -m imm_rl.cli lm train --resume {named}"
        )


def test_damaged_checkpoints_are_refused_with_their_name(
    trainer: Trainers, checkpoint: Path
) -> None:
    whole = checkpoint.read_bytes()
    one = trainer("batch", "0.5")
    for content in (whole[: len(whole) // 2], b"no archive", b"", whole[:-10]):
        checkpoint.write_bytes(content)
        with pytest.raises(InvalidInputError, match=f"{checkpoint} is no checkpoint of a language"):
            load_checkpoint(one, checkpoint)
    with pytest.raises(InvalidInputError, match="No such file"):
        load_checkpoint(one, checkpoint.with_name("none.npz"))


@pytest.mark.parametrize(
    "missing",
    [
        "counters",
        "records",
        "best",
        "generator",
        "parameters/output.bias",
        "carried/1",
        "controller/factors",
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(
    trainer: Trainers, checkpoint: Path, missing: str
) -> None:
    made, state = read_identity(checkpoint, "it")
    del state["identity"], state[missing]
    write_state(checkpoint, made, state)
    with pytest.raises(InvalidInputError, match=f"{checkpoint} is a checkpoint of another version"):
        load_checkpoint(trainer("batch", "0.5"), checkpoint)


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_a_model_comes_back_in_its_best_state(
    trainer: Trainers, tmp_path: Path, tied: bool, finished: bool
) -> None:
    one = trainer("batch", tied=tied)
    one.train(None if finished else stop_after(15))
    save_model(one, tmp_path / "model.npz")

    model, vocabulary, about = load_model(tmp_path / "model.npz")

    assert not model.training
    assert (model.output.weight is model.embedding.weight) == tied
    found = model.state_dict()
    assert found.keys() == one.best.parameters.keys()
    assert all(torch.equal(found[name], value) for name, value in one.best.parameters.items())
    assert vocabulary == one.corpus.vocabulary
    assert about == {
        "kind": "language model",
        "name": "tiny",
        "corpus": one.corpus.fingerprint(),
        "method": "batch",
        "lambda": "0.5",
        "seed": 3,
        "device": "cpu",
        "settings": identity(one)["settings"],
        "valid_perplexity": one.best.perplexity,
    }
    assert LMSettings(**about["settings"]) == one.settings


def test_a_model_that_was_compiled_in_training_is_loaded_plain(
    trainer: Trainers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def compile_(function: Any, **options: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)  # the real one takes seconds
    one = trainer("batch", model="transformer", heads=2, compile=True)
    assert len(compiled) == 1
    save_model(one, tmp_path / "model.npz")

    model, _, about = load_model(tmp_path / "model.npz")

    assert len(compiled) == 1
    assert about["settings"]["compile"] is True
    words = torch.zeros(1, 3, dtype=torch.int64)
    assert model.encode(words, model.start(1))[0].shape == (1, 3, 8)


def test_other_files_are_no_models(trainer: Trainers, checkpoint: Path, tmp_path: Path) -> None:
    write_state(tmp_path / "agent.npz", {"env": "tiger", "seeds": [3]}, {"logits": np.zeros(3)})
    for name in ("latest.npz", "agent.npz"):
        with pytest.raises(InvalidInputError, match=f"{name} is no language model"):
            load_model(tmp_path / name)
    (tmp_path / "notes.npz").write_text("notes")
    with pytest.raises(InvalidInputError, match="notes.npz is no checkpoint of a language model"):
        load_model(tmp_path / "notes.npz")


@pytest.mark.parametrize("change", ["a parameter", "another shape", "a setting", "the vocabulary"])
def test_a_model_of_another_version_is_refused(
    trainer: Trainers, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "model.npz"
    save_model(trainer("batch"), path)
    about, state = read_identity(path, "it")
    del state["identity"]
    if change == "a parameter":
        del state["parameters/output.bias"]
    elif change == "another shape":
        state["parameters/output.bias"] = np.zeros(3, dtype=np.float32)
    elif change == "a setting":
        about["settings"]["depth"] = 3
    else:
        del state["vocabulary"]
    write_state(path, json.loads(json.dumps(about)), state)
    with pytest.raises(InvalidInputError, match=f"{path} is a language model of another version"):
        load_model(path)


def test_checkpoints_from_when_an_lstm_was_one_module_are_taken_up(trainer: Trainers) -> None:
    whole, first, second = (trainer("serialized", epochs=2, layers=2) for _ in range(3))
    whole.train()
    first.train(lambda t, _: t.updates < 13)
    names = [f"{kind}_{part}" for kind in ("weight", "bias") for part in ("ih", "hh")]
    former = {f"lstm.{i}.{name}_l0": f"lstm.{name}_l{i}" for i in range(2) for name in names}
    state = {}
    for name, value in training_state(first).items():
        place, _, own = name.partition("/")
        state[f"{place}/{former.get(own, own)}" if own else name] = value
    assert {"parameters/lstm.bias_hh_l1", "best_parameters/lstm.weight_ih_l0"} <= set(state)
    restore(second, state)
    second.train()
    found, expected = second.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert second.records[-1]["valid/perplexity"] == whole.records[-1]["valid/perplexity"]

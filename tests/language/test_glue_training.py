"""Fine-tuning for real on a small BERT: what must agree bit for bit, and going on from an epoch."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.language.glue import TaskData, load_task
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.language.glue_training import StoppedTrainingError, encoded, fine_tune

LARGE = 1e-2  # so that a few updates change predictions


@pytest.fixture
def data(small_glue: Path) -> TaskData:
    return load_task("mrpc", small_glue)


def settings(**changes: Any) -> GlueSettings:
    values = {"epochs": 2, "batch_size": 8, "learning_rate": LARGE, "k": 2, "matched": 3}
    return GlueSettings(**{**values, **changes})


def same(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k not in ("train_seconds", "resumed_at")}


def test_lambda_zero_is_mlm_bit_for_bit_and_others_are_not(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    def run(method: str, number: str) -> dict[str, Any]:
        return fine_tune(
            data,
            str(small_bert),
            settings(imm_lambda=number),
            method,
            seed=3,
            folder=tmp_path / f"{method}-{number}",
        )

    mlm, zero, some = run("mlm", "0.5"), run("imm", "0"), run("imm", "0.5")
    assert same(zero) == same(mlm)
    assert some["losses"] != mlm["losses"]
    assert len(mlm["losses"]) == 2
    assert mlm["updates"] == 4


def test_plain_is_transformers_own_fine_tuning_bit_for_bit(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    from transformers import (
        AutoTokenizer,
        BertForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from imm_rl.language.masked_checkpoint import load_model, quiet

    mine = fine_tune(data, str(small_bert), settings(), "plain", seed=5, folder=tmp_path / "mine")
    tokenizer = AutoTokenizer.from_pretrained(small_bert)
    set_seed(5)
    with quiet():
        start = load_model(str(small_bert), 2)
        model = BertForSequenceClassification(start.config)
        model.load_state_dict(
            {k: v for k, v in start.state_dict().items() if not k.startswith("cls.")}
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(tmp_path / "theirs"),
                num_train_epochs=2,
                per_device_train_batch_size=8,
                learning_rate=LARGE,
                warmup_steps=1,
                weight_decay=0.01,
                seed=5,
                data_seed=5,
                logging_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=encoded(tokenizer, data.train, 128),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert mine["losses"] == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("at", [1, 3, 4])  # within the first epoch, within the second, at its end
def test_a_training_that_was_stopped_goes_on_and_ends_the_same(
    data: TaskData, small_bert: Path, tmp_path: Path, at: int
) -> None:
    arguments = (data, str(small_bert), settings(epochs=3, imm_lambda="linear:1->0.2@1"), "imm")
    whole = fine_tune(*arguments, seed=1, folder=tmp_path / "whole", keep=tmp_path / "one")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == at

    with pytest.raises(StoppedTrainingError):
        fine_tune(*arguments, seed=1, folder=tmp_path / "cut", stopped=stop)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [f"checkpoint-{at}"]
    # A kill in the midst of writing leaves a checkpoint without its state, which is not taken up.
    (tmp_path / "cut" / "checkpoint-5").mkdir()
    (tmp_path / "cut" / "checkpoint-5" / "trainer_state.json").write_text('{"epo')
    torch.manual_seed(99)
    rest = fine_tune(*arguments, seed=1, folder=tmp_path / "cut", keep=tmp_path / "two")
    assert rest["resumed_at"] == at
    assert same(rest) == same(whole)
    assert len(whole["losses"]) == 3
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_checkpoints_within_an_epoch_change_nothing_and_are_taken_up(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    """Batches of 3: six updates an epoch, checkpoints after 4 and 6 of them; a kill after the fifth."""
    arguments = (data, str(small_bert), settings(epochs=1, batch_size=3), "imm")
    whole = fine_tune(*arguments, seed=2, folder=tmp_path / "whole")
    updates = 0

    def kill() -> bool:
        nonlocal updates
        updates += 1
        if updates == 5:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        fine_tune(*arguments, seed=2, folder=tmp_path / "cut", save_every=4, stopped=kill)
    rest = fine_tune(*arguments, seed=2, folder=tmp_path / "cut", save_every=4)
    assert rest["resumed_at"] == 4
    assert same(rest) == same(whole)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_batches_of_other_processes_are_the_same(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    found = [
        fine_tune(
            data, str(small_bert), settings(), "imm", seed=4, folder=tmp_path / str(n), workers=n
        )
        for n in (0, 2)
    ]
    assert same(found[0]) == same(found[1])


def test_what_is_kept_is_the_model_that_was_scored(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = tmp_path / "model"
    place.mkdir()
    (place / "old").write_text("of a training that was killed")
    options = {"seed": 6, "folder": tmp_path / "made", "keep": place}
    found = fine_tune(data, str(small_bert), settings(epochs=4), "mlm", **options)
    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    texts = [list(column) for column in zip(*(e.texts for e in data.dev), strict=True)]
    with torch.no_grad():
        logits = model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits
    assert logits.argmax(-1).tolist() == found["dev_predictions"]
    assert not (place / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "model"]


def test_bfloat16_is_near_to_float32(data: TaskData, small_bert: Path, tmp_path: Path) -> None:
    exact, rounded = (
        fine_tune(data, str(small_bert), settings(precision=p), "imm", seed=0, folder=tmp_path / p)[
            "losses"
        ]
        for p in ("float32", "bfloat16")
    )
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_predictions_are_made_in_float32(
    data: TaskData, small_bert: Path, tmp_path: Path, precision: str
) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}  # by whether it trains

    def look(module: torch.nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            seen[module.training].add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(look)
    try:
        fine_tune(
            data, str(small_bert), settings(precision=precision), "imm", seed=0, folder=tmp_path
        )
    finally:
        hook.remove()
    assert seen == {True: {getattr(torch, precision)}, False: {torch.float32}}


@pytest.mark.parametrize("epochs", [1, 4])  # the loss of two updates is finite, of eight it is not
def test_a_training_that_diverged_is_no_result(
    data: TaskData, small_bert: Path, tmp_path: Path, epochs: int
) -> None:
    given = settings(epochs=epochs, learning_rate=1e30, warmup=0.0)
    with pytest.raises(RunFailedError, match="diverged.*Lower the learning rate"):
        fine_tune(data, str(small_bert), given, "plain", seed=0, folder=tmp_path)


@pytest.mark.parametrize("size", [20_000, 80_000])  # the weights are larger; AdamW's moments alone
def test_a_full_disk_is_one_line_and_the_training_goes_on(
    data: TaskData, small_bert: Path, tmp_path: Path, size: int
) -> None:
    """No file may be larger than `size`, which is how a disk that is full looks to its writer."""
    arguments = (data, str(small_bert), settings(), "mlm")
    whole = fine_tune(*arguments, seed=1, folder=tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    updates = 0

    def fill() -> bool:
        nonlocal updates
        updates += 1
        if updates == 3:  # the first epoch's checkpoint is written
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        return False

    try:
        with pytest.raises(RunFailedError, match="checkpoint-4 could not be written: .*Make room"):
            fine_tune(*arguments, seed=1, folder=tmp_path / "cut", stopped=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint-2"]
    rest = fine_tune(*arguments, seed=1, folder=tmp_path / "cut")
    assert rest["resumed_at"] == 2
    assert same(rest) == same(whole)


def test_encoded_has_pairs_in_segments_and_cuts(data: TaskData, small_bert: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_bert)
    first = encoded(tokenizer, data.train, 12)[0]
    assert len(first["input_ids"]) == 12
    assert first["input_ids"].count(tokenizer.sep_token_id) == 2
    assert sorted(set(first["token_type_ids"])) == [0, 1]
    assert first["labels"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number ≥ 1"),
        ({"max_length": 4}, "max_length must be a whole number ≥ 8"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"warmup": 1.0}, "warmup must be in"),
        ({"mlm_weight": 0.0}, "mlm_weight must be > 0"),
        ({"precision": "float16"}, "Did you mean 'bfloat16'"),
        ({"context": "lef"}, "Did you mean 'left'"),
        ({"imm_lambda": "aligned:1"}, "of no use"),
    ],
)
def test_settings_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        settings(**changes)


def test_settings_count_by_method() -> None:
    given = settings()
    assert not {"k", "mlm_weight", "context"} & set(given.counting("plain"))
    assert "mlm_weight" in given.counting("mlm")
    assert not {"k", "matched", "context", "imm_lambda"} & set(given.counting("mlm"))
    assert {"k", "mlm_weight", "context", "epochs"} <= set(given.counting("imm"))

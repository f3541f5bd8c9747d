"""Fine-tuning for real on a small BERT: what must agree bit for bit, and going on from an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from imm_rl.errors import InvalidInputError
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


def test_a_training_that_was_stopped_goes_on_from_its_epoch_and_ends_the_same(
    data: TaskData, small_bert: Path, tmp_path: Path
) -> None:
    arguments = (data, str(small_bert), settings(epochs=3), "imm")
    whole = fine_tune(*arguments, seed=1, folder=tmp_path / "whole")
    asked = 0

    def stop_in_the_second_epoch() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(StoppedTrainingError):
        fine_tune(*arguments, seed=1, folder=tmp_path / "cut", stopped=stop_in_the_second_epoch)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint-2"]
    # A kill in the midst of writing leaves a checkpoint without its state, which is not taken up.
    (tmp_path / "cut" / "checkpoint-4").mkdir()
    (tmp_path / "cut" / "checkpoint-4" / "trainer_state.json").write_text('{"epo')
    torch.manual_seed(99)
    rest = fine_tune(*arguments, seed=1, folder=tmp_path / "cut")
    assert rest["resumed_at"] == 1
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

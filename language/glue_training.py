"""One fine-tuning of BERT on a task: by transformers' `Trainer`, with the loss of `masked_loss`.

The three methods differ in the loss alone. With one seed they start from the same weights, the drawn
head of classes included, and see the examples in the same order. `Trainer` keeps a checkpoint of the
last epoch; a training that goes on from it ends where one ends that was not stopped.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from imm_rl.errors import RunFailedError
from imm_rl.language.glue import Example, TaskData, score
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.language.masked_checkpoint import load_model, load_tokenizer, quiet
from imm_rl.language.masked_loss import IMMMaskedLMLoss

EVAL_BATCH = 64


class StoppedTrainingError(Exception):
    """The training was asked to stop; it goes on from the last epoch."""


def encoded(tokenizer: Any, examples: Sequence[Example], max_length: int) -> list[dict[str, Any]]:
    """Examples as features: word pieces, with [CLS] and [SEP], segments and the label."""
    columns = list(zip(*(example.texts for example in examples), strict=True))
    found = tokenizer(*(list(texts) for texts in columns), truncation=True, max_length=max_length)
    names = [name for name in ("input_ids", "token_type_ids") if name in found]
    return [
        {**{name: found[name][i] for name in names}, "labels": example.label}
        for i, example in enumerate(examples)
    ]


def fine_tune(
    data: TaskData,
    model: str,
    settings: GlueSettings,
    method: str,
    *,
    seed: int,
    folder: str | Path,
    device: str = "cpu",
    stopped: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains and scores.

    Args:
        data: The task.
        model: Place of the checkpoint to start from, see `masked_checkpoint.model_place`.
        settings: Of the training.
        method: A name of `METHODS`.
        seed: Of the head of classes, the order of examples, dropout, masks and completions.
        folder: For checkpoints; one that is there is taken up.
        device: "cpu" or "cuda".
        stopped: Asked after every update whether to stop.

    Returns:
        `score` on the development examples after the last epoch, `examples`, `dev_examples`, `updates`,
        `train_seconds` (of those updates that this call made), `resumed_at` (epoch, 0 from the start),
        `losses` (by epoch, nats), `dev_predictions`.

    Raises:
        StoppedTrainingError: It was asked to stop.
        RunFailedError: The loss became NaN or infinite, or the disk or memory failed.
        InvalidInputError: The checkpoint cannot be loaded.
    """
    from transformers import Trainer, set_seed

    tokenizer = load_tokenizer(model)
    set_seed(seed)  # of the head of classes
    network = load_model(model, labels=len(set(data.task.labels.values())))
    train = encoded(tokenizer, data.train, settings.max_length)
    loss = _loss(tokenizer, train, settings, method, vocab_size=network.config.vocab_size)
    checkpoints = Path(folder)
    last = _last_checkpoint(checkpoints)
    watch = _watch(loss, stopped)
    trainer = Trainer(
        model=network,
        args=_arguments(settings, seed, checkpoints, device, len(train)),
        train_dataset=train,
        data_collator=loss.collator(classify=True),
        compute_loss_func=loss,
        callbacks=[loss.callback(), watch],
    )
    _silence(trainer)
    began = time.perf_counter()
    with quiet():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    seconds = time.perf_counter() - began
    predicted = _predictions(network, tokenizer, encoded(tokenizer, data.dev, settings.max_length))
    truth = [example.label for example in data.dev]
    return {
        "score": score(data.task, truth, predicted),
        "examples": len(data.train),
        "dev_examples": len(data.dev),
        "updates": trainer.state.global_step,
        "train_seconds": seconds,
        "resumed_at": 0 if last is None else round(watch.began_at),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "dev_predictions": predicted,
    }


def _loss(
    tokenizer: Any,
    train: list[dict[str, Any]],
    settings: GlueSettings,
    method: str,
    *,
    vocab_size: int,
) -> IMMMaskedLMLoss:
    """The loss of a method: of `plain` the classification alone."""
    return IMMMaskedLMLoss(
        tokenizer,
        train,
        imm_lambda=settings.imm_lambda if method == "imm" else 0.0,
        k=settings.k,
        matched=settings.matched,
        context=settings.context,
        mlm_weight=0.0 if method == "plain" else settings.mlm_weight,
        mlm_probability=settings.mlm_probability,
        vocab_size=vocab_size,
    )


def _arguments(settings: GlueSettings, seed: int, folder: Path, device: str, examples: int) -> Any:
    from transformers import TrainingArguments

    updates = settings.epochs * math.ceil(examples / settings.batch_size)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=math.ceil(settings.warmup * updates),
        weight_decay=settings.weight_decay,
        seed=seed,
        data_seed=seed,
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        logging_nan_inf_filter=False,
    )
    if arguments.n_gpu > 1:  # Trainer would take them all, each with a batch of this size
        arguments._n_gpu = 1
    return arguments


def _watch(loss: IMMMaskedLMLoss, stopped: Callable[[], bool] | None) -> Any:
    """A callback that ends a training by an exception: on request, or where the loss is no number.

    `Trainer`'s own way to stop saves a checkpoint in the midst of an epoch, from which the random
    numbers would go on elsewhere.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]  # a class without types
        began_at = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            self.began_at = state.epoch or 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            if stopped is not None and stopped():
                raise StoppedTrainingError
            if state.global_step % 10 == 0:  # a look at a value makes the host wait for the device
                for name, value in loss.measured.items():
                    if not bool(torch.isfinite(value)):
                        raise RunFailedError(
                            f"the loss diverged: {name} is {float(value)} at update {state.global_step}. "
                            "Lower the learning rate."
                        )

    return Watch()


def _silence(trainer: Any) -> None:
    """Takes away the callback that prints logs; they are in the summary."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of `Trainer`; those that a kill left half-written are removed.

    The state is what `Trainer` writes last.
    """
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            step = int(path.name.removeprefix("checkpoint-"))
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            found.append((step, path))
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return max(found)[1] if found else None


@torch.no_grad()
def _predictions(model: Any, tokenizer: Any, features: list[dict[str, Any]]) -> list[int]:
    """The likeliest class of each example."""
    model.eval()
    device = next(model.parameters()).device
    found: list[int] = []
    for start in range(0, len(features), EVAL_BATCH):
        rows = [
            {name: value for name, value in feature.items() if name != "labels"}
            for feature in features[start : start + EVAL_BATCH]
        ]
        batch = tokenizer.pad(rows, return_tensors="pt").to(device)
        found += model(**batch).logits.argmax(-1).tolist()
    return found

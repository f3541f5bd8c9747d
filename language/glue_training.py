"""One fine-tuning of BERT on a task: by transformers' `Trainer`, with the loss of `masked_loss`.

The three methods differ in the loss alone. With one seed they start from the same weights, the drawn
head of classes included, and see the examples in the same order. A training that was stopped goes on from
its last checkpoint and ends where one ends that was not stopped (`glue_trainer`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from imm_rl.errors import RunFailedError
from imm_rl.language.glue import Example, TaskData, score
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.language.glue_trainer import SAVE_EVERY, StoppedTrainingError, Watch, saving, trainer_of
from imm_rl.language.masked_checkpoint import load_model, load_tokenizer, quiet
from imm_rl.language.masked_loss import IMMMaskedLMLoss

__all__ = ["StoppedTrainingError", "encoded", "fine_tune"]

EVAL_BATCH = 64


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
    workers: int = 0,
    keep: str | Path | None = None,
    save_every: int = SAVE_EVERY,
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
        workers: Processes that make the batches; 0: this one. The result does not depend on it.
        keep: A folder for the fine-tuned model and its tokenizer, as `save_pretrained` writes them;
            None: they are not kept.
        save_every: Updates between checkpoints, beside one at each epoch's end.

    Returns:
        `score` on the development examples after the last epoch, `examples`, `dev_examples`, `updates`,
        `train_seconds` (of those updates that this call made), `resumed_at` (updates, 0 from the start),
        `losses` (by epoch, nats), `dev_predictions`.

    Raises:
        StoppedTrainingError: It was asked to stop; the state is saved.
        RunFailedError: The loss, or a prediction, became NaN or infinite, or the disk or memory failed.
        InvalidInputError: The checkpoint cannot be loaded.
    """
    from transformers import set_seed

    tokenizer = load_tokenizer(model)
    set_seed(seed)  # of the head of classes
    network = load_model(model, labels=len(set(data.task.labels.values())))
    train = encoded(tokenizer, data.train, settings.max_length)
    loss = _loss(tokenizer, train, settings, method, vocab_size=network.config.vocab_size)
    checkpoints = Path(folder)
    last = _last_checkpoint(checkpoints)
    watch = Watch(loss, math.ceil(len(train) / settings.batch_size), save_every, stopped)
    trainer = trainer_of(
        network,
        train,
        loss,
        watch,
        settings,
        seed=seed,
        folder=checkpoints,
        device=device,
        workers=workers,
    )
    began = time.perf_counter()
    with quiet():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    seconds = time.perf_counter() - began
    # With bfloat16, accelerate has put autocast around its forward.
    network = trainer.accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    predicted = _predictions(network, tokenizer, encoded(tokenizer, data.dev, settings.max_length))
    if keep is not None:
        _keep(network, tokenizer, Path(keep))
    truth = [example.label for example in data.dev]
    return {
        "score": score(data.task, truth, predicted),
        "examples": len(data.train),
        "dev_examples": len(data.dev),
        "updates": trainer.state.global_step,
        "train_seconds": seconds,
        "resumed_at": watch.began_at,
        "losses": watch.losses(trainer.state),
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


def _keep(model: Any, tokenizer: Any, folder: Path) -> None:
    """Saves model and tokenizer whole or not at all."""
    staged = folder.with_name(f".{folder.name}.part")
    for old in (staged, folder):
        shutil.rmtree(old, ignore_errors=True)
    with saving(staged), quiet():
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        os.rename(staged, folder)


@torch.no_grad()
def _predictions(model: Any, tokenizer: Any, features: list[dict[str, Any]]) -> list[int]:
    """The likeliest class of each example.

    Raises:
        RunFailedError: The model gives NaN or infinite numbers: its last updates went astray.
    """
    model.eval()
    device = next(model.parameters()).device
    found: list[int] = []
    for start in range(0, len(features), EVAL_BATCH):
        rows = [
            {name: value for name, value in feature.items() if name != "labels"}
            for feature in features[start : start + EVAL_BATCH]
        ]
        batch = tokenizer.pad(rows, return_tensors="pt").to(device)
        logits = model(**batch).logits
        if not bool(torch.isfinite(logits).all()):
            raise RunFailedError(
                "the training diverged: the model's predictions are not finite. Lower the learning rate."
            )
        found += logits.argmax(-1).tolist()
    return found

"""transformers' `Trainer` for one fine-tuning: when it saves and stops, and what it must not pass over.

A checkpoint is saved after each epoch, every so many updates within one, and where the training is asked to
stop. What was drawn for a batch follows from the batch (`seeded_draws`), dropout from a generator that the
checkpoint holds, and the sum of an epoch's losses stands in it too; so a training ends the same wherever
it was stopped.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from imm_rl.errors import ImmRlError, RunFailedError
from imm_rl.language.glue_settings import GlueSettings
from imm_rl.language.masked_loss import IMMMaskedLMLoss
from imm_rl.language.seeded_draws import SeededDraws
from imm_rl.out_of_memory import is_out_of_memory

SAVE_EVERY = 500
"""Updates between two checkpoints; of BERT-base a minute or two of a GPU."""

LOOK_EVERY = 10
"""Updates between two looks at the loss, each of which makes the host wait for the device."""

_SUM = "epoch_sum"
"""Key of `Trainer`'s log: the sum of the losses of the epoch's updates so far."""


class StoppedTrainingError(Exception):
    """The training was asked to stop; it goes on from where it was."""


class Watch(TrainerCallback):  # type: ignore[misc]  # a class without types
    """Saves, stops, sums the losses, and ends a training whose loss is no number.

    Attributes:
        began_at: Updates that were made before.
        draws: What makes the batches, where there is one; it is told the epoch.

    Args:
        loss: Of the training.
        per_epoch: Updates of an epoch.
        save_every: Updates between checkpoints within an epoch.
        stopped: Asked after every update whether to stop.
    """

    def __init__(
        self,
        loss: IMMMaskedLMLoss,
        per_epoch: int,
        save_every: int = SAVE_EVERY,
        stopped: Callable[[], bool] | None = None,
    ) -> None:
        self.began_at = 0
        self.draws: SeededDraws | None = None
        self._loss, self._per_epoch, self._save_every = loss, per_epoch, save_every
        self._stopped, self._stopping = stopped, False
        self._sum: torch.Tensor | float = 0.0

    def add(self, loss: torch.Tensor) -> None:
        """Counts an update's loss; summed one by one in float64, the sum is the same after a stop."""
        self._sum = self._sum + loss.detach().double()

    def losses(self, state: Any) -> list[float]:
        """The mean loss of each epoch; nats."""
        ends = (
            entry
            for entry in state.log_history
            if _SUM in entry and not entry["step"] % self._per_epoch
        )
        return [entry[_SUM] / self._per_epoch for entry in ends]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Takes up the epoch that the checkpoint was in."""
        del args, control
        self.began_at = state.global_step
        sums = [entry[_SUM] for entry in state.log_history if _SUM in entry]
        self._sum = sums[-1] if sums and state.global_step % self._per_epoch else 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells the collator; the processes that make batches start later."""
        del args, control
        if self.draws is not None:
            self.draws.epoch = state.global_step // self._per_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Looks at the loss, and asks for a checkpoint where one is due."""
        del args
        step = state.global_step
        self._stopping = self._stopped is not None and self._stopped()
        # At an epoch's end there is one anyway; the same folder must not be written twice.
        due = self._stopping or (step % self._save_every == 0 and step % self._per_epoch != 0)
        if due or step % LOOK_EVERY == 0:
            self._check(step)
        if due:
            control.should_log = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Looks at the loss before the epoch's checkpoint is written."""
        del args, control
        self._check(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Adds the sum to the log, which the checkpoint holds."""
        del args, control
        if "loss" not in state.log_history[-1]:  # Trainer's last words
            return
        state.log_history[-1][_SUM] = float(self._sum)
        if state.global_step % self._per_epoch == 0:
            self._sum = 0.0

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stops once the state is saved. `Trainer`'s own way to stop would save it again.

        Raises:
            StoppedTrainingError: It was asked to.
        """
        del args, state, control
        if self._stopping:
            raise StoppedTrainingError

    def _check(self, step: int) -> None:
        for name, value in self._loss.measured.items():
            if not bool(torch.isfinite(value)):
                raise RunFailedError(
                    f"the loss diverged: {name} is {float(value)} at update {step}. "
                    "Lower the learning rate."
                )


class _Trainer(Trainer):  # type: ignore[misc]  # a class without types
    """`Trainer` that tells the watch each loss, and says in one line that no checkpoint can be written."""

    watch: Watch

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        """As `Trainer` does it."""
        found: torch.Tensor = super().training_step(*args, **options)
        self.watch.add(found)
        return found

    def _save_checkpoint(self, *args: Any, **options: Any) -> None:
        with saving(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(*args, **options)


def trainer_of(
    network: Any,
    train: list[dict[str, Any]],
    loss: IMMMaskedLMLoss,
    watch: Watch,
    settings: GlueSettings,
    *,
    seed: int,
    folder: Path,
    device: str,
    workers: int,
) -> Trainer:
    """The `Trainer` of a fine-tuning, as `glue_training.fine_tune` has its arguments."""
    draws = SeededDraws(loss.collator(classify=True), seed)
    watch.draws = draws
    trainer = _Trainer(
        model=network,
        args=_arguments(settings, seed, folder, device, workers, len(train)),
        train_dataset=train,
        data_collator=draws,
        compute_loss_func=loss,
        callbacks=[loss.callback(), watch],
    )
    trainer.watch = watch
    trainer.remove_callback(PrinterCallback)  # it prints logs, which are in the summary
    return trainer


@contextlib.contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turns what goes wrong while a folder is written into one clear error; what was written is removed.

    Raises:
        RunFailedError: The disk failed or is full.
    """
    try:
        yield
    except ImmRlError:
        raise
    except Exception as error:  # of safetensors, of PyTorch's writer and of the system
        shutil.rmtree(folder, ignore_errors=True)
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise RunFailedError(
            f"{folder} could not be written: {reason}. Make room on the disk and repeat the command; it "
            "goes on from the last checkpoint."
        ) from error


def _arguments(
    settings: GlueSettings, seed: int, folder: Path, device: str, workers: int, examples: int
) -> TrainingArguments:
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
        bf16=settings.precision == "bfloat16",
        dataloader_pin_memory=device != "cpu",
        dataloader_num_workers=workers,
        logging_nan_inf_filter=False,
    )
    if arguments.n_gpu > 1:  # Trainer would take them all, each with a batch of this size
        arguments._n_gpu = 1
    return arguments

"""The training of a language model: `LMTrainer(...).train()`.

One loop for every model and method. An epoch reads the text once, as parallel streams whose state is
carried; after it the model is evaluated. With the annealing `plateau`, where it got no better, the best
state is reloaded and the step size falls by `decay`; with `linear` the step size falls to 0 whatever comes.
A loss that becomes NaN or infinite sends the training back to its best state, in smaller steps, and is
noted.

Several processes (`processes`) may train one model: each has its share of the streams, all of them take the
same steps and decisions. The contexts of the text stay on the host; updates are queued without a wait for
the device.

The trainer's state is plain arrays (`lm_checkpoint`): a training that goes on from them ends with the
parameters of one that was never interrupted, dropout masks and drawn histories included.

Index letters: B streams, U words of a piece, M = B·U positions, V words of the vocabulary.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.functional import nll_loss
from torch.nn.utils import clip_grad_norm_

from imm_rl.errors import DivergedError, RunFailedError
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus
from imm_rl.language.dropout_stream import DropoutStream
from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import State, build
from imm_rl.language.lm_evaluation import perplexity
from imm_rl.language.lm_settings import LMSettings, checked_method
from imm_rl.language.lm_term import MatchingTerm, checked_ngram
from imm_rl.language.lm_update import EpochSums, Updates
from imm_rl.language.ngram_rows import NgramRows
from imm_rl.language.processes import ALONE, Processes
from imm_rl.language.text_streams import Streams
from imm_rl.schedules import Schedule, WeightController, parse

CHECK_EVERY = 25
"""Updates between two looks at whether the loss is still a number; a look waits for the device."""

MOST_RECOVERIES = 5

FINAL_NOTES = ("the term never set in",)
"""How those notes begin that hold of a training that has come to its end."""

Record: TypeAlias = dict[str, float]
AfterUpdate: TypeAlias = Callable[["LMTrainer", "Record | None"], bool]


@dataclass
class Best:
    """The best state so far.

    Attributes:
        perplexity: Of the validation text; inf before the first epoch.
        epoch: After which it was reached.
        parameters: By name.
    """

    perplexity: float
    epoch: int
    parameters: dict[str, torch.Tensor] = field(repr=False)


class LMTrainer:
    """Trains one language model on one corpus.

    Attributes:
        model: In training; after `train` came to its end, in its best state and evaluation mode.
        best: The best state so far.
        records: One a finished epoch: `epoch`, `words`, `valid/perplexity`, `learning_rate`,
            `time/words_per_second`, and what `EpochSums.means` tells.
        notes: What happened that a user should know: recoveries, when the term set in.
        processes: Among which the streams are split.
        epoch: Finished epochs.
        updates: Made so far.

    Args:
        corpus: What to train on.
        settings: Of model and training.
        method: A name of `lm_settings.METHODS`, or `imm`.
        schedule: λ, in any form that `schedules.parse` takes.
        ngram: The restricted model, of the settings' order and the corpus's words. The method `none`
            may go without; with one, KL(P̂‖Q̄) is logged.
        seed: Decides first weights, dropout and histories, each with random numbers of its own.
        device: Where to train.
        processes: With which other processes; each makes the same trainer, on a device of its own.

    Raises:
        InvalidInputError: An unknown method, a schedule that is wrong or that compiled layers
            cannot follow, a text that is too short, also
            for the warm-up, streams that cannot be split, or an n-gram model that is missing or does
            not fit.
    """

    def __init__(
        self,
        corpus: Corpus,
        settings: LMSettings,
        method: str,
        schedule: Schedule | str | float,
        ngram: BackoffModel | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        processes.check_streams(settings.batch_size)
        self.processes = processes
        self.corpus, self.settings, self.seed = corpus, settings, seed
        self.method, self.schedule = checked_method(method), parse(schedule)
        settings.check_schedule(self.schedule)
        checked_ngram(self.method, ngram, settings, len(corpus.vocabulary))
        self.device = torch.device(device)
        seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
        self.model = build(settings, len(corpus.vocabulary), seeds[0]).to(self.device)
        self.learning_rate = settings.step_size
        self.optimizer = self.new_optimizer()
        self._valid = torch.from_numpy(corpus.valid).to(self.device)
        text = torch.from_numpy(corpus.train)
        tokens = text.to(self.device)
        self._streams = Streams(tokens, settings.batch_size, settings.unroll, share=processes.share)
        settings.check_length(len(self._streams))
        self.generator = torch.Generator().manual_seed(seeds[1])
        self.dropout = DropoutStream(seeds[2], self.device, processes.rank)
        self._ids: torch.Tensor | None = None
        term = None
        if ngram is not None:
            contexts = Contexts.of(text, settings.order)
            rows = NgramRows(ngram, contexts.words, self.device)
            term = MatchingTerm(
                *(self.method, rows, contexts, settings, self.generator),
                tokens=tokens,
                processes=processes,
            )
            self._ids = self._streams.laid_out(contexts.ids)
        self.controller = WeightController([self.schedule])
        self.gradients = Updates(self.model, term, self.controller, processes)
        self.records: list[Record] = []
        self.notes: list[str] = []
        self.epoch = self.updates = self.piece = self.recoveries = 0
        self.carried: State = self._start()
        self.seconds = 0.0
        self.best = Best(math.inf, 0, copied(self.model))
        self.started = False
        self._maybe_start(math.inf)

    @property
    def pieces(self) -> int:
        """Updates of an epoch."""
        return len(self._streams)

    @property
    def words(self) -> int:
        """Words that the text was read on by so far; of an epoch those of all streams."""
        read = min(self.piece * self.settings.unroll, self._streams.length)
        return self.epoch * self.epoch_words + read * self._streams.n_streams

    @property
    def epoch_words(self) -> int:
        """Words that an epoch trains on."""
        return self._streams.length * self._streams.n_streams

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.settings.epochs

    def train(self, after_update: AfterUpdate | None = None) -> None:
        """Trains to the end, or until the callback says False.

        Args:
            after_update: Called with the trainer and, after an epoch, its record; returns whether to
                go on. Of several processes one that says no stops all of them at this update.

        Raises:
            RunFailedError: The loss was no number more often than `MOST_RECOVERIES`.
            DivergedError: No epoch's validation perplexity was a number.
        """
        with self.dropout.drawn_from():
            while not self.finished:
                record = self._step()
                self.dropout.keep()  # for a checkpoint that the callback writes
                go_on = after_update is None or after_update(self, record)
                if self.processes.any(not go_on):
                    return
        if self.best.epoch == 0:
            raise DivergedError(
                f"the training diverged: after none of its {self.epoch} epochs was the validation "
                "perplexity a number. Train with a smaller init_range, learning_rate or λ."
            )
        self.model.load_state_dict(self.best.parameters)
        self.model.eval()

    def _step(self) -> Record | None:
        """One update, and what follows the last one of an epoch."""
        began = time.perf_counter()
        loss = self._update()
        self.piece += 1
        self.updates += 1
        ends = self.piece == self.pieces
        found = 0.0
        if ends or self.updates % CHECK_EVERY == 0:
            found = self.processes.total([float(loss)])[0] / self.processes.count
        bad = not math.isfinite(found)
        self.seconds += time.perf_counter() - began
        if bad:
            self._recover(f"the loss became {found}")
        return self._end_epoch(recovered=bad) if ends else None

    def _start(self) -> State:
        """The state before the first word of this process's streams."""
        return self.model.start(self.settings.batch_size // self.processes.count)

    def _update(self) -> torch.Tensor:
        self.model.train()
        piece = self._streams.piece(self.piece)
        hidden, carried = self.model.encode(piece.inputs, self.carried)
        self.carried = tuple(part.detach() for part in carried)
        log_probs = self.model.log_probs(hidden).flatten(0, 1)
        main = nll_loss(log_probs, piece.targets.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients.add_gradient(
            main,
            log_probs,
            None if self._ids is None else self._ids[:, self._streams.span(self.piece)].flatten(),
            self.updates,
            self._progress(),
            started=self.started,
        )
        clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._set_step_size()
        self.optimizer.step()
        return main.detach()

    def _set_step_size(self) -> None:
        """Raises the step size over the first updates, and lets it fall as the annealing says."""
        share = min(1.0, (self.updates + 1) / max(self.settings.warmup, 1))
        if self.settings.annealing == "linear":
            share *= 1.0 - self._progress()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * share

    def _progress(self) -> float:
        """Share of the updates that are made, in [0, 1]."""
        return min(1.0, self.updates / (self.settings.epochs * self.pieces))

    def _end_epoch(self, *, recovered: bool) -> Record:
        self.epoch, self.piece = self.epoch + 1, 0
        self.carried = self._start()
        self.model.eval()
        found = perplexity(
            self.model,
            self._valid,
            streams=self.settings.eval_batch_size,
            unroll=self.settings.unroll,
            processes=self.processes,
        )
        record: Record = {
            "epoch": self.epoch,
            "words": self.words,
            "valid/perplexity": found,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **self.gradients.sums.totals(self.processes).means(),
            "time/words_per_second": self.words / max(self.seconds, 1e-9),
        }
        self.gradients.sums = EpochSums()
        self.records.append(record)
        if found < self.best.perplexity:
            self.best = Best(found, self.epoch, copied(self.model))
        elif not math.isfinite(found):
            self._recover(f"the validation perplexity became {found}")
        elif not recovered and self.settings.annealing == "plateau":
            # After a recovery this was the best state, and the steps are smaller already.
            self._back_to_best()
        self._maybe_start(found)
        if self.finished and self.method != "none" and not self.started:
            self.notes.append(f"{FINAL_NOTES[0]}: {self.settings.start} was not reached")
        return record

    def _back_to_best(self) -> None:
        """Reloads the best state and goes on from it in smaller steps."""
        self.model.load_state_dict(self.best.parameters)
        self.learning_rate *= self.settings.decay
        self.optimizer = self.new_optimizer()

    def _recover(self, why: str) -> None:
        self.recoveries += 1
        where = f"after update {self.updates:,} (epoch {self.epoch + (self.piece > 0)})"
        if self.recoveries > MOST_RECOVERIES:
            raise RunFailedError(
                f"{where}, {why}, for the {self.recoveries}th time. Train with a smaller "
                "learning_rate, a smaller clip or a smaller λ."
            )
        self._back_to_best()
        self.carried = self._start()
        self.gradients.sums = EpochSums()
        state = f"epoch {self.best.epoch}'s" if self.best.epoch else "the first"
        self.notes.append(
            f"{where}, {why}: went back to {state} state with step size {self.learning_rate:g}"
        )

    def _maybe_start(self, found: float) -> None:
        """Lets the term set in where its rule says so."""
        kind, value = self.settings.start_rule()
        reached = self.epoch >= value if kind == "epoch" else found < value
        if self.method == "none" or self.started or not reached:
            return
        self.started = True
        if self.epoch:
            self.notes.append(f"the term set in after epoch {self.epoch}")
        if self.settings.start_learning_rate is not None:
            self.learning_rate = self.settings.start_learning_rate
            self.optimizer = self.new_optimizer()

    def new_optimizer(self) -> torch.optim.Optimizer:
        """The settings' optimizer at the step size of now, without a memory."""
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(self.model.parameters(), self.learning_rate)
        return torch.optim.SGD(self.model.parameters(), self.learning_rate)


def bound_to_length(settings: LMSettings, schedule: Schedule) -> str:
    """What makes a training of more epochs another one from its first update on; empty for nothing.

    Without it a training is the beginning of each longer one, and may be prolonged.
    """
    if settings.annealing == "linear":
        return f"the step size falls to 0 over the {settings.epochs} epochs (annealing linear)"
    if schedule.follows_progress:
        return f"λ, {schedule.text}, changes over the {settings.epochs} epochs"
    return ""


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's parameters, by name, on its device."""
    return copy.deepcopy({name: value.detach() for name, value in model.state_dict().items()})

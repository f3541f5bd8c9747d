"""Induced Model Matching for masked language models, as transformers' `Trainer` takes a loss.

    loss = IMMMaskedLMLoss(tokenizer, sentences, imm_lambda="0.5")
    Trainer(model=model, train_dataset=..., data_collator=loss.collator(), compute_loss_func=loss)

`loss.collator()` draws the completions and puts them into the batch, so that the model sees everything
in its one forward pass and whatever `Trainer` does with it holds for the term too: bf16, torch.compile,
gradient accumulation, several GPUs. The loss of a batch is

    classification (where there is one) + mlm_weight · masked-LM + λ · IMM

each the mean over its items, in nats. The restricted model is a Kneser-Ney bigram of the word pieces around
the hole (`masked_bigram`), the induced one the average over k completions (`masked_collator`); the term is
`InducedModelMatching` with `Sampled`.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on language modelling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.language.masked_bigram import MaskedBigram, bigram_of
from imm_rl.language.masked_choices import checked_context, checked_lambda
from imm_rl.language.masked_collator import MaskedCollator, Targets
from imm_rl.language.masked_positions import TrainingPositions
from imm_rl.matching import InducedModelMatching, Sampled
from imm_rl.schedules import Constant, Ratio, Schedule
from imm_rl.settings_checks import whole


class _Matched(NamedTuple):
    """The restricted contexts of a batch, (N, c) int64 on the host; of each `k` completions on a device."""

    contexts: npt.NDArray[np.int64]
    k: int
    device: torch.device


@dataclass(frozen=True)
class _Bigram:
    """The restricted model on what the completions take as context."""

    rows: MaskedBigram

    def probs(self, context: _Matched, /) -> torch.Tensor:
        return self.rows.probs(context.contexts)


class IMMMaskedLMLoss:
    """The loss of a masked language model, with a matching term; for `Trainer`'s `compute_loss_func`.

    Attributes:
        schedule: λ over the training.
        bigram: The Kneser-Ney bigram of the training sentences; None where λ is 0 throughout.
        measured: Detached means of the last batch in nats, by name: `classification`, `mlm`, `imm`.

    Args:
        tokenizer: A tokenizer of transformers with a mask token.
        sentences: The training set: what completions are drawn from, and what the bigram is made of.
            Each a mapping with `input_ids`, and `token_type_ids` where the tokenizer makes them.
        imm_lambda: λ, a number or a schedule. One that changes over the training needs
            `callbacks=[loss.callback()]`. 0: nothing is drawn, and the training is that without IMM,
            bit for bit.
        k: Completions of a context.
        matched: Masked positions of a batch that are matched, at most; each costs k sentences more in
            the forward pass.
        context: "left" or "both", see `masked_positions`.
        mlm_weight: Of the masked-LM loss; with 0, and λ = 0, nothing is masked.
        mlm_probability: Share of the word pieces that are masked.
        vocab_size: Of the model; None: that of the tokenizer.

    Raises:
        InvalidInputError: A value is out of range, the tokenizer has no mask token, or λ follows what
            `Trainer` does not measure (`target-kl`, `aligned`, `paper`).
    """

    def __init__(
        self,
        tokenizer: Any,
        sentences: Sequence[Mapping[str, Any]],
        *,
        imm_lambda: str | float | Schedule = 0.5,
        k: int = 5,
        matched: int = 16,
        context: str = "left",
        mlm_weight: float = 1.0,
        mlm_probability: float = 0.15,
        vocab_size: int | None = None,
    ) -> None:
        self.schedule = checked_lambda(imm_lambda)
        whole("k", k, 1)
        whole("matched", matched, 1)
        if not (math.isfinite(mlm_weight) and mlm_weight >= 0.0):
            raise invalid("mlm_weight", "be a number ≥ 0", mlm_weight)
        if not 0.0 < mlm_probability < 1.0:
            raise invalid("mlm_probability", "be in (0, 1)", mlm_probability)
        if getattr(tokenizer, "mask_token_id", None) is None:
            raise invalid("tokenizer", "have a mask token", type(tokenizer).__name__)
        self._tokenizer, self._kind = tokenizer, checked_context(context)
        self._k, self._matched, self._mlm_probability = k, matched, mlm_probability
        self._mlm_weight = mlm_weight
        self._size = len(tokenizer) if vocab_size is None else vocab_size
        self._progress: float | None = None
        self._matching: tuple[torch.device, InducedModelMatching] | None = None
        self.measured: dict[str, torch.Tensor] = {}
        self.bigram = None
        self._positions: TrainingPositions | None = None
        if not _is_zero(self.schedule):
            rows = [sentence["input_ids"] for sentence in sentences]
            segments = None
            if rows and "token_type_ids" in sentences[0]:
                segments = [sentence["token_type_ids"] for sentence in sentences]
            special = tokenizer.all_special_ids
            self._positions = TrainingPositions(rows, special, context, segments)
            self.bigram = bigram_of(rows, self._size)

    def collator(self, *, classify: bool = False) -> MaskedCollator:
        """What makes the batches of this loss; for `Trainer`'s `data_collator`.

        Args:
            classify: Whether sentences are classified too, by a
                `BertForClassificationAndMaskedLM`; features then have `label`.
        """
        return MaskedCollator(
            self._tokenizer,
            self._positions,
            k=self._k,
            matched=self._matched,
            masking=self._mlm_weight > 0.0 or self._positions is not None,
            classify=classify,
            mlm_probability=self._mlm_probability,
            kind=self._kind,
        )

    def callback(self) -> Any:
        """A callback for `Trainer` that tells the schedule how far the training is."""
        from transformers import TrainerCallback

        loss = self

        class Progress(TrainerCallback):  # type: ignore[misc]  # a class without types
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                del args, control
                loss._progress = state.global_step / max(state.max_steps, 1)

        return Progress()

    def __call__(
        self, outputs: Any, labels: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            outputs: Of the model: `logits` (R, L, V); of a classifier `logits` (R, classes) and
                `mlm_logits` (asked positions, V).
            labels: The `Targets` of the batch.
            num_items_in_batch: Sentences of all batches that the update adds up; the batch's own
                where not given.

        Returns:
            A scalar with gradients; this batch's share of the update's mean.

        Raises:
            InvalidInputError: The batch is not of `collator`, the vocabularies differ, or a schedule
                was not told how far the training is.
        """
        if not isinstance(labels, Targets):
            raise InvalidInputError(
                f"labels must be those of this loss's collator; received {type(labels).__name__}. Give "
                "Trainer data_collator=loss.collator()."
            )
        classes = labels.get("classes")
        terms: dict[str, torch.Tensor] = {}
        total: torch.Tensor | None = None
        if classes is not None:
            logits = outputs.logits[: len(classes)].float()
            total = terms["classification"] = functional.cross_entropy(logits, classes)
        if "words" in labels:
            given = outputs.logits[labels["asked"]] if classes is None else outputs.mlm_logits
            total = self._masked_terms(given, labels, terms, total)
        if total is None:
            raise InvalidInputError(
                "this loss has nothing to do: mlm_weight and λ are 0, and nothing is classified."
            )
        self.measured = {name: term.detach() for name, term in terms.items()}
        return total * _share(labels, num_items_in_batch)

    def _masked_terms(
        self,
        logits: torch.Tensor,
        labels: Targets,
        terms: dict[str, torch.Tensor],
        total: torch.Tensor | None,
    ) -> torch.Tensor:
        """Adds the masked-LM loss and the matching term to the total and to `terms`."""
        words = labels["words"]
        if logits.shape[-1] != self._size:
            raise InvalidInputError(
                f"the model has {logits.shape[-1]} word pieces, and the loss was made for {self._size}. "
                f"Give IMMMaskedLMLoss vocab_size={logits.shape[-1]}."
            )
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self._mlm_weight > 0.0:
            summed = functional.cross_entropy(logits[: len(words)], words, reduction="sum")
            terms["mlm"] = summed / max(len(words), 1)  # a short batch may have no masked piece
            weighted = self._mlm_weight * terms["mlm"]
            total = weighted if total is None else total + weighted
        else:
            total = logits.sum() * 0.0 if total is None else total
        if "contexts" in labels and len(labels["contexts"]):
            weight = self._weight()
            if weight > 0.0:
                terms["imm"] = self._imm(logits[len(words) :], labels["contexts"])
                total = total + weight * terms["imm"]
        return total

    def _imm(self, logits: torch.Tensor, contexts: npt.NDArray[np.int64]) -> torch.Tensor:
        """The term of the completions' logits (N · K, V); nats."""
        log_probs = logits.log_softmax(-1)
        context = _Matched(contexts, len(logits) // len(contexts), logits.device)
        return self._matcher(logits.device).term(lambda drawn: log_probs[drawn], context).loss

    def _matcher(self, device: torch.device) -> InducedModelMatching:
        """The term on a device; the bigram's tables are put there once."""
        if self._matching is None or self._matching[0] != device:
            if self.bigram is None:  # only where λ is 0, and then nothing asks
                raise InvalidInputError("λ is 0: there is no term.")
            rows = MaskedBigram(self.bigram, self._tokenizer.all_special_ids, self._kind, device)
            matching = InducedModelMatching(_Bigram(rows), Sampled(_drawn), self.schedule)
            self._matching = (device, matching)
        return self._matching[1]

    def _weight(self) -> float:
        """λ now."""
        if isinstance(self.schedule, (Constant, Ratio)):
            return float(self.schedule(0.0))
        if self._progress is None:
            raise InvalidInputError(
                f"λ {self.schedule.text} changes over the training, and nothing says how far that is. "
                "Give Trainer callbacks=[loss.callback()]."
            )
        return float(self.schedule(min(self._progress, 1.0)))


def _drawn(context: _Matched) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the completions of each context are among those of the batch, (N, K), all of one weight.

    The collator has drawn them, and the model has seen them in the batch.
    """
    count = len(context.contexts)
    index = torch.arange(count * context.k, device=context.device).view(count, context.k)
    return index, torch.zeros(count, context.k, device=index.device)


def _share(labels: Targets, all_items: torch.Tensor | int | None) -> torch.Tensor | float:
    """The batch's share of the sentences that an update adds up.

    `Trainer` leaves the division by them to the loss. With several GPUs in one process it gives their
    number once for each, and sums what is a mean: hence the division by their number.
    """
    if all_items is None:
        return 1.0
    sentences: torch.Tensor = labels["sentences"]
    items = torch.as_tensor(all_items, device=sentences.device).flatten()
    return sentences / items[0] / len(items)


def _is_zero(schedule: Schedule) -> bool:
    return isinstance(schedule, (Constant, Ratio)) and schedule(0.0) == 0.0

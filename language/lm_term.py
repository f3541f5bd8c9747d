"""The matching term of a language model, by method: `MatchingTerm.backward` adds its gradient.

    noising     each position is its own only completion: Σ CE(P̂(·|context), Q(·|history))
    batch       the positions of a batch that share a context complete each other: no forward pass more
    sampled     k training histories that end in the context, in one forward pass for all contexts
    serialized  the same a history at a time, in memory that does not grow with k (Algorithm 2)

The last three are `InducedModelMatching` with one n-gram model and different completions, noising is
`losses.noising_loss`.

Index letters: M positions of a batch, G distinct contexts among them, K histories, L words, V words of the
vocabulary.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on language modelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from imm_rl import losses
from imm_rl.language.histories import Contexts
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.lm_settings import DRAWS, LMSettings
from imm_rl.language.ngram_rows import NgramRows
from imm_rl.matching import InBatch, InducedModelMatching, Sampled, Term


class Grouped(NamedTuple):
    """The distinct contexts of M positions.

    Attributes:
        ids: (G,) int64, contexts.
        group: (M,) int64 in 0..G−1, which of them each position has.
        sizes: (G,) float32, how many positions have it.
    """

    ids: torch.Tensor
    group: torch.Tensor
    sizes: torch.Tensor

    @classmethod
    def of(cls, ids: torch.Tensor) -> Grouped:
        """Of the contexts (M,) of the positions."""
        distinct, group, counts = torch.unique(ids, return_inverse=True, return_counts=True)
        return cls(distinct, group, counts.float())


@dataclass(frozen=True)
class _Rows:
    """The restricted model on whatever the completions take as context."""

    rows: NgramRows

    def probs(self, context: Grouped, /) -> torch.Tensor:
        return self.rows.probs(context.ids)


class MatchingTerm:
    """The term of one training.

    Args:
        method: A name of `lm_settings.METHODS`; `none` is for measuring alone.
        rows: P̂ of the text's contexts.
        contexts: The training text's.
        settings: Of the training.
        generator: What histories are drawn with; on the text's device.
    """

    def __init__(
        self,
        method: str,
        rows: NgramRows,
        contexts: Contexts,
        settings: LMSettings,
        generator: torch.Generator,
    ) -> None:
        self._method, self._settings = method, settings
        self._contexts, self._generator = contexts, generator
        self._rows = rows
        restricted = _Rows(rows)

        def drawn(context: Grouped) -> tuple[torch.Tensor, torch.Tensor]:
            histories = contexts.draw(context.ids, settings.k, settings.history, generator)
            return histories, context.sizes.new_zeros(histories.shape[:2])

        self._drawing = InducedModelMatching(
            restricted, Sampled(drawn, serialized=method == "serialized"), check=False
        )
        in_batch = InBatch(lambda context: context.group, per_group=True)
        self._grouping = InducedModelMatching(restricted, in_batch, check=False)

    def kind(self, update: int) -> str:
        """The method at an update: a drawn one gives way to `between` at most of them."""
        if self._method in DRAWS and update % self._settings.every:
            return self._settings.between
        return self._method

    def in_graph(self, kind: str, log_probs: torch.Tensor, ids: torch.Tensor) -> Term | None:
        """The term as a function of a batch's own predictions, where the method has it so.

        Args:
            kind: From `kind`.
            log_probs: (M, V), log Q at the batch's positions; nats.
            ids: (M,), their contexts.

        Returns:
            None for `none` and for methods that need predictions at other histories.
        """
        if kind == "batch":
            context = Grouped.of(ids)
            return self._grouping.term(lambda _: log_probs, context, weights=context.sizes)
        if kind == "noising":
            return self._noised(log_probs, ids)
        return None

    def drawn(self, model: LanguageModel, ids: torch.Tensor) -> Term:
        """The term by histories drawn for the batch's contexts, with gradients."""
        context = self._matched(ids)
        return self._drawing.term(model.after, context, weights=context.sizes)

    def backward(self, model: LanguageModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
        """Adds the gradient of scale · term by drawn histories; returns the loss, nats."""
        if self._method == "serialized":
            context = self._matched(ids)
            return self._drawing.backward(model.after, context, scale, weights=context.sizes)
        loss = self.drawn(model, ids).loss
        torch.autograd.backward(scale * loss)
        return loss.detach()

    def measures(self, term: Term, weights: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """KL(P̂‖Q̄) in nats and the share of agreement, of a term."""
        return self._grouping.measures(term, weights)

    def _noised(self, log_probs: torch.Tensor, ids: torch.Tensor) -> Term:
        """One completion, the position itself: the induced model is the full one there."""
        target = self._rows.probs(ids)
        single = log_probs.new_zeros(len(ids), 1)
        loss = losses.noising_loss(log_probs.unsqueeze(1), single, target, check=False)
        return Term(loss, target, log_probs)

    def _matched(self, ids: torch.Tensor) -> Grouped:
        """The contexts that are matched: those of some positions, drawn, or of all."""
        most = self._settings.contexts
        if 0 < most < len(ids):
            order = torch.rand(len(ids), generator=self._generator, device=ids.device)
            ids = ids[order.argsort()[:most]]
        return Grouped.of(ids)

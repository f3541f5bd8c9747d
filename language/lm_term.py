"""The matching term of a language model, by method: `MatchingTerm.backward` adds its gradient.

    noising     each position is its own only completion: Σ CE(P̂(·|context), Q(·|history))
    batch       the positions of a batch that share a context complete each other: no forward pass more
    sampled     k training histories that end in the context, in one forward pass for all contexts
    serialized  the same a history at a time, in memory that does not grow with k (Algorithm 2)

The last three are `InducedModelMatching` with one n-gram model and different completions, noising is
`losses.noising_loss`.

Which contexts a batch has, which of them are matched and by which histories is known on the host, which
never waits for the accelerator. Of several processes (`processes`) all know it, and draw the same; each
works on its positions (noising, batch) or its share of the contexts (drawn methods), and its losses are
shares of the term: their mean, or of drawn ones their sum, is the loss of one process.

Index letters: M positions of a batch, m of them in this process, G distinct contexts, K histories, L words,
V words of the vocabulary.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on language modelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from imm_rl import losses
from imm_rl.device import uploaded
from imm_rl.errors import invalid
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.histories import Contexts, windows
from imm_rl.language.language_model import LanguageModel
from imm_rl.language.lm_settings import DRAWS, LMSettings
from imm_rl.language.ngram_rows import NgramRows
from imm_rl.language.processes import ALONE, Processes
from imm_rl.language.shared_groups import InSharedBatch, SharedGroups
from imm_rl.matching import Completions, InBatch, InducedModelMatching, Sampled, Term

CPU = torch.device("cpu")


class Grouped(NamedTuple):
    """The distinct contexts of M positions.

    Attributes:
        ids: (G,) int64, contexts; on the host.
        group: (M,) int64 in 0..G−1, which of them each position has.
        sizes: (G,) float32, how many positions have it.
    """

    ids: torch.Tensor
    group: torch.Tensor
    sizes: torch.Tensor

    @classmethod
    def of(cls, ids: torch.Tensor, device: torch.device = CPU) -> Grouped:
        """Of the contexts (M,) of the positions, on the host."""
        distinct, group, counts = torch.unique(ids, return_inverse=True, return_counts=True)
        on_device = uploaded(torch.cat([group, counts]), device)
        return cls(distinct, on_device[: len(ids)], on_device[len(ids) :].float())


class Drawn(NamedTuple):
    """Contexts of a batch with histories drawn for each; of several processes, this one's share.

    Attributes:
        ids: (G,) int64, contexts; on the host.
        histories: (G, K, L) int64.
        sizes: (G,) float32, how many of the matched positions have the context.
        share: Of the matched positions, in [0, 1], how many have one of these contexts.
    """

    ids: torch.Tensor
    histories: torch.Tensor
    sizes: torch.Tensor
    share: float


@dataclass(frozen=True)
class _Rows:
    """The restricted model on whatever the completions take as context."""

    rows: NgramRows

    def probs(self, context: Grouped | SharedGroups | Drawn, /) -> torch.Tensor:
        return self.rows.probs(context.ids)


class MatchingTerm:
    """The term of one training.

    Args:
        method: A name of `lm_settings.METHODS`; `none` is for measuring alone.
        rows: P̂ of the text's contexts, on the model's device.
        contexts: The training text's, on the host.
        settings: Of the training.
        generator: What positions and histories are drawn with; on the host.
        tokens: (T,) int64, the text on the model's device; the contexts' own where not given.
        processes: Among which the batch is split.
    """

    def __init__(
        self,
        method: str,
        rows: NgramRows,
        contexts: Contexts,
        settings: LMSettings,
        generator: torch.Generator,
        *,
        tokens: torch.Tensor | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._method, self._settings = method, settings
        self._contexts, self._generator = contexts, generator
        self._rows, self._processes = rows, processes
        self._tokens = contexts.tokens if tokens is None else tokens
        restricted = _Rows(rows)

        def drawn(context: Drawn) -> tuple[torch.Tensor, torch.Tensor]:
            return context.histories, context.sizes.new_zeros(context.histories.shape[:2])

        self._drawing = InducedModelMatching(
            restricted, Sampled(drawn, serialized=method == "serialized"), check=False
        )
        in_batch: Completions = InBatch(
            lambda context: context.group,
            per_group=True,
            n_groups_of=lambda context: len(context.ids),
        )
        if processes.count > 1:
            in_batch = InSharedBatch(processes)
        self._grouping = InducedModelMatching(restricted, in_batch, check=False)

    def kind(self, update: int) -> str:
        """The method at an update: a drawn one gives way to `between` at most of them."""
        if self._method in DRAWS and update % self._settings.every:
            return self._settings.between
        return self._method

    def grouped(self, ids: torch.Tensor) -> Grouped | SharedGroups:
        """The contexts of this process's positions, of those (M,) of all; their `sizes` weigh a term."""
        if self._processes.count == 1:
            return Grouped.of(ids, self._tokens.device)
        return SharedGroups.of(ids, self._processes, self._tokens.device)

    def in_graph(self, kind: str, log_probs: torch.Tensor, ids: torch.Tensor) -> Term | None:
        """The term as a function of a batch's own predictions, where the method has it so.

        Args:
            kind: From `kind`.
            log_probs: (m, V), log Q at this process's positions; nats.
            ids: (M,), the contexts of all processes' positions, on the host.

        Returns:
            None for `none` and for methods that need predictions at other histories.
        """
        if kind == "batch":
            context = self.grouped(ids)
            return self._grouping.term(lambda _: log_probs, context, weights=context.sizes)
        if kind == "noising":
            return self._noised(log_probs, ids[self._processes.share(len(ids))])
        return None

    def backward(self, model: LanguageModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
        """Adds the gradient of scale · term by drawn histories; returns the loss, nats.

        Of several processes: the gradient and the loss of this one's share, which add up.
        """
        context = self._matched(ids)
        if len(context.ids) == 0:  # fewer contexts than processes
            return context.sizes.new_zeros(())
        weight = scale * context.share
        if self._method == "serialized":
            loss = self._drawing.backward(model.after, context, weight, weights=context.sizes)
        else:
            loss = self._drawing.term(model.after, context, weights=context.sizes).loss
            torch.autograd.backward(weight * loss)
        return loss.detach() * context.share

    def measures(self, term: Term, weights: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """KL(P̂‖Q̄) in nats and the share of agreement, of a term."""
        return self._grouping.measures(term, weights)

    def _noised(self, log_probs: torch.Tensor, ids: torch.Tensor) -> Term:
        """One completion, the position itself: the induced model is the full one there."""
        target = self._rows.probs(ids)
        single = log_probs.new_zeros(len(ids), 1)
        loss = losses.noising_loss(log_probs.unsqueeze(1), single, target, check=False)
        return Term(loss, target, log_probs)

    def _matched(self, ids: torch.Tensor) -> Drawn:
        """The contexts that are matched, those of some positions, drawn, or of all; with histories."""
        most = self._settings.contexts
        if 0 < most < len(ids):
            order = torch.rand(len(ids), generator=self._generator)
            ids = ids[order.argsort()[:most]]
        distinct, sizes = torch.unique(ids, return_counts=True)
        # For all contexts in every process, so that the generators stay together.
        ends = self._contexts.ends(distinct, self._settings.k, self._generator)
        own = slice(self._processes.rank, None, self._processes.count)
        device, length = self._tokens.device, self._settings.history
        return Drawn(
            distinct[own],
            windows(self._tokens, uploaded(ends[own], device), length),
            uploaded(sizes[own].float(), device),
            float(sizes[own].sum()) / len(ids),
        )


def checked_ngram(
    method: str, ngram: BackoffModel | None, settings: LMSettings, vocab_size: int
) -> None:
    """Refuses an n-gram model that is missing, or is not of this text and order.

    Raises:
        InvalidInputError: It is.
    """
    if ngram is None:
        if method != "none":
            raise invalid("ngram", f"be an n-gram model for the method {method!r}", None)
        return
    if (ngram.order, ngram.vocab_size) != (settings.order, vocab_size):
        raise invalid(
            "ngram",
            f"be of order {settings.order} and {vocab_size} words, as the settings and the corpus",
            f"order {ngram.order} and {ngram.vocab_size} words",
        )

"""One update of a language model: the gradient of main loss + λ · term, and what an epoch adds up.

`LMTrainer` calls `Updates.add_gradient` for every piece of text. No update waits for the device, but with
the schedules `target-kl` and `aligned`, which look at what they adapt to. Of several processes each adds up
its own share, and the gradients are summed.

Index letters: M positions of a piece, m of them in this process, V words of the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from imm_rl.language.language_model import LanguageModel
from imm_rl.language.lm_settings import DRAWS
from imm_rl.language.lm_term import MatchingTerm
from imm_rl.language.processes import ALONE, Processes
from imm_rl.matching import Term
from imm_rl.schedules import WeightController

MEASURE_EVERY = 10
"""Updates between two looks at KL(P̂‖Q̄)."""


MEASURED = ("loss", "term", "kl", "agreement")


@dataclass
class EpochSums:
    """What an epoch adds up; losses stay on the device, so that no update waits for it.

    Of several processes `MEASURED` are each one's shares, and all else is the same in all of them.

    Attributes:
        words: Trained on.
        loss: Sum over words of −log Q, nats.
        updates: Made.
        weight: Sum of λ over the updates, 0 before the term has set in.
        terms: How many updates had a term.
        term: Sum of their terms, nats.
        looks: Updates that were measured.
        kl: Sum of their KL(P̂‖Q̄), nats, the induced model taken from the batch.
        agreement: Sum of their shares of agreement.
    """

    words: int = 0
    loss: torch.Tensor | float = 0.0
    updates: int = 0
    weight: float = 0.0
    terms: int = 0
    term: torch.Tensor | float = 0.0
    looks: int = 0
    kl: torch.Tensor | float = 0.0
    agreement: torch.Tensor | float = 0.0

    def values(self) -> list[float]:
        """All of them in order, for a checkpoint."""
        return [float(value) for value in vars(self).values()]

    @classmethod
    def of(cls, values: Any) -> EpochSums:
        """From what `values` gave."""
        sums = cls()
        for (name, first), value in zip(vars(sums).items(), values, strict=True):
            setattr(sums, name, type(first)(value))
        return sums

    def totals(self, processes: Processes) -> EpochSums:
        """The sums over all processes."""
        measured = processes.total([float(getattr(self, name)) for name in MEASURED])
        return EpochSums(**{**vars(self), **dict(zip(MEASURED, measured, strict=True))})

    def means(self) -> dict[str, float]:
        """What an epoch is reported with; a mean of nothing is left out."""
        means = {}
        if self.words:
            mean = float(self.loss) / self.words
            means["train/perplexity"] = math.exp(mean) if mean < 700.0 else math.inf
        if self.looks:
            means["imm/kl"] = float(self.kl) / self.looks
            means["imm/agreement"] = float(self.agreement) / self.looks
        if self.terms:
            means["imm/loss"] = float(self.term) / self.terms
        if self.updates:
            means["imm/lambda"] = self.weight / self.updates
        return means


class Updates:
    """The gradients of one training.

    Attributes:
        sums: Of the current epoch; the trainer puts a new one at its start.

    Args:
        model: In training.
        term: The matching term, None without one.
        controller: Of the one λ.
        processes: Among which each piece is split.
    """

    def __init__(
        self,
        model: LanguageModel,
        term: MatchingTerm | None,
        controller: WeightController,
        processes: Processes = ALONE,
    ) -> None:
        self._model, self._term, self._controller = model, term, controller
        self._processes = processes
        self.sums = EpochSums()

    def add_gradient(
        self,
        main: torch.Tensor,
        log_probs: torch.Tensor,
        ids: torch.Tensor | None,
        update: int,
        progress: float,
        *,
        started: bool,
    ) -> None:
        """Adds the gradient of main + λ · term to the parameters' `.grad`; all processes get the same.

        Args:
            main: Mean of −log Q over this process's positions, with gradients.
            log_probs: (m, V), log Q there, with gradients; nats.
            ids: (M,), contexts of all processes' positions, on the host; None without a term.
            update: Number of the update.
            progress: Share of the training that is done, in [0, 1].
            started: Whether the term has set in.
        """
        sums, words = self.sums, len(log_probs)
        sums.words, sums.updates = sums.words + words * self._processes.count, sums.updates + 1
        sums.loss = sums.loss + main.detach() * words
        if self._term is None or ids is None:
            self._backward(main)
            self._processes.sum_gradients(self._model.parameters())
            return
        weight = float(self._controller.weights(progress)[0]) if started else 0.0
        kind = self._term.kind(update)
        look = update % MEASURE_EVERY == 0 or (started and self._controller.needs_kl)
        if started and self._controller.needs_cosine and kind != "none":
            loss, weight = self._add_aligned(main, log_probs, ids, kind, progress)
            term = None
        else:
            loss, term = self._add_weighted(main, log_probs, ids, kind, weight)
            self._processes.sum_gradients(self._model.parameters())
        if look:
            self._look(term if kind == "batch" else None, log_probs, ids, adapt=started)
        sums.weight += weight
        if loss is not None:
            sums.terms, sums.term = sums.terms + 1, sums.term + loss

    def _backward(self, mean: torch.Tensor) -> None:
        """Adds the gradient of this process's share of a mean over all positions."""
        self._shared(mean).backward()  # type: ignore[no-untyped-call]

    def _shared(self, mean: torch.Tensor) -> torch.Tensor:
        """This process's share of a mean over all positions, of its mean over its own."""
        return mean if self._processes.count == 1 else mean / self._processes.count

    def _add_weighted(
        self,
        main: torch.Tensor,
        log_probs: torch.Tensor,
        ids: torch.Tensor,
        kind: str,
        weight: float,
    ) -> tuple[torch.Tensor | None, Term | None]:
        """Returns the term's value, and the term where it is one of the batch; None: there was none."""
        term = None
        if self._term is not None and weight != 0.0:
            term = self._term.in_graph(kind, log_probs, ids)
        self._backward(main if term is None else main + weight * term.loss)
        if term is not None:
            return self._shared(term.loss.detach()), term
        if self._term is None or weight == 0.0 or kind not in DRAWS:
            return None, None
        return self._term.backward(self._model, ids, weight), None

    def _add_aligned(
        self,
        main: torch.Tensor,
        log_probs: torch.Tensor,
        ids: torch.Tensor,
        kind: str,
        progress: float,
    ) -> tuple[torch.Tensor | None, float]:
        """The same with a λ that depends on the angle between the two gradients of all processes."""
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._shared(main).backward(retain_graph=True)  # type: ignore[no-untyped-call]
        self._processes.sum_gradients(parameters)
        own = [p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        loss, _ = self._add_weighted(0.0 * main, log_probs, ids, kind, 1.0)
        self._processes.sum_gradients(parameters)
        other = [p.grad for p in parameters]
        pairs = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
        cosine = 0.0
        if pairs:
            # One look at the device for all of them.
            products = [((a * b).sum(), (a * a).sum(), (b * b).sum()) for a, b in pairs]
            found = torch.stack([torch.stack(product) for product in products]).tolist()
            inner, *squares = (sum(column) for column in zip(*found, strict=True))
            norm = math.sqrt(squares[0]) * math.sqrt(squares[1])
            cosine = inner / norm if norm > 0.0 else 0.0
        self._controller.observe(cosine=[cosine])
        weight = float(self._controller.weights(progress)[0])
        for parameter, a, b in zip(parameters, own, other, strict=True):
            parameter.grad = a if b is None else weight * b if a is None else a + weight * b
        return loss, weight

    @torch.no_grad()
    def _look(
        self, term: Term | None, log_probs: torch.Tensor, ids: torch.Tensor, *, adapt: bool
    ) -> None:
        """Measures the induced model of the batch, whatever the method; it costs no random number."""
        if self._term is None:
            return
        if term is None:
            term = self._term.in_graph("batch", log_probs.detach(), ids)
        if term is None:
            return
        measured = self._term.measures(term, self._term.grouped(ids).sizes)
        self.sums.looks += 1
        kl = self._shared(measured["kl"])
        self.sums.kl = self.sums.kl + kl
        self.sums.agreement = self.sums.agreement + self._shared(measured["agreement"])
        if adapt and self._controller.needs_kl:
            self._controller.observe(kl=self._processes.total([float(kl)]))

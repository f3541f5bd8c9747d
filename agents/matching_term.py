"""The term of the loss that brings the restricted policy in: `imm`, `noising` or `naive-kl`.

`IMMReinforce` adds λ times it to the policy gradient's loss. Whatever the term, what is logged of an
update (`imm/kl`, `imm/agreement`, …) is measured on the induced policy, so that methods can be compared.

Index letters: N runs, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.by_state import target_table
from imm_rl.agents.contexts import GivenTargets, make_source
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import BoolArray
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.device import uploaded
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError
from imm_rl.matching import InducedModelMatching, SharedSupport, Term
from imm_rl.schedules import WeightController


class Found(NamedTuple):
    """The term of one update.

    Attributes:
        loss: (N,), with gradients.
        measures: What was measured, each (N,), by tag; empty where nobody looked.
        met: (N,) or (1,), whether a context has weight; known where somebody looked.
    """

    loss: Tensor
    measures: dict[str, FloatArray]
    met: BoolArray


class MatchingTerm:
    """The term of N runs that train side by side.

    Attributes:
        source: Where the contexts come from; its state is part of a checkpoint.

    Args:
        pair: The problem.
        policy: The restricted policy.
        method: One of `methods.TERMS`.
        settings: Of the agent.
        seeds: Its seeds.
        n_variants: Weights that each seed is trained with.
        parameters: Of the policy, each with a leading axis of N runs.

    Raises:
        InvalidInputError: The policy cannot be asked what a setting needs, or naive-kl is to match at
            contexts that the agent has not met.
    """

    def __init__(
        self,
        pair: EnvPair,
        policy: RestrictedPolicy,
        method: str,
        *,
        settings: ReinforceSettings,
        seeds: Sequence[int],
        n_variants: int,
        parameters: Sequence[torch.nn.Parameter],
    ) -> None:
        if method == "naive-kl" and settings.contexts == "restricted":
            raise InvalidInputError(
                "method 'naive-kl' matches the agent in the states it is in, and contexts 'restricted' "
                "are met by the restricted policy. Set contexts to 'agent'."
            )
        self._method, self._parameters = method, list(parameters)
        self._n_runs = len(seeds) * n_variants
        # The contexts bring the restricted policy's probabilities along.
        self._imm = InducedModelMatching(
            GivenTargets(), SharedSupport(weights_of=lambda contexts: contexts.support_weights)
        )
        self.source: Any = make_source(
            pair,
            policy,
            kind=settings.contexts,
            weight=settings.context_weight,
            seeds=seeds,
            n_variants=n_variants,
            n_envs=settings.n_envs,
            visited=self.visits,
        )

    @property
    def visits(self) -> bool:
        """Whether the method asks in which states the contexts were met."""
        return self._method == "naive-kl"

    def __call__(
        self,
        log_probs: Tensor,
        rollout: Any,
        main: Tensor,
        controller: WeightController,
        progress: float,
        *,
        measure: bool,
    ) -> tuple[Tensor | None, dict[str, FloatArray]]:
        """λ times the term (N,), or None where every λ is 0, and the measures where asked for.

        Args:
            log_probs: (N, S, A), with gradients.
            rollout: Of this update, a `Rollout` (or what the source takes).
            main: (N,), the loss that it is added to.
            controller: The runs' λ; it is told what it adapts to.
            progress: Share of the training done.
            measure: Whether this update is logged.
        """
        weights = controller.weights(progress)
        adapts = controller.needs_kl or controller.needs_cosine
        looked = measure or adapts
        found = self._found(log_probs, rollout, needed=bool(looked or weights.any()), looked=looked)
        if found is None:
            return None, {}
        loss, measures, met = found
        if looked:
            if measure or controller.needs_cosine:  # two more backward passes
                cosine = self._grad_cosine(main, loss)
                measures["imm/grad_cosine"] = np.where(met, cosine, np.nan)
            controller.observe(kl=measures["imm/kl"], cosine=measures.get("imm/grad_cosine"))
            weights = controller.weights(progress)
            measures["imm/lambda"] = weights
        if not weights.any():
            return None, measures
        return uploaded(weights, log_probs.device, torch.float32) * loss, measures

    def _found(
        self, log_probs: Tensor, rollout: Any, *, needed: bool, looked: bool
    ) -> Found | None:
        """The term at the rollout's contexts; None where nobody needs it.

        Args:
            log_probs: (N, S, A), with gradients.
            rollout: Of this update.
            needed: Whether the term is.
            looked: Whether it is measured.
        """
        contexts = self.source.contexts(rollout)
        return self._at(log_probs, contexts, looked=looked) if needed else None

    def _at(self, log_probs: Tensor, contexts: Any, *, looked: bool) -> Found:
        """The term at some contexts, `Contexts` or those of a device; (n, S, A) of n runs."""
        term: Term | None = None
        if looked or self._method == "imm":
            term = self._imm.term(lambda _: log_probs, contexts, weights=contexts.weights)
        loss = term.loss if term and self._method == "imm" else self._by_state(log_probs, contexts)
        if term is None or not looked:
            return Found(loss, {}, np.ones(1, dtype=bool))
        met = _on_host((contexts.weights > 0.0).any(-1))
        return Found(loss, self._measures(term, loss, log_probs, contexts, met), met)

    def _by_state(self, log_probs: Tensor, contexts: Any) -> Tensor:
        table = target_table(contexts, self._n_runs, visited=self.visits)
        on = uploaded(table, log_probs.device, torch.float32)
        loss: Tensor = -(on * log_probs).sum(dim=(1, 2))
        return loss

    def _measures(
        self,
        term: Term,
        loss: Tensor,
        log_probs: Tensor,
        contexts: Any,
        met: BoolArray,
    ) -> dict[str, FloatArray]:
        """What TensorBoard shows of the term, each (n,); reads the graph, changes nothing.

        A run none of whose contexts has weight, one that is not `met`, has no distance to speak of: NaN.
        """
        measures = self._imm.measures(
            term, contexts.weights, log_probs=log_probs, support_weights=contexts.support_weights
        )
        values = {f"imm/{name}": to_numpy(value) for name, value in measures.items()}
        values["imm/loss"] = to_numpy(loss)
        values = {name: np.where(met, value, np.nan) for name, value in values.items()}
        # How much a step's context counts on average: 1 if all count fully.
        weight = _on_host(contexts.weights.sum(-1)) / contexts.steps
        values["imm/weight"] = np.broadcast_to(weight, (len(log_probs),)).astype(np.float64)
        return values

    def _grad_cosine(self, main: Tensor, matching: Tensor) -> FloatArray:
        """Cosine (N,) between the gradients of the two losses, over each run's parameters."""
        sums = torch.zeros(3, self._n_runs, device=main.device)
        pairs = zip(
            torch.autograd.grad(main.sum(), self._parameters, retain_graph=True),
            torch.autograd.grad(matching.sum(), self._parameters, retain_graph=True),
            strict=True,
        )
        for g, h in pairs:
            for i, product in enumerate((g * h, g * g, h * h)):
                sums[i] += product.flatten(1).sum(dim=1)
        norms = sums[1].sqrt() * sums[2].sqrt()  # the product of the squares could underflow
        return to_numpy(sums[0] / norms.clamp_min(torch.finfo(sums.dtype).tiny))


def _on_host(values: Any) -> Any:
    """An array, or a tensor of the device as one; then the host waits for it."""
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def to_numpy(tensor: Tensor) -> FloatArray:
    """A tensor of the device as a float64 array; the host waits for it."""
    return tensor.detach().cpu().numpy().astype(np.float64)

"""`InducedModelMatching` ties a restricted model, completions and a schedule of λ into one loss.

    imm = InducedModelMatching(policy, SharedSupport(), "linear:1->0@0.5")
    term = imm.term(lambda _: log_probs, beliefs)          # log_probs (S, A), beliefs (N, S)
    (main_loss + imm.schedule(progress) * term.loss).backward()

RL, language models and logistic regression use the same class; they differ in their completions.
Index letters: N items (restricted contexts), Y targets, S full contexts, leading axes (...)
independent runs.

Source: Muneeb and Ohannessian, "Induced Model Matching", NeurIPS 2024 (arXiv 2402.12513).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch

from imm_rl import checks, losses
from imm_rl.completions import (
    ArrayOrTensor,
    Completions,
    InBatch,
    LogProbFn,
    Sampled,
    SharedSupport,
    as_tensor,
)
from imm_rl.cross_entropy import check_target, cross_entropy, item_shares, sizes
from imm_rl.errors import invalid
from imm_rl.schedules import Schedule, parse
from imm_rl.sparse_rows import SparseRows

__all__ = [
    "Completions",
    "InBatch",
    "InducedModelMatching",
    "Restricted",
    "Sampled",
    "SharedSupport",
    "SparseRows",
    "Term",
]


class Restricted(Protocol):
    """The restricted model: given, accurate, never trained here."""

    def probs(self, context: Any, /) -> ArrayOrTensor:
        """Returns P̂(y|x̄), (..., N, Y), for the N restricted contexts in `context`."""
        ...


class Term(NamedTuple):
    """The IMM term of one update.

    Attributes:
        loss: (...), in nats, with gradients; one value a run.
        target: P̂(y|x̄), (..., N, Y), of the dtype and device of `induced`.
        induced: log Q̄(y|x̄), (..., N, Y), in nats.
    """

    loss: torch.Tensor
    target: torch.Tensor
    induced: torch.Tensor


class InducedModelMatching:
    """The IMM term of a full model in training.

    Attributes:
        schedule: λ over the training, a `Schedule`; the caller multiplies (`backward` takes the λ
            of now).

    Args:
        restricted: The restricted model.
        completions: Which full contexts a restricted context may stand for: `SharedSupport`,
            `Sampled` or `InBatch`.
        schedule: λ, in any form that `schedules.parse` takes.
        check: Whether the values that the restricted model and the completions give are checked
            (rows are distributions) on the first call. Later calls check shapes and dtypes alone:
            a training loop asks the same sources again, and on a GPU each look at a value makes
            the host wait.

    Raises:
        InvalidInputError: The schedule's text is wrong, or an argument lacks its method.
    """

    def __init__(
        self,
        restricted: Restricted,
        completions: Completions,
        schedule: str | float | Schedule = 0.0,
        *,
        check: bool = True,
    ) -> None:
        for name, value, method in (
            ("restricted", restricted, "probs"),
            ("completions", completions, "induced"),
        ):
            if not callable(getattr(value, method, None)):
                raise invalid(name, f"have a method {method}", type(value).__name__)
        self.restricted = restricted
        self.completions = completions
        self.schedule = parse(schedule)
        self._check = check

    def term(
        self, log_prob_fn: LogProbFn, context: Any, weights: ArrayOrTensor | None = None
    ) -> Term:
        """Computes the IMM loss, with gradients through `log_prob_fn`.

        Args:
            log_prob_fn: The full model: maps what the completions hand it to log Q(y|x) in nats.
            context: N restricted contexts, in the form that the restricted model and the
                completions take (beliefs (N, S) or (..., N, S), a batch of tokens, ...).
            weights: (..., N), item weights, at least 0; equal where not given.

        Returns:
            The loss of each run and what it was computed from.

        Raises:
            InvalidInputError: A rank, shape, dtype or (on the first call) a value is wrong.
        """
        check = self._check
        induced = self.completions.induced(log_prob_fn, context, check=check)
        checks.floats("completions.induced(...)", induced, "(..., N, Y)")
        target = self._target(context, induced.device).to(induced.dtype)
        runs, own = sizes(induced, 2)
        check_target("restricted.probs(context)", target, runs, own, check=check)
        item_weights = _weights(weights, induced)
        loss = losses.imm_loss(induced, target, item_weights, check=check)
        self._check = False
        return Term(loss, target, induced)

    def backward(
        self,
        log_prob_fn: LogProbFn,
        context: Any,
        scale: float = 1.0,
        weights: ArrayOrTensor | None = None,
    ) -> torch.Tensor:
        """Adds the gradient of scale · (the sum of the runs' losses) to the parameters' `.grad`.

        With `Sampled(serialized=True)` this is Algorithm 2. A scale of 0 leaves every `.grad` as it
        is.

        Args:
            log_prob_fn: As in `term`.
            context: As in `term`.
            scale: λ at this update.
            weights: As in `term`.

        Returns:
            (...), the losses in nats, detached and not scaled.

        Raises:
            InvalidInputError: As `term`.
        """
        if isinstance(self.completions, Sampled) and self.completions.serialized:
            contexts, log_weights = self.completions.draw(context)
            loss = losses.serialized_backward(
                log_prob_fn,
                contexts,
                log_weights,
                self._target(context, log_weights.device),
                scale=scale,
                chunk=self.completions.chunk,
                weights=_weights(weights, log_weights),
                check=self._check,
            )
            self._check = False
            return loss
        with torch.set_grad_enabled(scale != 0):
            loss = self.term(log_prob_fn, context, weights).loss
        if scale != 0:
            torch.autograd.backward((scale * loss).sum())
        return loss.detach()

    @torch.no_grad()
    def measures(
        self,
        term: Term,
        weights: ArrayOrTensor | None = None,
        *,
        log_probs: torch.Tensor | None = None,
        support_weights: ArrayOrTensor | SparseRows | None = None,
    ) -> dict[str, torch.Tensor]:
        """How far the full model is from the restricted one; for logs and adaptive schedules.

        Args:
            term: What `term` returned.
            weights: (..., N), the item weights that `term` was given.
            log_probs: (..., S, Y), log Q(y|x_s) over a shared support, for `naive_kl`.
            support_weights: (..., N, S) or `SparseRows`, π(x_s|x̄_n), for `naive_kl`; given with
                `log_probs` or not at all.

        Returns:
            Detached tensors (...), one value a run, weighted over the items as the loss is:
            `kl`: KL(P̂‖Q̄) in nats. `agreement`: the share of weight where the likeliest target of
            Q̄ is one of the likeliest of P̂. `naive_kl`, where both arguments are given: the mean
            over completions of KL(P̂‖Q(·|x)) in nats, never below `kl`.

        Raises:
            InvalidInputError: Only one of the two arguments is given, or a shape or dtype is wrong.
        """
        runs, own = sizes(term.induced, 2)
        given = _weights(weights, term.induced)
        shares = item_shares(term.induced, given, runs, own[0], check=False)
        entropy = (shares * losses.entropy(term.target)).sum(-1)
        likeliest = term.induced.argmax(-1, keepdim=True)
        chosen = term.target.expand_as(term.induced).gather(-1, likeliest).squeeze(-1)
        measured = {
            "kl": (term.loss.detach() - entropy).clamp_min(0.0),  # below 0 by rounding alone
            "agreement": (shares * (chosen >= term.target.amax(-1))).sum(-1),
        }
        if (log_probs is None) != (support_weights is None):
            raise invalid("log_probs and support_weights", "be given together", "one of them")
        if log_probs is not None:
            expected = _expected_log_probs(log_probs, support_weights)
            joint = shares.unsqueeze(-1) * term.target
            measured["naive_kl"] = (cross_entropy(expected, joint, 2) - entropy).clamp_min(0.0)
        return measured

    def _target(self, context: Any, device: torch.device) -> torch.Tensor:
        return as_tensor("restricted.probs(context)", self.restricted.probs(context), device)


def _weights(weights: ArrayOrTensor | None, like: torch.Tensor) -> torch.Tensor | None:
    return None if weights is None else as_tensor("weights", weights, like.device)


def _expected_log_probs(
    log_probs: torch.Tensor, weights: ArrayOrTensor | SparseRows | None
) -> torch.Tensor:
    """Σ_s weights[n, s] log Q(y|x_s), (..., N, Y), with 0 · (−inf) = 0."""
    checks.floats("log_probs", log_probs, "(..., S, Y)")
    if isinstance(weights, SparseRows):
        weights.check("support_weights", log_probs, check=False)
        out = log_probs.isneginf()
        summed = weights.product(log_probs.masked_fill(out, 0.0).double())
        summed = summed.masked_fill(weights.product(out.double()) > 0, -torch.inf)
        return summed.to(log_probs.dtype)
    shares = as_tensor("support_weights", weights, log_probs.device).to(log_probs.dtype)
    checks.floats("support_weights", shares, "(..., N, S)")
    own = (shares.shape[-2], log_probs.shape[-2])
    checks.shaped("support_weights", shares, "(..., N, S)", sizes(log_probs, 2)[0], own)
    ruled_out = log_probs.isneginf()
    expected = shares @ log_probs.masked_fill(ruled_out, 0.0)
    return expected.masked_fill(shares @ ruled_out.to(shares.dtype) > 0, -torch.inf)

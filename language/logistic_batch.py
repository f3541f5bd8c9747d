"""Logistic regression with Induced Model Matching, many data sets at once: `fit(problems)`.

`IMMLogisticRegression` fits one problem with it, the paper's Figure 1 tens of thousands (all runs, sizes
and weights of a method as one tensor program). The objective of problem r is

    Σ_n w[n] CE(y[n], Q(·|x[n])) / Σ_n w[n]  +  λ[r] · IMM  +  ridge[r]/2 · |coefficients|²,

with IMM the term of `imm_rl.matching`. Noising is the same with each row as its own only completion.

Index letters: R problems, N rows (those of smaller data sets are padded with weight 0), D features, Y
classes, V logit vectors (1 for two classes, else Y), K completions of a row.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on logistic regression.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn.functional import log_softmax, logsigmoid

from imm_rl.language.lbfgs import minimize
from imm_rl.matching import InducedModelMatching, Sampled


@dataclass(frozen=True)
class Matching:
    """What the term of R problems needs.

    Attributes:
        target: (R, N, Y), P̂(y|x̄) at each row's restricted features.
        weight: (R,), λ.
        completions: Full contexts of each row: (R, N, K) integers, rows that lend their hidden
            features; or (R, N, K, D) whole contexts; or None: every row lends to every row (K = N).
        log_weights: (R, N, K), unnormalised log-weights of the completions.
        restricted: (R, D) booleans, the features that the restricted model sees; a row keeps these
            and takes the others from the row that lends.
    """

    target: torch.Tensor
    weight: torch.Tensor
    completions: torch.Tensor | None
    log_weights: torch.Tensor
    restricted: torch.Tensor

    def select(self, kept: torch.Tensor) -> Matching:
        """The same of the problems `kept` alone."""
        return _selected(self, kept, {})


@dataclass(frozen=True)
class Problems:
    """R data sets of N rows and D features, all float64 and on one device.

    Attributes:
        features: (R, N, D).
        labels: (R, N), classes 0..Y−1.
        weights: (R, N), at least 0, not all 0; 0 for padding.
        n_classes: Y, at least 2.
        ridge: (R,), weight of the squared coefficients (not of the intercepts).
        matching: The term, None for plain logistic regression.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    n_classes: int
    ridge: torch.Tensor
    matching: Matching | None = None

    @property
    def n_logits(self) -> int:
        """V."""
        return 1 if self.n_classes == 2 else self.n_classes

    def select(self, kept: torch.Tensor) -> Problems:
        """The problems `kept` alone."""
        matching = None if self.matching is None else self.matching.select(kept)
        return _selected(self, kept, {"n_classes": self.n_classes, "matching": matching})


_Owner = TypeVar("_Owner", Matching, Problems)


def _selected(owner: _Owner, kept: torch.Tensor, whole: dict[str, Any]) -> _Owner:
    """A copy whose tensors have the rows `kept`, and the entries `whole` as given."""
    parts = {
        field.name: getattr(owner, field.name)
        for field in dataclasses.fields(owner)
        if field.name not in whole
    }
    chosen: dict[str, Any] = {
        name: None if part is None else part[kept] for name, part in parts.items()
    }
    return type(owner)(**chosen, **whole)


class Fitted(NamedTuple):
    """The models of R problems.

    Attributes:
        coefficients: (R, V, D).
        intercepts: (R, V).
        iterations: (R,).
        converged: (R,).
    """

    coefficients: torch.Tensor
    intercepts: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor

    def log_probs(self, features: torch.Tensor) -> torch.Tensor:
        """Returns log Q(y|x), (R, N, Y) in nats, at features (R, N, D) or (N, D)."""
        logits = features @ self.coefficients.transpose(1, 2) + self.intercepts.unsqueeze(1)
        return log_probs_of(logits)


def log_probs_of(logits: torch.Tensor) -> torch.Tensor:
    """Returns log Q, (..., Y), of logits (..., V); one logit is that of the second of two classes."""
    if logits.shape[-1] > 1:
        return log_softmax(logits, -1)
    return torch.cat([logsigmoid(-logits), logsigmoid(logits)], -1)


def fit(problems: Problems, *, max_iter: int = 100, tol: float = 1e-4) -> Fitted:
    """Fits R problems from zero by L-BFGS.

    Args:
        problems: See `Problems`.
        max_iter: Most iterations of each problem.
        tol: A problem has converged where no entry of its gradient is larger.
    """
    runs, _, features = problems.features.shape
    start = problems.features.new_zeros(runs, problems.n_logits * (features + 1))
    found = minimize(_Objective(problems), start, max_iter=max_iter, tol=tol)
    parameters = found.points.view(runs, problems.n_logits, features + 1)
    return Fitted(parameters[..., :-1], parameters[..., -1], found.iterations, found.converged)


class _Target:
    """The restricted model as the term asks it: the rows it was given."""

    def __init__(self, target: torch.Tensor) -> None:
        self._target = target

    def probs(self, _: Any, /) -> torch.Tensor:
        return self._target


class _Objective:
    """See the module's docstring; parameters (R, V·(D+1)), the intercept last of each logit."""

    def __init__(self, problems: Problems, *, check: bool = True) -> None:
        self._problems = problems
        weights = problems.weights
        self._shares = weights / weights.sum(1, keepdim=True)
        matching = problems.matching
        self._term = None
        if matching is not None:
            completions, rows = matching.completions, problems.features.shape[1]
            if completions is None:
                completions = torch.arange(rows, device=weights.device).expand(
                    len(weights), rows, rows
                )
            drawn = (completions, matching.log_weights)
            self._term = InducedModelMatching(
                _Target(matching.target), Sampled(lambda _: drawn), check=check
            )

    def select(self, kept: torch.Tensor) -> _Objective:
        return _Objective(self._problems.select(kept), check=False)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        problems = self._problems
        features = problems.features
        parameters = points.view(len(features), problems.n_logits, -1)
        slopes, intercepts = parameters[..., :-1].transpose(1, 2), parameters[..., -1].unsqueeze(1)
        log_probs = log_probs_of(features @ slopes + intercepts)
        own = log_probs.gather(2, problems.labels.unsqueeze(2)).squeeze(2)
        value = -(self._shares * own).sum(1)
        value = value + 0.5 * problems.ridge * (slopes**2).sum((1, 2))
        if self._term is None or problems.matching is None:
            return value
        matching = problems.matching
        model = _Completed(problems, matching, slopes, intercepts)
        term = self._term.term(model, None, weights=problems.weights)
        return value + matching.weight * term.loss


class _Completed:
    """The full model at completions: log Q, (R, N, K, Y)."""

    def __init__(
        self,
        problems: Problems,
        matching: Matching,
        slopes: torch.Tensor,
        intercepts: torch.Tensor,
    ) -> None:
        self._problems, self._matching = problems, matching
        self._slopes, self._intercepts = slopes, intercepts

    def __call__(self, completions: torch.Tensor) -> torch.Tensor:
        problems, matching, slopes = self._problems, self._matching, self._slopes
        if completions.is_floating_point():
            flat = completions.flatten(1, 2) @ slopes + self._intercepts
            return log_probs_of(flat.view(*completions.shape[:3], -1))
        # A logit is a sum over features: what the row keeps plus what it is lent. (R, N, V) each.
        seen = matching.restricted.unsqueeze(2)
        kept = problems.features @ slopes.masked_fill(~seen, 0.0) + self._intercepts
        lent = problems.features @ slopes.masked_fill(seen, 0.0)
        if matching.completions is None:
            return log_probs_of(kept.unsqueeze(2) + lent.unsqueeze(1))
        rows = completions.flatten(1).unsqueeze(2).expand(-1, -1, lent.shape[2])
        parts = lent.gather(1, rows).view(*completions.shape, -1)
        return log_probs_of(kept.unsqueeze(2) + parts)

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from imm_rl import induced, losses
from imm_rl.language import hidden_completions as hidden
from imm_rl.language import logistic_batch
from imm_rl.language.logistic_batch import Fitted, Matching, Problems, fit, log_probs_of

RUNS, ROWS, FEATURES = 3, 7, 4
KINDS = ["none", "kernel", "rows", "contexts", "noising"]
CLASSES = [2, 3]


def matching(kind: str, features: Tensor, weights: Tensor, n_classes: int) -> Matching | None:
    """A term whose completions are of each kind; the restricted features differ between runs."""
    if kind == "none":
        return None
    rng = np.random.default_rng(7)
    runs, rows = weights.shape
    restricted = torch.zeros(runs, FEATURES, dtype=torch.bool)
    for run in range(runs):
        restricted[run, [0, 1 + run % 3]] = True
    seen = torch.stack([features[run][:, restricted[run]] for run in range(runs)])
    completions = None
    log_weights = torch.from_numpy(rng.normal(size=(runs, rows, 5)))
    if kind == "kernel":
        log_weights = hidden.kernel(seen, weights, hidden.bandwidths(seen, weights))
    elif kind == "rows":
        completions = torch.from_numpy(rng.integers(0, rows, size=(runs, rows, 5)))
    elif kind == "contexts":
        completions = torch.from_numpy(rng.normal(size=(runs, rows, 5, FEATURES)))
    else:
        completions = torch.arange(rows).view(1, rows, 1).expand(runs, -1, -1)
        log_weights = torch.zeros(runs, rows, 1, dtype=torch.float64)
    target = torch.from_numpy(rng.dirichlet(np.ones(n_classes), size=(runs, rows)))
    return Matching(
        target, torch.tensor([0.5, 2.0, 1.0]).double(), completions, log_weights, restricted
    )


def problems(kind: str, n_classes: int) -> Problems:
    rng = np.random.default_rng(3)
    features = torch.from_numpy(rng.normal(size=(RUNS, ROWS, FEATURES)))
    weights = torch.from_numpy(rng.uniform(0.5, 2, size=(RUNS, ROWS)))
    labels = torch.from_numpy(rng.integers(0, n_classes, size=(RUNS, ROWS)))
    ridge = torch.tensor([0.1, 0.01, 1.0]).double()
    term = matching(kind, features, weights, n_classes)
    return Problems(features, labels, weights, n_classes, ridge, term)


def objective(made: Problems) -> Any:
    return logistic_batch._Objective(made)


def parameters(made: Problems) -> Tensor:
    size = made.n_logits * (FEATURES + 1)
    return torch.from_numpy(np.random.default_rng(5).normal(size=(len(made.labels), size)))


def contexts_of(made: Problems, run: int) -> tuple[Tensor, Tensor]:
    """Every completion written out, (N, K, D), and the log-weights (N, K)."""
    term, features = made.matching, made.features[run]
    assert term is not None
    if term.completions is not None and term.completions.is_floating_point():
        return term.completions[run], term.log_weights[run]
    rows = len(features)
    which = (
        torch.arange(rows).expand(rows, rows) if term.completions is None else term.completions[run]
    )
    contexts = torch.empty(*which.shape, FEATURES, dtype=torch.float64)
    for n in range(rows):
        for k in range(which.shape[1]):
            contexts[n, k] = torch.where(term.restricted[run], features[n], features[which[n, k]])
    return contexts, term.log_weights[run]


def value_by_hand(made: Problems, run: int, flat: Tensor) -> Tensor:
    """The objective of one problem, from its definition."""
    table = flat.view(made.n_logits, FEATURES + 1)
    slopes, intercepts = table[:, :-1], table[:, -1]

    def model(x: Tensor) -> Tensor:
        logits = x @ slopes.T + intercepts
        if made.n_logits == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], -1)
        return log_softmax(logits, -1)

    weights = made.weights[run]
    own = model(made.features[run])[torch.arange(len(weights)), made.labels[run]]
    value = -(weights * own).sum() / weights.sum() + made.ridge[run] / 2 * slopes.square().sum()
    if made.matching is None:
        return value
    contexts, log_weights = contexts_of(made, run)
    mixture = induced.sampled(model(contexts), log_weights)
    term = losses.imm_loss(mixture, made.matching.target[run], weights)
    return value + made.matching.weight[run] * term


@pytest.mark.parametrize("n_classes", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_objective_and_gradient_equal_the_definition_written_out(kind: str, n_classes: int) -> None:
    made = problems(kind, n_classes)
    points = parameters(made).requires_grad_()
    values = objective(made)(points)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    for run in range(RUNS):
        flat = points[run].detach().requires_grad_()
        expected = value_by_hand(made, run, flat)
        torch.testing.assert_close(values[run], expected, rtol=0, atol=1e-12)
        (slope,) = torch.autograd.grad(expected, flat)
        torch.testing.assert_close(gradient[run], slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_classes", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_fit_of_a_batch_equals_each_problem_alone(kind: str, n_classes: int) -> None:
    made = problems(kind, n_classes)
    together = fit(made, max_iter=500, tol=1e-12)
    assert together.converged.all()
    assert together.coefficients.shape == (RUNS, made.n_logits, FEATURES)
    for run in range(RUNS):
        alone = fit(made.select(torch.tensor([run])), max_iter=500, tol=1e-12)
        for name in ("coefficients", "intercepts"):
            torch.testing.assert_close(
                getattr(alone, name)[0], getattr(together, name)[run], rtol=0, atol=1e-10
            )


def padded(made: Problems, rows: int = 3) -> Problems:
    """The same with rows of weight 0, of other features and labels."""
    rng = np.random.default_rng(11)
    more = torch.from_numpy(rng.normal(size=(RUNS, rows, FEATURES)))
    features = torch.cat([made.features, more], 1)
    weights = torch.cat([made.weights, made.weights.new_zeros(RUNS, rows)], 1)
    labels = torch.cat([made.labels, made.labels[:, :rows] * 0 + 1], 1)
    term = made.matching
    if term is not None:
        kernel = term.completions is None
        target = torch.cat([term.target, term.target[:, :rows]], 1)
        if kernel:
            seen = torch.stack([features[run][:, term.restricted[run]] for run in range(RUNS)])
            log_weights = hidden.kernel(seen, weights, hidden.bandwidths(seen, weights))
        else:
            log_weights = torch.cat([term.log_weights, term.log_weights[:, :rows]], 1)
        completions = term.completions
        if completions is not None:
            completions = torch.cat([completions, completions[:, :rows]], 1)
        term = dataclasses.replace(
            term, target=target, completions=completions, log_weights=log_weights
        )
    return Problems(features, labels, weights, made.n_classes, made.ridge, term)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_the_same_with_rows_of_weight_zero(kind: str) -> None:
    made = problems(kind, 3)
    found, expected = fit(padded(made), tol=1e-12, max_iter=500), fit(made, tol=1e-12, max_iter=500)
    torch.testing.assert_close(found.coefficients, expected.coefficients, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.intercepts, expected.intercepts, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_select_gives_the_values_of_the_problems_chosen(kind: str) -> None:
    made = problems(kind, 2)
    whole, points, kept = objective(made), parameters(made), torch.tensor([2, 0])
    part = whole.select(kept)
    torch.testing.assert_close(part(points[kept]), whole(points)[kept])
    last = part.select(torch.tensor([1]))
    torch.testing.assert_close(last(points[:1]), whole(points)[:1])
    assert made.select(kept).n_classes == 2


def test_fit_with_lambda_zero_is_the_plain_fit() -> None:
    made, plain = problems("kernel", 3), problems("none", 3)
    assert made.matching is not None
    off = dataclasses.replace(made.matching, weight=torch.zeros(RUNS, dtype=torch.float64))
    found = fit(dataclasses.replace(made, matching=off), tol=1e-10)
    torch.testing.assert_close(found.coefficients, fit(plain, tol=1e-10).coefficients)


def test_log_probs_of_one_logit_are_those_of_the_second_of_two_classes() -> None:
    logits = torch.tensor([[2.0], [-800.0], [800.0]], dtype=torch.float64)
    found = log_probs_of(logits)
    expected = log_softmax(torch.cat([torch.zeros_like(logits), logits], -1), -1)
    torch.testing.assert_close(found, expected)
    assert torch.equal(log_probs_of(expected), log_softmax(expected, -1))


def test_fitted_log_probs_take_features_of_one_or_of_every_run() -> None:
    fitted = fit(problems("none", 3))
    features = problems("none", 3).features
    each, shared = fitted.log_probs(features), fitted.log_probs(features[1])
    assert isinstance(fitted, Fitted)
    assert each.shape == (RUNS, ROWS, 3)
    torch.testing.assert_close(shared[1], each[1])
    torch.testing.assert_close(each.exp().sum(-1), torch.ones(RUNS, ROWS, dtype=torch.float64))

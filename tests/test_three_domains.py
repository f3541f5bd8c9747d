"""One example that agents, language models and logistic regression can all express, and one gradient.

Three columns c, three hidden values h, four targets y, and a free table of logits: the full model. Who
sees the column alone has a restricted model P̂(y|c). For agents it is the 3 × 3 grid with a policy that sees
x; for language models a text of words, the word before being the context; for tables one-hot features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents.matching_term import MatchingTerm as AgentTerm
from imm_rl.agents.rollout import Rollout
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.histories import Contexts
from imm_rl.language.level import Level
from imm_rl.language.lm_settings import LMSettings
from imm_rl.language.lm_term import MatchingTerm as TextTerm
from imm_rl.language.logistic_batch import Matching, Problems, _Objective
from imm_rl.language.ngram_rows import NgramRows
from imm_rl.schedules import WeightController

C, H, Y = 3, 3, 4
RESTRICTED = np.random.default_rng(7).dirichlet(np.ones(Y), size=C)
"""P̂(y|c)."""
LOGITS = torch.from_numpy(np.random.default_rng(8).normal(size=(C, H, Y)))
"""Of the full model."""


class SeesColumn:
    """The restricted policy on the grid: a belief's column says what it does."""

    def __init__(self, columns: np.ndarray) -> None:
        self.n_states, self.n_actions, self.name = C * H, Y, "sees x"
        self._table = RESTRICTED[columns]

    def probs(self, beliefs: Any) -> np.ndarray:
        return np.asarray(beliefs) @ self._table


def by_agents() -> tuple[float, torch.Tensor]:
    pair = imm_rl.make(f"grid(size={C})")
    columns = pair.model.observation[0].argmax(1)
    rows = np.argsort(columns, kind="stable")  # states in the order of the table
    term = AgentTerm(
        pair,
        SeesColumn(columns),
        "imm",
        settings=ReinforceSettings(context_weight="uniform"),
        seeds=[0],
        n_variants=1,
        parameters=[torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))],
    )
    logits = LOGITS.clone().requires_grad_()
    by_state = torch.empty(C * H, dtype=torch.long)
    by_state[torch.from_numpy(rows)] = torch.arange(C * H)
    log_probs = logits.view(C * H, Y).log_softmax(-1)[by_state].unsqueeze(0)
    states = np.arange(C * H)[:, None]  # each once
    no = np.zeros(states.shape, dtype=bool)
    rollout = Rollout(states, np.zeros_like(states), states, np.zeros(states.shape), no, no)
    controller = WeightController([1.0])
    loss, _ = term(log_probs, rollout, log_probs.sum(), controller, 0.0, measure=False)
    assert loss is not None
    return float(loss.detach()), torch.autograd.grad(loss.sum(), logits)[0]


def by_texts() -> tuple[float, torch.Tensor]:
    tokens = torch.arange(Y)
    contexts = Contexts.of(tokens, 2)
    table = np.concatenate([RESTRICTED, np.full((1, Y), 0.25)])
    level = Level(
        np.arange(Y)[:, None],
        np.ones(Y),
        np.arange(Y + 1) * Y,
        np.tile(np.arange(Y), Y),
        table.ravel(),
    )
    rows = NgramRows(BackoffModel(np.full(Y, 0.25), [level]), contexts.words)
    term = TextTerm("batch", rows, contexts, LMSettings(), torch.Generator())
    logits = LOGITS.clone().requires_grad_()
    ids = torch.arange(C).repeat_interleave(H)
    found = term.in_graph("batch", logits.view(C * H, Y).log_softmax(-1), ids)
    assert found is not None
    return float(found.loss.detach()), torch.autograd.grad(found.loss, logits)[0]


def by_tables() -> tuple[float, torch.Tensor]:
    one_hot = torch.eye(C * H, dtype=torch.float64)
    matching = Matching(
        torch.from_numpy(RESTRICTED).unsqueeze(0),
        torch.ones(1, dtype=torch.float64),
        one_hot.view(1, C, H, C * H),
        torch.zeros(1, C, H, dtype=torch.float64),
        torch.zeros(1, C * H, dtype=torch.bool),
    )
    rows = one_hot.view(C, H, C * H)[:, 0].unsqueeze(0)
    labels, weights = torch.zeros(1, C, dtype=torch.long), torch.ones(1, C, dtype=torch.float64)
    ridge = torch.zeros(1, dtype=torch.float64)
    point = torch.cat([LOGITS.view(C * H, Y).T, torch.zeros(Y, 1, dtype=torch.float64)], 1)
    found = []
    for term in (matching, None):
        parameters = point.reshape(1, -1).clone().requires_grad_()
        value = _Objective(Problems(rows, labels, weights, Y, ridge, term))(parameters)
        found.append((float(value.detach()), torch.autograd.grad(value.sum(), parameters)[0]))
    gradient = (found[0][1] - found[1][1]).view(Y, C * H + 1)[:, :-1].T.reshape(C, H, Y)
    return found[0][0] - found[1][0], gradient


def by_hand() -> tuple[float, torch.Tensor]:
    probs = LOGITS.exp() / LOGITS.exp().sum(-1, keepdim=True)
    target = torch.from_numpy(RESTRICTED).unsqueeze(1)
    induced = probs.mean(1, keepdim=True)
    loss = -(target * induced.log()).sum() / C
    # dLoss/dq[c,h,y] = −P̂[c,y] / (C · H · Q̄[c,y]); through the softmax: q · (g − Σ q g).
    slope = -target / (C * H * induced)
    return float(loss), probs * (slope - (probs * slope).sum(-1, keepdim=True))


@pytest.mark.parametrize("domain", [by_agents, by_texts, by_tables])
def test_every_domain_finds_the_loss_and_gradient_worked_out_by_hand(domain: Any) -> None:
    loss, gradient = domain()
    expected_loss, expected = by_hand()
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    tolerance = 1e-7 if domain is by_texts else 1e-12  # rows of n-grams are float32
    torch.testing.assert_close(gradient, expected, rtol=0, atol=tolerance)
    assert float(expected.abs().min()) > 1e-4

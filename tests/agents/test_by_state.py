"""Noising and naive KL as tables of target mass, against the losses written out for each context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import imm_rl
from imm_rl import losses
from imm_rl.agents.by_state import target_table
from imm_rl.agents.contexts import Contexts, make_source
from imm_rl.agents.rollout import Rollout

N, M, S, A = 2, 7, 5, 3


def _contexts(kind: str, rng: np.random.Generator) -> tuple[Contexts, np.ndarray, np.ndarray]:
    """Contexts of a kind, and their beliefs (N, M, S) and states (N, M) written out."""
    beliefs = rng.dirichlet(np.ones(S), (N, M))
    beliefs[rng.random((N, M, S)) < 0.3] = 0.0
    beliefs[..., 0] += 0.1
    beliefs /= beliefs.sum(axis=-1, keepdims=True)
    targets = rng.dirichlet(np.ones(A), (N, M))
    weights = rng.random((N, M))
    states = rng.integers(S, size=(N, M))
    if kind == "shared":
        beliefs, targets = np.stack([beliefs[0]] * N), np.stack([targets[0]] * N)
        found = Contexts(beliefs[0], targets[0], weights, M, states)
    elif kind == "shared sparse":
        beliefs, targets = np.stack([beliefs[0]] * N), np.stack([targets[0]] * N)
        found = Contexts(sp.csr_array(beliefs[0]), targets[0], weights, M, states)
    elif kind == "sparse":
        found = Contexts(sp.csr_array(beliefs.reshape(-1, S)), targets, weights, M, states)
    else:
        found = Contexts(beliefs, targets, weights, M, states)
    return found, beliefs, states


def _linear(table: np.ndarray, log_probs: torch.Tensor) -> torch.Tensor:
    return -(torch.as_tensor(table) * log_probs).sum(dim=(1, 2))


@pytest.mark.parametrize("kind", ["own", "shared", "sparse", "shared sparse"])
@pytest.mark.parametrize("visited", [False, True])
def test_target_table_gives_the_loss_and_gradient_of_each_context(kind: str, visited: bool) -> None:
    rng = np.random.default_rng(3)
    contexts, beliefs, states = _contexts(kind, rng)
    logits = torch.as_tensor(rng.normal(size=(N, S, A))).requires_grad_()
    log_probs = torch.log_softmax(logits, dim=-1)
    targets = torch.as_tensor(np.broadcast_to(contexts.targets, (N, M, A)).copy())
    weights = torch.as_tensor(contexts.weights)

    if visited:
        at = torch.stack([p[s] for p, s in zip(log_probs, torch.as_tensor(states), strict=True)])
        entropy = (weights * losses.entropy(targets)).sum(1) / weights.sum(1)
        expected = losses.naive_kl_loss(at, targets, weights) + entropy
    else:
        each = log_probs[:, None].expand(N, M, S, A)
        expected = losses.noising_loss(each, torch.as_tensor(beliefs).log(), targets, weights)
    found = _linear(target_table(contexts, N, visited=visited), log_probs)

    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0] for loss in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 1e-2


def test_target_table_is_zero_in_a_run_without_weight() -> None:
    contexts, _, _ = _contexts("own", np.random.default_rng(0))
    contexts.weights[1] = 0.0

    table = target_table(contexts, N, visited=False)

    assert table[0].sum() == pytest.approx(1.0)
    assert not table[1].any()


def _rollout(pair: imm_rl.EnvPair, n_steps: int, rows: int) -> Rollout:
    rng = np.random.default_rng(5)
    model = pair.model
    states = rng.integers(model.n_states, size=(n_steps, rows))
    actions = rng.integers(model.n_actions, size=states.shape)
    no = np.zeros(states.shape, dtype=bool)
    after = pair.sampler.transition(states.ravel(), actions.ravel(), rng.random(states.size))
    return Rollout(states, actions, after.reshape(states.shape), np.zeros(states.shape), no, no)


def test_merged_contexts_know_the_states_they_were_met_in() -> None:
    """On the grid equal observations are one context: naive KL must not spread over the column."""
    pair = imm_rl.make("grid(size=5)")
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp")
    made: dict[str, Any] = {"kind": "agent", "weight": None, "seeds": [0, 1], "n_variants": 1}
    rollout = _rollout(pair, 40, 2)
    source = make_source(pair, policy, n_envs=1, visited=True, **made)
    contexts = source.contexts(rollout)

    table = target_table(contexts, 2, visited=True)

    # The grid's observation is a function of the state, so each step's context is known.
    seen = np.argmax(pair.model.observation[0], axis=1)
    factor = contexts.weights / np.maximum(
        np.stack([np.bincount(seen[s], minlength=5) for s in rollout.states.T]), 1
    )
    expected = np.zeros_like(table)
    for run in range(2):
        for state in rollout.states[:, run]:
            o = seen[state]
            expected[run, state] += factor[run, o] * contexts.targets[o]
    expected /= contexts.weights.sum(axis=1)[:, None, None]
    np.testing.assert_allclose(table, expected, atol=1e-12)
    without = make_source(pair, policy, n_envs=1, **made).contexts(rollout)
    assert without.visited is None


def test_filtered_contexts_know_the_states_they_were_met_in() -> None:
    pair = imm_rl.make("cheese")
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp")
    source = make_source(
        pair, policy, kind="agent", weight="uniform", seeds=[0, 1], n_variants=1, n_envs=2
    )
    states = np.zeros((3, 4), dtype=np.int64)
    states[:] = pair.model.initial.argmax()
    stay = int(np.argmax(pair.model.transition[states[0, 0], :, states[0, 0]]))
    no = np.zeros(states.shape, dtype=bool)
    rollout = Rollout(states, np.full_like(states, stay), states, np.zeros(states.shape), no, no)

    contexts = source.contexts(rollout)

    assert contexts.visited is not None
    assert contexts.visited.shape == (2, 6)
    assert (contexts.visited == states[0, 0]).all()

"""Noising and naive KL in stable-baselines3's algorithms: the term's gradient, λ = 0, saving, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

import imm_rl
from imm_rl import IMMPPO, IMMCallback, losses
from imm_rl.agents.belief_matcher import BeliefMatcher
from imm_rl.agents.sb3_rollout import RolloutReader, Steps
from imm_rl.agents.sb3_states import StateCodec
from imm_rl.errors import InvalidInputError

PPO_SETTINGS: dict[str, Any] = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "seed": 3}


def _steps(pair: imm_rl.EnvPair, n_steps: int, n_envs: int) -> Steps:
    rng = np.random.default_rng(1)
    states = rng.integers(pair.model.n_states, size=(n_steps + 1, n_envs))
    starts = np.zeros((n_steps, n_envs), dtype=bool)
    starts[0] = True
    return Steps(
        observations=states[:-1],
        actions=rng.integers(pair.model.n_actions, size=(n_steps, n_envs, 1)),
        starts=starts,
        next_observations=states[-1],
        next_starts=np.ones(n_envs, dtype=bool),
        masks=None,
    )


@pytest.mark.parametrize("env", ["grid(size=5)", "tiger"])
@pytest.mark.parametrize("method", ["noising", "naive-kl"])
def test_term_is_the_loss_written_out_at_each_context(method: str, env: str) -> None:
    pair = imm_rl.make(env)
    restricted = imm_rl.agents.solve(pair.restricted_model, "qmdp")
    model = PPO("MlpPolicy", pair.sb3_vector(2, "mdp"), **PPO_SETTINGS)
    codec = StateCodec(pair, model.observation_space, None)
    matcher = BeliefMatcher(
        pair,
        restricted,
        codec,
        weight="uniform",
        batch_size=500,
        n_envs=2,
        seed=0,
        method=method,
    )
    matcher.follow(_steps(pair, 12, 2), continues=False)
    contexts, rows = matcher._contexts, matcher._positive
    assert contexts is not None
    assert contexts.visited is not None or method == "noising"

    term = matcher.term(model.policy, RolloutReader(model))

    assert term is not None
    everywhere = codec.table[np.arange(pair.model.n_states)]
    observations = torch.as_tensor(RolloutReader(model).as_seen(everywhere))
    log_probs = model.policy.get_distribution(observations).distribution.logits
    n_actions = pair.model.n_actions
    beliefs = torch.as_tensor(contexts.beliefs.reshape(-1, pair.model.n_states)[rows])
    targets = torch.as_tensor(contexts.targets.reshape(-1, n_actions)[rows])
    weights = torch.as_tensor(contexts.weights[0][rows])
    if method == "naive-kl":
        met = contexts.visited[0][rows]
        beliefs = torch.as_tensor(met if met.ndim == 2 else np.eye(pair.model.n_states)[met])
    each = log_probs[None].expand(len(rows), -1, -1).double()
    expected = losses.noising_loss(each, beliefs.double().log(), targets, weights)
    torch.testing.assert_close(term.loss.double(), expected, rtol=1e-5, atol=1e-6)
    parameters = [p for p in model.policy.parameters() if p.requires_grad]
    found, wanted = (
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in (term.loss, expected)
    )
    sizes = [g.abs().max().item() for g in found if g is not None]
    assert max(sizes) > 1e-4
    for a, b in zip(found, wanted, strict=True):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b.to(a.dtype), rtol=1e-3, atol=1e-6)


def _parameters(model: Any) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in model.policy.parameters()]


@pytest.mark.parametrize("method", ["noising", "naive-kl"])
def test_a_weight_of_zero_is_the_plain_algorithm_and_another_is_not(method: str) -> None:
    found = []
    for weight in (None, 0.0, 1.0):
        pair = imm_rl.make("cheese")
        model = PPO("MlpPolicy", pair.sb3_vector(2, "mdp"), **PPO_SETTINGS)
        matching = (
            [] if weight is None else [IMMCallback(pair, "qmdp", imm_lambda=weight, method=method)]
        )
        model.learn(96, callback=matching)
        found.append(_parameters(model))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_the_three_methods_train_differently_and_a_zip_remembers_which(tmp_path: Path) -> None:
    found = []
    for method in ("imm", "noising", "naive-kl"):
        pair = imm_rl.make("grid(size=5)")
        model = IMMPPO(
            "MlpPolicy",
            pair,
            restricted="qmdp",
            imm_lambda=1.0,
            imm={"method": method},
            **PPO_SETTINGS,
        )
        model.learn(256)
        found.append(_parameters(model))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not all(np.array_equal(a, b) for a, b in zip(found[i], found[j], strict=True))
    model.save(tmp_path / "m.zip")
    assert (
        IMMPPO.load(tmp_path / "m.zip", env=imm_rl.make("grid(size=5)")).imm._method == "naive-kl"
    )


def test_methods_that_are_not_served_are_refused() -> None:
    pair = imm_rl.make("CartPole-v1", observe=[2, 3])
    with pytest.raises(InvalidInputError, match="no model to filter beliefs by"):
        IMMCallback(pair, lambda views: views[:, 0] > 0, method="noising")
    with pytest.raises(InvalidInputError, match="unknown method 'bc'"):
        IMMCallback(imm_rl.make("tiger"), method="bc")

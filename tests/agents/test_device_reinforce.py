"""IMMReinforce on a device: the numbers of the host, and no wait of the host between evaluations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents import device_contexts
from imm_rl.agents.checkpoint import load_checkpoint, save_checkpoint
from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.errors import InvalidInputError, RunFailedError

NoHostWaits = Callable[[], AbstractContextManager[None]]

CASES: dict[str, dict[str, Any]] = {
    "grid plain": {"env": "grid(size=5)", "restricted": None, "weight": None},
    "grid imm": {"env": "grid(size=5)", "restricted": "fib", "weight": 0.5},
    "grid naive-kl": {"env": "grid(size=5)", "weight": 0.5, "method": "naive-kl"},
    "grid noising": {"env": "grid(size=5)", "weight": 0.5, "method": "noising"},
    "paper": {"env": "grid(size=5)", "weight": "paper", "preset": "paper"},
    "tiger": {"env": "tiger", "restricted": "pomdp", "weight": [1.0, 0.0]},
    "adaptive": {"env": "tiger", "weight": ["target-kl:0.05", "aligned:1"]},
    # Three copies of seventeen steps: beliefs and episodes are carried over the ends of rollouts.
    "cheese carried": {"env": "cheese", "restricted": "pomdp", "n_envs": 3, "n_steps": 17},
    "cheese naive-kl": {"env": "cheese", "method": "naive-kl", "n_envs": 2, "n_steps": 20},
    "cheese noising": {"env": "cheese", "method": "noising"},
    "cheese interpolate": {"env": "cheese", "method": "interpolate"},
    "cheese bc": {"env": "cheese", "weight": None, "method": "bc", "bc_updates": 20},
    "certainty": {"env": "cheese", "restricted": "qmdp", "context_weight": "certainty"},
    "restricted contexts": {"env": "cheese", "restricted": "qmdp", "contexts": "restricted"},
    "terminal states": {"env": "tmaze", "restricted": "qmdp", "n_envs": 2, "n_steps": 11},
    "light-dark": {"env": "light-dark", "restricted": "qmdp", "entropy_coef": 0.01},
    "outcome rewards": {"env": "shuttle", "restricted": "qmdp"},
    "mean baseline": {
        "env": "4x3",
        "weight": 1.0,
        "baseline": "mean",
        "normalize_advantage": False,
        "bootstrap": False,
        "n_steps": 30,
    },
    "entropy": {"env": "tiger-grid", "restricted": "qmdp", "entropy_coef": 0.01},
    "no baseline": {"env": "4x3", "baseline": "none", "n_envs": 2},
}
"""Settings beside those of `make`, by name."""


def make(
    on_device: bool | None = True,
    *,
    env: str = "cheese",
    restricted: Any = "fib",
    weight: Any = 1.0,
    preset: str = "default",
    method: str | None = None,
    seeds: Any = (0, 1),
    **options: Any,
) -> IMMReinforce:
    settings = ReinforceSettings.preset(preset, eval_episodes=4, eval_points=3, **options)
    return IMMReinforce(
        imm_rl.make(env),
        restricted,
        weight,
        seeds=seeds,
        settings=settings,
        device="cpu",
        method=method,
        on_device=on_device,
    )


def parameters(agent: IMMReinforce) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in agent.policy.parameters()]


def assert_same(one: IMMReinforce, other: IMMReinforce) -> None:
    for mine, theirs in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("case", CASES)
def test_device_trains_as_the_host_does(case: str) -> None:
    host, device = make(False, **CASES[case]), make(True, **CASES[case])
    for agent in (host, device):
        agent.learn(agent.batch_steps * 20)
    assert device.on_device
    assert not host.on_device
    for mine, theirs in zip(parameters(host), parameters(device), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-5)
    for host_record, record in zip(host.records, device.records, strict=True):
        np.testing.assert_array_equal(host_record.returns, record.returns)
        np.testing.assert_allclose(host_record.rollout_returns, record.rollout_returns)
        assert list(host_record.measures) == list(record.measures)
        for name, values in host_record.measures.items():
            np.testing.assert_allclose(values, record.measures[name], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("case", [name for name in CASES if name != "adaptive"])
def test_device_waits_at_evaluations_alone(case: str, no_host_waits: NoHostWaits) -> None:
    agent = make(True, **CASES[case])
    agent.learn(agent.batch_steps, evaluate_at=[])  # what is made once
    before = parameters(agent)
    callback = None if case == "cheese interpolate" else (lambda *_: None)
    with no_host_waits():
        _learn_without_its_last_look(agent, 5, callback)
    assert any((a != b).any() for a, b in zip(before, parameters(agent), strict=True))


def _learn_without_its_last_look(agent: IMMReinforce, updates: int, callback: Any) -> None:
    look, agent._require_good_updates = agent._require_good_updates, lambda: None  # type: ignore[method-assign]
    try:
        agent.learn(agent.env_steps + updates * agent.batch_steps, callback, evaluate_at=[])
    finally:
        agent._require_good_updates = look  # type: ignore[method-assign]


def test_the_host_path_waits_so_that_the_test_above_can_fail(no_host_waits: NoHostWaits) -> None:
    agent = make(False)
    with pytest.raises(AssertionError, match="waits for the device"), no_host_waits():
        agent.learn(agent.batch_steps, evaluate_at=[])


@pytest.mark.parametrize("env", ["tiger", "grid(size=3)"])
def test_lambda_0_is_bit_for_bit_plain_reinforce_on_the_device(env: str) -> None:
    plain, zero = make(env=env, restricted=None, weight=None), make(env=env, weight=0.0)
    for agent in (plain, zero):
        agent.learn(agent.batch_steps * 20)
    assert_same(plain, zero)
    for mine, theirs in zip(plain.records, zero.records, strict=True):
        np.testing.assert_array_equal(mine.returns, theirs.returns)


def test_a_seeds_numbers_depend_on_the_seeds_beside_it_by_rounding_alone_on_the_device() -> None:
    together, alone = make(seeds=(4, 5, 6)), make(seeds=(5,))
    for agent in (together, alone):
        agent.learn(agent.batch_steps * 20)
    np.testing.assert_allclose(together.action_probs()[0, 1], alone.action_probs()[0, 0], atol=1e-6)


@pytest.mark.parametrize("case", ["cheese carried", "grid imm", "terminal states", "tiger"])
def test_a_resumed_training_on_the_device_ends_as_one_in_one_go(case: str, tmp_path: Path) -> None:
    whole, first, second = (make(**CASES[case]) for _ in range(3))
    steps = whole.batch_steps
    points = {"evaluate_at": [7 * steps, 20 * steps]}
    whole.learn(20 * steps, **points)
    first.learn(20 * steps, lambda agent, _: agent.env_steps < 7 * steps, **points)
    save_checkpoint(first, tmp_path / "state.npz")
    load_checkpoint(second, tmp_path / "state.npz")
    second.learn(20 * steps, **points)
    assert_same(whole, second)
    np.testing.assert_array_equal(whole.records[-1].returns, second.records[-1].returns)


@pytest.mark.parametrize("case", ["cheese carried", "grid imm", "terminal states"])
@pytest.mark.parametrize("first_on_device", [True, False])
def test_a_checkpoint_of_one_path_is_taken_up_by_the_other(
    case: str, first_on_device: bool, tmp_path: Path
) -> None:
    whole = make(False, **CASES[case])
    first, second = (make(p, **CASES[case]) for p in (first_on_device, not first_on_device))
    steps = whole.batch_steps
    whole.learn(20 * steps, evaluate_at=[20 * steps])
    first.learn(20 * steps, lambda agent, _: agent.env_steps < 7 * steps, evaluate_at=[20 * steps])
    save_checkpoint(first, tmp_path / "state.npz")
    load_checkpoint(second, tmp_path / "state.npz")
    second.learn(20 * steps, evaluate_at=[20 * steps])
    for mine, theirs in zip(parameters(whole), parameters(second), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-5)
    np.testing.assert_array_equal(whole.records[-1].returns, second.records[-1].returns)


@pytest.mark.parametrize("method", ["imm", "noising", "naive-kl"])
def test_beliefs_in_parts_give_the_term_of_all_at_once(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"seeds": range(5), "weight": 0.5, "method": method, "n_steps": 20}
    whole, parts = make(**options), make(**options)
    whole.learn(whole.batch_steps * 20)
    monkeypatch.setattr(device_contexts, "MOST_BELIEFS", 2 * 20 * 11)  # two runs of five
    parts.learn(parts.batch_steps * 20)
    for mine, theirs in zip(parameters(whole), parameters(parts), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-6)
    for name, values in whole.records[-1].measures.items():
        np.testing.assert_allclose(values, parts.records[-1].measures[name], atol=1e-5)


def test_a_run_that_diverges_on_the_device_is_told_at_the_next_evaluation() -> None:
    agent = make(seeds=(3, 4))
    seen: list[int] = []

    def break_one(agent: IMMReinforce, _: Any) -> None:
        seen.append(agent.env_steps)
        if agent.env_steps == 2 * agent.batch_steps:
            with torch.no_grad():
                agent.policy.weights[0][1] = torch.nan

    with pytest.raises(RunFailedError, match=r"loss of seed 4 \(λ = 1\) is not finite at 100 env"):
        agent.learn(10 * agent.batch_steps, break_one, evaluate_at=[5 * agent.batch_steps])
    assert seen[-1] == 4 * agent.batch_steps


def test_a_run_that_diverges_is_told_before_a_stopped_training_can_be_saved() -> None:
    agent = make()

    def stop(agent: IMMReinforce, _: Any) -> bool:
        with torch.no_grad():
            agent.policy.weights[0].fill_(torch.nan)
        return agent.env_steps < 2 * agent.batch_steps

    with pytest.raises(RunFailedError, match="is not finite"):
        agent.learn(10 * agent.batch_steps, stop, evaluate_at=[10 * agent.batch_steps])


def test_an_impossible_observation_is_told_at_the_next_evaluation() -> None:
    agent = make(restricted="qmdp", n_steps=10)
    agent.term.source._filter._likelihood[:] = 0.0  # type: ignore[union-attr]
    with pytest.raises(RunFailedError, match="impossible under its belief"):
        agent.learn(5 * agent.batch_steps)


class Own:
    """A policy of the user's, which knows NumPy alone."""

    name, n_states, n_actions = "own", 11, 4

    def probs(self, context: np.ndarray) -> np.ndarray:
        return np.full((*context.shape[:-1], 4), 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "jsrl"}, "the restricted policy acts in the rollouts"),
        ({"restricted": Own()}, "restricted policy 'own' is no function of tensors"),
        ({"env": "rocksample(4,4)", "restricted": "qmdp"}, "states, and its beliefs are sparse"),
    ],
)
def test_what_stays_on_the_host_is_refused_where_the_device_is_asked_for(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(True, **options)
    assert not make(None, **options).on_device


def test_rollouts_are_on_the_host_on_a_cpu() -> None:
    assert not make(None).on_device

"""`IMMReinforce` with each method: λ = 0 is the plain algorithm, checkpoints, refusals, starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.checkpoint import load_checkpoint, save_checkpoint
from imm_rl.agents.methods import METHODS
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.agents.warm_start import demonstrations

WITH_LAMBDA = [name for name, method in METHODS.items() if method.lambda_means]
HELPED = [name for name in METHODS if name != "none"]


def _agent(
    method: str | None, env: str = "cheese", restricted: Any = "qmdp", **options: Any
) -> Any:
    given = {"imm_lambda": options.pop("imm_lambda")} if "imm_lambda" in options else {}
    settings = {"eval_points": 3, "eval_episodes": 4, **options}
    return imm_rl.IMMReinforce(
        imm_rl.make(env),
        None if method == "none" else restricted,
        seeds=(0, 3),
        settings=ReinforceSettings(**settings),
        method=method,
        **given,
    )


@pytest.mark.parametrize("env", ["cheese", "4x3", "grid(size=5)"])
@pytest.mark.parametrize("method", WITH_LAMBDA)
def test_a_weight_of_zero_is_the_plain_algorithm_bit_for_bit(method: str, env: str) -> None:
    plain = _agent("none", env).learn(400)

    found = _agent(method, env, imm_lambda=0).learn(400)

    np.testing.assert_array_equal(found.action_probs(), plain.action_probs())
    for ours, theirs in zip(found.records, plain.records, strict=True):
        np.testing.assert_array_equal(ours.returns, theirs.returns)


@pytest.mark.parametrize("method", HELPED)
def test_every_method_changes_what_is_learned_or_earned(method: str) -> None:
    plain = _agent("none", "tiger").learn(300)

    stays = {} if method == "bc" else {"imm_lambda": "linear:1->0@0.5"}
    found = _agent(method, "tiger", **stays).learn(300)

    same = all(
        np.array_equal(a.returns, b.returns)
        for a, b in zip(found.records, plain.records, strict=True)
    )
    assert not same
    if method == "interpolate":  # no term in training
        np.testing.assert_array_equal(found.action_probs(), plain.action_probs())
    else:
        assert not np.array_equal(found.action_probs(), plain.action_probs())


@pytest.mark.parametrize("env", ["cheese", "grid(size=5)"])
@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_goes_on_as_if_never_stopped(method: str, env: str, tmp_path: Path) -> None:
    whole = _agent(method, env).learn(600)

    first = _agent(method, env)
    first.learn(600, callback=lambda agent, _: agent.env_steps < 250)
    assert first.env_steps < 600
    save_checkpoint(first, tmp_path / "c.npz")
    second = _agent(method, env)
    load_checkpoint(second, tmp_path / "c.npz")
    second.learn(600)

    np.testing.assert_array_equal(second.action_probs(), whole.action_probs())
    for ours, theirs in zip(second.records, whole.records, strict=True):
        np.testing.assert_array_equal(ours.returns, theirs.returns)
    played, expected = second.play(greedy=True), whole.play(greedy=True)
    np.testing.assert_array_equal(played.returns, expected.returns)


def test_bc_goes_on_from_before_its_first_evaluation(tmp_path: Path) -> None:
    whole = _agent("bc").learn(600)
    first = _agent("bc")
    first.learn(600, callback=lambda agent, _: False)
    assert first.records == []
    save_checkpoint(first, tmp_path / "c.npz")
    second = _agent("bc")
    load_checkpoint(second, tmp_path / "c.npz")
    second.learn(600)

    np.testing.assert_array_equal(second.action_probs(), whole.action_probs())
    steps = second.records[-1].measures["bc/demonstration_steps"]
    np.testing.assert_array_equal(steps, whole.records[-1].measures["bc/demonstration_steps"])
    assert (steps > 0).all()


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    save_checkpoint(_agent("noising").learn(100), tmp_path / "c.npz")

    with pytest.raises(ValueError, match="method was 'noising' and is 'imm'"):
        load_checkpoint(_agent("imm"), tmp_path / "c.npz")


def test_bc_starts_from_a_policy_that_does_what_was_shown() -> None:
    agent = _agent("bc", bc_updates=500, bc_episodes=50)
    agent._warm_start()

    shown, steps = demonstrations(agent.pair, agent.restricted, agent.seeds, 50)
    assert (steps == 50 * agent.pair.max_steps).all()  # cheese has no terminal state
    found = agent.action_probs()[0]

    visits = shown.sum(axis=2)
    expected = shown / np.maximum(visits, 1e-12)[..., None]
    often = visits > 0.02
    assert often.sum() >= 8
    assert np.abs(found - expected)[often].max() < 0.1
    assert np.abs(expected[often] - 0.25).max() > 0.5  # not what the agent began with


def test_demonstrations_are_those_of_each_seed() -> None:
    pair = imm_rl.make("cheese")
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp")

    both, _ = demonstrations(pair, policy, [4, 9], 5)
    alone, _ = demonstrations(pair, policy, [9], 5)

    np.testing.assert_array_equal(both[1], alone[0])
    assert not np.array_equal(both[0], both[1])
    np.testing.assert_allclose(both.sum(axis=(1, 2)), 1.0)


def test_interpolate_earns_the_restricted_policys_return_first_and_its_own_last() -> None:
    agent = _agent("interpolate", "grid(size=5)", imm_lambda="linear:1000->0@0.9", eval_points=10)
    agent.learn(2000)
    plain = _agent("none", "grid(size=5)", eval_points=10).learn(2000)

    np.testing.assert_array_equal(agent.records[-1].returns, plain.records[-1].returns)
    assert not np.array_equal(agent.records[0].returns, plain.records[0].returns)
    assert agent.records[0].measures["imm/lambda"].min() > 800.0


def test_jsrl_hands_the_episode_over_step_by_step() -> None:
    agent = _agent("jsrl", imm_lambda="linear:1->0@1", eval_points=50)
    steps = []
    agent.learn(2000, callback=lambda a, _: steps.append(int(a.guide.steps[0])) or True)

    assert steps[0] == agent.pair.max_steps
    assert steps == sorted(steps, reverse=True)
    assert 0 < steps[-1] <= agent.pair.max_steps / 20


def test_a_policy_on_observations_serves_every_method() -> None:
    pair = imm_rl.make("cheese")
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(pair.model.n_actions), pair.model.n_observations)
    stands_for = rng.dirichlet(np.ones(pair.model.n_states), pair.model.n_observations)
    policy = MemorylessPolicy(table, stands_for)
    for method in HELPED:
        agent = _agent(method, restricted=policy)
        assert agent.learn(100).env_steps == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "kickstart"}, "unknown method 'kickstart'"),
        ({"method": "none"}, "method 'none' trains without a restricted policy"),
        ({"method": "bc", "restricted": None}, "method 'bc' needs a restricted policy"),
        ({"method": "bc", "imm_lambda": 0.5}, "method 'bc' has no use for one"),
        ({"method": "jsrl", "imm_lambda": "target-kl:0.1"}, "adapts to what a matching term"),
        ({"method": "interpolate", "imm_lambda": "aligned:1"}, "adapts to what a matching term"),
        (
            {"method": "naive-kl", "settings": ReinforceSettings(contexts="restricted")},
            "Set contexts to 'agent'",
        ),
    ],
)
def test_a_method_refuses_what_it_has_no_use_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imm_rl.IMMReinforce(imm_rl.make("cheese"), **{"restricted": "qmdp", **options})

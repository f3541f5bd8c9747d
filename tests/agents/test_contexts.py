"""Contexts along rollouts and their weights, against a filter written out step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.context_weights import certainty, weighing
from imm_rl.agents.contexts import FilteredContexts, ObservationContexts, make_source
from imm_rl.agents.rollout import Rollout, TabularRollouts, action_cdf
from imm_rl.agents.solve import solve
from imm_rl.agents.streams import SeedStreams
from imm_rl.errors import InvalidInputError


def rollouts(pair: Any, *, n_runs: int = 2, n_envs: int = 3, max_steps: int = 7) -> TabularRollouts:
    seeds = range(n_runs)
    return TabularRollouts(
        pair.sampler,
        SeedStreams(seeds, "environment"),
        SeedStreams(seeds, "action"),
        n_runs=n_runs,
        n_envs=n_envs,
        max_steps=max_steps,
    )


def uniform_cdf(pair: Any, n_runs: int = 2) -> np.ndarray:
    shape = (n_runs, pair.model.n_states, pair.model.n_actions)
    return action_cdf(np.full(shape, 1.0 / shape[-1]))


def source(pair: Any, policy: Any, *, kind: str = "agent", weight: str = "uniform") -> Any:
    return make_source(pair, policy, kind=kind, weight=weight, seeds=[0, 1], n_variants=1, n_envs=3)


@pytest.mark.parametrize("name", ["tiger", "cheese", "4x3"])
def test_filtered_contexts_equal_a_filter_written_out_and_carry_over(name: str) -> None:
    pair = imm_rl.make(name)
    model = pair.model
    stepper, contexts = rollouts(pair), source(pair, solve(model, "qmdp"))
    assert isinstance(contexts, FilteredContexts)
    streams = SeedStreams([0, 1], "context")
    belief = np.tile(model.initial, (6, 1))
    for _ in range(3):  # episodes of 7 steps in rollouts of 5: beliefs and starts cross rollouts
        rollout = stepper.collect(uniform_cdf(pair), 5)
        found = contexts.contexts(rollout)
        (uniforms,) = streams.uniforms(1, 5, 3)
        for t in range(5):
            for row in range(6):
                run, copy = divmod(row, 3)
                np.testing.assert_allclose(
                    found.beliefs[run, copy * 5 + t], belief[row], atol=1e-12
                )
                action, after = rollout.actions[t, row], rollout.next_states[t, row]
                seen = int(pair.sampler.observe(action, after, uniforms[t, row]))
                joint = (belief[row] @ model.transition_of(action)) * model.observation_of(action)[
                    :, seen
                ]
                belief[row] = joint / joint.sum()
                if rollout.truncated[t, row]:
                    belief[row] = model.initial
    np.testing.assert_allclose(found.beliefs.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(found.weights, np.ones((2, 15)))


def test_filtered_contexts_give_the_true_state_positive_probability() -> None:
    pair = imm_rl.make("cheese")
    rollout = rollouts(pair).collect(uniform_cdf(pair), 40)
    found = source(pair, solve(pair.model, "qmdp")).contexts(rollout)
    beliefs = found.beliefs.reshape(6, 40, -1)
    held = np.take_along_axis(beliefs, rollout.states.T[:, :, None], axis=2)
    assert (held > 0.0).all()


def test_observation_contexts_weigh_by_each_runs_visits() -> None:
    pair = imm_rl.make("grid(size=3)")
    contexts = source(pair, solve(pair.restricted_model, "fib"))
    assert isinstance(contexts, ObservationContexts)
    states = np.array([[0, 4, 8, 0, 1, 2]] * 2)
    zeros = np.zeros_like(states)
    flags = zeros.astype(bool)
    found = contexts.contexts(Rollout(states, zeros, states, zeros * 1.0, flags, flags))
    seen = pair.observation_beliefs[:, states[0]].argmax(axis=0)
    expected = np.stack(
        [2.0 * np.bincount(seen[:3], minlength=3), 2.0 * np.bincount(seen[3:], minlength=3)]
    )
    np.testing.assert_array_equal(found.weights, expected)
    np.testing.assert_allclose(found.beliefs, pair.observation_beliefs)


def test_restricted_contexts_are_the_beliefs_the_policy_meets_itself() -> None:
    pair = imm_rl.make("tiger")
    policy = solve(pair.model)
    found = source(pair, policy, kind="restricted").contexts(None)
    # It listens at (0.5, 0.5) and (0.85, 0.15), opens at 0.97: tiger's beliefs are 1/(1 + (3/17)^k).
    odds = np.log(found.beliefs[:, 0] / found.beliefs[:, 1]) / np.log(0.85 / 0.15)
    np.testing.assert_allclose(odds, odds.round(), atol=2e-3)
    assert set(np.abs(odds.round())) == {0.0, 1.0, 2.0}
    start = np.abs(odds) < 0.5
    assert found.weights[0, start].sum() > 64  # every episode's start, and after every door
    np.testing.assert_allclose(found.targets[start], [[1.0, 0.0, 0.0]])


def test_certainty_is_0_where_all_is_alike_and_1_where_one_is_sure() -> None:
    beliefs = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(certainty(beliefs), [0.0, 1.0, 0.5], atol=1e-12)
    assert (certainty(beliefs) >= 0.0).all()


def test_informed_weight_leaves_out_beliefs_at_which_the_policy_gathers_information() -> None:
    policy = solve(imm_rl.make("tiger").model)
    beliefs = np.array([[0.5, 0.5], [0.85, 0.15], [0.97, 0.03], [1.0, 0.0]])
    weights = weighing("informed", policy)(beliefs, policy.probs(beliefs))
    # It listens at the first two, which it would not do if told where the tiger is.
    np.testing.assert_allclose(weights, [0.0, 0.0, 0.97, 1.0], atol=1e-9)


def test_weighing_refuses_unknown_names() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'certainty'?"):
        weighing("certain", solve(imm_rl.make("tiger").model, "qmdp"))


@pytest.mark.parametrize("name", ["tiger", "grid(size=3)"])
def test_sources_go_on_where_a_saved_state_says(name: str) -> None:
    pair = imm_rl.make(name)
    policy = solve(pair.restricted_model, "fib")
    stepper, one, other = rollouts(pair), source(pair, policy), source(pair, policy)
    one.contexts(stepper.collect(uniform_cdf(pair), 5))
    other.restore(one.state())
    rollout = stepper.collect(uniform_cdf(pair), 5)
    for mine, theirs in zip(one.contexts(rollout), other.contexts(rollout), strict=True):
        np.testing.assert_array_equal(mine, theirs)

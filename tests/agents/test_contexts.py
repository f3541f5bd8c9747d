"""Contexts along rollouts and their weights, against a filter written out step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import imm_rl
from imm_rl.agents.context_weights import certainty, weighing
from imm_rl.agents.contexts import FilteredContexts, ObservationContexts, make_source
from imm_rl.agents.evaluation import restricted_returns
from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
from imm_rl.agents.rollout import Rollout, TabularRollouts, action_cdf
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.agents.solve import solve
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.model import TabularPOMDP
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


def source(pair: Any, policy: Any, *, kind: str = "agent", weight: str | None = "uniform") -> Any:
    return make_source(pair, policy, kind=kind, weight=weight, seeds=[0, 1], n_variants=1, n_envs=3)


def pit(*, sparse: bool = False) -> TabularPOMDP:
    """Two hidden states, either of which an action may fall into the terminal pit from."""
    transition = np.zeros((3, 2, 3))
    transition[0] = [[0.6, 0.2, 0.2], [0.1, 0.4, 0.5]]
    transition[1] = [[0.3, 0.3, 0.4], [0.0, 0.9, 0.1]]
    transition[2, :, 2] = 1.0
    observation = np.tile([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]], (2, 1, 1))
    reward = np.array([[1.0, 0.5], [0.2, 0.7], [0.0, 0.0]])
    ends = np.array([False, False, True])
    if sparse:
        parts = [sp.csr_array(transition[:, a]) for a in range(2)]
        seen = [sp.csr_array(observation[a]) for a in range(2)]
        return TabularPOMDP(parts, seen, reward, [0.5, 0.5, 0.0], 0.9, terminal=ends)
    return TabularPOMDP(transition, observation, reward, [0.5, 0.5, 0.0], 0.9, terminal=ends)


PAIRS = {
    "tiger": lambda: imm_rl.make("tiger"),
    "cheese": lambda: imm_rl.make("cheese"),
    "4x3": lambda: imm_rl.make("4x3"),
    "pit": lambda: imm_rl.EnvPair("pit", pit()),
    "sparse pit": lambda: imm_rl.EnvPair("pit", pit(sparse=True)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_filtered_contexts_equal_a_filter_written_out_and_carry_over(name: str) -> None:
    pair = PAIRS[name]()
    model = pair.model
    dense = [
        [np.asarray(m.todense()) if sp.issparse(m) else m for m in parts]
        for parts in (
            [model.transition_of(a) for a in range(model.n_actions)],
            [model.observation_of(a) for a in range(model.n_actions)],
        )
    ]
    stepper, contexts = rollouts(pair), source(pair, solve(model, "qmdp"))
    assert isinstance(contexts, FilteredContexts)
    streams = SeedStreams([0, 1], "context")
    belief = np.tile(model.initial, (6, 1))
    ends = 0
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
                joint = (belief[row] @ dense[0][action]) * dense[1][action][:, seen]
                joint[model.terminal] = 0.0  # the episode went on
                if rollout.truncated[t, row] or rollout.terminated[t, row]:
                    belief[row], ends = model.initial, ends + 1
                else:
                    belief[row] = joint / joint.sum()
    assert ends >= 6
    np.testing.assert_allclose(found.beliefs.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(found.weights, np.ones((2, 15)))


def test_no_belief_is_left_on_a_terminal_state_of_an_episode_that_goes_on() -> None:
    pair = PAIRS["pit"]()
    policy = solve(pair.model, "qmdp")
    agent = IMMReinforce(pair, policy, 1.0, seeds=(0, 1), device="cpu")
    agent.learn(
        20_000
    )  # the better agent avoids the pit; its filter must not conclude that it fell
    rollout = agent.rollouts.collect(action_cdf(agent.action_probs()[0]), 200)
    assert agent.source is not None
    assert (agent.source.contexts(rollout).beliefs[..., 2] == 0.0).all()
    played = source(pair, policy, kind="restricted").contexts(None)
    assert (played.beliefs[:, 2] == 0.0).all()


def test_filtered_contexts_give_the_true_state_positive_probability() -> None:
    pair = imm_rl.make("cheese")
    rollout = rollouts(pair).collect(uniform_cdf(pair), 40)
    found = source(pair, solve(pair.model, "qmdp")).contexts(rollout)
    beliefs = found.beliefs.reshape(6, 40, -1)
    held = np.take_along_axis(beliefs, rollout.states.T[:, :, None], axis=2)
    assert (held > 0.0).all()


def test_observation_contexts_weigh_by_the_states_acted_in() -> None:
    pair = imm_rl.make("grid(size=3)")
    contexts = source(pair, solve(pair.restricted_model, "fib"))
    assert isinstance(contexts, ObservationContexts)
    states = np.array([[0, 4, 8, 0, 1, 2]] * 2)
    zeros = np.zeros_like(states)
    flags = zeros.astype(bool)
    # States arrived in are others, and must not count.
    found = contexts.contexts(Rollout(states, zeros, zeros + 8, zeros * 1.0, flags, flags))
    seen = pair.observation_beliefs[:, states[0]].argmax(axis=0)
    expected = 2.0 * np.stack([np.bincount(part, minlength=3) for part in (seen[:3], seen[3:])])
    np.testing.assert_array_equal(found.weights, expected)
    np.testing.assert_allclose(found.beliefs, pair.observation_beliefs)


def test_a_memoryless_policy_is_matched_at_what_it_saw_last() -> None:
    pair = imm_rl.make("tiger")
    beliefs = np.array([[0.85, 0.15], [0.15, 0.85]])
    policy = MemorylessPolicy([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], beliefs)
    contexts = source(pair, policy)
    stepper = rollouts(pair, max_steps=4)
    streams, last = SeedStreams([0, 1], "context"), np.full(6, -1)
    for _ in range(3):
        rollout = stepper.collect(uniform_cdf(pair), 3)
        found = contexts.contexts(rollout)
        (uniforms,) = streams.uniforms(1, 3, 3)
        expected = np.zeros((2, 2))
        for t in range(3):
            for row in range(6):
                if last[row] >= 0:
                    expected[row // 3, last[row]] += 1
                action, after = rollout.actions[t, row], rollout.next_states[t, row]
                last[row] = pair.sampler.observe(action, after, uniforms[t, row])
                if rollout.truncated[t, row]:
                    last[row] = -1
        np.testing.assert_array_equal(found.weights, expected)
        np.testing.assert_array_equal(found.beliefs, beliefs)
        np.testing.assert_array_equal(found.targets, policy.table)


def test_a_memoryless_policy_trains_an_agent_and_is_evaluated() -> None:
    # Told by one growl: opening the other door at once is worth 0.85·10 − 0.15·100 = −6.5 a step.
    pair = imm_rl.make("tiger")
    beliefs = np.array([[0.85, 0.15], [0.15, 0.85]])
    policy = MemorylessPolicy([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], beliefs)
    agent = IMMReinforce(pair, policy, seeds=range(4), device="cpu").learn(5_000)
    assert (agent.records[-1].returns > 450.0).all()
    listened = imm_rl.make("tiger").model.action_names.index("listen")
    assert listened == 0
    listener = MemorylessPolicy(np.tile([1.0, 0.0, 0.0], (2, 1)), beliefs)
    rng = np.random.default_rng(0)
    returns = restricted_returns(pair, listener, episodes=4000, n_steps=50, rng=rng)
    # Its first action, before anything is heard, is uniform: (−1 + 10 − 100)/3, then 49 times −1.
    assert returns.mean() == pytest.approx(-91 / 3 - 49, abs=3.0)
    for options in ({"kind": "restricted"}, {"weight": "informed"}):
        with pytest.raises(InvalidInputError, match="observations"):
            source(pair, policy, **options)


class Custom:
    """A policy of a user's, for tiger, that answers what it is told to."""

    n_states, n_actions = 2, 3

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def probs(self, beliefs: np.ndarray) -> Any:
        assert beliefs.ndim == 2  # what the guide promises
        return self.answer(len(beliefs))


def test_a_custom_policy_is_asked_for_rows_and_may_answer_with_a_tensor() -> None:
    agent = IMMReinforce(
        imm_rl.make("tiger"), Custom(lambda n: torch.full((n, 3), 1 / 3)), device="cpu"
    )
    agent.learn(100)
    assert agent.records[-1].env_steps == 100


@pytest.mark.parametrize("kind", ["agent", "restricted"])
@pytest.mark.parametrize("weight", ["uniform", "informed"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda n: None,
        lambda n: np.ones(n),
        lambda n: np.full((n, 2), 0.5),
        lambda n: np.full((n, 3), 0.5),
        lambda n: np.full((n, 3), np.nan),
        lambda n: [["a", "b", "c"]] * n,
    ],
)
def test_a_custom_policys_bad_answer_is_said(answer: Any, weight: str, kind: str) -> None:
    settings = ReinforceSettings(context_weight=weight, contexts=kind)
    with pytest.raises(InvalidInputError, match="probs of restricted policy 'Custom' must"):
        IMMReinforce(imm_rl.make("tiger"), Custom(answer), settings=settings, device="cpu").learn(
            50
        )


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

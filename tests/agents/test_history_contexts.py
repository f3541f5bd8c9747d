"""Matching on a tabular pair to a policy that acts on observations, with or without a memory."""

import re

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

import imm_rl
from imm_rl.agents.contexts import make_source
from imm_rl.agents.restricted.view_policy import FunctionPolicy, as_view_policy
from imm_rl.agents.rollout import Rollout
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.errors import InvalidInputError

TINY = {"n_steps": 8, "batch_size": 16, "device": "cpu", "seed": 0}


@pytest.fixture(scope="module")
def tiger():
    return imm_rl.make("tiger(max_steps=6)")


def viewing(pair, function):
    return FunctionPolicy(function, pair.pomdp().observation_space, pair.mdp().action_space)


def by_view(pair):
    """Other probabilities on each observation, "nothing yet" included."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(pair.model.n_actions), size=pair.n_outputs("pomdp"))
    return table, viewing(pair, lambda views: table[np.asarray(views, dtype=int).ravel()])


def source(pair, policy, n_envs=2, **given):
    options = {"kind": "agent", "weight": None, "seeds": [0], "n_variants": 1, **given}
    return make_source(pair, policy, n_envs=n_envs, **options)


def rollout(pair, n_steps, n_envs=2, seed=0):
    """Random actions; episodes of six steps that start together."""
    rng = np.random.default_rng(seed)
    shape = (n_steps, n_envs)
    actions = rng.integers(pair.model.n_actions, size=shape)
    states, following = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    current = pair.sampler.initial(rng.random(n_envs))
    over = np.zeros(shape, dtype=bool)
    for t in range(n_steps):
        states[t] = current
        following[t] = current = pair.sampler.transition(current, actions[t], rng.random(n_envs))
        if (t + 1) % 6 == 0:
            over[t] = True
            current = pair.sampler.initial(rng.random(n_envs))
    return Rollout(states, actions, following, np.zeros(shape), np.zeros_like(over), over)


def part(steps, some):
    """Some steps of a rollout."""
    return Rollout(*(a[some] for a in steps[:6]))


def test_targets_are_the_policys_answers_to_what_led_to_the_beliefs(tiger):
    """Each belief is the filter's after the observations that the policy was shown."""
    shown = []
    table, _ = by_view(tiger)

    def noting(views):
        shown.append(np.asarray(views, dtype=int).ravel())
        return table[shown[-1]]

    steps = rollout(tiger, 8)
    found = source(tiger, viewing(tiger, noting)).contexts(steps)
    views = shown[-1].reshape(8, 2)
    nothing = tiger.model.n_observations
    assert (views[[0, 6]] == nothing).all()
    assert (views[[1, 2, 3, 4, 5, 7]] < nothing).all()
    belief_filter = BeliefFilter(tiger.restricted_model)
    for e in range(2):
        belief = belief_filter.start(1)
        for t in range(8):
            if t == 6:
                belief = belief_filter.start(1)
            row = e * 8 + t  # by copy, then by step
            np.testing.assert_allclose(found.beliefs[0, row], belief[0], atol=1e-12)
            np.testing.assert_allclose(found.targets[0, row], table[views[t, e]])
            if t not in (5, 7):
                belief = belief_filter.update(belief, steps.actions[t, [e]], views[t + 1, [e]])
    assert (found.weights == 1.0).all()
    assert found.steps == 16


def test_pair_that_observes_at_reset_is_followed_by_its_observation_beliefs():
    pair = imm_rl.make("grid(size=3)")
    table, policy = by_view(pair)
    steps = rollout(pair, 7)
    found = source(pair, policy).contexts(steps)
    columns = (steps.states // 3).T.ravel()
    np.testing.assert_allclose(found.beliefs[0], pair.observation_beliefs[columns])
    np.testing.assert_allclose(found.targets[0], table[columns])


def test_kept_contexts_are_some_of_all(tiger):
    _, policy = by_view(tiger)
    steps = rollout(tiger, 30)
    every = source(tiger, policy).contexts(steps)
    some = source(tiger, policy, most=10).contexts(steps)
    assert some.beliefs.shape[:2] == some.targets.shape[:2] == some.weights.shape == (1, 10)
    assert every.weights.shape == (1, 60)
    assert len(np.unique(some.targets[0], axis=0)) > 1


def test_recurrent_policy_carries_its_memory_from_rollout_to_rollout(tiger):
    model = RecurrentPPO(
        "MlpLstmPolicy", tiger.sb3_vector(2, "pomdp"), policy_kwargs={"lstm_hidden_size": 4}, **TINY
    )
    space = tiger.pomdp().observation_space
    policy = as_view_policy(model, space, tiger.mdp().action_space)
    steps = rollout(tiger, 10)
    whole = source(tiger, policy).contexts(steps)
    halves = source(tiger, policy)
    parts = [halves.contexts(part(steps, s)) for s in (slice(0, 4), slice(4, 10))]
    again = source(tiger, policy)
    again.contexts(part(steps, slice(0, 4)))
    copy = source(tiger, policy)
    copy.restore(again.state())
    np.testing.assert_allclose(copy.contexts(part(steps, slice(4, 10))).targets, parts[1].targets)

    def split(contexts, n_steps):
        return contexts.targets.reshape(2, n_steps, -1)

    together = np.concatenate([split(parts[0], 4), split(parts[1], 6)], axis=1)
    np.testing.assert_allclose(together, split(whole, 10), atol=1e-6)
    assert np.ptp(split(whole, 10), axis=(0, 1)).max() > 1e-4  # it does answer by the history


@pytest.mark.parametrize("form", ["model", "zip", "function"])
def test_agents_train_with_it(tmp_path, tiger, form):
    model = PPO("MlpPolicy", tiger.sb3_vector(2, "pomdp"), **TINY)
    model.save(tmp_path / "seen.zip")
    _, function = by_view(tiger)
    policy = {"model": model, "zip": str(tmp_path / "seen.zip"), "function": function}[form]
    agent = imm_rl.IMMReinforce(tiger, policy, 0.5, seeds=[0, 1])
    agent.learn(60)
    assert np.isfinite(agent.records[-1].measures["imm/kl"]).all()
    imm_rl.IMMPPO("MlpPolicy", tiger, policy, 0.5, n_envs=2, **TINY).learn(48)


def test_policy_of_other_sizes_is_refused(tiger):
    model = PPO("MlpPolicy", imm_rl.make("cheese").sb3_vector(2, "pomdp"), **TINY)
    with pytest.raises(InvalidInputError, match="Discrete"):
        imm_rl.IMMReinforce(tiger, model)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"kind": "restricted"}, "contexts 'restricted'"), ({"weight": "informed"}, "informed")],
)
def test_settings_that_ask_for_beliefs_are_refused(tiger, given, message):
    _, policy = by_view(tiger)
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        source(tiger, policy, **given)

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecMonitor,
    VecNormalize,
)

import imm_rl
from imm_rl.agents.neighbours import Equal, Nearest
from imm_rl.agents.sb3_seen import check_arguments, seen_by_restricted
from imm_rl.envs.features import Features
from imm_rl.errors import InvalidInputError


@pytest.fixture(scope="module")
def tiger():
    return imm_rl.make("tiger")


@pytest.fixture(scope="module")
def pole():
    return imm_rl.make("CartPole-v1", observe=[2, 3])


def dummy(n=2):
    return DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * n)


class Rounded(gymnasium.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 1, (2,), dtype=np.float32)

    def observation(self, state):
        return np.eye(2, dtype=np.float32)[state]


def test_seen_of_a_tabular_pair_is_the_pair(tiger):
    assert seen_by_restricted(tiger, None) is tiger
    assert seen_by_restricted("tiger", None).name == "tiger"


@pytest.mark.parametrize(
    "make",
    [
        lambda pair: pair.mdp(),
        lambda pair: Rounded(pair.mdp()),
        lambda pair: pair.vector(2),
        lambda pair: pair.sb3_vector(2),
        lambda pair: VecMonitor(VecMonitor(pair.sb3_vector(2))),
        lambda pair: DummyVecEnv([pair.mdp]),
        lambda pair: VecNormalize(DummyVecEnv([lambda: Rounded(pair.mdp())])),
    ],
    ids=["mdp", "wrapped", "vector", "sb3", "monitored", "dummy", "normalised"],
)
def test_seen_of_an_environment_of_a_pair_is_the_pair(tiger, make):
    assert seen_by_restricted(make(tiger), None) is tiger


def test_seen_of_a_registered_id_is_its_pair():
    found = seen_by_restricted(gymnasium.make("imm_rl/Tiger-MDP-v0"), None)
    assert isinstance(found, imm_rl.EnvPair)
    assert found.name == "tiger"


@pytest.mark.parametrize(
    "make",
    [
        lambda pair: pair.pomdp(),
        lambda pair: pair.vector(2, view="pomdp"),
        lambda pair: pair.sb3_vector(2, view="pomdp"),
        lambda pair: DummyVecEnv([pair.pomdp]),
    ],
    ids=["pomdp", "vector", "sb3", "dummy"],
)
def test_seen_refuses_the_restricted_view_of_a_pair(tiger, make):
    with pytest.raises(
        InvalidInputError, match=r"restricted view of tiger.*Train on pair\.mdp\(\)"
    ):
        seen_by_restricted(make(tiger), None)


def test_seen_of_a_feature_pair_are_its_features(pole):
    assert seen_by_restricted(pole, None) is pole.features
    found = seen_by_restricted("CartPole-v1(observe=[1])", None)
    assert isinstance(found, Features)
    assert found.observe == [1]


def test_seen_of_a_pair_or_text_without_features_takes_observe():
    for env in (imm_rl.make("CartPole-v1"), "CartPole-v1"):
        assert seen_by_restricted(env, [3, 0]).observe == [3, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: gymnasium.make("CartPole-v1"),
        dummy,
        lambda: VecNormalize(dummy()),
        lambda: VecMonitor(dummy()),
    ],
    ids=["env", "dummy", "normalised", "monitored"],
)
def test_seen_of_an_environment_are_features_of_its_observations(make):
    env = make()
    found = seen_by_restricted(env, lambda x: x[:, :1] > 0)
    assert found.full_space == env.observation_space
    assert found(np.array([[0.5, 0, 0, 0], [-0.5, 0, 0, 0]], dtype=np.float32)).tolist() == [
        [1],
        [0],
    ]


@pytest.mark.slow
def test_seen_of_processes_needs_observe(tiger):
    env = SubprocVecEnv([tiger.mdp], start_method="spawn")
    try:
        with pytest.raises(InvalidInputError, match="observe is missing"):
            seen_by_restricted(env, None)
    finally:
        env.close()


@pytest.mark.parametrize(
    ("env", "observe", "message"),
    [
        ("tiger", [0], "'tiger' has no option observe"),
        (imm_rl.make("tiger"), [0], "the model of tiger says what is observed. Leave observe out"),
        (imm_rl.make("tiger").mdp(), [0], "the model of tiger says what is observed"),
        (imm_rl.make("CartPole-v1", observe=[0]), [1], "observe must be given once"),
        ("CartPole-v1(observe=[0])", [1], "be given once"),
        (imm_rl.make("CartPole-v1"), None, "observe is missing: which features"),
        ("CartPole-v1", None, "observe is missing"),
        (gymnasium.make("CartPole-v1"), None, "observe is missing"),
        (gymnasium.make("CartPole-v1"), [2, 4], r"in \[0, 4\); received 4.*features 0 to 3"),
        (gymnasium.make("CartPole-v1"), [-1], r"in \[0, 4\); received -1"),
        ("CartPole-v1", [2, 7], r"in \[0, 4\); received 7"),
        ("tigre", None, "Did you mean 'tiger'"),
        (
            gymnasium.make_vec("CartPole-v1", 2),
            [0],
            "be a pair or an environment; .*CartPoleVectorEnv",
        ),
        (3, [0], "env must be a pair or an environment; received 'int'"),
        (gymnasium.Env, [0], "env must be a pair or an environment"),
    ],
)
def test_seen_refuses_what_it_cannot_tell(env, observe, message):
    with pytest.raises(InvalidInputError, match=message):
        seen_by_restricted(env, observe)


def test_check_arguments_takes_those_that_are_used(tiger, pole):
    check_arguments(tiger, None, "certainty", np.eye(2))
    for completions in (None, Nearest(), Equal(), "nearest", lambda views, rng: views):
        check_arguments(pole.features, completions, None, None)


@pytest.mark.parametrize(
    ("tabular", "arguments", "message"),
    [
        (
            True,
            ("nearest", None, None),
            "completions are for environments without a model, and tiger",
        ),
        (False, (3, None, None), "completions must say what a view may stand for; received 3"),
        (False, (None, "uniform", None), "context_weight is for tabular pairs"),
        (False, (None, None, np.eye(2)), "observations is for tabular pairs"),
    ],
)
def test_check_arguments_refuses_those_that_would_be_ignored(
    tiger, pole, tabular, arguments, message
):
    with pytest.raises(InvalidInputError, match=message):
        check_arguments(tiger if tabular else pole.features, *arguments)

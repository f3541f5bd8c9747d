import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from sb3_contrib import ARS, TRPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

import imm_rl
from imm_rl.agents.restricted.view_policy import FunctionPolicy
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.errors import InvalidInputError

FULL = spaces.Box(-1.0, 1.0, (3,), dtype=np.float32)
VIEW = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
TWO, THREE = spaces.Discrete(2), spaces.Discrete(3)
LINE = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)


class Drawn(gymnasium.Env):
    def __init__(self, actions=TWO, space=FULL):
        self.observation_space, self.action_space = space, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class OwnOptimizer(A2C):
    """Trains its policy, by an optimizer of its own."""

    def train(self):
        optimizer = torch.optim.SGD(self.policy.parameters(), lr=0.01)
        self.policy.get_distribution(torch.zeros(1, 3)).entropy().mean().backward()
        optimizer.step()


def even(views):
    return np.full((len(views), 2), 0.5)


def still(views):
    return np.zeros((len(views), 2))


def refused(model, callback, message, n=64):
    """learn refuses, before the environment is stepped and a weight is changed."""
    before = [p.detach().clone() for p in model.policy.parameters()]
    with pytest.raises(InvalidInputError, match=message):
        model.learn(n, callback=callback)
    assert model.num_timesteps == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True))


@pytest.mark.parametrize(
    ("algorithm", "policy", "actions", "reason"),
    [
        (TRPO, "MlpPolicy", TWO, "TRPO cannot be matched: it moves its policy by a line search"),
        (RecurrentPPO, "MlpLstmPolicy", TWO, "RecurrentPPO cannot be matched: .* state of an LSTM"),
        (ARS, "MlpPolicy", TWO, "ARS cannot be matched: it searches without gradients"),
        (DQN, "MlpPolicy", TWO, "DQN cannot be matched: it is trained off-policy"),
        (SAC, "MlpPolicy", LINE, "SAC cannot be matched: it is trained off-policy"),
        (TD3, "MlpPolicy", LINE, "TD3 cannot be matched: it is trained off-policy"),
    ],
)
def test_algorithm_is_refused_by_name_with_the_reason(algorithm, policy, actions, reason):
    env = Drawn(actions)
    arguments = {"buffer_size": 100} if algorithm in (DQN, SAC, TD3) else {}
    model = algorithm(policy, env, device="cpu", policy_kwargs={"net_arch": [4]}, **arguments)
    callback = IMMCallback(env, even if actions == TWO else still, observe=[0])
    refused(model, callback, f"{reason}.*PPO, A2C and MaskablePPO are served")


def test_class_derived_from_a_refused_algorithm_is_refused_as_well():
    class Mine(TRPO):
        pass

    model = Mine("MlpPolicy", Drawn(), device="cpu")
    refused(model, IMMCallback(Drawn(), even, observe=[0]), "Mine cannot be matched: .*line search")


def test_class_derived_from_a_served_algorithm_is_served():
    class Mine(A2C):
        pass

    model = Mine("MlpPolicy", Drawn(), device="cpu")
    assert model.learn(20, callback=IMMCallback(Drawn(), even, observe=[0])).num_timesteps == 20


def test_algorithm_whose_optimizer_is_never_stepped_is_refused_after_its_first_rollout():
    model = OwnOptimizer("MlpPolicy", Drawn(), device="cpu")
    assert isinstance(model, OnPolicyAlgorithm)
    with pytest.raises(
        InvalidInputError, match="OwnOptimizer has trained on a rollout without a st"
    ):
        model.learn(100, callback=IMMCallback(Drawn(), even, observe=[0]))
    assert model.num_timesteps == model.n_steps


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (spaces.MultiDiscrete([2, 3]), "must be Discrete or Box; received MultiDiscrete"),
        (spaces.MultiBinary(2), "must be Discrete or Box; received MultiBinary"),
    ],
)
def test_actions_of_several_numbers_are_refused_when_the_callback_is_made(actions, message):
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(Drawn(actions), even, observe=[0])


def test_actions_of_several_numbers_are_refused_where_learning_tells_them():
    model = PPO("MlpPolicy", Drawn(spaces.MultiDiscrete([2, 3])), device="cpu")
    callback = IMMCallback("CartPole-v1(observe=[0])", even)
    refused(
        model, callback, r"actions in MultiDiscrete\(\[2 3\]\) cannot be matched: Discrete\(n\) and"
    )


def test_actions_of_a_matrix_are_refused():
    env = Drawn(spaces.Box(-1.0, 1.0, (2, 2), dtype=np.float32))
    callback = IMMCallback(env, lambda views: np.zeros((len(views), 4)), observe=[0])
    model = PPO("MlpPolicy", env, device="cpu")
    refused(model, callback, r"actions in Box\(-1.0, 1.0, \(2, 2\), float32\) cannot be matched")


def test_squashed_actions_are_refused():
    env = Drawn(LINE)
    model = A2C("MlpPolicy", env, use_sde=True, policy_kwargs={"squash_output": True}, device="cpu")
    callback = IMMCallback(env, still, observe=[0])
    refused(model, callback, r"A2C squashes its actions \(squash_output=True\)")


def test_state_dependent_noise_is_served_unsquashed():
    model = A2C("MlpPolicy", Drawn(LINE), use_sde=True, device="cpu")
    model.learn(20, callback=IMMCallback(Drawn(LINE), still, observe=[0]))
    assert model.num_timesteps == 20


def test_tabular_pair_refuses_an_algorithm_with_other_actions_or_states():
    tiger, cheese = imm_rl.make("tiger"), imm_rl.make("cheese")
    callback = IMMCallback(tiger)
    model = A2C("MlpPolicy", cheese.sb3_vector(2), device="cpu")
    refused(model, callback, r"acts in Discrete\(4\), and tiger has the actions Discrete\(3\)")
    model = A2C("MlpPolicy", Drawn(THREE), device="cpu")
    refused(model, callback, r"observes Box.* and a state of tiger is none of its observations")


def test_tabular_pair_refuses_an_algorithm_that_trains_on_another_model():
    tiger, other = imm_rl.make("tiger"), imm_rl.make("tiger", accuracy=0.6)
    renamed = imm_rl.EnvPair("renamed", other.model)
    for trained, shown in ((other, r"tiger \(tiger\(accuracy=0.6\)\)"), (renamed, "renamed")):
        for env in (trained.sb3_vector(2), DummyVecEnv([trained.mdp])):
            model = A2C("MlpPolicy", env, device="cpu")
            refused(
                model, IMMCallback(tiger), f"trained on {shown}, and the model .*of tiger, is anot"
            )
    model = A2C("MlpPolicy", tiger.sb3_vector(2), device="cpu")
    again = imm_rl.EnvPair("again", imm_rl.make("tiger").model)
    assert model.learn(20, callback=IMMCallback(again)).num_timesteps == 20


@pytest.mark.parametrize("observe", [[0, 1, 2], [2, 0, 1]])
def test_features_that_hide_nothing_are_refused(observe):
    message = (
        r"observe names all 3 features of Box.*nothing is hidden.*Leave out what it does not see"
    )
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(Drawn(), even, observe=observe)
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(FeaturePair("drawn", lambda render_mode=None: Drawn(), observe=observe), even)
    IMMCallback(Drawn(), even, observe=lambda x: x)  # what a function hides is not known


def test_tabular_pair_refuses_an_algorithm_that_sees_the_restricted_view():
    tiger = imm_rl.make("tiger")
    for env in (tiger.sb3_vector(2, view="pomdp"), DummyVecEnv([tiger.pomdp])):
        model = A2C("MlpPolicy", env, device="cpu")
        refused(model, IMMCallback(tiger), r"environment is the restricted view of tiger")


def test_features_refuse_an_algorithm_that_observes_something_else():
    env = FrameStackObservation(Drawn(), 2)
    model = A2C("MlpPolicy", env, device="cpu")
    refused(
        model, IMMCallback(Drawn(), even, observe=[0]), r"(?s)observes Box.*matching was made for"
    )
    model.learn(10, callback=IMMCallback(env, even, observe=[3]))  # as the error says
    assert model.num_timesteps == 10


def test_features_refuse_an_algorithm_with_other_actions():
    model = A2C("MlpPolicy", Drawn(THREE), device="cpu")
    given = FunctionPolicy(even, VIEW, TWO, name="given")
    refused(
        model,
        IMMCallback(Drawn(), given, observe=[0]),
        r"'given' acts in Discrete\(2\), and the environment in Discrete\(3\)",
    )


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (FunctionPolicy(even, LINE, TWO, name="two"), r"'two' sees Box.*\(2,\).*view .*\(1,\)"),
        (FunctionPolicy(even, VIEW, THREE, name="three"), r"'three' acts in Discrete\(3\)"),
        (PPO("MlpPolicy", Drawn(TWO, LINE), device="cpu"), r"'PPO' sees Box"),
        ("nowhere.zip", "nowhere.zip"),
        ("pomdp", "restricted is missing: no POMDP is known"),
        (None, "restricted is None: there is no policy to match"),
        (PPO, "be a policy, not a class"),
        (3, "must be a ViewPolicy, a function of views"),
        (
            imm_rl.agents.solve(imm_rl.make("tiger").model, "qmdp"),
            "beliefs needs an environment with a mod",
        ),
    ],
    ids=["views", "actions", "model", "path", "pomdp", "none", "class", "number", "beliefs"],
)
def test_restricted_policy_of_another_space_or_kind_is_refused_at_once(policy, message):
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(Drawn(), policy, observe=[0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda v: np.full((len(v), 2), np.nan), "'bad' must be ≥ 0 and sum to 1 in every row"),
        (lambda v: np.full((len(v), 2), 0.6), "'bad' must be ≥ 0 and sum to 1 in every row"),
        (lambda v: np.tile([1.5, -0.5], (len(v), 1)), "'bad' must be ≥ 0 and sum to 1"),
        (lambda v: np.full((len(v), 3), 1 / 3), r"'bad' must have shape \(1, 2\)"),
        (lambda v: np.full(len(v), 2), r"'bad' must be whole numbers in \[0, 2\)"),
        (lambda v: np.full(len(v), np.nan), r"'bad' must be whole numbers in \[0, 2\)"),
    ],
    ids=["nan", "sum", "negative", "width", "action", "nan-action"],
)
def test_restricted_policy_that_answers_no_probabilities_is_refused_before_training(
    answer, message
):
    env = Drawn()
    model = A2C("MlpPolicy", env, device="cpu")
    callback = IMMCallback(env, FunctionPolicy(answer, VIEW, TWO, name="bad"), observe=[0])
    refused(model, callback, message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda v: np.full((len(v), 2), np.nan), "'bad' must be finite"),
        (lambda v: np.zeros((len(v), 3)), r"'bad' must have shape \(1, 2\)"),
        (lambda v: (np.zeros((len(v), 2)), 0.0), "'bad' must be finite and > 0; received 0.0"),
    ],
    ids=["nan", "width", "std"],
)
def test_restricted_policy_that_answers_no_actions_is_refused_before_training(answer, message):
    env = Drawn(LINE)
    model = A2C("MlpPolicy", env, device="cpu")
    callback = IMMCallback(env, FunctionPolicy(answer, VIEW, LINE, name="bad"), observe=[0])
    refused(model, callback, message)


class Beliefs:
    """A policy on beliefs of tiger that answers what it is told to."""

    n_states, n_actions = 2, 3

    def __init__(self, row):
        self.row = row

    def probs(self, beliefs):
        return np.tile(self.row, (len(beliefs), 1))


@pytest.mark.parametrize("row", [[np.nan] * 3, [0.5, 0.5, 0.5], [0.5, 0.5], [1.5, -0.5, 0.0]])
def test_policy_on_beliefs_that_answers_no_probabilities_is_refused_before_training(row):
    tiger = imm_rl.make("tiger")
    model = A2C("MlpPolicy", tiger.sb3_vector(2), device="cpu")
    refused(model, IMMCallback(tiger, Beliefs(row)), "probs|probabilities|sum to 1")


def test_policy_that_fails_later_is_refused_when_it_does():
    env, calls = Drawn(), []

    def later(views):
        calls.append(len(views))
        return np.full((len(views), 2), 0.5 if len(calls) < 3 else np.nan)

    model = A2C("MlpPolicy", env, device="cpu")
    with pytest.raises(InvalidInputError, match="'later' must be ≥ 0 and sum to 1"):
        model.learn(100, callback=IMMCallback(env, later, observe=[0]))
    assert model.num_timesteps == 2 * model.n_steps


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ([3], r"in \[0, 3\); received 3.*features 0 to 2"),
        ([0, 0], "name each feature once"),
        ([], "name at least one feature"),
        ([0.5], "list of whole numbers"),
        (lambda x: x[:1], "answer a row for each of"),
        (None, "observe is missing"),
    ],
)
def test_observe_that_names_no_features_is_refused_when_the_callback_is_made(observe, message):
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(Drawn(), even, observe=observe)


def test_environment_that_changes_its_spaces_is_refused():
    made = []

    def make_env():
        made.append(Drawn(space=FULL if not made else LINE))
        return made[-1]

    pair = FeaturePair("changing", make_env, observe=[0])
    with pytest.raises(InvalidInputError, match="observation_space of changing must be the same"):
        pair.sb3_vector(2)
    model = A2C("MlpPolicy", DummyVecEnv([make_env] * 2), device="cpu")
    refused(model, IMMCallback(pair, even), r"observes Box.*\(2,\).*made for Box.*\(3,\)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"completions": "farthest"}, "have one of the forms nearest"),
        ({"batch_size": 0}, "batch_size must"),
        ({"refresh": 0}, "refresh must"),
        ({"seed": -1}, "seed must be a whole number ≥ 0"),
        ({"total_timesteps": 0}, "total_timesteps must"),
        ({"imm_lambda": "linear"}, "linear"),
        ({"imm_lambda": -1.0}, "-1"),
        ({"context_weight": "uniform"}, "context_weight is for tabular pairs"),
    ],
)
def test_argument_out_of_range_is_refused_when_the_callback_is_made(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        IMMCallback(Drawn(), even, observe=[0], **arguments)

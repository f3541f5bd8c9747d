import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from imm_rl.agents.restricted.view_policy import (
    ACTION_NOISE,
    FunctionPolicy,
    ViewPolicy,
    as_view_policy,
    checked_answers,
    followed,
)
from imm_rl.errors import InvalidInputError

VIEW = spaces.Box(-1.0, 1.0, (2,))
TWO = spaces.Discrete(2)
BOX = spaces.Box(np.array([-1.0, 0.0], dtype=np.float32), np.array([1.0, 4.0], dtype=np.float32))
LINE = spaces.Box(-2.0, 2.0, (1,))
FREE = spaces.Box(-np.inf, np.inf, (1,))


def views_of(n_steps, n_envs, shape=(2,), seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n_steps, n_envs, *shape)).astype(np.float32)


def starts_of(n_steps, n_envs):
    starts = np.zeros((n_steps, n_envs), dtype=bool)
    starts[0] = True
    return starts


def sigmoid_of_first(views):
    p = 1.0 / (1.0 + np.exp(-views[:, 0]))
    return np.stack([1.0 - p, p], axis=1)


def test_function_policy_answers_each_view_at_its_place():
    policy = FunctionPolicy(sigmoid_of_first, VIEW, TWO)
    views = views_of(5, 3)
    answers, memory = policy.follow(views, starts_of(5, 3))
    assert answers.shape == (5, 3, 2)
    assert answers.dtype == np.float64
    assert memory is None
    np.testing.assert_allclose(answers[4, 1, 1], 1.0 / (1.0 + np.exp(-views[4, 1, 0])), rtol=1e-6)
    assert isinstance(policy, ViewPolicy)
    assert not policy.remembers


def test_function_policy_is_given_rows_of_its_own():
    def writes(views):
        views[:] = 7.0
        return np.full((len(views), 2), 0.5)

    views = views_of(2, 2)
    before = views.copy()
    FunctionPolicy(writes, VIEW, TWO).follow(views, starts_of(2, 2))
    np.testing.assert_array_equal(views, before)


def test_function_policy_takes_flattened_views_in_the_shape_of_its_space():
    seen = []

    def look(views):
        seen.append(views.shape)
        return np.zeros(len(views), dtype=int)

    views = np.zeros((3, 2, 6))
    FunctionPolicy(look, spaces.Box(0, 1, (2, 3)), TWO).follow(views, starts_of(3, 2))
    FunctionPolicy(look, spaces.Discrete(4), TWO).follow(
        np.zeros((3, 2, 1), dtype=int), starts_of(3, 2)
    )
    assert seen == [(6, 2, 3), (6,)]


def test_function_policy_of_torch_with_gradients_is_read():
    net = torch.nn.Linear(2, 2)
    policy = FunctionPolicy(lambda v: net(torch.as_tensor(v)).softmax(-1), VIEW, TWO)
    views = views_of(4, 1)
    answers, _ = policy.follow(views, starts_of(4, 1))
    with torch.no_grad():
        wanted = net(torch.as_tensor(views[:, 0])).softmax(-1).numpy()
    np.testing.assert_allclose(answers[:, 0], wanted, atol=1e-6)


def test_chosen_actions_become_certain_probabilities_and_count_from_start():
    space = spaces.Discrete(3, start=5)
    answers = checked_answers(np.array([5, 7, 6]), 3, space, name="x")
    np.testing.assert_array_equal(answers, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])


def test_probabilities_are_normalised_within_the_tolerance():
    answers = checked_answers(np.array([[0.25, 0.74995]]), 1, TWO, name="x")
    np.testing.assert_allclose(answers, [[0.25 / 0.99995, 0.74995 / 0.99995]], rtol=1e-12)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.full((3, 3), 1 / 3), "have shape (3, 2), probabilities, or (3,), chosen actions"),
        (np.full((2, 2), 0.5), "received (2, 2)"),
        (np.full((3, 2), 0.4), "sum to 1 in every row"),
        (np.array([[0.5, 0.5], [0.5, 0.5], [np.nan, 1.0]]), "sum to 1 in every row"),
        (np.array([[0.5, 0.5], [1.2, -0.2], [0.5, 0.5]]), "be ≥ 0"),
        (np.array([0, 1, 2]), "whole numbers in [0, 2)"),
        (np.array([0, -1, 1]), "whole numbers in [0, 2)"),
        (np.array([0.0, 0.5, 1.0]), "received 0.5"),
        ("left", "array of numbers"),
        ([[0.5, 0.5], [1.0]], "array of numbers"),
    ],
)
def test_wrong_discrete_answers_name_the_policy(answer, message):
    policy = FunctionPolicy(lambda views: answer, VIEW, TWO, name="compass")
    with pytest.raises(InvalidInputError) as error:
        policy.follow(views_of(3, 1), starts_of(3, 1))
    assert "'compass'" in str(error.value)
    assert message in str(error.value)


def test_means_alone_are_clipped_and_get_noise_by_the_range():
    means = np.array([[2.0, 3.0], [-0.5, -9.0]])
    answers = checked_answers(means, 2, BOX, name="x")
    np.testing.assert_allclose(answers[:, 0], [[1.0, 3.0], [-0.5, 0.0]])
    np.testing.assert_allclose(answers[:, 1], ACTION_NOISE * np.array([[2.0, 4.0], [2.0, 4.0]]))
    quarter = checked_answers(means, 2, BOX, name="x", noise=0.25)
    np.testing.assert_allclose(quarter[:, 1], [[0.5, 1.0], [0.5, 1.0]])


@pytest.mark.parametrize("std", [0.3, np.array([0.3, 0.3]), np.full((2, 2), 0.3)])
def test_standard_deviations_of_every_shape_are_taken(std):
    answers = checked_answers((np.zeros((2, 2)), std), 2, BOX, name="x")
    np.testing.assert_allclose(answers[:, 1], 0.3)


def test_single_action_entry_needs_no_second_axis():
    answers = checked_answers((np.array([0.5, 9.0]), np.array([0.1, 0.2])), 2, LINE, name="x")
    np.testing.assert_allclose(answers, [[[0.5], [0.1]], [[2.0], [0.2]]])


def test_actions_of_two_axes_are_flattened():
    space = spaces.Box(-1.0, 1.0, (2, 3))
    answers = checked_answers(np.arange(12.0).reshape(2, 2, 3) / 12, 2, space, name="x")
    assert answers.shape == (2, 2, 6)
    np.testing.assert_allclose(answers[1, 0], np.arange(6, 12) / 12)


@pytest.mark.parametrize(
    ("answer", "space", "message"),
    [
        (np.zeros((3, 1)), BOX, "have shape (3, 2)"),
        (np.full((3, 2), np.nan), BOX, "be finite"),
        (np.full((3, 2), np.inf), BOX, "be finite"),
        ((np.zeros((3, 2)), 0.0), BOX, "be finite and > 0"),
        ((np.zeros((3, 2)), np.nan), BOX, "be finite and > 0"),
        ((np.zeros((3, 2)), np.full(3, 0.1)), BOX, "standard deviations of restricted policy"),
        (np.zeros((3, 1)), FREE, "as a range has no end"),
    ],
)
def test_wrong_continuous_answers_name_the_policy(answer, space, message):
    policy = FunctionPolicy(lambda views: answer, VIEW, space, name="compass")
    with pytest.raises(InvalidInputError) as error:
        policy.follow(views_of(3, 1), starts_of(3, 1))
    assert "'compass'" in str(error.value)
    assert message in str(error.value)


def test_unbounded_actions_are_taken_with_standard_deviations():
    answers = checked_answers((np.full((2, 1), 1e6), 3.0), 2, FREE, name="x")
    np.testing.assert_allclose(answers, [[[1e6], [3.0]]] * 2)


def test_noise_beside_standard_deviations_is_refused():
    policy = FunctionPolicy(lambda v: (np.zeros((3, 2)), 0.1), VIEW, BOX, noise=0.2)
    with pytest.raises(InvalidInputError, match="noise is 0.2, and"):
        policy.follow(views_of(3, 1), starts_of(3, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, "function must be callable"),
        ({"action_space": spaces.MultiDiscrete([2, 2])}, "must be Discrete or Box"),
        ({"noise": 0.1}, "the actions of restricted policy 'function' are discrete"),
        ({"action_space": BOX, "noise": 0.0}, "noise must be a positive number"),
    ],
)
def test_function_policy_refuses_arguments(arguments, message):
    given = {"function": sigmoid_of_first, "view_space": VIEW, "action_space": TWO, **arguments}
    with pytest.raises(InvalidInputError, match=message):
        FunctionPolicy(**given)


@pytest.mark.parametrize(
    ("views", "starts", "message"),
    [
        (np.zeros((3, 2, 5)), starts_of(3, 2), "views must have shape (3, 2, 2)"),
        (np.zeros((2, 3, 2)), starts_of(3, 2), "views must have shape (3, 2, 2)"),
        (np.zeros((3, 2, 2)), np.zeros((3, 2)), "starts must be booleans"),
        (np.zeros((3, 2)), np.zeros(3, dtype=bool), "starts must be booleans"),
    ],
)
def test_views_and_starts_that_do_not_belong_together_are_refused(views, starts, message):
    with pytest.raises(InvalidInputError) as error:
        FunctionPolicy(sigmoid_of_first, VIEW, TWO).follow(views, starts)
    assert message in str(error.value)


class Counting:
    """A user's own policy with a memory: it counts the steps of an episode."""

    name, view_space, action_space, remembers = "counting", VIEW, TWO, True

    def __init__(self, spoil=lambda answers: answers):
        self.spoil = spoil

    def follow(self, views, starts, memory=None):
        count = np.zeros(starts.shape[1]) if memory is None else memory
        answers = np.empty((*starts.shape, 2))
        for t, first in enumerate(starts):
            count = np.where(first, 0.0, count + 1.0)
            answers[t] = np.eye(2)[(count >= 2).astype(int)]
        return self.spoil(answers), count


def test_followed_hands_on_answers_and_memory_of_a_users_policy():
    policy = as_view_policy(Counting(), VIEW, TWO)
    assert isinstance(policy, Counting)
    starts = starts_of(4, 2)
    starts[2, 1] = True
    answers, memory = followed(policy, views_of(4, 2), starts)
    np.testing.assert_array_equal(answers[:, 0, 1], [0, 0, 1, 1])
    np.testing.assert_array_equal(answers[:, 1, 1], [0, 0, 0, 0])
    on, _ = followed(policy, views_of(1, 2), np.zeros((1, 2), dtype=bool), memory)
    np.testing.assert_array_equal(on[0, :, 1], [1, 1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a * np.nan, "sum to 1"),
        (lambda a: a[:1], "have shape (4, 2, actions)"),
        (lambda a: a[..., :1], "received (8, 1)"),
        (lambda a: a.argmax(-1), "have shape (4, 2, actions)"),
    ],
)
def test_followed_checks_a_users_policy(spoil, message):
    with pytest.raises(InvalidInputError) as error:
        followed(Counting(spoil), views_of(4, 2), starts_of(4, 2))
    assert "'counting'" in str(error.value)
    assert message in str(error.value)


def test_followed_refuses_answers_without_memory():
    class Alone(Counting):
        def follow(self, views, starts, memory=None):
            return np.full((*starts.shape, 2), 0.5)

    with pytest.raises(InvalidInputError, match="be a pair: answers, memory; received 'ndarray'"):
        followed(Alone(), views_of(4, 2), starts_of(4, 2))


def test_followed_checks_continuous_answers_and_clips_their_means():
    class Steering(Counting):
        action_space = LINE

        def follow(self, views, starts, memory=None):
            return self.spoil(np.broadcast_to([[5.0], [0.5]], (*starts.shape, 2, 1))), None

    answers, _ = followed(Steering(), views_of(3, 2), starts_of(3, 2))
    np.testing.assert_array_equal(answers[2, 1], [[2.0], [0.5]])
    with pytest.raises(InvalidInputError, match="be finite and > 0"):
        followed(Steering(lambda a: a * [[1.0], [0.0]]), views_of(3, 2), starts_of(3, 2))
    for wrong in (lambda a: a[:, :, 0], lambda a: a[:, :, :1], lambda a: a[..., [0, 0, 0]]):
        with pytest.raises(InvalidInputError, match="'counting'"):
            followed(Steering(wrong), views_of(3, 2), starts_of(3, 2))


def test_as_view_policy_names_a_function_by_itself():
    policy = as_view_policy(sigmoid_of_first, VIEW, TWO)
    assert policy.name == "sigmoid_of_first"
    assert policy.view_space is VIEW


@pytest.mark.parametrize(
    ("restricted", "message"),
    [
        (3, "received int"),
        (None, "received NoneType"),
        (Counting, "be a policy, not a class"),
        (PPO, "be a policy, not a class"),
        ("qmdp", "there is no file qmdp. Without a model of the environment"),
    ],
)
def test_as_view_policy_refuses_other_things(restricted, message):
    with pytest.raises(InvalidInputError) as error:
        as_view_policy(restricted, VIEW, TWO)
    assert message in str(error.value)


def test_as_view_policy_says_that_a_policy_on_beliefs_needs_a_model():
    class OnBeliefs:
        n_states, n_actions, name = 3, 2, "pomdp"

        def probs(self, beliefs):
            return np.full((len(beliefs), 2), 0.5)

    with pytest.raises(InvalidInputError, match="needs an environment with a model"):
        as_view_policy(OnBeliefs(), VIEW, TWO)


@pytest.mark.parametrize(
    ("view_space", "action_space"),
    [
        (spaces.Box(-1.0, 1.0, (4,)), TWO),
        (spaces.Discrete(2), TWO),
        (spaces.MultiDiscrete([2, 2]), TWO),
        (VIEW, spaces.Discrete(3)),
        (VIEW, spaces.Discrete(2, start=1)),
        (VIEW, LINE),
    ],
)
def test_policy_for_other_spaces_is_refused_with_both_printed(view_space, action_space):
    with pytest.raises(InvalidInputError) as error:
        as_view_policy(Counting(), view_space, action_space)
    received, wanted = (VIEW, view_space) if view_space != VIEW else (TWO, action_space)
    assert str(received) in str(error.value)
    assert str(wanted) in str(error.value)


def test_bounds_of_views_may_differ_and_those_of_actions_may_not():
    policy = FunctionPolicy(lambda v: np.zeros((len(v), 1)), VIEW, LINE)
    wide = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float64)
    assert as_view_policy(policy, wide, spaces.Box(-2.0, 2.0, (1,), dtype=np.float64)) is policy
    with pytest.raises(InvalidInputError, match="acts in"):
        as_view_policy(policy, VIEW, spaces.Box(-1.0, 1.0, (1,)))


USERS_MODULE = """
import numpy as np

def leaning(view_space, action_space):
    assert view_space.shape == (2,) and action_space.n == 2
    return lambda views: (views[:, 0] > 0).astype(int)

def saved(view_space, action_space):
    return "model.zip"

def breaks(view_space, action_space):
    raise KeyError("angle")

def rule(views):
    return np.zeros(len(views))
"""


@pytest.fixture
def users_module(tmp_path, monkeypatch):
    (tmp_path / "users_rules.py").write_text(USERS_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_rules", raising=False)
    yield tmp_path
    sys.modules.pop("users_rules", None)


def test_factory_is_called_with_the_spaces_of_view_and_actions(users_module):
    policy = as_view_policy("users_rules:leaning", VIEW, TWO)
    answers, _ = policy.follow(np.array([[[0.5, 0.0]], [[-0.5, 0.0]]]), starts_of(2, 1))
    np.testing.assert_array_equal(answers[:, 0], [[0.0, 1.0], [1.0, 0.0]])
    assert policy.view_space is VIEW


def test_factory_may_return_a_path(users_module):
    with pytest.raises(InvalidInputError, match=r"there is no file model\.zip"):
        as_view_policy("users_rules:saved", VIEW, TWO)
    PPO("MlpPolicy", gymnasium.make("MountainCarContinuous-v0"), n_steps=8, batch_size=8).save(
        "model.zip"
    )
    policy = as_view_policy("users_rules:saved", VIEW, spaces.Box(-1.0, 1.0, (1,)))
    assert not policy.remembers


def test_file_named_as_a_factory_is_read_as_a_file(users_module):
    (users_module / "users_rules:leaning").write_text("no zip")
    with pytest.raises(InvalidInputError, match=r"users_rules:leaning is no zip"):
        as_view_policy("users_rules:leaning", VIEW, TWO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users_rulez:leaning", "cannot import 'users_rulez' of restricted policy"),
        ("users_rules:leanin", "Did you mean 'leaning'?"),
        ("users_rules:breaks", "KeyError: 'angle'"),
        ("users_rules:rule", "calling it with the restricted view's space and the action space"),
        ("users_rules:np", "be callable"),
    ],
)
def test_factory_that_makes_no_policy_is_refused(users_module, text, message):
    with pytest.raises(InvalidInputError) as error:
        as_view_policy(text, VIEW, TWO)
    assert message in str(error.value)

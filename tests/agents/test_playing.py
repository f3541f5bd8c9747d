import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import RecurrentPPO

from imm_rl.agents.restricted.playing import view_policy_returns
from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
from imm_rl.agents.restricted.view_policy import FunctionPolicy
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.errors import InvalidInputError

SEEN = spaces.Box(-np.inf, np.inf, (1,))


class Guess(gymnasium.Env):
    """A hidden number of steps, 1 to 9; the reward is 1 where the action is the sign that is seen.

    The full observation is the sign and how many steps are left.
    """

    open = 0

    def __init__(self, render_mode=None, action_space=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.first = int(getattr(self.action_space, "start", 0))
        Guess.open += 1

    def _seen(self):
        self.sign = int(self.np_random.integers(2))
        return np.array([2 * self.sign - 1, self.left], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 10))
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        right = action - self.first == self.sign
        self.left -= 1
        return self._seen(), float(right), self.left == 0, False, {}

    def close(self):
        Guess.open -= 1


class Aim(Guess):
    """The same with a continuous action: the reward is its first entry, or its first row's."""

    def step(self, action):
        assert self.action_space.contains(action), action
        self.left -= 1
        return self._seen(), float(np.ravel(action)[0]), False, self.left == 0, {}


def pair_of(env=Guess, **options):
    return FeaturePair("Guess", lambda render_mode=None: env(render_mode, **options), [0])


def right(views):
    return (views[:, 0] > 0).astype(int)


def lengths(episodes, seed):
    """Steps of every episode, as the best policy earns 1 at each."""
    pair = pair_of()
    return view_policy_returns(
        pair, FunctionPolicy(right, SEEN, pair.action_space), episodes=episodes, seed=seed
    )


def test_best_policy_earns_every_step_and_long_episodes_are_not_left_out():
    returns = lengths(400, seed=1)
    assert returns.shape == (400,)
    assert set(returns) == set(range(1, 10))
    # Mean length 5, standard deviation 2.58: of the first to end it would be near 4.
    assert abs(returns.mean() - 5.0) < 4 * 2.58 / 20


def test_uniform_policy_earns_half_of_what_the_best_does_on_the_same_episodes():
    uniform = FunctionPolicy(lambda v: np.full((len(v), 2), 0.5), SEEN, spaces.Discrete(2))
    returns = view_policy_returns(pair_of(), uniform, episodes=400, seed=1)
    most = lengths(400, seed=1)
    assert (returns <= most).all()
    assert abs(returns.sum() / most.sum() - 0.5) < 4 * 0.5 / np.sqrt(most.sum())


def leaning(views):
    p = np.where(views[:, 0] > 0, 0.7, 0.4)
    return np.stack([1 - p, p], axis=1)


def test_returns_depend_on_the_seed_and_not_on_the_number_of_environments():
    policy = FunctionPolicy(leaning, SEEN, spaces.Discrete(2))
    eight, one, other = (
        view_policy_returns(pair_of(), policy, episodes=30, seed=seed, n_envs=n)
        for seed, n in ((3, 8), (3, 1), (4, 8))
    )
    np.testing.assert_array_equal(eight, one)
    assert (eight != other).any()
    fewer = view_policy_returns(pair_of(), policy, episodes=11, seed=3, n_envs=4)
    np.testing.assert_array_equal(fewer, eight[:11])


def test_deterministic_takes_the_likeliest_action():
    policy = FunctionPolicy(leaning, SEEN, spaces.Discrete(2))
    returns = view_policy_returns(pair_of(), policy, episodes=30, seed=3, deterministic=True)
    np.testing.assert_array_equal(returns, lengths(30, seed=3))


def test_actions_count_from_where_the_space_starts():
    space = spaces.Discrete(2, start=-1)
    policy = FunctionPolicy(lambda v: right(v) - 1, SEEN, space)
    pair = pair_of(action_space=space)
    for deterministic in (False, True):
        returns = view_policy_returns(
            pair, policy, episodes=30, seed=3, deterministic=deterministic
        )
        np.testing.assert_array_equal(returns, lengths(30, seed=3))


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_continuous_actions_are_drawn_and_stay_within_the_bounds(shape):
    space = spaces.Box(-1.0, 0.5, shape)
    size = int(np.prod(shape))

    def means(views):
        return np.full((len(views), size), 0.25), 0.1

    pair = pair_of(Aim, action_space=space)
    policy = FunctionPolicy(means, SEEN, space)
    steps = lengths(200, seed=3)
    sure = view_policy_returns(pair, policy, episodes=200, seed=3, deterministic=True)
    np.testing.assert_allclose(sure, 0.25 * steps, atol=1e-5)
    drawn = view_policy_returns(pair, policy, episodes=200, seed=3)
    excess = drawn - sure
    assert abs(excess.sum()) < 4 * 0.1 * np.sqrt(steps.sum())
    # Variances of sums of independent draws; clipping at 2.5 standard deviations changes little.
    assert abs((excess**2).sum() / steps.sum() / 0.01 - 1.0) < 0.3
    wild = FunctionPolicy(lambda v: (np.full((len(v), size), 0.25), 9.0), SEEN, space)
    assert np.abs(view_policy_returns(pair, wild, episodes=20, seed=3)).max() <= 9.0


class Recalling:
    """Right on the first step of an episode and wrong on all others, by its memory alone."""

    name, view_space, action_space, remembers = "recalling", SEEN, spaces.Discrete(2), True

    def follow(self, views, starts, memory=None):
        step = np.zeros(starts.shape[1]) if memory is None else memory
        answers = np.empty((*starts.shape, 2))
        for t, first in enumerate(starts):
            step = np.where(first, 0, step + 1)
            good = views[t, :, 0] > 0
            answers[t] = np.eye(2)[np.where(step == 0, good, ~good).astype(int)]
        return answers, step


def test_memory_is_carried_within_an_episode_and_told_of_each_start():
    returns = view_policy_returns(pair_of(), Recalling(), episodes=50, seed=0, n_envs=4)
    np.testing.assert_array_equal(returns, 1.0)


def test_recurrent_model_acts_as_sb3_does():
    pair = pair_of()
    kwargs = {"net_arch": [4], "lstm_hidden_size": 4}
    model = RecurrentPPO("MlpLstmPolicy", pair.pomdp(), policy_kwargs=kwargs, seed=0, device="cpu")
    rng = np.random.default_rng(0)
    for parameter in model.policy.parameters():
        parameter.data += parameter.data.new_tensor(rng.normal(size=parameter.shape))
    policy = SB3ViewPolicy(model)
    returns = view_policy_returns(pair, policy, episodes=12, seed=5, deterministic=True)
    seeds = []

    class Listening(Guess):
        def reset(self, *, seed=None, options=None):
            seeds.append(seed)
            return super().reset(seed=seed, options=options)

    listening = FeaturePair("Guess", lambda render_mode=None: Listening(), [0])
    view_policy_returns(listening, policy, episodes=12, seed=5, n_envs=1, deterministic=True)
    env, wanted = pair.pomdp(), []
    for seed in seeds:
        view, state, start, total, done = env.reset(seed=seed)[0], None, True, 0.0, False
        while not done:
            action, state = model.predict(
                view, state=state, episode_start=np.array([start]), deterministic=True
            )
            view, reward, done, _, _ = env.step(int(action))
            total, start = total + reward, False
        wanted.append(total)
    np.testing.assert_array_equal(returns, wanted)
    assert len(set(wanted)) > 2


def test_cartpole_balanced_by_what_is_left_of_its_view():
    pair = FeaturePair(
        "CartPole-v1", lambda render_mode=None: gymnasium.make("CartPole-v1"), [2, 3]
    )
    space = pair.features.space
    upright = FunctionPolicy(
        lambda v: (v[:, 0] + v[:, 1] > 0).astype(int), space, pair.action_space
    )
    coin = FunctionPolicy(lambda v: np.full((len(v), 2), 0.5), space, pair.action_space)
    best = view_policy_returns(pair, upright, episodes=10, seed=0)
    chance = view_policy_returns(pair, coin, episodes=10, seed=0)
    assert best.min() > 100
    assert chance.max() < 100


def test_environments_are_closed_even_after_a_mistake():
    pair = pair_of()
    before = Guess.open
    policy = FunctionPolicy(right, SEEN, pair.action_space)
    view_policy_returns(pair, policy, episodes=3, seed=0)
    assert Guess.open == before
    broken = FunctionPolicy(lambda v: v * np.nan, SEEN, pair.action_space, name="broken")
    with pytest.raises(InvalidInputError, match="'broken'"):
        view_policy_returns(pair, broken, episodes=3, seed=0)
    assert Guess.open == before


def test_policy_for_something_else_and_pair_without_view_are_refused():
    pair = pair_of()
    other = FunctionPolicy(right, spaces.Box(-1, 1, (3,)), pair.action_space)
    with pytest.raises(InvalidInputError, match="sees"):
        view_policy_returns(pair, other, episodes=1, seed=0)
    blind = FeaturePair("Guess", lambda render_mode=None: Guess())
    policy = FunctionPolicy(right, SEEN, pair.action_space)
    with pytest.raises(InvalidInputError, match="observe"):
        view_policy_returns(blind, policy, episodes=1, seed=0)
    for wrong in ({"episodes": 0}, {"n_envs": 0}, {"seed": -1}, {"episodes": 1.5}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            view_policy_returns(pair, policy, **{"episodes": 1, "seed": 0, **wrong})

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

import imm_rl
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.agents.sb3_rollout import RolloutReader, normalizer
from imm_rl.errors import InvalidInputError

T, E = 6, 2
LINE = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float32)


class Count(gymnasium.Env):
    """Shows how many steps were taken in all, and in this episode of three steps."""

    action_space = spaces.Discrete(2)

    def __init__(self, space=LINE):
        self.observation_space, self.n, self.t = space, 0, 0

    def shown(self):
        both = np.array([self.n, self.t], dtype=np.float32)
        if isinstance(self.observation_space, spaces.Dict):
            return {"n": both[:1], "t": self.t}
        return self.t if isinstance(self.observation_space, spaces.Discrete) else both

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.shown(), {}

    def step(self, action):
        self.n += 1
        self.t += 1
        return self.shown(), float(action), self.t == 3, False, {}


class Tape(VecEnvWrapper):
    """Notes down all observations that the environment gives."""

    def __init__(self, venv):
        super().__init__(venv)
        self.given = []

    def reset(self):
        self.given.append(self.venv.reset())
        return self.given[-1]

    def step_wait(self):
        found = self.venv.step_wait()
        self.given.append(found[0])
        return found


class Reading(BaseCallback):
    """Reads every rollout as IMMCallback does."""

    def __init__(self):
        super().__init__()
        self.rollouts, self.seen = [], []

    def _on_training_start(self):
        self.reader = RolloutReader(self.model)
        self.first = self.reader.first()

    def _on_rollout_start(self):
        self.reader.begin()

    def _on_step(self):
        self.reader.step()
        return True

    def _on_rollout_end(self):
        self.rollouts.append(self.reader.end())
        self.seen.append(self.reader.as_seen(self.rollouts[-1].observations))


def read(wrap, space=LINE, rollouts=2):
    tape = Tape(DummyVecEnv([lambda: Count(space)] * E))
    env = wrap(tape)
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = A2C(policy, env, n_steps=T, seed=0, device="cpu")
    reading = Reading()
    model.learn(rollouts * T * E, callback=reading)
    return tape, env, reading


def plain(tape, key=None):
    each = tape.given if key is None else [given[key] for given in tape.given]
    return np.stack(each)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: env,
        VecMonitor,
        VecNormalize,
        lambda env: VecNormalize(env, norm_obs=False),
        lambda env: VecNormalize(env, clip_obs=0.1),
        lambda env: VecCheckNan(VecMonitor(VecNormalize(env))),
        lambda env: VecNormalize(VecNormalize(env), norm_obs=False),
        lambda env: VecNormalize(VecNormalize(env, norm_obs=False)),
    ],
    ids=["plain", "monitor", "normalize", "rewards", "clipped", "above", "two", "two-turned"],
)
def test_reader_gives_observations_as_the_environment_gave_them(wrap):
    tape, _, reading = read(wrap)
    given = plain(tape)
    np.testing.assert_array_equal(reading.first, given[0])
    for i, steps in enumerate(reading.rollouts):
        np.testing.assert_array_equal(steps.observations, given[i * T : (i + 1) * T])
        np.testing.assert_array_equal(steps.next_observations, given[(i + 1) * T])
        np.testing.assert_array_equal(steps.starts[:, 0], [True, False, False] * 2)
        np.testing.assert_array_equal(steps.next_starts, [True] * E)
        assert steps.actions.shape == (T, E, 1)
        assert steps.masks is None


def test_reader_gives_numbers_without_the_axis_of_the_buffer():
    tape, _, reading = read(lambda env: env, spaces.Discrete(4))
    assert reading.rollouts[0].observations.shape == (T, E)
    np.testing.assert_array_equal(reading.rollouts[1].observations, plain(tape)[T : 2 * T])


NAMED = spaces.Dict(n=spaces.Box(-np.inf, np.inf, (1,), dtype=np.float32), t=spaces.Discrete(4))


@pytest.mark.parametrize(
    "wrap", [lambda env: env, lambda env: VecNormalize(env, norm_obs_keys=["n"])]
)
def test_reader_gives_dicts_key_by_key(wrap):
    tape, env, reading = read(wrap, NAMED)
    steps = reading.rollouts[1]
    for key, shape in (("n", (T, E, 1)), ("t", (T, E))):
        assert steps.observations[key].shape == shape
        np.testing.assert_array_equal(steps.observations[key], plain(tape, key)[T : 2 * T])
        np.testing.assert_array_equal(steps.next_observations[key], plain(tape, key)[2 * T])
    if env is not tape:
        again = reading.reader.as_seen(steps.observations)
        assert np.abs(again["n"] - steps.observations["n"]).min() > 0.1
        np.testing.assert_array_equal(again["t"], steps.observations["t"])


def test_reader_shows_the_policy_observations_by_the_statistics_of_now():
    tape, env, reading = read(VecNormalize)
    given = plain(tape)
    now = (given[T : 2 * T] - env.obs_rms.mean) / np.sqrt(env.obs_rms.var + env.epsilon)
    np.testing.assert_allclose(reading.seen[1], now, rtol=1e-5)
    assert np.abs(now - given[T : 2 * T]).min() > 0.01
    assert env.obs_rms.count == pytest.approx(E * (2 * T + 1), abs=1e-3)  # reading adds nothing


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: VecNormalize(env, norm_obs=False)])
def test_reader_shows_the_policy_plain_observations_where_nothing_scales_them(wrap):
    tape, _, reading = read(wrap)
    np.testing.assert_array_equal(reading.seen[0], plain(tape)[:T])


def test_reader_under_normalised_stacks_gives_stacks():
    tape, env, reading = read(lambda env: VecNormalize(VecFrameStack(env, 2)))
    given, steps = plain(tape), reading.rollouts[1]
    assert steps.observations.shape == (T, E, 4)
    np.testing.assert_array_equal(steps.observations[..., 2:], given[T : 2 * T])
    np.testing.assert_array_equal(steps.observations[1, :, :2], given[T])
    assert (steps.observations[0, :, :2] == 0.0).all()  # an episode starts
    assert normalizer(env) is env


def test_reader_gives_what_the_policy_saw_of_stacks_alone():
    tape, _, reading = read(lambda env: VecFrameStack(env, 2))
    np.testing.assert_array_equal(reading.rollouts[1].observations[..., 2:], plain(tape)[T : 2 * T])


def test_reader_refuses_a_wrapper_that_changes_what_is_normalised():
    with pytest.raises(InvalidInputError, match=r"VecFrameStack changes what VecNormalize gives"):
        read(lambda env: VecFrameStack(VecNormalize(env), 2))
    below = VecNormalize(Tape(DummyVecEnv([Count])), norm_obs=False)
    assert normalizer(VecFrameStack(below, 2)) is None
    assert normalizer(None) is None


@pytest.mark.parametrize(
    "wrap",
    [
        VecNormalize,
        lambda env: VecNormalize(env, norm_obs=False),
        lambda env: VecFrameStack(env, 2),
        lambda env: VecNormalize(VecFrameStack(env, 2)),
    ],
    ids=["normalize", "rewards", "stack", "normalised-stack"],
)
def test_matching_under_wrappers_asks_the_restricted_policy_about_plain_views(wrap):
    env = wrap(Tape(DummyVecEnv([Count] * E)))
    asked = []

    def restricted(views):
        asked.append(views.copy())
        return np.full((len(views), 2), 0.5)

    callback = IMMCallback(env, restricted, observe=[env.observation_space.shape[0] - 1])
    A2C("MlpPolicy", env, n_steps=T, seed=0, device="cpu").learn(2 * T * E, callback=callback)
    assert asked[0].tolist() == [[0.0]] * E  # before training
    along = [0.0] * E + [1.0] * E + [2.0] * E
    for views in asked[1:]:
        assert views[:, 0].tolist() == along * 2
    np.testing.assert_array_equal(callback.state()["matcher/views"], np.concatenate(asked[1:]))


def test_matching_refuses_a_stack_over_normalised_observations_before_training():
    env = VecFrameStack(VecNormalize(DummyVecEnv([Count] * E)), 2)
    model = A2C("MlpPolicy", env, n_steps=T, device="cpu")
    callback = IMMCallback(env, lambda views: np.zeros(len(views)), observe=[1])
    with pytest.raises(InvalidInputError, match="Put VecNormalize outermost"):
        model.learn(T * E, callback=callback)
    assert model.num_timesteps == 0


def test_matching_on_an_unstacked_pair_refuses_stacks_by_their_spaces():
    pair = imm_rl.make("CartPole-v1", observe=[0])
    model = A2C("MlpPolicy", VecFrameStack(pair.sb3_vector(2), 2), device="cpu")
    with pytest.raises(InvalidInputError, match=r"(?s)observes Box.*\(8,\).*made for Box.*\(4,\)"):
        model.learn(10, callback=IMMCallback(pair, lambda views: np.zeros(len(views))))

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
    VecTransposeImage,
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

    def __init__(self, space=None):
        super().__init__()
        self.rollouts, self.seen, self.space = [], [], space

    def _on_training_start(self):
        self.reader = RolloutReader(self.model, self.space)
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


IMAGE = spaces.Box(0, 255, (36, 37, 3), dtype=np.uint8)  # SB3's network takes no less than 36
IN_DICT = spaces.Dict(image=IMAGE, n=LINE)


class Screen(Count):
    """The count as an image with its channels last, alone or beside a plain number."""

    def shown(self):
        image = (np.arange(36 * 37 * 3) % 199 + self.n).astype(np.uint8).reshape(IMAGE.shape)
        if self.observation_space == IMAGE:
            return image
        return {"image": image, "n": np.array([self.n, self.t], dtype=np.float32)}


def parts(observations):
    return observations if isinstance(observations, dict) else {"image": observations}


@pytest.mark.parametrize(
    ("space", "wrap"),
    [
        (IMAGE, lambda env: env),
        (IMAGE, VecMonitor),
        (IMAGE, lambda env: VecNormalize(VecTransposeImage(VecMonitor(env)), norm_obs=False)),
        (IN_DICT, lambda env: env),
        (IN_DICT, lambda env: VecNormalize(env, norm_obs_keys=["n"])),
    ],
    ids=["sb3", "monitored", "by-hand", "dict", "normalised-dict"],
)
def test_reader_turns_images_back(space, wrap):
    tape = Tape(DummyVecEnv([lambda: Screen(space)] * E))
    policy = "MultiInputPolicy" if space is IN_DICT else "MlpPolicy"
    model = A2C(policy, wrap(tape), n_steps=T, seed=0, device="cpu")
    assert model.observation_space != space  # SB3 transposes
    reading = Reading(space)
    saw = []
    model.policy.register_forward_pre_hook(lambda _, inputs: saw.append(inputs[0]))
    model.learn(T * E, callback=reading)
    (steps,), (seen,) = reading.rollouts, reading.seen
    for key in parts(tape.given[0]):
        given = plain(tape, key if space is IN_DICT else None)
        np.testing.assert_array_equal(parts(reading.first)[key], given[0])
        np.testing.assert_array_equal(parts(steps.observations)[key], given[:T])
        np.testing.assert_array_equal(parts(steps.next_observations)[key], given[T])
    policy_saw = np.stack([parts(given)["image"].numpy() for given in saw])
    np.testing.assert_array_equal(parts(seen)["image"], policy_saw)


@pytest.mark.parametrize("space", [None, IN_DICT], ids=["own", "other"])
def test_reader_leaves_images_of_another_space_as_the_policy_sees_them(space):
    model = A2C("MlpPolicy", DummyVecEnv([lambda: Screen(IMAGE)] * E), n_steps=T, device="cpu")
    reading = Reading(space)
    model.learn(T * E, callback=reading)
    assert reading.rollouts[0].observations.shape == (T, E, 3, 36, 37)
    np.testing.assert_array_equal(reading.seen[0], reading.rollouts[0].observations)


@pytest.mark.parametrize("by_hand", [False, True])
def test_matching_on_images_goes_by_the_environment_or_by_the_wrapper_as_it_was_given(by_hand):
    env = DummyVecEnv([lambda: Screen(IMAGE)] * E)
    env = VecTransposeImage(env) if by_hand else env
    asked = []

    def restricted(views):
        asked.append(views.copy())
        return np.full((len(views), 2), 0.5)

    callback = IMMCallback(env, restricted, observe=[1, 5])  # of 0, 1, 2, ...: row by row
    A2C("MlpPolicy", env, n_steps=T, seed=0, device="cpu").learn(T * E, callback=callback)
    assert asked[0].tolist() == [[3, 15] if by_hand else [1, 5]] * E
    np.testing.assert_array_equal(asked[1] - asked[0][0], np.arange(T).repeat(E)[:, None] + [0, 0])


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

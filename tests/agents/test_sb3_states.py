import tracemalloc
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import DummyVecEnv

import imm_rl
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.agents.sb3_states import StateCodec
from imm_rl.errors import InvalidInputError

MOST = np.float32(3.0)


@pytest.fixture(scope="module")
def pair():
    return imm_rl.make("4x4")


@pytest.fixture(scope="module")
def n(pair):
    return pair.model.n_states


def box(*shape, low=0.0, high=MOST):
    return spaces.Box(low, high, shape, dtype=np.float32)


def places(states):
    """Rows and columns of the cells of 4x4."""
    return np.stack([states // 4, states % 4], axis=1)


def test_codec_of_discrete_takes_the_number_itself(pair, n):
    codec = StateCodec(pair, spaces.Discrete(n))
    np.testing.assert_array_equal(codec.table, np.arange(n))
    states = np.array([[3, 0, 2], [1, 1, 15]])
    found = codec.states(states)
    np.testing.assert_array_equal(found, states)
    assert found.dtype == np.int64


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 1), (4, 1), (1, 3)])
def test_codec_keeps_the_leading_shape_also_where_it_is_one(pair, n, shape):
    states = np.random.default_rng(0).integers(n, size=shape)
    for codec in (
        StateCodec(pair, spaces.Discrete(n)),
        StateCodec(pair, box(n, high=1.0)),
        StateCodec(pair, box(2), places),
    ):
        found = codec.states(codec.table[states])
        assert found.shape == shape
        np.testing.assert_array_equal(found, states)


def test_codec_of_one_hot_observations_needs_no_table(pair, n):
    codec = StateCodec(pair, spaces.Box(0, 1, (n,), dtype=np.uint8))
    assert codec.table.dtype == np.uint8
    rows = np.random.default_rng(0).permutation(n)
    np.testing.assert_array_equal(codec.table[rows], np.eye(n)[rows])
    np.testing.assert_array_equal(codec.table[rows.reshape(4, -1)], np.eye(n)[rows.reshape(4, -1)])
    np.testing.assert_array_equal(codec.states(np.eye(n)[[4, 0]]), [4, 0])


@pytest.mark.parametrize("values", [{}, {3: 1, 5: 1}, {3: 2}, {3: 1, 5: 0.5}, {0: np.nan, 3: 1}])
def test_codec_refuses_rows_that_are_not_one_hot(pair, n, values):
    row = np.zeros((2, n))
    row[0, 1] = 1
    for place, value in values.items():
        row[1, place] = value
    with pytest.raises(
        InvalidInputError, match=r"shows \[.*\.\.\.\], which is the observation of no"
    ):
        StateCodec(pair, box(n)).states(row)


def test_codec_of_one_hot_observations_of_many_states_is_small():
    n = 12_545
    large = SimpleNamespace(name="large", model=SimpleNamespace(n_states=n))
    tracemalloc.start()
    try:
        codec = StateCodec(large, box(n))
        states = np.array([[12_544, 0], [7, 3]])
        np.testing.assert_array_equal(codec.states(codec.table[states]), states)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6


def test_codec_takes_a_table_and_a_function_alike(pair, n):
    table = places(np.arange(n))
    for given in (table, places, table.tolist()):
        codec = StateCodec(pair, box(2), given)
        assert codec.table.dtype == np.float32
        np.testing.assert_array_equal(codec.states([[[3.0, 1.0]], [[0.0, 2.0]]]), [[13], [2]])


def test_codec_of_images(pair, n):
    table = np.random.default_rng(0).integers(0, 255, (n, 3, 4, 1)).astype(np.uint8)
    codec = StateCodec(pair, spaces.Box(0, 255, (3, 4, 1), dtype=np.uint8), table)
    states = np.array([[2, 9], [5, 0]])
    np.testing.assert_array_equal(codec.states(table[states]), states)


def test_codec_of_discrete_numbered_in_another_way(pair, n):
    numbers = np.random.default_rng(0).permutation(n + 3)[:n]
    codec = StateCodec(pair, spaces.Discrete(n + 3), numbers)
    np.testing.assert_array_equal(codec.states(numbers[[7, 0]]), [7, 0])
    missing = np.setdiff1d(np.arange(n + 3), numbers)[0]
    with pytest.raises(InvalidInputError, match=f"shows {missing}, which is the observation of no"):
        codec.states(np.array([missing]))


def test_codec_of_discrete_that_starts_elsewhere_takes_a_table(pair, n):
    space = spaces.Discrete(n, start=5)
    with pytest.raises(InvalidInputError, match=r"Discrete\(16, start=5\), and 4x4 has 16 states"):
        StateCodec(pair, space)
    codec = StateCodec(pair, space, lambda states: states + 5)
    np.testing.assert_array_equal(codec.states(np.array([5, 20])), [0, 15])


def test_codec_takes_negative_zero_for_zero(pair):
    codec = StateCodec(pair, box(2), places)
    assert codec.states(np.array([-0.0, 1.0], dtype=np.float32)) == 1


@pytest.mark.parametrize(
    ("space", "given", "message"),
    [
        (
            box(2),
            lambda s: places(s) // 2,
            r"another one for each state; received 'states \[0, 1\]",
        ),
        (box(2), np.zeros((16, 3)), r"observations must have the shape \(16, 2\).*\(16, 3\)"),
        (box(2), np.zeros((15, 2)), r"observations must have the shape \(16, 2\).*\(15, 2\)"),
        (box(2), lambda s: places(s) + 1, r"observations\[3\] must lie in Box.*\[1.0, 4.0\]"),
        (box(2), lambda s: np.full((16, 2), np.nan), r"observations\[0\] must lie in"),
        (box(2), [["a", "b"]] * 16, "observations must be an array of numbers"),
        (spaces.Discrete(20), np.arange(16) + 5, r"observations\[15\] must lie in Discrete\(20\)"),
        (spaces.Dict(a=box(2)), places, "Dict and Tuple are not served"),
    ],
    ids=["alike", "width", "rows", "outside", "nan", "text", "discrete", "dict"],
)
def test_codec_refuses_a_table_that_does_not_tell_the_states(pair, space, given, message):
    with pytest.raises(InvalidInputError, match=message):
        StateCodec(pair, space, given)


@pytest.mark.parametrize(
    "space", [spaces.Discrete(15), box(3), spaces.MultiDiscrete([4, 4]), box(16, 1)]
)
def test_codec_refuses_a_space_that_shows_no_states_and_names_the_remedy(pair, space):
    with pytest.raises(
        InvalidInputError, match=r"and .*4x4.*Train on pair\.mdp\(\).*observations="
    ):
        StateCodec(pair, space)


def test_codec_refuses_an_observation_of_no_state(pair, n):
    with pytest.raises(InvalidInputError, match=r"shows \[0\.5, 0\.0\].*no state of 4x4"):
        StateCodec(pair, box(2), places).states(np.array([[1.0, 1.0], [0.5, 0.0]]))
    with pytest.raises(InvalidInputError, match="shows 16, which is the observation of no state"):
        StateCodec(pair, spaces.Discrete(n)).states(np.array([[0], [n]]))


class Shown(gymnasium.ObservationWrapper):
    def __init__(self, env, space, table):
        super().__init__(env)
        self.observation_space, self.table = space, table

    def observation(self, state):
        return self.table[state]


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("form", ["number", "one-hot", "place"])
def test_training_on_any_form_of_the_states_matches_at_the_same_beliefs(pair, n, n_envs, form):
    space = {"number": None, "one-hot": box(n, high=1.0), "place": box(2)}[form]
    table = {"number": None, "one-hot": np.eye(n), "place": places(np.arange(n))}[form]

    def made():
        env = pair.mdp()
        return env if table is None else Shown(env, space, table.astype(np.float32))

    callback = IMMCallback(pair, observations=table if form == "place" else None)
    A2C("MlpPolicy", DummyVecEnv([made] * n_envs), seed=1, device="cpu").learn(
        20 * n_envs, callback=callback
    )
    beliefs = callback.state()["matcher/source/belief"]
    assert beliefs.shape == (n_envs, n)
    np.testing.assert_allclose(beliefs.sum(axis=1), 1.0)

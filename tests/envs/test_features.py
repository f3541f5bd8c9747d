"""`Features`: indices and functions over every kind of space, and one clear error for each mistake."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from imm_rl.envs.features import Features
from imm_rl.errors import InvalidInputError

BOX = spaces.Box(np.array([-1, -2, -3, -4], np.float32), np.array([1, 2, 3, 4], np.float32))
PIXELS = spaces.Box(0, 255, (2, 3), np.uint8)
MIXED = spaces.Dict(
    {"place": spaces.Box(-1, 1, (2,)), "room": spaces.Discrete(4), "task": spaces.Text(5)}
)


def last_two(observations: Any) -> Any:
    """A function that can be pickled."""
    return observations[:, 2:]


class Room:
    """A function that says what space its answers are of."""

    def __init__(self, space: Any) -> None:
        self.space = space

    def __call__(self, observations: Any) -> Any:
        return observations["room"]


@pytest.mark.parametrize("observe", [[3, 0], (3, 0), np.array([3, 0]), np.array([3, 0], np.uint8)])
def test_indices_choose_entries_in_their_order(observe: Any) -> None:
    features = Features(BOX, observe)
    assert features.observe == [3, 0]
    assert features.space == spaces.Box(
        np.array([-4, -1], np.float32), np.array([4, 1], np.float32)
    )
    assert not features.discrete
    full = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]], np.float32)
    seen = features(full)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, np.array([[0.4, 0.1], [0.8, 0.5]], np.float32))
    np.testing.assert_array_equal(features.one(full[1]), seen[1])


def test_indices_may_choose_all_and_a_range() -> None:
    assert Features(BOX, range(4)).space == BOX


def test_indices_go_by_the_flattened_observation() -> None:
    features = Features(PIXELS, [1, 5])
    assert features.space == spaces.Box(0, 255, (2,), np.uint8)
    assert features.discrete
    full = np.arange(12).reshape(2, 2, 3)
    assert features(full).tolist() == [[1, 5], [7, 11]]
    assert features(full.astype(np.float32)).dtype == np.uint8  # as SB3's buffers keep them
    assert features.one(full[1]).tolist() == [7, 11]


@pytest.mark.parametrize(
    ("space", "observe", "restricted", "full", "seen"),
    [
        (spaces.Discrete(5), [0], spaces.Discrete(5), [3, 4], [3, 4]),
        (spaces.Discrete(5), [0], spaces.Discrete(5), [[3], [4]], [3, 4]),  # SB3's buffers
        (spaces.Discrete(5, start=2), [0], spaces.Discrete(5, start=2), [6.0], [6]),
        (
            spaces.MultiDiscrete([2, 3, 4]),
            [2, 1],
            spaces.MultiDiscrete([4, 3]),
            [[0, 1, 2]],
            [[2, 1]],
        ),
        (
            spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]),
            [3, 0],
            spaces.MultiDiscrete([5, 2], start=[3, 0]),
            [[[0, 1], [2, 3]]],
            [[3, 0]],
        ),
        (spaces.MultiBinary(3), [2], spaces.MultiBinary(1), [[0, 1, 1], [1, 1, 0]], [[1], [0]]),
        (spaces.MultiBinary((2, 2)), [3, 1], spaces.MultiBinary(2), [[[0, 1], [1, 0]]], [[0, 1]]),
        (spaces.Box(-1, 1, ()), [0], spaces.Box(-1, 1, (1,)), [0.5], [[0.5]]),
    ],
)
def test_restricted_space_is_of_the_same_kind(
    space: Any, observe: list[int], restricted: Any, full: Any, seen: Any
) -> None:
    features = Features(space, observe)
    assert features.space == restricted
    assert features.discrete is not isinstance(space, spaces.Box)
    answers = features(np.array(full))
    assert answers.tolist() == seen
    one = features.one(space.dtype.type(0) + np.array(full).reshape(-1, *space.shape)[0])
    assert restricted.contains(one)
    np.testing.assert_array_equal(one, answers[0])


@pytest.mark.parametrize(
    ("function", "restricted", "seen", "discrete"),
    [
        (last_two, spaces.Box(-np.inf, np.inf, (2,)), [[2.0, 3.0], [6.0, 7.0]], False),
        (lambda x: x[:, 1], spaces.Box(-np.inf, np.inf, (1,)), [[1.0], [5.0]], False),
        (
            lambda x: x[:, 1].tolist(),
            spaces.Box(-np.inf, np.inf, (1,), np.float64),
            [[1], [5]],
            False,
        ),
        (
            lambda x: x[:, :2] > 2,
            spaces.Box(0, 1, (2,), np.int64),
            [[0, 0], [1, 1]],
            True,
        ),
        (
            lambda x: x.astype(np.int8)[:, :1],
            spaces.Box(-(2**31) + 1, 2**31 - 1, (1,), np.int64),
            [[0], [4]],
            True,
        ),
        (
            lambda x: x.reshape(-1, 2, 2),
            spaces.Box(-np.inf, np.inf, (2, 2)),
            [[[0, 1], [2, 3]], [[4, 5], [6, 7]]],
            False,
        ),
    ],
)
def test_functions_space_is_read_from_its_answers(
    function: Any, restricted: Any, seen: Any, discrete: bool
) -> None:
    features = Features(BOX, function)
    assert features.observe is function
    assert features.space == restricted
    assert features.discrete is discrete
    full = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert features(full).tolist() == seen
    assert restricted.contains(features.one(full[0]))
    assert features(full[:0]).shape == (0, *restricted.shape)


def test_function_is_given_a_copy_in_the_type_of_the_space() -> None:
    def wipe(observations: Any) -> Any:
        assert observations.dtype == np.int64
        row = observations % 4
        observations[:] = 0
        return row

    full = np.array([5.0, 6.0])
    assert Features(spaces.Discrete(16), wipe)(full).tolist() == [[1], [2]]
    assert full.tolist() == [5.0, 6.0]


def test_function_of_a_dict_is_given_its_parts_stacked() -> None:
    def seen(observations: Any) -> Any:
        assert isinstance(observations["task"], tuple)
        return np.column_stack([observations["place"][:, 1], observations["room"]])

    features = Features(MIXED, seen)
    stacked = {"place": np.eye(2), "room": np.array([[3], [2]]), "task": ("a", "b")}
    assert features(stacked).tolist() == [[0.0, 3.0], [1.0, 2.0]]
    one = features.one({"place": np.array([0.0, 0.25]), "room": np.int64(2), "task": "a"})
    assert one.tolist() == [0.25, 2.0]


def test_function_of_a_tuple_is_given_its_parts_stacked() -> None:
    cards = spaces.Tuple((spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2)))
    features = Features(cards, lambda parts: np.column_stack([parts[0], parts[2]]))
    assert features((np.array([12, 20]), np.array([1, 2]), np.array([0, 1]))).tolist() == [
        [12, 0],
        [20, 1],
    ]
    assert features.one((12, 1, 0)).tolist() == [12, 0]


def test_function_may_say_its_space() -> None:
    features = Features(MIXED, Room(spaces.Discrete(4)))
    assert features.space == spaces.Discrete(4)
    assert features.discrete
    seen = features({"place": np.zeros((2, 2)), "room": np.array([3, 1]), "task": ("", "")})
    assert (seen.tolist(), seen.dtype) == ([3, 1], np.int64)
    one = features.one({"place": np.zeros(2), "room": 3, "task": ""})
    assert spaces.Discrete(4).contains(one)
    assert Features(MIXED, Room(spaces.Box(-1, 9, (1,)))).space == spaces.Box(-1, 9, (1,))


def test_space_is_left_as_it_was() -> None:
    space = spaces.Box(-1, 1, (4,), seed=3)
    Features(space, last_two)
    np.testing.assert_array_equal(space.sample(), spaces.Box(-1, 1, (4,), seed=3).sample())


@pytest.mark.parametrize("observe", [[1, 2], last_two])
def test_features_are_pickled_and_copied_as_one(observe: Any) -> None:
    features = Features(BOX, observe)
    again = pickle.loads(pickle.dumps(features))
    full = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(again(full), features(full))
    assert again.space == features.space
    assert copy.deepcopy(features) is features


@pytest.mark.parametrize(
    ("space", "observe", "message"),
    [
        (
            BOX,
            [4],
            r"observe must name features in \[0, 4\); received 4\. .* has the features 0 to 3",
        ),
        (BOX, [0, -1], r"observe must name features in \[0, 4\); received -1"),
        (BOX, [2, 1, 2], r"observe must name each feature once; received \[2, 1, 2\]"),
        (
            BOX,
            [],
            r"observe must name at least one feature; received \[\].* has the features 0 to 3",
        ),
        (BOX, np.array([]), "observe must name at least one feature"),
        (BOX, 2, "observe must be a list of whole numbers, or a function; received 2"),
        (BOX, [1.0], r"observe must be a list of whole numbers, or a function; received \[1\.0\]"),
        (BOX, [True, False, True, False], "observe must be a list of whole numbers"),
        (BOX, [[0, 1]], "observe must be a list of whole numbers"),
        (BOX, [[0], [1, 2]], "observe must be a list of whole numbers"),
        (BOX, "2,3", "observe must be a list of whole numbers, or a function; received '2,3'"),
        (BOX, {0, 1}, "observe must be a list of whole numbers"),
        (
            spaces.Discrete(5),
            [1],
            r"in \[0, 1\); received 1\. .*Discrete\(5\), has the features 0\.",
        ),
        (MIXED, [0], "observe must be a function where observations are a Dict.*received.*Text"),
        (spaces.Tuple((BOX,)), [0], "observe must be a function where observations are a Tuple"),
        (spaces.Text(5), len, r"observation space must be Box, .*received Text\("),
        (
            BOX,
            lambda x: x[[2, 3]],
            r"must answer a row for each of 5 observations; received \(2, 4\)",
        ),
        (
            BOX,
            lambda x: x[2:],
            r"must answer a row for each of 5 .*\(3, 4\).*lambda x: x\[:, \[0, 2\]",
        ),
        (BOX, lambda x: x.sum(), r"must answer a row for each of 5 observations; received \(\)"),
        (
            BOX,
            lambda x: x[:, :0],
            r"must answer a row for each of 5 observations; received \(5, 0\)",
        ),
        (BOX, lambda x: x["a"], "fails on 5 observations: IndexError"),
        (BOX, lambda x: ["a"] * len(x), "must answer numbers; received 'array of str"),
        (BOX, lambda x: None, "must answer numbers; received 'array of object'"),
        (BOX, lambda x: x - x.mean(0), "must answer for each observation by itself, the same each"),
        (BOX, lambda x: x + np.random.default_rng().normal(size=x.shape), "the same each time"),
        (BOX, lambda x: x[:, : len(x)], "must answer for each observation by itself"),
        (
            MIXED,
            Room("four"),
            "attribute space of .* Room must be a Box, Discrete.*received 'four'",
        ),
        (
            MIXED,
            Room(MIXED),
            "attribute space of the observe function Room must be a Box, Discrete",
        ),
        (
            MIXED,
            Room(spaces.Box(0, 1, (2,))),
            r"must answer rows of its space, Box\(.*shape \(5,\)",
        ),
    ],
)
def test_features_say_what_is_wrong_with_observe(space: Any, observe: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Features(space, observe)


@pytest.mark.parametrize(
    ("space", "observe", "observations", "message"),
    [
        (BOX, [0], np.zeros(4), r"observations must have the shape \(N, 4\); received \(4,\)"),
        (BOX, [0], np.zeros((2, 3)), r"have the shape \(N, 4\); received \(2, 3\)"),
        (
            BOX,
            [0],
            [[1.0], [2.0, 3.0]],
            "observations must be an array of numbers, with rows of one",
        ),
        (BOX, [0], np.full((1, 4), "a"), "observations must be an array of numbers"),
        (
            BOX,
            [1, 2],
            [[0, 0, 0, 0], [0, 1, np.nan, 0]],
            r"features \[1, 2\] .*\[1\.0, nan\] in row 1",
        ),
        (
            spaces.Discrete(3),
            [0],
            [0.0, 1.5],
            r"must be whole numbers of Discrete\(3\); received .*1\.5",
        ),
        (spaces.Discrete(3), [0], [np.nan], "must be whole numbers"),
        (
            BOX,
            lambda x: np.sqrt(x[:, 0] - 5),
            np.zeros((2, 4)),
            r"answer finite .*\[nan\] in row 0",
        ),
        (
            BOX,
            lambda x: x[:, :1] if x[0, 0] < 2 else x,
            np.full((2, 4), 3.0),
            r"answer rows of its space, Box\(-inf, inf, \(1,\), float32\); received .*\(2, 4\)",
        ),
        (BOX, lambda x: x[: 5 if x[0, 0] < 2 else 1], np.full((6, 4), 3.0), "a row for each of 6"),
        (
            BOX,
            lambda x: x[:, :1].astype(int) if x[0, 0] < 2 else x[:, :1],
            np.full((1, 4), 3.5),
            r"answer elements of its space, Box\(.*int64\); received '\[3\.5\] in row 0'",
        ),
        (
            MIXED,
            Room(spaces.Discrete(2)),
            {"place": np.zeros((3, 2)), "room": [0, 1, 2], "task": "abc"},
            r"answer elements of its space, Discrete\(2\); received '\[2\] in row 2'",
        ),
        (
            MIXED,
            Room(spaces.Discrete(3, start=1)),
            {"place": np.zeros((2, 2)), "room": [3, 0], "task": "ab"},
            r"Discrete\(3, start=1\); received '\[0\] in row 1'",
        ),
        (
            MIXED,
            Room(spaces.MultiDiscrete([2])),
            {"room": [0]},
            r"a dict with the keys \['place', 'r",
        ),
        (MIXED, Room(spaces.MultiBinary(1)), [0], "a dict with the keys .*received 'list'"),
        (
            MIXED,
            Room(spaces.MultiBinary(1)),
            {"place": np.zeros((2, 3)), "room": [0, 1], "task": "ab"},
            r"observations\['place'\] must have the shape \(N, 2\); received \(2, 3\)",
        ),
        (
            MIXED,
            Room(spaces.MultiBinary(1)),
            {"place": np.zeros((2, 2)), "room": [0, 1, 0], "task": "ab"},
            r"observations must be as many in each of their parts; received \[2, 3\]",
        ),
        (
            spaces.Tuple((BOX, BOX)),
            lambda parts: parts[0],
            (np.zeros((1, 4)),),
            "observations must be a tuple of 2; received 'tuple'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")
def test_features_say_what_is_wrong_with_observations(
    space: Any, observe: Any, observations: Any, message: str
) -> None:
    features = Features(space, observe)
    with pytest.raises(InvalidInputError, match=message):
        features(observations)

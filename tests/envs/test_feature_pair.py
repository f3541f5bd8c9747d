"""`FeaturePair`: what both views of an environment share, and what the restricted one hides."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.envs.feature_view import FeatureView
from imm_rl.envs.gymnasium_pairs import versioned
from imm_rl.errors import InvalidInputError


class Beacon(gymnasium.Env[Any, Any]):
    """A walk on a line from 0 to a beacon; its info tells the beacon's place. Observations are a Dict."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, size: int = 5, render_mode: str | None = None) -> None:
        self.size, self.render_mode = size, render_mode
        self.observation_space = spaces.Dict(
            {"place": spaces.Box(0, size, (1,), np.float32), "beacon": spaces.Discrete(size)}
        )
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.beacon = 0, int(self.np_random.integers(1, self.size))
        return self._seen(), {"beacon": self.beacon}

    def step(self, action: int) -> Any:
        self.place = int(np.clip(self.place + 2 * action - 1, 0, self.size))
        there = self.place == self.beacon
        told = {"beacon": self.beacon, "is_success": there}
        return self._seen(), float(there), there, False, told

    def render(self) -> Any:
        return f"{self.place}"

    def _seen(self) -> Any:
        return {"place": np.array([self.place], np.float32), "beacon": np.int64(self.beacon)}


def place(observations: Any) -> Any:
    return observations["place"]


def column(states: Any) -> Any:
    return states % 4


column.space = spaces.Discrete(4)  # type: ignore[attr-defined]


def sum_and_ace(parts: Any) -> Any:
    return np.column_stack([parts[0], parts[2]])


sum_and_ace.space = spaces.MultiDiscrete([32, 2])  # type: ignore[attr-defined]


def taxi_row(states: Any) -> Any:
    return states // 100


def angle(observations: Any) -> Any:
    return np.arctan2(observations[:, 1], observations[:, 0])


gymnasium.register("test-feature-pair/Beacon-v0", entry_point=Beacon, max_episode_steps=9)

PAIRS: dict[str, tuple[str, Any]] = {
    "cartpole": ("CartPole-v1", [2, 3]),
    "acrobot": ("Acrobot-v1", [0, 1, 2, 3]),
    "mountain car": ("MountainCar-v0", [0]),
    "pendulum": ("Pendulum-v1", [0, 1]),
    "pendulum by a function": ("Pendulum-v1", angle),
    "frozen lake": ("FrozenLake-v1", [0]),
    "frozen lake's column": ("FrozenLake-v1", column),
    "taxi's row": (str(versioned("Taxi")), taxi_row),
    "blackjack": ("Blackjack-v1", sum_and_ace),
    "beacon": ("test-feature-pair/Beacon-v0", place),
}


@pytest.fixture(params=PAIRS)
def pair(request: Any) -> FeaturePair:
    env_id, observe = PAIRS[request.param]
    return FeaturePair(env_id, partial(gymnasium.make, env_id), observe)


def play(env: Any, actions: list[Any], seed: int = 7) -> list[tuple[Any, ...]]:
    """(observation, reward, terminated, truncated, info) at reset and after each action."""
    observation, info = env.reset(seed=seed)
    rows: list[tuple[Any, ...]] = [(observation, 0.0, False, False, info)]
    for action in actions:
        rows.append(env.step(action))
        if rows[-1][2] or rows[-1][3]:
            observation, info = env.reset()
            rows.append((observation, 0.0, False, False, info))
    return rows


def some_actions(space: Any, n: int) -> list[Any]:
    space = copy.deepcopy(space)
    space.seed(1)
    return [space.sample() for _ in range(n)]


def test_views_share_rewards_and_ends_and_the_restricted_one_sees_features(
    pair: FeaturePair,
) -> None:
    actions = some_actions(pair.action_space, 300)
    full, part = play(pair.mdp(), actions), play(pair.pomdp(), actions)
    assert [row[1:4] for row in full] == [row[1:4] for row in part]
    assert pair.features is not None
    for (whole, *_), (seen, *_) in zip(full, part, strict=True):
        assert pair.observation_space.contains(whole)
        assert pair.features.space.contains(seen)
        np.testing.assert_array_equal(pair.features.one(whole), seen)


def test_other_seeds_give_other_courses() -> None:
    pair = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"), [2, 3])
    starts = [pair.pomdp().reset(seed=seed)[0].tolist() for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]


def said_by(check: Any, env: Any) -> set[str]:
    """The warnings of a checker, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(env)
    return {str(warning.message) for warning in caught}


def test_checkers_say_no_more_of_the_restricted_view_than_of_the_full_one(
    pair: FeaturePair,
) -> None:
    """A checker may mind an environment's own spaces (Pendulum's torque); the view must add nothing.

    What Gymnasium says of every wrapper, and of a Box that the user leaves without bounds, is no fault.
    """
    checked = partial(check_env, skip_render_check=True)
    allowed = ["is different from the unwrapped"]
    assert pair.features is not None
    if callable(pair.features.observe) and not hasattr(pair.features.observe, "space"):
        allowed += ["value is -infinity", "value is infinity"]
    added = said_by(checked, pair.pomdp()) - said_by(checked, pair.mdp())
    assert not {text for text in added if not any(part in text for part in allowed)}
    assert said_by(sb3_check_env, pair.pomdp()) <= said_by(sb3_check_env, pair.mdp())


@pytest.mark.parametrize("name", ["cartpole", "acrobot", "mountain car"])
def test_checkers_are_silent_where_the_environment_gives_them_no_cause(name: str) -> None:
    env_id, observe = PAIRS[name]
    pair = FeaturePair(env_id, partial(gymnasium.make, env_id), observe)
    assert said_by(sb3_check_env, pair.mdp()) == said_by(sb3_check_env, pair.pomdp()) == set()
    said = said_by(partial(check_env, skip_render_check=True), pair.mdp().unwrapped)
    assert said <= {text for text in said if "infinit" in text and name == "cartpole"}


def test_info_of_the_restricted_view_tells_how_an_episode_ended_and_nothing_else() -> None:
    pair = FeaturePair("beacon", partial(gymnasium.make, "test-feature-pair/Beacon-v0"), place)
    for (*_, full), (*_, part) in zip(
        play(pair.mdp(), [1, 1, 1]), play(pair.pomdp(), [1, 1, 1]), strict=True
    ):
        assert "beacon" in full
        assert part == {key: full[key] for key in ("is_success",) if key in full}
    counted = FeatureView(
        gymnasium.wrappers.RecordEpisodeStatistics(pair.mdp()),
        pair.features,  # type: ignore[arg-type]
    )
    assert play(counted, [0] * 9)[9][4]["episode"]["l"] == 9


@pytest.mark.parametrize("view", ["mdp", "pomdp"])
def test_vector_steps_copies_that_differ(pair: FeaturePair, view: Any) -> None:
    vector: Any = pair.vector(3, view)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    single = pair.observation_space if view == "mdp" else pair.features.space  # type: ignore[union-attr]
    assert vector.single_observation_space == single
    vector.reset(seed=[7, 8, 9])
    actions = some_actions(pair.action_space, 40)
    rewards = np.array([vector.step(np.stack([action] * 3))[1] for action in actions])
    for copy_, seed in enumerate((7, 8, 9)):
        # A reset leaves no row of its own where the step shows the next episode already.
        alone = [row[1] for row in play_through(getattr(pair, view)(), actions, seed)]
        np.testing.assert_allclose(rewards[:, copy_], alone, rtol=1e-6)
    vector.close()


def play_through(env: Any, actions: list[Any], seed: int) -> list[tuple[Any, ...]]:
    env.reset(seed=seed)
    rows = []
    for action in actions:
        rows.append(env.step(action))
        if rows[-1][2] or rows[-1][3]:
            env.reset()
    return rows


def test_vectors_last_observation_is_restricted_too() -> None:
    pair = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"), [2, 3])
    vector = pair.vector(2, "pomdp")
    vector.reset(seed=0)
    ends = 0
    for _ in range(40):
        *_, infos = vector.step(np.array([1, 1]))
        ends += sum(infos.get("_final_obs", []))
        assert all(last is None or np.shape(last) == (2,) for last in infos.get("final_obs", []))
    assert ends > 2


@pytest.mark.parametrize("view", ["mdp", "pomdp"])
def test_sb3_vector_is_monitored_and_steps_like_a_single_environment(view: Any) -> None:
    pair = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"), [2, 3])
    vector = pair.sb3_vector(2, view)
    vector.seed(5)
    seen = vector.reset()
    np.testing.assert_array_equal(seen[1], getattr(pair, view)().reset(seed=6)[0])
    alone = play_through(getattr(pair, view)(), [1] * 60, seed=5)
    length = 1 + [row[2] for row in alone].index(True)
    ends: list[dict[str, Any]] = []
    for _ in range(60):
        _, _, dones, infos = vector.step(np.array([1, 1]))
        ends += [infos[0]] if dones[0] else []
    assert ends[0]["episode"]["l"] == length
    assert ends[0]["terminal_observation"].shape == seen[0].shape
    vector.close()


def test_ppo_learns_on_both_views() -> None:
    pair = FeaturePair("beacon", partial(gymnasium.make, "test-feature-pair/Beacon-v0"), place)
    for view, policy in (("mdp", "MultiInputPolicy"), ("pomdp", "MlpPolicy")):
        vector = pair.sb3_vector(2, view)  # type: ignore[arg-type]
        model = PPO(policy, vector, n_steps=16, batch_size=32, n_epochs=1, device="cpu").learn(64)
        assert model.num_timesteps == 64
        assert model.ep_info_buffer  # VecMonitor told of episodes


def test_spaces_and_limit_are_the_environments() -> None:
    pair = FeaturePair("CartPole", partial(gymnasium.make, "CartPole-v1"), [0], spec="text")
    env = gymnasium.make("CartPole-v1")
    assert (pair.observation_space, pair.action_space) == (env.observation_space, env.action_space)
    assert (pair.max_steps, pair.spec, pair.name) == (500, "text", "CartPole")
    assert pair.with_spec("other").spec == "other"
    assert pair.spec == "text"
    assert "observe=[0], max_steps=500" in repr(pair)


@pytest.mark.parametrize(
    ("make_env", "given", "limit"),
    [
        (Beacon, None, None),
        (Beacon, 4, 4),
        (partial(gymnasium.make, "test-feature-pair/Beacon-v0"), None, 9),
        (partial(gymnasium.make, "test-feature-pair/Beacon-v0"), 4, 4),
        (partial(gymnasium.make, "test-feature-pair/Beacon-v0"), 20, 9),
    ],
)
def test_max_steps_cuts_episodes(make_env: Any, given: int | None, limit: int | None) -> None:
    pair = FeaturePair("beacon", make_env, place, max_steps=given)
    assert pair.max_steps == limit
    for env in (pair.mdp(), pair.pomdp()):
        rows = play(env, [0] * 30, seed=1)
        cut = next((t for t, row in enumerate(rows) if row[3]), None)
        assert cut == limit
        assert not any(row[2] for row in rows)


def test_pair_without_observe_has_the_full_view_only() -> None:
    pair = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"))
    assert pair.features is None
    assert pair.vector(2).num_envs == 2
    for ask in (pair.pomdp, partial(pair.vector, 2, "pomdp"), partial(pair.sb3_vector, 2, "pomdp")):
        with pytest.raises(
            InvalidInputError, match=r"pole has no restricted view: observe was not"
        ):
            ask()


def test_pair_and_views_are_pickled_as_far_as_the_environment_is(pair: FeaturePair) -> None:
    again = pickle.loads(pickle.dumps(pair))
    actions = some_actions(pair.action_space, 20)
    view = pickle.loads(pickle.dumps(pair.pomdp()))
    rows = play(pair.pomdp(), actions)
    for other in (again.pomdp(), view):
        for (seen, *rest), (seen_again, *rest_again) in zip(
            rows, play(other, actions), strict=True
        ):
            np.testing.assert_array_equal(seen, seen_again)
            assert rest[:3] == rest_again[:3]
    assert copy.deepcopy(pair) is pair


def test_restricted_view_is_made_again_from_its_spec() -> None:
    pair = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"), [2, 3])
    again = gymnasium.make(pair.pomdp().spec)  # type: ignore[arg-type]
    assert again.observation_space == pair.features.space  # type: ignore[union-attr]
    assert again.reset(seed=3)[0].tolist() == pair.pomdp().reset(seed=3)[0].tolist()


def test_render_mode_goes_to_the_environment_in_both_views() -> None:
    pair = FeaturePair("beacon", partial(gymnasium.make, "test-feature-pair/Beacon-v0"), place)
    for env in (pair.mdp("ansi"), pair.pomdp("ansi")):
        env.reset(seed=0)
        env.step(1)
        assert env.render() == "1"
    vector: Any = pair.vector(2, "pomdp", "ansi")
    vector.reset(seed=0)
    assert tuple(vector.render()) == ("0", "0")


def test_cartpole_renders_images() -> None:
    pytest.importorskip("pygame", reason="Gymnasium draws CartPole with pygame")
    env = FeaturePair("pole", partial(gymnasium.make, "CartPole-v1"), [2, 3]).pomdp("rgb_array")
    env.reset(seed=0)
    image: Any = env.render()
    assert image.ndim == 3
    assert image.dtype == np.uint8


def test_make_env_without_render_mode_serves_until_one_is_asked_for() -> None:
    pair = FeaturePair("beacon", lambda: Beacon(3), place)
    assert pair.mdp().unwrapped.size == 3  # type: ignore[attr-defined]
    with pytest.raises(InvalidInputError, match="render_mode must be None: beacon is made without"):
        pair.mdp("ansi")


def test_env_is_closed_after_its_spaces_are_read() -> None:
    closed = []

    class Closing(Beacon):
        def close(self) -> None:
            closed.append(self)

    FeaturePair("beacon", Closing, place)
    with pytest.raises(InvalidInputError, match="fails on"):
        FeaturePair("beacon", Closing, lambda x: x[0])
    assert len(closed) == 2


def test_env_that_changes_its_spaces_is_refused() -> None:
    sizes = iter([3, 3, 4, 4])
    pair = FeaturePair("beacon", lambda: Beacon(next(sizes)), place)
    pair.mdp()
    for ask in (pair.mdp, pair.pomdp):
        with pytest.raises(
            InvalidInputError,
            match=r"the observation_space of beacon must be the same each .*Discrete\(3\).*"
            r"received Dict.*Discrete\(4\)",
        ):
            ask()

    class Armed(Beacon):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Discrete(next(sizes_of_actions))

    sizes_of_actions = iter([2, 3])
    pair = FeaturePair("armed", Armed, place)
    with pytest.raises(InvalidInputError, match="the action_space of armed must be the same"):
        pair.mdp()


def test_env_that_is_made_once_only_is_refused_in_vectors() -> None:
    env = Beacon()
    pair = FeaturePair("beacon", lambda: env, place)
    for vector in (pair.vector, pair.sb3_vector):
        with pytest.raises(
            InvalidInputError, match="make_env must make a new environment each time"
        ):
            vector(2)
    assert pair.vector(1).num_envs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"make_env": "CartPole-v1"}, "make_env must be a function that makes a new environment"),
        ({"make_env": Beacon()}, "make_env must be a function.*Write lambda render_mode=None"),
        ({"make_env": lambda: 3}, "make_env must make a gymnasium.Env .*received 'int'"),
        ({"max_steps": 0}, "max_steps must be a whole number ≥ 1; received 0"),
        ({"observe": [0]}, "observe must be a function where observations are a Dict"),
        (
            {"observe": lambda x: np.log(x["place"])},
            r"observe function .*lambda> must answer finite numbers; received \[-inf\] in row 0",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_pair_says_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FeaturePair(**{"name": "beacon", "make_env": Beacon, "observe": place, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "n must be a whole number ≥ 1; received 0"),
        ((2, "full"), "unknown view 'full'.*Known: mdp, pomdp"),
    ],
)
def test_vectors_say_what_is_wrong(arguments: Any, message: str) -> None:
    pair = FeaturePair("beacon", Beacon, place)
    for vector in (pair.vector, pair.sb3_vector):
        with pytest.raises(InvalidInputError, match=message):
            vector(*arguments)

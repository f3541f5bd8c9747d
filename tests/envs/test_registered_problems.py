"""Every registered problem, by being registered: both checkers, ids, copies, pictures, model sums."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from stable_baselines3.common import env_checker as sb3_checker

from imm_rl.envs import gym_ids, make, names, registry

BOTH = [(name, view) for name in names() for view in ("mdp", "pomdp")]


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
@pytest.mark.parametrize(("name", "view"), BOTH)
def test_view_passes_both_checkers_without_a_warning(
    name: str, view: str, render_mode: str | None
) -> None:
    view_of = getattr(make(name), view)
    check_env(view_of(render_mode))
    sb3_checker.check_env(view_of(render_mode), skip_render_check=False)


@pytest.mark.parametrize(("name", "view"), BOTH)
def test_gymnasium_id_makes_the_same_environment(name: str, view: Any) -> None:
    made: Any = gymnasium.make(gym_ids.env_id(name, view))
    check_env(made.unwrapped)
    check_environments_match(made, getattr(make(name), view)(), num_steps=60)


@pytest.mark.parametrize(("name", "view"), BOTH)
def test_two_copies_and_a_pickled_one_go_the_same_way(name: str, view: str) -> None:
    env = getattr(make(name), view)("rgb_array")
    for other in (getattr(make(name), view)("rgb_array"), pickle.loads(pickle.dumps(env))):
        check_environments_match(env, other, num_steps=5)


@pytest.mark.parametrize(("name", "view"), BOTH)
def test_pictures_are_of_one_shape_and_change(name: str, view: str) -> None:
    pair = make(name)
    picture, text = getattr(pair, view)("rgb_array"), getattr(pair, view)("ansi")
    rng, pictures, texts = np.random.default_rng(0), [], []
    picture.reset(seed=0)
    text.reset(seed=0)
    for _ in range(12):
        action = int(rng.integers(pair.model.n_actions))
        picture.step(action)
        text.step(action)
        pictures.append(picture.render())
        texts.append(text.render())
    assert {(p.shape, p.dtype) for p in pictures} == {((400, 480, 3), np.dtype(np.uint8))}
    assert len({p.tobytes() for p in pictures}) > 2
    assert len(set(texts)) > 2
    assert all(t.startswith(pair.name) and t.endswith("\n") for t in texts)


@pytest.mark.parametrize("name", names())
def test_vector_environment_is_made_by_id(name: str) -> None:
    vector: Any = gymnasium.make_vec(gym_ids.env_id(name, "pomdp"), 3, max_steps=5)
    assert type(vector.unwrapped).__name__ == "TabularVectorEnv"
    assert (vector.num_envs, vector.pair.max_steps) == (3, 5)
    assert vector.reset(seed=0)[0] in vector.observation_space


@pytest.mark.parametrize("name", names())
def test_model_rows_sum_to_one_and_rewards_are_finite(name: str) -> None:
    pair = make(name)
    for model in (pair.model, pair.restricted_model):
        for action in range(model.n_actions):
            for matrix in (model.transition_of(action), model.observation_of(action)):
                assert matrix.min() >= 0.0
                np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
        assert model.initial.sum() == pytest.approx(1.0)
        assert np.isfinite(model.reward).all()
        assert np.ptp(model.reward) > 0.0


@pytest.mark.parametrize("name", names())
def test_pair_says_where_it_comes_from_and_what_its_options_are(name: str) -> None:
    pair = make(name)
    assert pair.source
    assert pair.spec == pair.name == name
    options = registry.options(name)
    assert options["max_steps"] in (pair.max_steps, None)  # None: it depends on other options
    assert make(name, **options).model.fingerprint() == pair.model.fingerprint()


@pytest.mark.parametrize("name", names())
def test_names_can_be_written_to_a_pomdp_file(name: str) -> None:
    model = make(name).model
    for given in (model.state_names, model.action_names, model.observation_names):
        assert all(word[0].isalpha() and word.replace("-", "").isalnum() for word in given)

"""The Stable-Baselines3 face: its conventions for ends, seeds and infos, and PPO on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from imm_rl.envs import EnvPair, make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


def test_face_reports_ends_as_dummy_vec_env_does(corridor: TabularPOMDP) -> None:
    pair = EnvPair("corridor", corridor, max_steps=4)
    for view in ("mdp", "pomdp"):
        ours = pair.sb3_vector(5, view)  # type: ignore[arg-type]
        theirs = DummyVecEnv([getattr(pair, view)] * 5)
        np.testing.assert_array_equal(ours.reset(), theirs.reset())
        rng, kinds = np.random.default_rng(0), set()
        for _ in range(40):
            actions = rng.integers(0, 2, 5)
            mine, other = ours.step(actions), theirs.step(actions)
            for a, b in zip(mine[:3], other[:3], strict=True):
                assert a.dtype == b.dtype  # type: ignore[union-attr]
                np.testing.assert_array_equal(a, b)
            for i in np.flatnonzero(mine[2]):
                for key in ("terminal_observation", "TimeLimit.truncated"):
                    assert mine[3][i][key] == other[3][i][key]
                kinds.add(mine[3][i]["TimeLimit.truncated"])
        assert kinds == {True, False}


def test_face_records_episodes(corridor: TabularPOMDP) -> None:
    vector = EnvPair("corridor", corridor).sb3_vector(2)
    vector.reset()
    vector.step(np.array([1, 0]))
    _, _, dones, infos = vector.step(np.array([1, 0]))
    assert dones.tolist() == [False, True]
    assert (infos[1]["episode"]["r"], infos[1]["episode"]["l"]) == (10.0, 2)
    assert "episode" not in infos[0]


def test_face_tells_nothing_of_the_state(blind: TabularPOMDP) -> None:
    vector = EnvPair("blind", blind, max_steps=1).sb3_vector(2, "pomdp")
    for seed in range(6):
        vector.seed(seed)
        assert vector.reset().tolist() == [1, 1]  # type: ignore[union-attr]
        outputs, _, _, infos = vector.step(np.array([0, 0]))
        assert outputs.tolist() == [1, 1]  # type: ignore[union-attr]
        for info in infos:
            assert info.keys() == {"terminal_observation", "TimeLimit.truncated", "episode"}
            assert info["terminal_observation"] == 0
            assert info["episode"].keys() == {"r", "l", "t"}


def test_face_repeats_itself_with_a_seed() -> None:
    vector = make("grid").sb3_vector(6)
    starts = []
    for seed in (3, 3, 4, None):
        if seed is not None:
            vector.seed(seed)
        starts.append(vector.reset().tolist())  # type: ignore[union-attr]
    assert starts[0] == starts[1]
    assert len({tuple(start) for start in starts}) == 3  # a seed is used once


def test_face_offers_attributes_and_refuses_methods_of_copies() -> None:
    vector = make("tiger").sb3_vector(3, "mdp", "rgb_array")
    assert vector.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    assert vector.env_is_wrapped(DummyVecEnv) == [False] * 3  # type: ignore[arg-type]
    vector.reset()
    assert len(vector.get_images()) == 3
    with pytest.raises(AttributeError, match=r"Use DummyVecEnv over pair.mdp"):
        vector.env_method("render")
    with pytest.raises(InvalidInputError, match="cannot set 'x'"):
        vector.set_attr("x", 1)
    vector.close()


def test_ppo_learns_on_the_face_and_is_evaluated_without_a_warning() -> None:
    pair = make("tiger")
    model = PPO("MlpPolicy", pair.sb3_vector(8), n_steps=32, batch_size=64, seed=0, device="cpu")
    model.learn(256)
    assert model.num_timesteps == 256
    mean, _ = evaluate_policy(model, pair.sb3_vector(4), n_eval_episodes=4)
    assert -5000.0 <= float(np.asarray(mean)) <= 500.0


def test_ppo_logs_episode_returns() -> None:
    model = PPO("MlpPolicy", make("tiger", max_steps=8).sb3_vector(8), n_steps=16, device="cpu")
    logged: list[Any] = []
    model.learn(
        128, callback=lambda local, _: bool(logged.append(local["self"].ep_info_buffer)) or True
    )
    assert len(logged[-1]) == 16  # 128 steps of episodes of 8
    assert all(episode["l"] == 8 for episode in logged[-1])

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imm_rl.envs.registry import make, tabular
from imm_rl.envs.sb3_vector import restore_vector, vector_state
from imm_rl.envs.vector import TabularVectorEnv
from imm_rl.errors import InvalidInputError

ACTIONS = np.random.default_rng(0).integers(3, size=(60, 4))


def _played(env: Any, actions: np.ndarray) -> list[Any]:
    played = []
    for each in actions:
        observations, rewards, terminated, truncated, _ = env.step(each)
        played += [observations, rewards, terminated, truncated, env.states]
    return played


@pytest.mark.parametrize("view", ["mdp", "pomdp"])
@pytest.mark.parametrize("steps", [0, 7, 24])
def test_restore_goes_on_as_if_nothing_had_happened(view: Any, steps: int) -> None:
    pair = tabular(make("tiger(max_steps=8)"))
    env = TabularVectorEnv(pair, 4, view)
    env.reset(seed=5)
    _played(env, ACTIONS[:steps])
    state = env.state()
    expected = _played(env, ACTIONS[steps:])

    other = TabularVectorEnv(pair, 4, view)
    other.restore(state)

    assert np.array_equal(other.state()["states"], state["states"])
    for a, b in zip(_played(other, ACTIONS[steps:]), expected, strict=True):
        assert np.array_equal(a, b)


def test_state_is_a_copy_of_plain_arrays() -> None:
    env = TabularVectorEnv(tabular(make("tiger")), 4)
    env.reset(seed=5)
    state = env.state()
    before = {key: value.copy() for key, value in state.items()}
    _played(env, ACTIONS[:9])

    assert all(value.dtype.kind in "iU" for value in state.values())
    assert all(np.array_equal(state[key], before[key]) for key in before)


def test_restore_refuses_another_number_of_copies() -> None:
    pair = tabular(make("tiger"))
    env = TabularVectorEnv(pair, 4)
    env.reset(seed=5)

    with pytest.raises(InvalidInputError, match="be of 3 copies"):
        TabularVectorEnv(pair, 3).restore(env.state())
    with pytest.raises(InvalidInputError, match="call reset"):
        TabularVectorEnv(pair, 3).state()


def test_the_sb3_face_keeps_running_returns() -> None:
    pair = tabular(make("tiger(max_steps=8)"))
    env = pair.sb3_vector(4)
    env.seed(5)
    env.reset()
    for actions in ACTIONS[:12]:
        env.step(actions)
    state = vector_state(env)
    assert state is not None
    expected = [env.step(actions) for actions in ACTIONS[12:20]]

    other = pair.sb3_vector(4)
    restore_vector(other, state)
    found = [other.step(actions) for actions in ACTIONS[12:20]]

    assert state["episode_lengths"].tolist() == [4] * 4
    for (_, _, _, infos), (_, _, _, wanted) in zip(found, expected, strict=True):
        for info, other_info in zip(infos, wanted, strict=True):
            assert info.get("episode", {}).get("r") == other_info.get("episode", {}).get("r")
    assert any("episode" in info for info in found[3][3])


def test_the_state_of_another_environment_is_not_known() -> None:
    env = make("CartPole-v1").sb3_vector(2)
    tiger = tabular(make("tiger")).sb3_vector(2)
    tiger.reset()
    state = vector_state(tiger)

    assert vector_state(env) is None
    assert state is not None
    with pytest.raises(InvalidInputError, match="sb3_vector"):
        restore_vector(env, state)
    env.close()

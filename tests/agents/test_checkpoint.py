"""Checkpoints: an agent goes on exactly where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.checkpoint import agent_state, load_checkpoint, save_checkpoint
from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.errors import InvalidInputError

CASES = [
    ("tiger", 0.5, {}),
    ("cheese", ["target-kl:0.1", "aligned:1"], {"n_steps": 30, "n_envs": 2}),
    ("grid(size=3)", "linear:1->0@0.5", {"baseline": "none"}),
    ("4x3", "exp:1,half=0.1", {"contexts": "restricted", "n_steps": 35}),
]


def fresh(
    env: str,
    weight: Any,
    options: dict[str, Any],
    seeds: tuple[int, ...] = (2, 9),
    restricted: Any = "fib",
) -> IMMReinforce:
    settings = ReinforceSettings().replaced(eval_episodes=3, eval_points=5, **options)
    pair = imm_rl.make(env)
    return IMMReinforce(pair, restricted, weight, seeds=seeds, settings=settings, device="cpu")


@pytest.mark.parametrize(("env", "weight", "options"), CASES)
def test_resumed_agent_ends_like_an_uninterrupted_one(
    tmp_path: Path, env: str, weight: object, options: dict[str, object]
) -> None:
    whole = fresh(env, weight, options).learn(2000)

    def stop(agent: IMMReinforce, _: Record | None) -> bool:
        return agent.env_steps < 700

    first = fresh(env, weight, options).learn(2000, stop)
    save_checkpoint(first, tmp_path / "checkpoint.npz")
    resumed = fresh(env, weight, options)
    load_checkpoint(resumed, tmp_path / "checkpoint.npz")
    assert resumed.env_steps == first.env_steps < whole.env_steps
    resumed.learn(2000)
    expected, found = agent_state(whole), agent_state(resumed)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"env": "cheese"}, "pair"),
        ({"env": "tiger(accuracy=0.9)"}, "pair"),
        ({"weight": 0.25}, "imm_lambda"),
        ({"options": {"n_envs": 4}}, "settings"),
        ({"options": {"gamma": 0.9}}, "settings"),
        ({"seeds": (5, 6)}, "seeds"),
        ({"restricted": None, "weight": 0}, "restricted policy"),
        ({"restricted": "pomdp"}, "restricted policy"),
    ],
)
def test_load_checkpoint_refuses_another_agents_and_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    made = {"env": "tiger", "weight": 0.5, "options": {}}
    save_checkpoint(fresh(**made).learn(100), tmp_path / "checkpoint.npz")
    other = fresh(**{**made, **changes})
    before = agent_state(other)
    with pytest.raises(InvalidInputError, match=f"is a checkpoint of another agent: {name} was"):
        load_checkpoint(other, tmp_path / "checkpoint.npz")
    for key, value in agent_state(other).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("kind", ["missing", "cut", "npy", "text", "other npz"])
def test_load_checkpoint_refuses_what_is_none(tmp_path: Path, kind: str) -> None:
    path, agent = tmp_path / "checkpoint.npz", fresh("tiger", 0.5, {})
    if kind == "cut":
        save_checkpoint(agent.learn(100), path)
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif kind == "text":
        path.write_text("nothing")
    elif kind == "other npz":
        np.savez(path, identity="{", env_steps=3)
    with pytest.raises(InvalidInputError, match="is no checkpoint of an agent"):
        load_checkpoint(agent, path)


def test_a_loaded_checkpoint_saves_what_it_loaded(tmp_path: Path) -> None:
    case = ("cheese", ["target-kl:0.1", "aligned:1"], {})
    first = fresh(*case).learn(500)
    save_checkpoint(first, tmp_path / "1.npz")
    second = fresh(*case)
    load_checkpoint(second, tmp_path / "1.npz")
    expected, found = agent_state(first), agent_state(second)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert not np.array_equal(expected["controller/factors"], np.ones(4))
    # Into an agent that has learned already, too.
    third = fresh(*case).learn(1000)
    load_checkpoint(third, tmp_path / "1.npz")
    third.learn(1500)
    second.learn(1500)
    np.testing.assert_array_equal(third.action_probs(), second.action_probs())

"""Checkpoints: an agent goes on exactly where it stopped."""

from __future__ import annotations

from pathlib import Path

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
    ("grid(size=3)", "linear:1->0@0.5", {"baseline": "mean", "bootstrap": False}),
    ("4x3", "exp:1,half=0.1", {"contexts": "restricted", "n_steps": 35}),
]


def fresh(env: str, weight: object, options: dict[str, object]) -> IMMReinforce:
    settings = ReinforceSettings().replaced(eval_episodes=3, eval_points=5, **options)
    return IMMReinforce(
        imm_rl.make(env), "fib", weight, seeds=(2, 9), settings=settings, device="cpu"
    )  # type: ignore[arg-type]


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


def test_load_checkpoint_refuses_files_of_another_agent_or_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(fresh(*CASES[0]).learn(100), path)
    with pytest.raises(InvalidInputError, match="is no checkpoint of this agent"):
        load_checkpoint(fresh(*CASES[1]), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InvalidInputError, match="is no checkpoint of this agent"):
        load_checkpoint(fresh(*CASES[0]), path)
    with pytest.raises(InvalidInputError, match="missing.npz"):
        load_checkpoint(fresh(*CASES[0]), tmp_path / "missing.npz")

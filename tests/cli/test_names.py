"""What environments and policies are called where paths would be too long."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.cli.names import env_name, policy_name, told_apart

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiger", "tiger"),
        ("grid(size=5)", "grid(size=5)"),
        ("ALE/Pong-v5", "ALE/Pong-v5"),
        ("/home/me/foo.bar.POMDP", "foo.bar"),
        ("C:\\me\\foo.pomdp(horizon=9)", "foo(horizon=9)"),
    ],
)
def test_env_name_is_of_a_file_its_name(text: str, name: str) -> None:
    assert env_name(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("none", "none"),
        ("pbvi", "pbvi"),
        ("rules:slow", "rules:slow"),
        ("/tmp/x/ppo-view-1", "ppo-view-1"),
        ("runs/tiger/ppo-view-1/", "ppo-view-1"),
        ("runs/tiger/ppo-view-1/model.zip", "ppo-view-1"),
        ("/tmp/walker.zip", "walker"),
        ("../tiger.npz", "tiger.npz"),
        ("", ""),
    ],
)
def test_policy_name_is_of_a_path_its_last_part(text: str, name: str) -> None:
    assert policy_name(text) == name


def test_told_apart_takes_as_few_parts_as_it_can() -> None:
    paths = [Path("/x/a/run-1"), Path("/x/b/run-1"), Path("/x/b/run-2")]

    assert told_apart(paths[1:]) == ["run-1", "run-2"]
    assert told_apart(paths) == ["a/run-1", "b/run-1", "b/run-2"]
    assert told_apart([paths[0]] * 2) == ["/x/a/run-1"] * 2
    assert told_apart([]) == []


def test_train_shows_the_last_part_of_a_policys_path_and_keeps_it_whole_in_json(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    policy = tmp_path / "tiger.npz"
    solved = imm_rl_command("solve", "--env", "tiger", "--method", "qmdp", "--out", policy)
    assert solved.code == 0, solved.err
    words = ["--env", "tiger", "--restricted", policy, "--seeds", "0", "--logdir", tmp_path / "r"]

    shown = imm_rl_command("train", *words, *tiny)
    kept = imm_rl_command("train", *words, *tiny, "--json", "--quiet")

    table = shown.out.split("\n\n")[-3:]
    assert "restricted policy (tiger.npz)  " in "\n".join(table)
    assert str(policy) not in "\n".join(table)
    assert json.loads(kept.out)["restricted"] == str(policy)

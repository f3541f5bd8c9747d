from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.envs import registry

Command = Callable[..., Any]


def test_envs_lists_every_environment_with_its_options(imm_rl_command: Command) -> None:
    outcome = imm_rl_command("envs")

    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0].split() == [
        *("name", "states", "actions", "observations", "γ", "steps", "source")
    ]
    for name in registry.names():
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    tiger = next(i for i, line in enumerate(lines) if line.startswith("tiger "))
    assert lines[tiger].split()[:6] == ["tiger", "2", "3", "2", "0.95", "50"]
    assert lines[tiger + 1] == "  options: accuracy=0.85, max_steps=50"


@pytest.mark.parametrize("name", registry.names())
def test_envs_shows_one_in_full(imm_rl_command: Command, name: str) -> None:
    outcome = imm_rl_command("envs", name)

    pair = registry.make(name)
    assert outcome.code == 0
    assert pair.source in outcome.out
    assert pair.model.action_names[0] in outcome.out
    for key, default in registry.options(name).items():
        assert f"option {key}" in outcome.out
        assert f"default {default!r}" in outcome.out


def test_envs_as_json(imm_rl_command: Command) -> None:
    listed = json.loads(imm_rl_command("envs", "--json").out)
    one = json.loads(imm_rl_command("envs", "tiger", "--json").out)

    assert list(listed) == list(registry.names())
    assert one == listed["tiger"]
    assert (one["states"], one["options"]["accuracy"]) == (2, 0.85)


def test_envs_shows_a_file_of_ones_own(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.POMDP").write_text(
        "discount: 0.9\nvalues: reward\nstates: on off\nactions: 2\nobservations: 2\n"
        "T: * uniform\nO: * uniform\nR: 0 : * : * : * 1.0\n"
    )

    outcome = imm_rl_command("envs", "mine.POMDP")

    assert outcome.code == 0
    assert "2: on, off" in outcome.out

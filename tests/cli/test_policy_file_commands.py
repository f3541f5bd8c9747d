"""Policies in the formats of other tools, wherever a command takes a policy file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.solve import solve
from imm_rl.envs.registry import make

Command = Callable[..., Any]

NAMES = ["tiger.policy", "tiger.policyx", "tiger.alpha", "tiger.npz"]
MISTAKES = [
    ("cut.policy", ":4:1: is no whole XML file"),
    ("nan.policyx", ":3: expected a finite number; found 'nan'."),
    ("doctype.policy", "expected no DOCTYPE and no entities"),
    ("mixed.policy", ":2:1: expected numObsValue 1; found 2"),
    ("words.alpha", ":2:3: expected a finite number; found 'two'."),
    (
        "four.alpha",
        ": the policy is for 4 states and 1 actions; the model has 2 states and 3 actions",
    ),
    ("none.policyx", "there is no policy file"),
]
FILES = {
    "cut.policy": '<Policy>\n<AlphaVector vectorLength="2">\n<Vector action="0">1 2</Vector>\n',
    "nan.policyx": '<Policy>\n<AlphaVector vectorLength="2">\n<Vector action="0">1 nan</Vector>'
    "</AlphaVector></Policy>",
    "doctype.policy": '<!DOCTYPE a [<!ENTITY b "1">]><Policy/>',
    "mixed.policy": '<Policy>\n<AlphaVector vectorLength="2" numObsValue="2"/></Policy>',
    "words.alpha": "0\n1 two\n",
    "four.alpha": "0\n1 2 3 4\n",
}


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the same policy in every format, and with broken ones."""
    monkeypatch.chdir(tmp_path)
    policy = solve(make("tiger").model, "pbvi", time_limit=2.0)
    for name in NAMES:
        policy.save(name)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return tmp_path


def test_evaluate_plays_policies_of_every_format(imm_rl_command: Command, at_home: Path) -> None:
    found = [
        json.loads(imm_rl_command("evaluate", name, "--env", "tiger", "--json").out)
        for name in NAMES
    ]

    returns = [result["eval"]["mean_return"] for result in found]
    assert returns == [returns[-1]] * len(NAMES)  # the same draws: so long as they act alike
    assert 30 < returns[0] < 80  # listening for ever earns −50


@pytest.mark.parametrize("name", NAMES)
def test_train_takes_policies_of_every_format_and_keeps_a_copy(
    name: str, imm_rl_command: Command, at_home: Path, tiny: list[str]
) -> None:
    outcome = imm_rl_command("train", "--env", "tiger", "--seeds", "3", *tiny, "--restricted", name)

    assert outcome.code == 0
    folder = Path("runs/tiger/reinforce-tiger-1")
    kept = AlphaVectorPolicy.load(folder / "restricted.npz", make("tiger").model)
    assert (kept.vectors == AlphaVectorPolicy.load(name).vectors).all()
    assert kept.execution == "lookahead"
    assert yaml.safe_load((folder / "config.yaml").read_text())["restricted"] == str(at_home / name)


def test_train_resumes_with_the_copy_when_the_file_is_gone(
    imm_rl_command: Command, at_home: Path, tiny: list[str]
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "3", *tiny, "--restricted", "tiger.alpha"]
    imm_rl_command(*words)
    folder = Path("runs/tiger/reinforce-tiger-1")
    first = np.load(folder / "restricted.npz")["vectors"]
    (folder / "summary.json").unlink()
    Path("tiger.alpha").write_text("0\n-20 -20\n")

    assert imm_rl_command("train", "--resume", folder).code == 0
    assert (np.load(folder / "restricted.npz")["vectors"] == first).all()


@pytest.mark.parametrize(("name", "message"), MISTAKES)
def test_a_broken_policy_file_is_one_clear_line(
    name: str, message: str, imm_rl_command: Command, at_home: Path
) -> None:
    for words in (
        ["train", "--env", "tiger", "--restricted", name],
        ["evaluate", name, "--env", "tiger"],
    ):
        outcome = imm_rl_command(*words)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert name in outcome.err
        if name != "none.policyx" or words[0] == "train":
            assert message in outcome.err
    assert not Path("runs").exists()

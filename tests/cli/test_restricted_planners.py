from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.restricted import distill
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.restricted.stored import load_policy

Command = Callable[..., Any]


@pytest.fixture
def quick_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planners that search little and are asked rarely."""
    pytest.importorskip("pomdp_py", reason="pomdp-py has no wheel here")
    from imm_rl.agents.restricted.planner import PlannerPolicy

    defaults = PlannerPolicy.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "simulations", 40)
    monkeypatch.setattr(distill, "DECISIONS", 6)


def test_train_with_a_planner_leaves_its_table_in_the_run_folder(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, quick_planner: None
) -> None:
    outcome = imm_rl_command(
        *("train", "--env", "tiger", "--restricted", "pouct", "--seeds", "1"),
        *("--logdir", tmp_path, *tiny),
    )

    folder = tmp_path / "tiger" / "reinforce-pouct-1"
    assert outcome.code == 0, outcome.err
    assert "pouct: asked at 1 of at most 6 beliefs" in outcome.out
    assert "restricted policy: pouct, table of 6 beliefs" in outcome.out
    table = load_policy(folder / "restricted.npz")
    assert isinstance(table, BeliefTablePolicy)
    assert len(table.beliefs) == 6

    evaluated = imm_rl_command("evaluate", folder / "restricted.npz", "--env", "tiger", "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["env"] == "tiger"

    again = imm_rl_command(
        *("train", "--env", "tiger", "--restricted", folder / "restricted.npz", "--seeds", "1"),
        *("--logdir", tmp_path, *tiny),
    )
    assert again.code == 0, again.err
    summaries = [
        json.loads((tmp_path / "tiger" / name / "summary.json").read_text())
        for name in ("reinforce-pouct-1", "reinforce-restricted-1")
    ]
    assert summaries[0]["eval"] == summaries[1]["eval"]


def test_resume_takes_the_table_from_the_run_folder(
    imm_rl_command: Command,
    tiny: list[str],
    tmp_path: Path,
    quick_planner: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["train", "--env", "tiger", "--restricted", "pomcp", "--seeds", "1", *tiny]
    assert imm_rl_command(*words, "--logdir", tmp_path / "one").code == 0
    folder = tmp_path / "one" / "tiger" / "reinforce-pomcp-1"
    whole = json.loads((folder / "summary.json").read_text())["eval"]
    (folder / "summary.json").unlink()  # as if it had been killed just before its end
    before = (folder / "restricted.npz").read_bytes()
    monkeypatch.setitem(sys.modules, "pomdp_py", None)  # it need not be asked again

    outcome = imm_rl_command("train", "--resume", folder)

    assert outcome.code == 0, outcome.err
    assert json.loads((folder / "summary.json").read_text())["eval"] == whole
    assert (folder / "restricted.npz").read_bytes() == before


def test_a_temperature_softens_the_table(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, quick_planner: None
) -> None:
    outcome = imm_rl_command(
        *("train", "--env", "tiger", "--restricted", "pouct", "--temperature", "10"),
        *("--seeds", "1", "--logdir", tmp_path, *tiny),
    )

    assert outcome.code == 0, outcome.err
    table = load_policy(tmp_path / "tiger" / "reinforce-pouct-1" / "restricted.npz")
    assert isinstance(table, BeliefTablePolicy)
    assert table.temperature == 10.0
    assert np.ptp(table.probs(table.beliefs), axis=1).min() < 1.0


def test_train_with_an_external_solver(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pomdp-solve"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "prefix = sys.argv[sys.argv.index('-o') + 1]\n"
        "open(prefix + '.alpha', 'w').write('0\\n-1 -1\\n\\n1\\n-100 10\\n\\n2\\n10 -100\\n')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))

    outcome = imm_rl_command(
        *("train", "--env", "tiger", "--restricted", "external-pomdp-solve", "--seeds", "1"),
        *("--logdir", tmp_path, *tiny),
    )

    assert outcome.code == 0, outcome.err
    assert "restricted policy: external-pomdp-solve" in outcome.out
    assert (tmp_path / "tiger" / "reinforce-external-pomdp-solve-1" / "restricted.npz").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("external-sarsop", "the program 'pomdpsol' of solver 'sarsop' is not on the PATH"),
        ("pouct", "pip install 'imm-rl[pomdp-py]'"),
        ("external-sarsob", "Did you mean 'external-sarsop'?"),
    ],
)
def test_what_is_missing_is_said_before_a_folder_is_made(
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    message: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pomdp_py", None)

    outcome = imm_rl_command("train", "--env", "tiger", "--restricted", name, "--logdir", tmp_path)

    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

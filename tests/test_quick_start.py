"""`scripts/quick_start.py` runs, and its matched agent is the better one."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "quick_start.py"


def test_quick_start_prints_three_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--steps", "1024", "--episodes", "2"])
    runpy.run_path(str(SCRIPT), run_name="__main__")  # the slow test starts it as a user does
    found = re.findall(r"^(.+?) {2,}(\d+\.\d)$", capsys.readouterr().out, re.MULTILINE)
    names, values = [name for name, _ in found], [float(value) for _, value in found]
    assert names == [
        "the rule alone, which sees two features",
        "PPO, 1,024 steps",
        "PPO with IMMCallback, 1,024 steps",
    ]
    assert values[0] >= 300.0
    assert values[1] != values[2]  # half of the updates are matched


@pytest.mark.slow
def test_quick_start_gains() -> None:
    command = [sys.executable, str(SCRIPT)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    _, plain, matched = map(float, re.findall(r"(\d+\.\d)$", run.stdout, re.MULTILINE))
    assert matched >= plain + 50.0

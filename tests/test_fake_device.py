"""Trainings run through on a device that refuses looks at values and tensors of the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "fake_device.py"


@pytest.mark.slow
def test_programs_keep_to_the_device() -> None:
    checks = ["faults", "losses", "logistic", "masked", "reinforce"]
    done = subprocess.run([sys.executable, PROGRAM, *checks], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "".join(f"{check}: ran through\n" for check in checks)

"""The benchmarks of devices run, here on the CPU and small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(name: str, *words: str) -> str:
    command = [sys.executable, SCRIPTS / name, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_gpu_check_runs_on_a_cpu_and_finds_the_same_numbers() -> None:
    told = run("gpu_check.py", "--device", "cpu", "--small")
    assert "TOO LARGE" not in told
    assert "IMMReinforce, imm: " in told
    assert "32 trainings of the grid at once" in told
    assert "| serialized | 20 |" in told


@pytest.mark.slow
def test_gpu_check_fails_where_numbers_differ(
    tmp_path: Path,
) -> None:
    changed = (
        (SCRIPTS / "gpu_check.py").read_text().replace("TOLERANCE = 1e-4", "TOLERANCE = 1e-12")
    )
    (tmp_path / "gpu_check.py").write_text(changed)
    (tmp_path / "device_limits.py").write_text((SCRIPTS / "device_limits.py").read_text())
    command = [sys.executable, tmp_path / "gpu_check.py", "--device", "cpu", "--small"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "TOO LARGE" in done.stdout  # the two paths of IMMReinforce differ by rounding


@pytest.mark.slow
def test_bench_batched_makes_its_table() -> None:
    told = run(
        *("bench_batched.py", "--seeds", "4", "--env", "grid(size=3)", "--device", "cpu"),
        *("--paths", "device", "--methods", "none,imm", "--rounds", "1", "--updates", "2"),
    )
    rows = [line.split("|") for line in told.splitlines() if line.startswith("| 4 |")]
    assert [row[3].strip() for row in rows] == ["none", "imm"]
    assert all(float(row[4].replace(",", "")) > 0 for row in rows)

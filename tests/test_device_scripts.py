"""The benchmarks of devices run, here on the CPU and small."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_gpu_check_tells_rounding_from_an_error_in_language_models(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Weights apart by another device's rounding pass, a term of the wrong sign does not."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    check = importlib.import_module("gpu_check")
    corpus, ngram = check.small_text()
    exact, rounded, wrong = (
        check.small_trainer(corpus, ngram, "cpu", "batch", model) for _ in range(3)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in rounded.model.parameters():
            parameter.add_(1e-7 * torch.randn(parameter.shape, generator=generator))
    term = wrong.gradients._term
    in_graph = term.in_graph

    def opposed(*arguments: Any) -> Any:
        found = in_graph(*arguments)
        return found._replace(loss=-found.loss)

    monkeypatch.setattr(term, "in_graph", opposed)
    expected, near, far = (check.lm_losses(one, 50) for one in (exact, rounded, wrong))
    assert 0.0 < abs(near - expected).max() < check.TOLERANCE / 10
    assert abs(far - expected).max() > 100 * check.TOLERANCE
    assert expected[-1] < expected[0] - 0.3


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

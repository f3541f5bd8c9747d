"""A run that is killed at any moment and resumed ends with the numbers of one that was left alone.

The command runs in a process of its own, which kills itself with SIGKILL at a chosen moment: no handler
runs and no buffer is flushed, as when the machine's memory is full. It is resumed in this process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.agents.state_policy import StatePolicy

pytestmark = pytest.mark.slow

SEEDS = (3, 4)
TRAIN = [
    *("train", "--env", "tiger", "--seeds", "3,4", "--lambda", "target-kl:0.05"),
    *("--n-envs", "2", "--n-steps", "10", "--steps", "240", "--eval-points", "4"),
    *("--eval-episodes", "5", "--eval-steps", "10", "--device", "cpu"),
]

KILLED = Path(__file__).parents[1] / "programs" / "killed.py"

MOMENTS = {
    "the-restricted-policy-half-written": ("restricted.npz", 1, "half"),
    "the-first-checkpoint-half-written": ("latest.npz", 1, "half"),
    "a-curve-written-and-its-checkpoint-not": ("progress.csv", 3, "after"),
    "a-later-checkpoint-half-written": ("latest.npz", 3, "half"),
    "the-last-file-half-written": ("summary.json", 3, "half"),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of runs that were killed, by moment."""
    root = tmp_path_factory.mktemp("killed")

    def kill(moment: str) -> Path:
        name, number, kind = MOMENTS[moment]
        words = [sys.executable, str(KILLED), name, str(number), kind, *TRAIN]
        done = subprocess.run(
            [*words, "--logdir", str(root / moment)], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        return root / moment / "tiger" / "reinforce-pomdp-1"

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(MOMENTS, pool.map(kill, MOMENTS), strict=True))


def _result(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves but its times."""
    summary = json.loads((folder / "summary.json").read_text())
    found: dict[str, Any] = {
        "summary": {
            k: v for k, v in summary.items() if k not in ("wall_seconds", "steps_per_second")
        }
    }
    with np.load(folder / "checkpoints" / "latest.npz") as checkpoint:
        found["checkpoint"] = {key: checkpoint[key].tobytes() for key in sorted(checkpoint)}
    for seed in SEEDS:
        below = folder / f"seed_{seed}"
        found[f"table {seed}"] = StatePolicy.load(below / "model.zip").table.tobytes()
        found[f"progress {seed}"] = (below / "progress.csv").read_text()
        accumulator = EventAccumulator(str(below)).Reload()
        for tag in sorted(set(accumulator.Tags()["scalars"]) - {"time/fps"}):
            found[f"{tag} {seed}"] = [(e.step, e.value) for e in accumulator.Scalars(tag)]
    return found


@pytest.fixture
def uninterrupted(imm_rl_command: Callable[..., Any], tmp_path: Path) -> dict[str, Any]:
    assert imm_rl_command(*TRAIN, "--logdir", tmp_path).code == 0
    return _result(tmp_path / "tiger" / "reinforce-pomdp-1")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_with_the_numbers_of_one_left_alone(
    moment: str,
    killed: dict[str, Path],
    uninterrupted: dict[str, Any],
    imm_rl_command: Callable[..., Any],
) -> None:
    folder = killed[moment]
    assert not (folder / "summary.json").exists()

    outcome = imm_rl_command("train", "--resume", folder)

    assert (outcome.code, outcome.err) == (0, "")
    assert _result(folder) == uninterrupted
    leftovers = [path.name for path in folder.rglob(".*")]
    assert leftovers == []


def test_a_run_killed_from_outside_ends_with_the_numbers_of_one_left_alone(
    uninterrupted: dict[str, Any], imm_rl_command: Callable[..., Any], tmp_path: Path
) -> None:
    words = [sys.executable, "-c", "import sys; from imm_rl.cli import main; main(sys.argv[1:])"]
    with subprocess.Popen(
        [*words, *TRAIN, "--logdir", str(tmp_path / "other")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " steps   return " in line:  # wherever it happens to be after its first evaluation
                process.kill()
                break
    folder = tmp_path / "other" / "tiger" / "reinforce-pomdp-1"

    outcome = imm_rl_command("train", "--resume", folder)

    assert outcome.code == 0
    assert _result(folder) == uninterrupted

"""`imm-rl sweep` for real: workers that die, stops, a second start, and Ray."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.cli import sweep_workers
from imm_rl.cli.sweep_job import StoppedError, run_job
from imm_rl.cli.sweep_plan import read_folder, read_sweep
from imm_rl.cli.sweep_results import TIMES
from imm_rl.errors import RunFailedError

Command = Callable[..., Any]
TINY = """\
env: tiger
seeds: 0,1
steps: 100
eval_points: 1
eval_episodes: 2
n_steps: 50
"""


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def _table(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in _rows(folder)]


class InThisProcess:
    """Workers that are none: jobs are run where they are submitted."""

    fail: tuple[int, ...] = ()

    def __init__(self, folder: str, *_: object) -> None:
        self.folder, self.ended, self.submitted = folder, [], []

    def submit(self, job: tuple[int, ...]) -> None:
        self.submitted.append(job)
        error = ""
        if job[0] in self.fail:
            error = "its worker died (exit code -9)"
        else:
            try:
                run_job(self.folder, job)
            except RunFailedError as failure:
                error = str(failure)
        self.ended.append((job, error))

    def done(self) -> list[tuple[tuple[int, ...], str]]:
        ended, self.ended = self.ended, []
        return ended

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> type[InThisProcess]:
    class Workers(InThisProcess):
        pass

    monkeypatch.setattr(sweep_workers, "LocalWorkers", Workers)
    return Workers


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(TINY + text)
    return path


def test_a_batch_of_weights_trains_as_each_alone(
    tmp_path: Path, imm_rl_command: Command, in_this_process: type[InThisProcess]
) -> None:
    grid = "grid: {lambda: [0.1, 1, target-kl:0.05]}\nmethod: noising\n"
    path = _file(tmp_path, grid)
    assert imm_rl_command("sweep", path, "--out", tmp_path / "o").code == 0
    plan = read_folder(tmp_path / "o")
    assert len(plan.jobs()) == 1

    for point in plan.points:
        outcome = imm_rl_command(
            *("train", "--env", "tiger", "--seeds", "0,1", "--steps", "100", "--n-steps", "50"),
            *("--eval-points", "1", "--eval-episodes", "2", "--method", "noising", "--json"),
            *("--lambda", point.options["lambda"], "--logdir", tmp_path / "runs", "--quiet"),
        )
        expected = json.loads(outcome.out)
        folder = point.folder(tmp_path / "o")
        found = folder.summary()
        assert found["imm_lambda"] == str(point.options["lambda"]) == expected["imm_lambda"]
        for key in ("eval", "eval_deterministic", "eval_discounted"):
            np.testing.assert_allclose(found[key]["per_seed"], expected[key]["per_seed"])
        assert found["seeds"] == [0, 1]
        for seed in (0, 1):
            files = {p.name for p in (folder.path / f"seed_{seed}").iterdir()}
            assert {"progress.csv", "model.zip", "summary.json"} <= files
    evaluated = imm_rl_command("evaluate", plan.points[1].folder(tmp_path / "o").path, "--json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out)["trained_seeds"] == [0, 1]


def test_a_second_start_does_what_is_missing_and_repeats_nothing(
    tmp_path: Path, imm_rl_command: Command, in_this_process: type[InThisProcess]
) -> None:
    path, out = _file(tmp_path, "grid: {gamma: [0.5, 0.7, 0.9]}\n"), tmp_path / "o"
    in_this_process.fail = (1,)

    failed = imm_rl_command("sweep", path, "--out", out)

    assert failed.code == 1
    assert "1 of 3 points failed: point 1 (gamma=0.7): its worker died" in failed.err
    assert [row["status"] for row in _rows(out)] == ["done", "failed", "done"]
    assert _rows(out)[1]["error"] == "its worker died (exit code -9)"
    before = {p: p.stat().st_mtime_ns for p in out.glob("00[02]*/**/*") if p.is_file()}
    in_this_process.fail = ()

    again = imm_rl_command("sweep", path, "--out", out, "--json")

    assert again.code == 0
    assert json.loads(again.out)["failed"] == []
    assert [row["status"] for row in _rows(out)] == ["done"] * 3
    assert _rows(out)[1]["error"] == ""
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_weight_that_diverges_fails_alone(
    tmp_path: Path, imm_rl_command: Command, in_this_process: type[InThisProcess]
) -> None:
    path = _file(tmp_path, "grid: {lambda: [0.1, 1.0e+39, 0.5]}\n")

    outcome = imm_rl_command("sweep", path, "--out", tmp_path / "o")

    assert outcome.code == 1
    assert "1 of 3 points failed: point 1" in outcome.err
    assert [row["status"] for row in _rows(tmp_path / "o")] == ["done", "failed", "done"]


def test_a_failed_job_is_tried_again_as_often_as_is_said(
    tmp_path: Path, imm_rl_command: Command, in_this_process: type[InThisProcess]
) -> None:
    made = []
    original = in_this_process.__init__

    def keep(self: Any, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    in_this_process.__init__ = keep  # type: ignore[method-assign]
    in_this_process.fail = (0,)
    path = _file(tmp_path, "grid: {gamma: [0.5, 0.9]}\n")

    assert imm_rl_command("sweep", path, "--out", tmp_path / "o", "--retries", "2").code == 1

    assert made[0].submitted.count((0,)) == 3
    assert made[0].submitted.count((1,)) == 1


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}


DEADLY = """\
import os, signal
from pathlib import Path

import numpy as np


class Policy:
    name, n_states, n_actions = "deadly", 2, 3

    def probs(self, beliefs):
        return np.full((len(beliefs), 3), 1 / 3)


def once(model):
    marker = Path(__file__).parent / "died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Policy()


def always(model):
    raise ValueError("no policy today")
"""


def test_a_killed_worker_costs_its_own_job_alone_and_is_retried(tmp_path: Path) -> None:
    """Two real workers; one is killed by SIGKILL in its job, another job fails every time."""
    (tmp_path / "deadly.py").write_text(DEADLY)
    names = "[fib, 'deadly:once', 'deadly:always', qmdp]"
    path = _file(tmp_path, f"grid: {{restricted: {names}}}\ncontext_weight: uniform\n")
    command = [sys.executable, "-c", "import sys; from imm_rl.cli import main; sys.exit(main())"]

    done = subprocess.run(
        [*command, "sweep", path, "--out", tmp_path / "o", "--workers", "2"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    rows = _rows(tmp_path / "o")
    assert [row["status"] for row in rows] == ["done", "done", "failed", "done"], done.stdout
    assert [row["attempts"] for row in rows] == ["1", "2", "2", "1"]
    assert "no policy today" in rows[2]["error"]
    assert "no policy today" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout


def test_a_worker_that_is_killed_at_its_start_costs_its_job_and_no_other(tmp_path: Path) -> None:
    local = sweep_workers.LocalWorkers(str(tmp_path), 1)
    try:
        local.submit((0,))
        while not (found := multiprocessing.active_children()):
            time.sleep(0.001)
        found[0].kill()
        assert local.done() == [((0,), "its worker died at its start")]
        local.submit((1,))
        [(job, error)] = local.done()
        assert job == (1,)
        assert "sweep" in error  # the folder holds none: so a worker looked
    finally:
        local.close()


# Who runs the tests in the background has SIGINT ignored, which a child inherits.
_HEARING = (
    *(sys.executable, "-c"),
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from imm_rl.cli import main; sys.exit(main())",
)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.5, 2.0, 2.3])
def test_ctrl_c_while_workers_start_says_how_to_go_on(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        TINY.replace("steps: 100\neval_points: 1", "steps: 4000000\neval_points: 40")
        + "grid: {gamma: [0.5, 0.6, 0.7, 0.8]}\n"
    )
    process = subprocess.Popen(
        [*_HEARING, "sweep", str(path), "--out", str(tmp_path / "o"), "--workers", "2"],
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "o/sweep.yaml").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
    asked = time.monotonic()
    out, err = process.communicate(timeout=90)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"go on with: imm-rl sweep {path} --out {tmp_path / 'o'}" in out
    assert time.monotonic() - asked < sweep_workers.GRACE  # none trained on unasked
    assert not list((tmp_path / "o").glob("*/summary.json"))


@pytest.mark.usefixtures("in_this_process")
def test_a_job_that_begins_as_the_sweep_is_stopped_trains_nothing(
    tmp_path: Path, imm_rl_command: Command
) -> None:
    """Ctrl-C came before the job could hear it: what it asks for then is whether there was one."""
    path = _file(tmp_path, "grid: {gamma: [0.5, 0.9]}\n")
    assert imm_rl_command("sweep", path, "--out", tmp_path / "o").code == 0
    shutil.rmtree(tmp_path / "o" / "000-gamma-0.5")
    before = signal.getsignal(signal.SIGINT)

    def stopped() -> bool:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # from now on it hears
        return True

    with pytest.raises(StoppedError):
        run_job(str(tmp_path / "o"), (0,), stopped)

    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "o" / "000-gamma-0.5").exists()
    run_job(str(tmp_path / "o"), (0,), lambda: False)
    assert (tmp_path / "o" / "000-gamma-0.5" / "summary.json").is_file()


def test_ctrl_c_before_the_training_stops_a_job_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E.g. while the restricted policy is solved: not the end of a worker, but of its job."""

    def solve(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    path = _file(tmp_path, "grid: {gamma: [0.5, 0.9]}\n")
    plan = read_sweep(path)
    (tmp_path / "o").mkdir()
    (tmp_path / "o/command.txt").write_text("imm-rl sweep\n")
    (tmp_path / "o/sweep.yaml").write_text(plan.to_yaml())
    monkeypatch.setattr("imm_rl.cli.train_run.trained", solve)

    with pytest.raises(StoppedError):
        run_job(str(tmp_path / "o"), (0,))


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_goes_on(tmp_path: Path) -> None:
    long = TINY.replace("steps: 100\neval_points: 1", "steps: 40000\neval_points: 40")
    path = tmp_path / "s.yaml"
    path.write_text(long + "grid: {gamma: [0.5, 0.6, 0.7, 0.8]}\n")
    words = [*_HEARING, "sweep", str(path), "--out", str(tmp_path / "o"), "--workers", "2"]
    process = subprocess.Popen(
        words, env=_environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "o").glob("*/checkpoints/latest.npz"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert f"go on with: imm-rl sweep {path} --out {tmp_path / 'o'}" in out
    assert {row["status"] for row in _rows(tmp_path / "o")} <= {"unfinished", "waiting", "done"}
    again = subprocess.run(
        words, env=_environment(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stderr
    assert [row["status"] for row in _rows(tmp_path / "o")] == ["done"] * 4
    progress = next((tmp_path / "o").glob("000*/seed_0/progress.csv")).read_text().splitlines()
    assert len(progress) == 41  # the curve has no gap and no point twice


@pytest.mark.slow
def test_200_runs_on_two_workers_and_on_ray_give_the_same_table(
    tmp_path: Path, imm_rl_command: Command
) -> None:
    pytest.importorskip("ray", reason="Ray has no wheel for this Python or platform")
    weights = ", ".join(f"{i / 10}" for i in range(1, 21))
    rates = ", ".join(f"{i / 100}" for i in range(1, 11))
    path = tmp_path / "s.yaml"
    path.write_text(
        "env: tiger(max_steps=5)\nseeds: 0\nsteps: 50\nhidden_sizes: 4\nbatch: false\n"
        "eval_points: 1\neval_episodes: 5\nrestricted: qmdp\ncontext_weight: uniform\n"
        f"grid: {{lambda: [{weights}], learning_rate: [{rates}]}}\n"
    )
    tables = []
    for backend in ("local", "ray"):
        outcome = imm_rl_command(
            *("sweep", path, "--out", tmp_path / backend, "--backend", backend, "--workers", "2"),
            *("--quiet", "--json"),
        )
        assert outcome.code == 0, outcome.err
        tables.append(_table(tmp_path / backend))
    assert len(tables[0]) == 200
    assert {row["status"] for row in tables[0]} == {"done"}
    assert len({row["discounted_return"] for row in tables[0]}) > 20
    assert tables[0] == tables[1]

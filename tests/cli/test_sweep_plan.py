"""Sweep files: what points they have, which are trained as one, what is refused before anything runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import imm_rl
from imm_rl.cli.sweep_plan import check_folder, read_folder, read_sweep
from imm_rl.cli.sweep_results import report, write_results
from imm_rl.errors import InvalidInputError
from imm_rl.formats import to_json

Command = Callable[..., Any]
BASE = "env: tiger\nseeds: 0-2\nsteps: 100\n"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return path


def test_points_are_every_combination_of_list_and_grid(tmp_path: Path) -> None:
    text = (
        BASE
        + "grid:\n  lambda: [0.1, 1]\n  restricted: [fib, qmdp]\nlist: [{method: imm}, {method: noising}]\n"
    )

    plan = read_sweep(_file(tmp_path, text))

    assert plan.name == "s"
    assert len(plan.points) == 8
    assert plan.points[1].varied == {"method": "imm", "lambda": 0.1, "restricted": "qmdp"}
    assert (
        plan.points[1].options
        == {"env": "tiger", "seeds": "0-2", "steps": 100} | plan.points[1].varied
    )
    assert plan.points[6].label == "method=noising, lambda=1, restricted=fib"
    assert plan.jobs() == [(0, 2), (1, 3), (4, 6), (5, 7)]


def test_the_name_is_that_of_the_file_made_fit_for_a_folder_but_a_written_one_is_checked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "balayage é.yaml"
    text = BASE + "grid:\n  lambda: [0.1, 1]\n"
    path.write_text(text)
    assert read_sweep(path).name == "balayage"
    path.write_text("name: balayage é\n" + text)
    with pytest.raises(InvalidInputError, match="name must be fit for a folder.*'balayage é'"):
        read_sweep(path)


def test_points_that_differ_in_more_than_lambda_are_jobs_of_their_own(tmp_path: Path) -> None:
    grid = "grid: {lambda: [0.1, 1], gamma: [0.8, 0.9]}\n"

    assert read_sweep(_file(tmp_path, BASE + grid)).jobs() == [(0, 2), (1, 3)]
    assert read_sweep(_file(tmp_path, BASE + grid + "batch: false\n")).jobs() == [
        (0,),
        (1,),
        (2,),
        (3,),
    ]
    ppo = "agent: ppo\ngrid: {lambda: [0.1, 1]}\n"
    assert read_sweep(_file(tmp_path, BASE + ppo)).jobs() == [(0,), (1,)]


def test_paths_are_kept_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = imm_rl.make("tiger")
    pair.model.save(tmp_path / "t.POMDP")
    imm_rl.agents.solve(pair.model, "qmdp").save(tmp_path / "q.npz")
    monkeypatch.chdir(tmp_path)
    text = "env: t.POMDP\nrestricted: q.npz\nseeds: 0\ngrid: {lambda: [1]}\n"

    plan = read_sweep(_file(tmp_path, text))
    monkeypatch.chdir("/")

    assert plan.points[0].options["env"] == str(tmp_path / "t.POMDP")
    config, _ = plan.points[0].resolved()
    assert config.restricted == str(tmp_path / "q.npz")
    observed = (
        "env: CartPole-v1\nobserve: [2, 3]\nseeds: 0\nagent: ppo\ngrid: {gamma: [0.9, 0.8]}\n"
    )
    first, second = (p.resolved()[0] for p in read_sweep(_file(tmp_path, observed)).points)
    assert first.env == second.env == "CartPole-v1(observe=[2, 3])"
    assert first.view == "restricted"


def test_a_job_holds_no_more_trainings_than_memory_allows(tmp_path: Path) -> None:
    weights = ", ".join(str(i / 10) for i in range(1, 8))
    text = f"env: tiger\nseeds: 0-99\ngrid: {{lambda: [{weights}]}}\n"

    assert read_sweep(_file(tmp_path, text)).jobs() == [(0, 1), (2, 3), (4, 5), (6,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env: tiger\nseeds: 0\n", "has neither grid nor list"),
        ("env: tiger\nseeds: 0\ngrid: {}\n", "grid in"),
        ("env: tiger\nseeds: 0\nlist: []\n", "list in"),
        ("env: tiger\nseeds: 0\ngrid: [1]\n", "have an entry and the form"),
        ("env: tiger\nseeds: 0\ngrid: {lambda: []}\n", "lambda in the grid"),
        ("env: tiger\nseeds: 0\ngrid: {lambda: 1}\n", "lambda in the grid"),
        ("env: tiger\nseeds: 0\nlist: [lambda]\n", "an entry of the list"),
        ("env: tiger\nseeds: 0\ngrid: {lamda: [1]}\n", "Did you mean 'lambda'?"),
        ("env: tiger\nseeds: 0\nlist: [{lamda: 1}]\n", "Did you mean 'lambda'?"),
        ("env: tiger\nseed: 0\ngrid: {lambda: [1]}\n", "Did you mean 'seeds'?"),
        ("env: tiger\nlogdir: x\nseeds: 0\ngrid: {lambda: [1]}\n", "unknown key"),
        (
            "env: tiger\nlambda: 1\nseeds: 0\ngrid: {lambda: [1]}\n",
            "for all points and for single ones",
        ),
        (
            "env: tiger\nseeds: 0\ngrid: {gamma: [0.9]}\nlist: [{gamma: 0.8}]\n",
            "grid and in its list",
        ),
        ("env: tiger\ngrid: {lambda: [1]}\n", "names no seeds"),
        ("env: tiger\nseeds: 0\ngrid: {lambda: [1, 1.0]}\n", "are the same training"),
        ("env: tiger\nseeds: 0\ngrid: {lambda: [1, x]}\n", "point 1 (lambda=x): a λ schedule"),
        ("env: tiger\nseeds: 0\ngrid: {restricted: [fob]}\n", "point 0 (restricted=fob)"),
        ("env: tigr\nseeds: 0\ngrid: {lambda: [1]}\n", "Did you mean 'tiger'?"),
        ("env: tiger\nseeds: 0\nbatch: 3\ngrid: {lambda: [1]}\n", "batch must be true or false"),
        (
            "name: ../x\nenv: tiger\nseeds: 0\ngrid: {lambda: [1]}\n",
            "name must be fit for a folder",
        ),
        ("- 1\n", "s.yaml"),
        ("grid: {lambda: [1]\n", "s.yaml"),
    ],
)
def test_a_sweep_file_with_a_mistake_is_refused_before_anything_runs(
    text: str, message: str, tmp_path: Path, imm_rl_command: Command
) -> None:
    path = _file(tmp_path, text)

    outcome = imm_rl_command("sweep", path, "--out", tmp_path / "out")

    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "rey"], "Did you mean 'ray'?"),
        (["--address", "auto"], "Add --backend ray"),
        (["--backend", "ray", "--address", "auto", "--workers", "2"], "exclude each other"),
        (["--workers", "0"], "--workers must be"),
        (["--retries", "-1"], "--retries must be"),
        (["--out", "other"], "other is no folder of a sweep, and not empty"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    imm_rl_command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _file(tmp_path, BASE + "grid: {lambda: [1]}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()

    outcome = imm_rl_command("sweep", "s.yaml", *words)

    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "runs").exists()


def test_the_folder_of_another_sweep_is_refused_by_what_differs(tmp_path: Path) -> None:
    def plan(text: str) -> Any:
        return read_sweep(_file(tmp_path, text))

    mine = plan(BASE + "grid: {lambda: [0.1, 1]}\n")
    folder = tmp_path / "out"
    assert check_folder(folder, mine) is False
    folder.mkdir()
    (folder / "sweep.yaml").write_text(mine.to_yaml())
    assert read_folder(folder) == mine
    assert check_folder(folder, mine) is True
    for text, differing in (
        (BASE + "gamma: 0.5\ngrid: {lambda: [0.1, 1]}\n", "gamma"),
        (BASE + "grid: {lambda: [0.1, 2]}\n", "lambda"),
        (BASE + "grid: {lambda: [0.1]}\n", "the number of points, 2 there and 1 here"),
        (BASE + "batch: false\ngrid: {lambda: [0.1, 1]}\n", "batch"),
    ):
        with pytest.raises(InvalidInputError, match=f"what differs is {differing}"):
            check_folder(folder, plan(text))
    (folder / "sweep.yaml").write_text("name: x\n")
    with pytest.raises(InvalidInputError, match="no plan of a sweep"):
        read_folder(folder)


def test_dry_run_lists_points_and_jobs(tmp_path: Path, imm_rl_command: Command) -> None:
    path = _file(tmp_path, BASE + "grid: {lambda: [0.1, 1]}\n")

    outcome = imm_rl_command("sweep", path, "--out", tmp_path / "o", "--dry-run")

    assert outcome.code == 0
    assert "job 0 (as one): lambda=0.1; lambda=1" in outcome.out
    assert not (tmp_path / "o").exists()


def test_the_drivers_memory_does_not_grow_with_what_runs_bring(tmp_path: Path) -> None:
    """The same plan with 2 and with 60 finished runs, each summary of some 100 kB."""
    weights = ", ".join(f"{i / 100}" for i in range(1, 61))
    plan = read_sweep(_file(tmp_path, f"env: tiger\nseeds: 0\ngrid: {{lambda: [{weights}]}}\n"))
    folder = tmp_path / "out"
    curve = [float(i) for i in range(5000)]
    number = {"mean_return": 1.0, "ci95": [0.0, 2.0]}
    summary = {
        **dict.fromkeys(("eval", "eval_deterministic", "eval_discounted"), number),
        "env_steps": 1,
        "wall_seconds": 1.0,
        "curve": curve,
    }
    peaks = []
    for n in (2, 60):
        for point in plan.points[:n]:
            run = point.folder(folder)
            run.path.mkdir(parents=True, exist_ok=True)
            (run.path / "summary.json").write_text(to_json(summary))
        write_results(plan, folder)
        tracemalloc.start()
        write_results(plan, folder)
        text = report(plan, folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert f"{len(plan.points)} points: 60 done" in text
    assert peaks[1] < peaks[0] + 100_000  # a single summary takes more
    assert (folder / "results.csv").read_text().count("done") == 60

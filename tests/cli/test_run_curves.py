"""Curves read from run folders, killed ones too, and from monitor files; how seeds are aligned."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor

from imm_rl.cli.run_curves import Curve, RunCurves, aligned, labels, read
from imm_rl.errors import InvalidInputError

HEAD = "env_steps,eval/mean_reward,imm/kl\n"


def _run(folder: Path, rows: dict[int | None, str], **config: object) -> Path:
    folder.mkdir(parents=True)
    text = "".join(f"{key}: {value}\n" for key, value in config.items())
    (folder / "config.yaml").write_text(text or "env: tiger\n")
    for seed, lines in rows.items():
        place = folder if seed is None else folder / f"seed_{seed}"
        place.mkdir(exist_ok=True)
        (place / "progress.csv").write_text(HEAD + lines)
    return folder


def test_read_takes_the_seeds_in_order_and_passes_gaps_over(tmp_path: Path) -> None:
    rows = {10: "100,1.0,nan\n200,2.0,0.5\n", 2: "100,5.0,\n200,nan,0.25\n300,7.0,0.125\n"}
    folder = _run(tmp_path / "r", rows, seeds="[2, 10]")

    (run,) = read(folder)
    (kl,) = read(folder, "imm/kl")

    assert run.seeds == (2, 10)
    assert run.curves[0].steps.tolist() == [100.0, 300.0]
    assert run.curves[0].values.tolist() == [5.0, 7.0]
    assert [c.values.tolist() for c in kl.curves] == [[0.25, 0.125], [0.5]]


def test_read_passes_a_line_over_that_a_kill_cut_off(tmp_path: Path) -> None:
    folder = _run(tmp_path / "r", {None: "100,1.0,0.5\n200,2.0,0.4\n300,12"}, seeds="[7]")

    (run,) = read(folder)

    assert run.seeds == (7,)
    assert run.curves[0].values.tolist() == [1.0, 2.0]


def test_read_finds_the_runs_below_a_folder_in_natural_order(tmp_path: Path) -> None:
    for name in ("run-10", "run-2"):
        _run(tmp_path / "grid" / name, {None: "1,1.0,1.0\n"})

    assert [run.path.name for run in read(tmp_path)] == ["run-2", "run-10"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({}, "stopped before its first evaluation"),
        ({None: ""}, "has no value yet"),
        ({None: "100,nan,1.0\n"}, "eval/mean_reward has no value yet"),
    ],
)
def test_read_says_why_a_run_has_no_curve(
    rows: dict[int | None, str], why: str, tmp_path: Path
) -> None:
    (run,) = read(_run(tmp_path / "r", rows))

    assert run.curves == ()
    assert why in run.why_empty


def test_read_passes_a_run_over_that_lacks_the_metric_where_another_has_it(tmp_path: Path) -> None:
    _run(tmp_path / "g" / "a", {None: "1,1.0,1.0\n"})
    other = _run(tmp_path / "g" / "b", {None: ""})
    (other / "progress.csv").write_text("env_steps,eval/mean_reward\n1,2.0\n")

    with_it, without = read(tmp_path / "g", "imm/kl")

    assert len(with_it.curves) == 1
    assert without.why_empty == "it has no column imm/kl"


def test_read_refuses_what_is_no_run(tmp_path: Path) -> None:
    folder = _run(tmp_path / "r", {None: "100,1.0,0.5\n"})
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.monitor.csv").write_text("r,l,t\n1,2,3\n")
    for path, metric, message in (
        (tmp_path / "nothing", "imm/kl", "there is no run"),
        (tmp_path / "empty", "imm/kl", "holds no run"),
        (folder / "config.yaml", "imm/kl", "is no run folder"),
        (folder, "imm/kll", "Did you mean 'imm/kl'?"),
        (tmp_path / "x.monitor.csv", "rollout/ep_rew_mean", "is no monitor file"),
        (tmp_path / "x.monitor.csv", "imm/kl", "unknown metric"),
    ):
        with pytest.raises(InvalidInputError) as error:
            read(path, metric)
        assert message in str(error.value)


def test_read_takes_the_monitor_files_of_stable_baselines3(tmp_path: Path) -> None:
    """Two copies of one environment; x counts the steps of both in the order in which episodes end."""
    ends = []
    for copy in range(2):
        env = Monitor(gymnasium.make("CartPole-v1"), str(tmp_path / f"{copy}"))
        env.action_space.seed(copy)
        for episode in range(6):
            env.reset(seed=episode)
            done = False
            while not done:
                *_, terminated, truncated, info = env.step(env.action_space.sample())
                done = terminated or truncated
            ends.append(
                (env.t_start + info["episode"]["t"], info["episode"]["r"], info["episode"]["l"])
            )
        env.close()
    (run,) = read(tmp_path, window=4)

    ends.sort()
    steps = np.cumsum([length for _, _, length in ends])
    means = [np.mean([r for _, r, _ in ends[i : i + 4]]) for i in range(9)]
    np.testing.assert_allclose(run.curves[0].values, means)
    np.testing.assert_array_equal(run.curves[0].steps, steps[3:])
    (few,) = read(tmp_path, window=40)
    assert "12 whole episodes" in few.why_empty


def _curve(steps: list[float], values: list[float]) -> Curve:
    return Curve(np.array(steps), np.array(values))


def test_aligned_ends_where_the_shortest_seed_does() -> None:
    found = aligned([_curve([10, 20, 30], [1, 2, 3]), _curve([10, 20, 30, 40], [5, 6, 7, 100])])

    assert found.env_steps.tolist() == [10.0, 20.0, 30.0]
    assert found.values.tolist() == [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]
    assert found.cut == 10.0


def test_aligned_interpolates_where_steps_differ() -> None:
    found = aligned([_curve([0, 10, 20], [0, 10, 20]), _curve([5, 15], [1, 3])])

    assert found.env_steps.tolist() == [5.0, 10.0, 15.0]
    assert found.values.tolist() == [[5.0, 1.0], [10.0, 2.0], [15.0, 3.0]]
    with pytest.raises(InvalidInputError, match="no step in common"):
        aligned([_curve([1, 2], [0, 0]), _curve([3, 4], [0, 0])])


def test_labels_are_what_differs(tmp_path: Path) -> None:
    rows: dict[int | None, str] = {None: "1,1.0,1.0\n"}
    same = {"env": "tiger", "agent": "reinforce"}
    _run(tmp_path / "a", rows, **same, method="imm", **{"lambda": 0.5}, gamma=0.9)
    _run(tmp_path / "b", rows, **same, method="imm", **{"lambda": 1}, gamma=0.8)
    _run(tmp_path / "c", rows, **same, method="none", **{"lambda": 0}, gamma=0.9)

    assert labels(read(tmp_path)) == ["imm, λ 0.5", "imm, λ 1", "none, λ 0"]
    _run(tmp_path / "d", rows, **same, method="none", **{"lambda": 0}, gamma=0.9)
    assert labels(read(tmp_path)) == ["a", "b", "c", "d"]


def _of(place: Path, **config: object) -> RunCurves:
    return RunCurves(place, dict(config), (), ())


def test_labels_tell_of_a_path_its_last_part_and_write_numbers_as_tables_do() -> None:
    first = _of(Path("r/1"), env="/home/me/here/foo.POMDP", restricted="/x/ppo-view-1", steps=50000)
    second = _of(Path("r/2"), env="/home/me/bar.POMDP(horizon=9)", restricted="a.npz", steps=2000)

    assert labels([first, second]) == [
        "foo, restricted ppo-view-1, steps 50,000",
        "bar(horizon=9), restricted a.npz, steps 2,000",
    ]
    yes, no = _of(Path("r/1"), shared=True), _of(Path("r/2"), shared=False)
    assert labels([yes, no]) == ["shared True", "shared False"]


def test_labels_of_equal_last_parts_are_the_folders_as_far_as_they_differ() -> None:
    runs = [
        _of(Path(f"/home/me/{place}/runs/foo/reinforce-none-1"), env=f"/home/me/{place}/foo.POMDP")
        for place in ("a", "b")
    ]

    assert labels(runs) == ["a/runs/foo/reinforce-none-1", "b/runs/foo/reinforce-none-1"]

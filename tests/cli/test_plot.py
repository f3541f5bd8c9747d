"""`imm-rl plot`: what is drawn, what is said, what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from imm_rl.cli.curve_picture import COLOURS, Line, figure, looks
from imm_rl.curve_statistics import bands

Command = Callable[..., Any]


def _run(folder: Path, n_seeds: int, *, length: int = 5, extra: int = 0, lam: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"env: tiger\nlambda: {lam}\nseeds: {list(range(n_seeds))}\n"
    )
    rng = np.random.default_rng(n_seeds)
    for seed in range(n_seeds):
        place = folder if n_seeds == 1 else folder / f"seed_{seed}"
        place.mkdir(exist_ok=True)
        rows = length + extra * (seed == 0)
        lines = [f"{100 * (i + 1)},{i + rng.normal():.6f}\n" for i in range(rows)]
        (place / "progress.csv").write_text("env_steps,eval/mean_reward\n" + "".join(lines))
    return folder


def test_figure_has_a_line_a_band_and_a_label_for_each_run() -> None:
    steps = np.arange(1.0, 6.0) * 1000
    values = np.random.default_rng(0).normal(size=(2, 5, 8))
    lines = [Line(f"run {i}", steps, *bands(v)) for i, v in enumerate(values)]

    drawn = figure(lines, y_label="return", title="both", levels=[("optimum", 3.0)])

    (axes,) = drawn.axes
    curves = [line for line in axes.lines if line.get_label().startswith("run")]
    for line, curve, fill in zip(lines, curves, axes.collections, strict=True):
        np.testing.assert_array_equal(curve.get_xdata(), steps)
        np.testing.assert_allclose(curve.get_ydata(), line.centre)
        outline = fill.get_paths()[0].vertices[:, 1]
        assert outline.min() == pytest.approx(line.low.min())
        assert outline.max() == pytest.approx(line.high.max())
    assert curves[0].get_color() != curves[1].get_color()
    assert curves[0].get_marker() != curves[1].get_marker()
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["run 0", "run 1"]
    assert axes.get_xlabel() == "environment steps of a seed"
    assert axes.get_ylabel() == "return"
    assert "optimum" in [text.get_text() for text in axes.texts]


def _limits(lines: list[Line], levels: list[tuple[str, float]]) -> tuple[float, float]:
    (axes,) = figure(lines, y_label="return", levels=levels).axes
    low, high = axes.get_ylim()
    return low, high


def test_band_of_two_seeds_leaves_the_axes_rather_than_flatten_the_curves() -> None:
    steps = np.arange(1.0, 6.0) * 1000
    values = np.stack([np.arange(5.0), np.arange(5.0) + 2.0], axis=1)  # means 1 to 5
    line = Line("two", steps, *bands(values))
    assert line.high.max() > 15.0

    low, high = _limits([line], [("optimum", 9.0)])

    # A range of 8 from 1 to 9: 0.3 of it on each side for bands, and a margin of 0.08 of all that.
    assert low == pytest.approx(1.0 - 2.4 - 0.08 * 12.8)
    assert high == pytest.approx(9.0 + 2.4 + 0.08 * 12.8)


def test_limits_hold_a_narrow_band_whole_and_level_lines_too() -> None:
    steps = np.arange(1.0, 6.0) * 1000
    narrow = Line("many", steps, *bands(np.arange(5.0)[:, None] + np.linspace(-0.5, 0.5, 30)))
    level = Line("two", steps, *bands(np.tile([3.0, 5.0], (5, 1))))
    alone = Line("one", steps, *bands(np.full((5, 1), 3.0)))

    low, high = _limits([narrow], [])
    assert low < narrow.low.min() < narrow.high.max() < high
    low, high = _limits([level], [])
    assert low < level.low.min() < level.high.max() < high
    low, high = _limits([alone], [])
    assert low < 3.0 < high


def test_plot_shows_students_t_of_two_seeds_in_picture_and_table(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "config.yaml").write_text("env: tiger\nseeds: [0, 1]\n")
    for seed, last in ((0, 1.0), (1, 3.0)):
        (folder / f"seed_{seed}").mkdir()
        (folder / f"seed_{seed}" / "progress.csv").write_text(
            f"env_steps,eval/mean_reward\n100,{last - 1.0}\n200,{last}\n"
        )

    outcome = imm_rl_command("plot", folder, "--out", tmp_path / "x.png", "--json")

    # t(0.975; 1 degree) = 12.7062, and the standard error of 1 and 3 is 1.
    (found,) = json.loads(outcome.out)["runs"]
    assert found["ci95"] == pytest.approx([2.0 - 12.7062, 2.0 + 12.7062], abs=1e-3)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot_writes_the_kind_of_picture_that_is_named(
    suffix: str, imm_rl_command: Command, tmp_path: Path
) -> None:
    _run(tmp_path / "a" / "r1", 3)
    _run(tmp_path / "a" / "r2", 3, lam=0.5)
    out = tmp_path / f"x.{suffix}"

    outcome = imm_rl_command("plot", tmp_path / "a", "--out", out)

    assert outcome.code == 0
    assert f"picture: {out}" in outcome.out
    assert "λ 0.5" in outcome.out
    if suffix == "png":
        with Image.open(out) as picture:
            assert picture.width == 1280
    assert out.stat().st_size > 1000


def test_plot_says_what_it_drew_and_what_it_left_out(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    long = _run(tmp_path / "long", 4, extra=2)
    alone = _run(tmp_path / "alone", 1)
    empty = _run(tmp_path / "empty", 1, length=0)

    outcome = imm_rl_command(
        *("plot", long, alone, empty, "--labels", "A,B,C", "--out", tmp_path / "x.png", "--json")
    )

    assert "left out: C" in outcome.err
    assert "has no value yet" in outcome.err
    assert "B: a single seed, so there is no band" in outcome.err
    assert "A: its line ends at 500 steps" in outcome.err
    found = json.loads(outcome.out)
    first, second = found["runs"]
    assert (first["label"], first["seeds"], first["env_steps"]) == ("A", 4, 500)
    assert first["ci95"][0] < first["final"] < first["ci95"][1]
    assert (second["label"], second["ci95"]) == ("B", [None, None])


def test_plot_takes_the_interquartile_mean(imm_rl_command: Command, tmp_path: Path) -> None:
    folder = _run(tmp_path / "r", 9)
    finals = {}
    for name in ("mean", "iqm"):
        outcome = imm_rl_command(
            *("plot", folder, "--statistic", name, "--out", tmp_path / "x.png", "--json", "--quiet")
        )
        finals[name] = json.loads(outcome.out)["runs"][0]["final"]

    last = [
        float((folder / f"seed_{k}" / "progress.csv").read_text().splitlines()[-1].split(",")[1])
        for k in range(9)
    ]
    assert finals["mean"] == pytest.approx(np.mean(last))
    assert finals["iqm"] == pytest.approx(np.mean(np.sort(last)[2:-2]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no run nowhere"),
        (["r", "--out", "x.gif"], "must end in one of .png, .pdf, .svg"),
        (["r", "--out", "nowhere/x.png"], "there is no folder nowhere"),
        (["r", "--out", "r"], "must end in one of"),
        (["r", "--metric", "eval/mean_rewad"], "Did you mean 'eval/mean_reward'?"),
        (["r", "--statistic", "median"], "unknown statistic 'median'"),
        (["r", "--labels", "A,B"], "--labels has 2 names, and there are 1 runs"),
        (["r", "--smooth", "0"], "--smooth must be a whole number"),
        (["e"], "there is nothing to draw: e: eval/mean_reward has no value yet"),
        (
            [],
            "there is no run, comparison or sweep below runs. Name a folder, or begin with: imm-rl",
        ),
    ],
)
def test_plot_answers_a_mistake_with_one_line(
    words: list[str],
    message: str,
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _run(tmp_path / "r", 2)
    _run(tmp_path / "e", 1, length=0)
    before = sorted(tmp_path.rglob("*"))

    outcome = imm_rl_command("plot", *words)

    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs` with a run, a comparison, a comparison of finished runs, a sweep and a language model."""
    monkeypatch.chdir(tmp_path)
    root = Path("runs")
    single = _run(root / "tiger" / "reinforce-pomdp-1", 2)
    for method, lam in (("none", 0.0), ("imm", 1.0)):
        _run(root / "tiger" / "compare-1" / method, 2, lam=lam)
    (root / "tiger" / "compare-1" / "comparison.yaml").write_text("methods: none,imm\n")
    (root / "tiger" / "compare-1" / "comparison.json").write_text('{"arms": []}\n')
    arms = [{"run": str(single)}, {"run": str(root / "tiger" / "compare-1" / "none")}]
    (root / "tiger" / "compared-runs-1").mkdir()
    (root / "tiger" / "compared-runs-1" / "comparison.json").write_text(json.dumps({"arms": arms}))
    for n, lam in enumerate((0.1, 0.5, 2.0)):
        _run(root / "sweeps" / "weights" / f"00{n}-lambda-{lam}", 2, lam=lam)
    (root / "sweeps" / "weights" / "sweep.yaml").write_text("name: weights\n")
    model = root / "lm" / "text" / "lstm-batch-1"
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("corpus: text\nseeds: [0]\n")
    (model / "progress.csv").write_text("epoch,train/loss\n1,2.0\n")
    return root


@pytest.mark.parametrize(
    ("folder", "marker", "kind", "n_lines"),
    [
        ("tiger/reinforce-pomdp-1", "config.yaml", "run", 1),
        ("tiger/compare-1", "comparison.yaml", "comparison", 2),
        ("tiger/compared-runs-1", "comparison.json", "comparison", 2),
        ("sweeps/weights", "sweep.yaml", "sweep", 3),
    ],
)
def test_plot_without_a_path_draws_what_was_started_last(
    folder: str, marker: str, kind: str, n_lines: int, imm_rl_command: Command, runs: Path
) -> None:
    for file in runs.rglob("*"):
        os.utime(file, (1000, 1000))
    os.utime(runs / folder / marker, (2000, 2000))

    outcome = imm_rl_command("plot", "--json")

    assert outcome.code == 0, outcome.err
    assert (
        f"the latest below runs (1 run, 2 comparisons, 1 sweep): the {kind} runs/{folder}\n"
    ) in outcome.err
    assert len(json.loads(outcome.out)["runs"]) == n_lines


def test_plot_without_a_path_passes_over_what_has_nothing_to_draw(
    imm_rl_command: Command, runs: Path
) -> None:
    for file in runs.rglob("*"):
        os.utime(file, (1000, 1000))
    for name, time in (("begun-1", 3000), ("begun-2", 2500)):
        (runs / "tiger" / name).mkdir()
        config = runs / "tiger" / name / "config.yaml"
        config.write_text("env: tiger\nseeds: [0]\n")
        os.utime(config, (time, time))
    os.utime(runs / "sweeps" / "weights" / "sweep.yaml", (2000, 2000))

    outcome = imm_rl_command("plot", "--json")

    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)["runs"]) == 3
    passed = "passed over runs/tiger/begun-1, which is newer: it is without anything to draw"
    assert passed in outcome.err.splitlines()
    shutil.rmtree(runs / "sweeps")
    shutil.rmtree(runs / "tiger")
    (runs / "tiger" / "begun-1").mkdir(parents=True)
    (runs / "tiger" / "begun-1" / "config.yaml").write_text("env: tiger\nseeds: [0]\n")
    outcome = imm_rl_command("plot")
    assert outcome.code == 2
    assert "there is nothing to draw: runs/tiger/begun-1: it has no progress.csv" in outcome.err


@pytest.mark.parametrize(
    ("folder", "n_lines"),
    [("tiger/compare-1", 2), ("tiger/compared-runs-1", 2), ("sweeps/weights", 3), ("tiger", 3)],
)
def test_plot_takes_a_folder_of_runs(
    folder: str, n_lines: int, imm_rl_command: Command, runs: Path
) -> None:
    outcome = imm_rl_command("plot", runs / folder, "--json", "--quiet")

    found = json.loads(outcome.out)["runs"]
    assert len({run["label"] for run in found}) == len(found) == n_lines


def test_plot_says_that_runs_are_of_different_problems(
    imm_rl_command: Command, tmp_path: Path
) -> None:
    one, other = _run(tmp_path / "a", 2), _run(tmp_path / "b", 2, lam=0.5)
    out = ["--out", tmp_path / "x.png"]

    assert imm_rl_command("plot", one, other, *out).err == ""
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("env: tiger", "env: /home/me/foo.POMDP"))
    outcome = imm_rl_command("plot", one, other, *out)

    assert outcome.code == 0
    assert outcome.err == (
        "imm-rl plot: warning: the runs are of 2 problems (tiger, foo), whose returns do not compare, "
        "on one axis.\n"
    )


def test_method_has_one_colour_in_comparisons_and_plots(
    imm_rl_command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """imm, which alone has a matching term, and none, in either order."""
    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    words = ["--env", "tiger", "--seeds", "0,1", "--logdir", tmp_path, *tiny, "--quiet"]

    for methods in ("none,imm", "imm,none"):
        assert imm_rl_command("compare", *words, "--methods", methods).code == 0
    for metric in ("eval/mean_reward", "imm/kl"):
        words = ["plot", tmp_path / "tiger" / "compare-1", "--metric", metric]
        assert imm_rl_command(*words, "--out", tmp_path / "x.png", "--labels", "I,N").code == 0

    seen = [{line.get_label(): line.get_color() for line in d.axes[0].lines} for d in drawn]
    assert [(s["none"], s["imm"]) for s in seen[:2]] == [(COLOURS[0], COLOURS[1])] * 2
    assert (seen[2]["N"], seen[2]["I"]) == (COLOURS[0], COLOURS[1])
    assert seen[3]["I"] == COLOURS[1]


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (["imm", "none"], [1, 0]),
        (["imm", "imm"], [0, 1]),
        ([None, "imm"], [0, 1]),
        (["imm", "another"], [0, 1]),
        ([], []),
    ],
)
def test_looks_are_methods_where_these_are_known_and_distinct(
    methods: list[str | None], expected: list[int]
) -> None:
    assert looks(methods) == expected


def test_plot_of_everything_leaves_language_models_out_by_name(
    imm_rl_command: Command, runs: Path
) -> None:
    everything = imm_rl_command("plot", "runs", "--json")
    alone = imm_rl_command("plot", "runs/lm")

    assert len(json.loads(everything.out)["runs"]) == 6
    said = "runs/lm/text/lstm-batch-1: it is a run of a language model (tensorboard --logdir"
    assert f"left out: {said}" in everything.err
    assert alone.code == 2
    assert f"there is nothing to draw: {said}" in alone.err


def test_plot_names_runs_of_a_comparison_that_are_gone(imm_rl_command: Command, runs: Path) -> None:
    shutil.rmtree(runs / "tiger" / "reinforce-pomdp-1")

    outcome = imm_rl_command("plot", runs / "tiger" / "compared-runs-1")

    assert outcome.code == 2
    assert "there is no runs/tiger/reinforce-pomdp-1 here" in outcome.err


def test_plot_points_to_language_models_where_there_is_nothing_else(
    imm_rl_command: Command, runs: Path
) -> None:
    shutil.rmtree(runs / "tiger")
    shutil.rmtree(runs / "sweeps")

    outcome = imm_rl_command("plot")

    assert outcome.code == 2
    assert "Language models are there: tensorboard --logdir runs/lm" in outcome.err


def test_lines_of_a_large_sweep_are_told_apart() -> None:
    steps = np.arange(1.0, 6.0) * 1000
    values = np.random.default_rng(0).normal(size=(20, 5, 3))

    drawn = figure([Line(f"{i}", steps, *bands(v)) for i, v in enumerate(values)], y_label="return")

    looks = {
        (line.get_color(), line.get_marker(), str(line._dash_pattern))
        for line in drawn.axes[0].lines
    }
    assert len(looks) >= 16

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.solvers.base import SolveProgress
from imm_rl.cli import solve_plot
from imm_rl.cli.solve import Request
from imm_rl.cli.solve_watch import Solved
from imm_rl.envs.registry import make

Command = Callable[..., Any]


def request_of(path: Path) -> Request:
    return Request(
        pair=make("tiger"),
        methods=("pbvi",),
        time_limit=10.0,
        precision=1e-3,
        seed=0,
        horizon=None,
        episodes=None,
        out=None,
        plot=path,
        explain=False,
    )


def solved(
    method: str, *points: tuple[float, float | None, float | None], solver: str = ""
) -> Solved:
    policy = AlphaVectorPolicy([[0.0, 0.0]], [0], n_actions=3, method=solver or method)
    return Solved(method, policy, [SolveProgress(*point, 1) for point in points], stored=False)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Draws solutions and gives the axes, which the file no longer tells of."""

    def draw(*solutions: Solved) -> Any:
        kept = []
        subplots = Figure.subplots

        def watched(figure: Figure) -> Any:
            kept.append(subplots(figure))
            return kept[0]

        monkeypatch.setattr(Figure, "subplots", watched)
        path = tmp_path / "bounds.png"
        solve_plot.draw(path, request_of(path), solutions)
        assert path.read_bytes().startswith(b"\x89PNG")
        return kept[0]

    return draw


def test_plot_shows_both_bounds_of_each_method_over_time(drawn: Callable[..., Any]) -> None:
    axes = drawn(
        solved("pbvi", (0.5, 14.0, 28.0), (1.0, 19.0, 20.0), (1.1, 19.3, 19.5)),
        solved("pomdp", (0.6, 18.0, 21.0), solver="sarsop"),
    )

    curves = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    assert list(curves) == [
        "pbvi, upper bound: 19.5",
        "pbvi, lower bound: 19.3",
        "pomdp (sarsop), upper bound: 21",
        "pomdp (sarsop), lower bound: 18",
    ]
    lower = curves["pbvi, lower bound: 19.3"]
    np.testing.assert_array_equal(lower.get_xdata(), [0.5, 1.0, 1.1])
    np.testing.assert_array_equal(lower.get_ydata(), [14.0, 19.0, 19.3])
    assert lower.get_drawstyle() == "steps-post"
    colours = [line.get_color() for line in curves.values()]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    styles = [line.get_linestyle() for line in curves.values()]
    assert styles[0] == styles[2] != styles[1] == styles[3]
    assert axes.get_xlabel() == "time since the solver started (s)"
    assert axes.get_ylabel() == "discounted value at the start belief (reward)"
    assert axes.get_legend().get_bbox_to_anchor().x0 > axes.bbox.x1  # beside the data


def test_plot_leaves_out_what_is_not_proven(drawn: Callable[..., Any]) -> None:
    axes = drawn(solved("qmdp", (0.1, None, 189.0)))

    labels = [line.get_label() for line in axes.lines if line.get_label()[0] != "_"]
    assert labels == ["qmdp, upper bound: 189"]


def test_plot_of_no_bound_at_all_is_still_a_picture(drawn: Callable[..., Any]) -> None:
    assert not drawn(solved("qmdp", (0.1, None, None))).lines


@pytest.mark.parametrize(("first", "scale"), [(0.02, "log"), (5.0, "linear")])
def test_plot_has_a_log_time_axis_where_times_differ_much(
    drawn: Callable[..., Any], first: float, scale: str
) -> None:
    axes = drawn(solved("pbvi", (first, 1.0, 3.0), (10.0, 2.0, 3.0)))

    assert axes.get_xscale() == scale
    assert axes.get_xlim()[0] < first
    assert axes.get_xlim()[1] > 10.0


def test_plot_keeps_far_bounds_from_hiding_the_near_ones(
    drawn: Callable[..., Any],
) -> None:
    axes = drawn(
        solved("qmdp", (0.1, None, 189.0)),
        solved("pbvi", (0.5, -2000.0, 28.0), (1.0, 18.0, 20.0)),
    )

    low, high = axes.get_ylim()
    assert -100.0 < low < 18.0
    assert 20.0 < high < 189.0


def test_plot_shows_the_whole_course_where_it_is_near(drawn: Callable[..., Any]) -> None:
    axes = drawn(solved("pbvi", (0.5, 14.0, 28.0), (1.0, 19.0, 19.1)))

    low, high = axes.get_ylim()
    assert low < 14.0
    assert high > 28.0


def test_plot_of_a_value_of_zero_has_limits(drawn: Callable[..., Any]) -> None:
    low, high = drawn(solved("pbvi", (0.5, 0.0, 0.0))).get_ylim()

    assert low < 0.0 < high


def test_plot_labels_what_lies_off_the_axis(drawn: Callable[..., Any]) -> None:
    axes = drawn(
        solved("qmdp", (0.1, None, 189.0)), solved("pbvi", (0.5, 14.0, 28.0), (1.0, 19.0, 20.0))
    )

    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0] == "qmdp, upper bound: 189, off the axis"
    assert all("off the axis" not in text for text in texts[1:])


@pytest.mark.parametrize(
    ("name", "head"), [("b.png", b"\x89PNG"), ("b.SVG", b"<?xml"), ("b.pdf", b"%PDF")]
)
def test_solve_plots_into_the_format_of_the_file_name(
    imm_rl_command: Command, tmp_path: Path, name: str, head: bytes
) -> None:
    path = tmp_path / name

    outcome = imm_rl_command("solve", "--env", "tiger", "--method", "fib", "--plot", path)

    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"picture: {path}"
    assert path.read_bytes().startswith(head)


def test_compare_plots_every_method(imm_rl_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "bounds.svg"

    imm_rl_command("solve", "--env", "tiger", "--compare", "qmdp,fib", "--plot", path)

    text = path.read_text()
    assert "<!-- qmdp, upper bound: 189 -->" in text
    assert "<!-- fib, upper bound: 87.18 -->" in text

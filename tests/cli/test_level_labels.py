"""Names beside the lines of a picture: none covers another or leaves the axes, whatever the levels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imm_rl.cli.curve_picture import DPI, Line, figure
from imm_rl.cli.level_labels import spread

LEVELS = {
    "near each other in a large span": [("threshold\n(90%)", 450.0), ("optimum", 500.0)],
    "the same": [("threshold\n(500)", 500.0), ("optimum", 500.0)],
    "apart": [("threshold\n(90%)", -600.0), ("optimum", 500.0)],
    "below all curves": [("threshold\n(-1400)", -1400.0), ("optimum", -1395.0)],
    "costs": [("threshold\n(90%)", -1100.0), ("optimum", -1000.0)],
    "far above": [("optimum", 500.0), ("threshold\n(9000)", 9000.0)],
    "many": [(f"level\n{i}", 400.0 + 30.0 * i) for i in range(5)],
}


def _drawn(levels: list[tuple[str, float]], low: float = -1250.0) -> tuple[Any, list[Any]]:
    steps = np.linspace(100.0, 10_000.0, 100)
    returns = low + (500.0 - low) * (1.0 - np.exp(-steps / 400.0))
    lines = [Line(name, steps, returns, returns - 20.0, returns + 20.0) for name in ("none", "imm")]
    drawn = figure(lines, y_label="return", title="tiger", levels=levels)
    drawn.set_dpi(DPI)
    drawn.draw_without_rendering()
    (axes,) = drawn.axes
    named = {name: text for text in axes.texts if (name := text.get_text())}
    return drawn, [named[name] for name, _ in levels]


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_names_of_levels_keep_clear_of_each_other_and_within_the_picture(
    levels: list[tuple[str, float]],
) -> None:
    drawn, texts = _drawn(levels)

    boxes = [text.get_window_extent() for text in texts]
    axes, whole = drawn.axes[0].get_window_extent(), drawn.bbox
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert axes.y0 - 0.5 <= box.y0 < box.y1 <= axes.y1 + 0.5
        assert axes.x1 < box.x0 < box.x1 <= whole.x1
    middles = [(box.y0 + box.y1) / 2 for box in boxes]
    assert middles == sorted(middles)


def test_a_name_stands_beside_its_line_where_there_is_room() -> None:
    drawn, texts = _drawn(LEVELS["apart"])

    for text, (_, value) in zip(texts, LEVELS["apart"], strict=True):
        box = text.get_window_extent()
        line = drawn.axes[0].transData.transform((0.0, value))[1]
        assert (box.y0 + box.y1) / 2 == pytest.approx(line, abs=1.0)


def test_a_line_leads_to_a_name_that_was_moved() -> None:
    drawn, _ = _drawn(LEVELS["near each other in a large span"])

    leaders = [text for text in drawn.axes[0].texts if not text.get_text()]
    assert [leader.xy[1] for leader in leaders] == [450.0, 500.0]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.12)), min_size=1, max_size=6),
    st.floats(0, 0.02),
)
def test_boxes_are_spread_without_overlap(boxes: list[tuple[float, float]], gap: float) -> None:
    boxes = sorted(boxes)
    wanted, heights = np.array(boxes).T

    placed = spread(wanted, heights, gap)

    bottoms, tops = placed - heights / 2, placed + heights / 2
    assert (bottoms[1:] - tops[:-1] >= gap - 1e-9).all()
    assert bottoms[0] >= -1e-9
    assert tops[-1] <= 1 + 1e-9
    free = (np.diff(wanted - heights / 2) - heights[:-1] >= gap).all()
    if free and wanted[0] >= heights[0] / 2 and wanted[-1] + heights[-1] / 2 <= 1:
        np.testing.assert_allclose(placed, wanted, atol=1e-12)

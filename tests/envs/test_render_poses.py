"""Pictures of mazes with headings or hidden sides, as text by hand and by the colours of cells."""

from __future__ import annotations

import numpy as np
import pytest

from imm_rl.envs import make, render, render_poses
from imm_rl.envs.canvas import ORANGE, RGB, TEAL, WHITE, Colour, mix
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.render import Scene


def lines(scene: Scene) -> list[str]:
    """The map alone."""
    return render.ansi(scene).splitlines()[1:-1]


def scene(pair: EnvPair, state: str | None, observation: str | None) -> Scene:
    model = pair.model
    seen = None if observation is None else model.observation_names.index(observation)
    return Scene(pair, None if state is None else model.state_names.index(state), seen, 0)


def count(picture: RGB, colour: Colour) -> int:
    return int((picture == np.array(colour, dtype=np.uint8)).all(axis=2).sum())


@pytest.mark.parametrize(
    ("heading", "arrow"), [("north", "^"), ("east", ">"), ("south", "v"), ("west", "<")]
)
def test_full_view_shows_cell_and_heading(heading: str, arrow: str) -> None:
    shown = scene(make("hallway"), f"cell-12-{heading}", "no-walls")
    assert lines(shown) == [
        "#############",
        "#..1.2.3.4..#",
        f"###.#{arrow}#.#+###",
        "#############",
    ]


def test_full_view_of_a_state_without_heading_shows_a_plain_robot() -> None:
    assert lines(scene(make("mini-hall2"), "goal", "goal"))[3] == "##@#"


def test_restricted_view_marks_the_cells_that_fit_well() -> None:
    """One wall, to the left: the entrances of the side cells, facing east."""
    assert lines(scene(make("hallway"), None, "walls-left"))[1:3] == [
        "#..?.?.?.?..#",
        "###.#.#.#+###",
    ]
    assert lines(scene(make("hallway"), None, "landmark-3"))[1] == "#..1.2.?.4..#"
    assert lines(scene(make("tiger-grid"), None, None))[1:3] == ["#-.+.-#", "#.?#?.#"]


def test_fit_is_relative_to_the_best_state() -> None:
    model = make("hallway").model
    fits = render_poses.fit(model, model.observation_names.index("walls-left"))
    at = {name: s for s, name in enumerate(model.state_names)}
    assert fits[at["cell-2-east"]] == 1.0
    assert fits[at["cell-1-east"]] == pytest.approx(0.1 / 0.95)  # one wall more than reported
    assert fits[at["goal-north"]] == 0.0
    np.testing.assert_array_equal(render_poses.fit(model, None), model.initial > 0.0)


def test_picture_of_the_restricted_view_points_at_headings_and_shows_no_robot() -> None:
    pair = make("tiger-grid")
    full = render.rgb(scene(pair, "cell-6-north", None))
    restricted = render.rgb(scene(pair, None, None))
    pointer = mix(WHITE, TEAL, 0.85)
    assert count(full, ORANGE) > 500
    assert count(full, pointer) == 0
    assert count(restricted, ORANGE) == 0
    assert count(restricted, pointer) > 300
    left, right = restricted[:, :240], restricted[:, 240:]
    assert count(left, pointer) == pytest.approx(count(right, pointer), abs=20)


def test_tmaze_shows_the_goal_to_the_full_view_alone() -> None:
    pair = make("tmaze", length=2)
    assert lines(scene(pair, "goal-south-cell-1", "cue-south"))[1:4] == ["###-#", "#v@.#", "###+#"]
    assert lines(scene(pair, "goal-north-junction", "junction"))[1:4] == ["###+#", "#^.@#", "###-#"]
    assert lines(scene(pair, None, "cue-south"))[1:4] == ["###.#", "#??.#", "###.#"]
    assert lines(scene(pair, None, "junction"))[1:4] == ["###.#", "#..?#", "###.#"]
    frames = [render.rgb(scene(pair, None, seen)) for seen in ("cue-north", "cue-south")]
    maps = [frame[render.TOP : render.BOTTOM] for frame in frames]
    assert (maps[0] != maps[1]).any()  # the cue is drawn while it is seen

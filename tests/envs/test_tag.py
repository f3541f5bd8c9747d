"""Tag: its map and rules by hand, its four exceptions, its pictures, the archive's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.envs import make, render
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.render import Scene

TAGGED = 29
PLACES = [(x, y) for y in range(2) for x in range(10)]
PLACES += [(x, y) for y in range(2, 5) for x in range(5, 8)]
"""(x, y) of each cell, y upwards."""
STEPS = {"North": (0, 1), "South": (0, -1), "East": (1, 0), "West": (-1, 0)}


@pytest.fixture(scope="module")
def model() -> TabularPOMDP:
    return make("tag").model


def moved(cell: int, dx: int, dy: int) -> int:
    x, y = PLACES[cell]
    place = (x + dx, y + dy)
    return PLACES.index(place) if place in PLACES else cell


def chances(
    model: TabularPOMDP, robot: int, target: int, action: str
) -> dict[tuple[int, int], float]:
    matrix = model.transition_of(model.action_names.index(action))
    row = matrix[[30 * robot + target]].toarray()[0]  # type: ignore[union-attr]
    return {divmod(int(s), 30): round(float(row[s]), 12) for s in np.flatnonzero(row)}


@pytest.mark.parametrize(
    ("robot", "target", "action", "after"),
    [
        # Apart in both ways: 0.4 along each axis, away.
        (22, 15, "North", {(25, 14): 0.4, (25, 5): 0.4, (25, 15): 0.2}),
        (22, 15, "East", {(22, 14): 0.4, (22, 5): 0.4, (22, 15): 0.2}),  # a wall stops the robot
        (12, 22, "South", {(2, 25): 0.4, (2, 22): 0.6}),  # a wall to the east of 22
        (1, 0, "East", {(2, 0): 0.8, (2, 10): 0.2}),
        # One axis shared: 0.2 each way along it.
        (5, 15, "West", {(4, 20): 0.4, (4, 14): 0.2, (4, 16): 0.2, (4, 15): 0.2}),
        (3, 7, "North", {(13, 8): 0.4, (13, 17): 0.2, (13, 7): 0.4}),
        # In one cell: 0.2 each way.
        (15, 15, "North", {(20, t): 0.2 for t in (20, 5, 14, 16, 15)}),
        (0, 0, "South", {(0, 0): 0.6, (0, 1): 0.2, (0, 10): 0.2}),
        # Tagged: nothing changes.
        (12, TAGGED, "North", {(12, TAGGED): 1.0}),
        (12, 13, "Catch", {(12, 13): 1.0}),
        (12, 12, "Catch", {(12, TAGGED): 1.0}),
        (12, TAGGED, "Catch", {(12, TAGGED): 1.0}),
        # The exceptions, as in the archive.
        (19, 19, "West", {(18, 9): 0.25, (18, 18): 0.25, (18, 19): 0.5}),
        (25, 23, "South", {(22, 20): 0.2, (22, 23): 0.6, (22, 25): 0.2}),
        (27, 24, "East", {(28, 21): 0.2, (28, 23): 0.2, (28, 24): 0.4, (28, 25): 0.2}),
    ],
)
def test_tag_moves_the_robot_and_the_target(
    robot: int, target: int, action: str, after: dict[tuple[int, int], float], model: TabularPOMDP
) -> None:
    assert chances(model, robot, target, action) == after


def test_tag_target_flees_by_one_rule_but_in_four_places(model: TabularPOMDP) -> None:
    odd = set()
    for action, step in STEPS.items():
        for robot in range(29):
            for target in range(29):
                expected = dict.fromkeys([(moved(robot, *step), target)], 0.2)
                for axis in range(2):
                    offset = PLACES[target][axis] - PLACES[robot][axis]
                    ways = {-1: 0.2, 1: 0.2} if offset == 0 else {int(np.sign(offset)): 0.4}
                    for way, chance in ways.items():
                        cell = moved(target, *((way, 0) if axis == 0 else (0, way)))
                        place = (moved(robot, *step), cell)
                        expected[place] = expected.get(place, 0.0) + chance
                if chances(model, robot, target, action) != pytest.approx(expected):
                    odd.add((action, robot, target))
    places = [(19, 19), (27, 27), (25, 23), (27, 24)]
    assert odd == {(action, *place) for action in STEPS for place in places}


def test_tag_pays_and_starts_as_described(model: TabularPOMDP) -> None:
    assert model.n_states == 29 * 30
    robot, target = np.divmod(np.arange(870), 30)
    assert set(model.reward[:, :4].reshape(-1)) == {-1.0}
    catch = model.reward[:, 4]
    assert catch[30 * 7 + 7] == 10.0
    assert catch[30 * 7 + 8] == -10.0
    assert catch[30 * 7 + TAGGED] == 0.0
    assert (np.unique(catch, return_counts=True)[1] == [812, 29, 29]).all()
    np.testing.assert_allclose(model.initial, np.where(target == TAGGED, 0.0, 1 / 841))
    assert not model.terminal.any()
    assert model.discount == 0.95
    assert robot[-1] == 28


def test_tag_shows_the_robots_cell_or_the_target(model: TabularPOMDP) -> None:
    for action in range(5):
        seen = model.observation_of(action).toarray()  # type: ignore[union-attr]
        names = {
            s: model.observation_names[int(seen[s].argmax())] for s in (30 * 7 + 8, 30 * 7 + 7)
        }
        assert seen.max(axis=1).tolist() == [1.0] * 870
        assert names[30 * 7 + 8] == "o7"
        assert names[30 * 7 + 7] == ("o7" if model.action_names[action] == "Catch" else "yes")
        assert model.observation_names[int(seen[30 * 7 + TAGGED].argmax())] == "o7"


def test_tag_equals_the_archive(model: TabularPOMDP, shared_data: Path) -> None:
    """The file writes 1/6 as 0.166667; nothing else is rounded."""
    archive = TabularPOMDP.load(shared_data / "pomdp" / "TagAvoid.POMDP")
    for part in ("state_names", "action_names", "observation_names", "discount"):
        assert getattr(model, part) == getattr(archive, part)
    for action in range(5):
        for part, tolerance in (("transition_of", 1e-6), ("observation_of", 0.0)):
            ours, theirs = (getattr(m, part)(action).toarray() for m in (model, archive))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=part)
    np.testing.assert_array_equal(model.reward, archive.reward)
    np.testing.assert_array_equal(model.terminal, archive.terminal)
    np.testing.assert_allclose(model.initial, archive.initial, rtol=1e-5)


# --- pictures ------------------------------------------------------------------------------------

EMPTY = ["     ...", "     ...", "     ...", "..........", ".........."]


def lines(state: int | None, observation: int | None, action: int | None) -> list[str]:
    return render.ansi(Scene(make("tag"), state, observation, action)).splitlines()[1:-1]


def test_tag_text_by_hand() -> None:
    apart = [*EMPTY[:2], "     .T.", "....@.....", ".........."]
    assert lines(30 * 14 + 21, 14, 0) == apart
    together = [*EMPTY[:3], "....&.....", ".........."]
    assert lines(30 * 14 + 14, 29, 0) == together
    assert lines(30 * 14 + TAGGED, 14, 4) == [*EMPTY[:3], "....@.....", "..........", "tagged"]


def test_tag_restricted_text_shows_the_robot_only_where_it_sees_its_cell() -> None:
    assert lines(None, 14, 0) == [*EMPTY[:3], "....@.....", ".........."]
    unknown = [line.replace(".", "?") for line in EMPTY]
    assert lines(None, 29, 0) == unknown
    assert lines(None, None, None) == unknown


def test_tag_picture_shows_both_figures() -> None:
    pair = make("tag")
    base, target, robot = (
        render.rgb(Scene(pair, s, 0, 0))[:352] for s in (30 * 0 + 9, 30 * 0 + 8, 30 * 10 + 9)
    )
    columns = np.nonzero((base != target).any(axis=2))[1]
    assert columns.min() > 480 * 0.75  # cells 8 and 9 lie in the east
    rows, columns = np.nonzero((base != robot).any(axis=2))
    assert columns.max() < 480 * 0.25
    assert rows.min() > 200

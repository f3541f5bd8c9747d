from __future__ import annotations

import numpy as np
import pytest

import imm_rl
from imm_rl.envs import layout as places
from imm_rl.envs.render_beliefs import likeliest, text
from imm_rl.envs.render_poses import PoseBoard

N, E, S, W, NO = 0, 1, 2, 3, places.STAYS


def board_of(name: str) -> PoseBoard:
    board = places.layout(imm_rl.make(name))
    assert board is not None
    return board


@pytest.mark.parametrize("name", ["tiger", "rocksample", "tag", "network"])
def test_layout_is_none_where_states_have_no_places(name: str) -> None:
    assert places.layout(imm_rl.make(name)) is None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("grid", [N, S, W, E]),
        ("4x3", [N, S, E, W]),
        ("cheese", [N, S, E, W]),
        ("1d", [W, E]),
        ("tmaze", [N, S, E, W]),
    ],
)
def test_directions_of_compass_moves_are_the_same_in_every_state(
    name: str, wanted: list[int]
) -> None:
    moves, turns = places.directions(imm_rl.make(name), board_of(name))

    assert (moves == wanted).all()
    assert (turns == NO).all()


def test_directions_of_a_robot_turn_with_it() -> None:
    pair, board = imm_rl.make("hallway"), board_of("hallway")
    moves, turns = places.directions(pair, board)

    assert pair.model.action_names == ("stay", "forward", "turn-right", "turn-around", "turn-left")
    east = pair.model.state_names.index("cell-0-east")
    assert moves[east].tolist() == [NO, E, NO, NO, NO]  # a slip of "stay" is no way to go
    assert turns[east].tolist() == [NO, NO, S, W, N]


def test_by_cell_and_by_pose_sum_over_what_the_map_does_not_show() -> None:
    board = board_of("tmaze")
    n_states = len(board.places)
    half = n_states // 2
    values = np.arange(n_states, dtype=float)

    np.testing.assert_array_equal(places.by_cell(board, values), values[:half] + values[half:])
    summed = places.by_pose(board, values)
    np.testing.assert_array_equal(summed, np.tile(values[:half] + values[half:], 2))
    assert places.layers(board).tolist() == [0] * half + [1] * half
    assert (places.layers(board_of("hallway")) == 0).all()


def test_belief_in_text_is_shaded_by_what_is_likeliest() -> None:
    pair = imm_rl.make("4x3")
    belief = np.zeros(11)
    belief[[0, 1, 2, 4]] = 0.5, 0.3, 0.15, 0.05

    assert text(pair, belief).split("\n") == ["######", "#█▓▒·#", "#░#··#", "#····#", "######"]
    assert likeliest(pair, belief, 2) == [("cell-0", 0.5), ("cell-1", 0.3)]
    assert len(likeliest(pair, belief, 9)) == 4  # none that is impossible

"""Where the states of a problem lie on its map, and which way its actions lead: what maps are drawn on.

Index letters: S states, A actions, C cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from imm_rl.envs.render_maps import Board
from imm_rl.envs.render_poses import NO_HEADING, PoseBoard

if TYPE_CHECKING:
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.options import IntArray
    from imm_rl.envs.pair import EnvPair

OFFSETS = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""(row, column) step of each heading: north, east, south, west."""

STAYS = -1
"""Stands for no direction."""

MEANT = 0.5
"""What an action does with less probability wherever one stands is a slip."""


def layout(pair: EnvPair) -> PoseBoard | None:
    """The map of a pair with the cell and heading of each state; None where states have no places."""
    board = None if pair.draw is None else pair.draw.board
    if isinstance(board, Board):
        n = len(board.places)
        headings = np.full(n, NO_HEADING)
        return PoseBoard(
            board.places, board.shape, board.marks, board.values, np.arange(n), headings
        )
    return board


def by_cell(board: PoseBoard, values: FloatArray) -> FloatArray:
    """Sums (C,) of what belongs to the states (S,) of each cell."""
    return np.asarray(
        np.bincount(board.places, weights=values, minlength=len(board.cells)), dtype=np.float64
    )


def by_pose(board: PoseBoard, values: FloatArray) -> FloatArray:
    """For each state (S,) the sum over all states that lie in its cell and have its heading."""
    number = _pose(board)
    return np.asarray(np.bincount(number, weights=values)[number], dtype=np.float64)


def layers(board: PoseBoard) -> IntArray:
    """The layer (S,) of each state: how many states before it have its cell and heading.

    Where something that no map shows, such as which way the goal is, makes several states of a pose,
    each value of it is a layer.
    """
    number = _pose(board)
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(number), dtype=np.int64)
    rank[order] = np.arange(len(number)) - starts
    return rank


def _pose(board: PoseBoard) -> IntArray:
    """One number for each cell and heading, (S,)."""
    number: IntArray = board.places * 5 + board.headings % 5
    return number


def directions(pair: EnvPair, board: PoseBoard) -> tuple[IntArray, IntArray]:
    """Which way actions lead, read off the model.

    An action means the change of place or heading that it makes most often over all states, if that is
    more than a slip, of probability `MEANT` in some state; walls in the way do not count.

    Returns:
        moves: (S, A) in 0 to 3, north, east, south, west: to which neighbouring cell; or `STAYS`.
        turns: (S, A) likewise, which way a robot faces afterwards if it stays in its cell; or `STAYS`.
    """
    n_states, n_actions = pair.model.n_states, pair.model.n_actions
    moves = np.full((n_states, n_actions), STAYS)
    turns = np.full((n_states, n_actions), STAYS)
    facing = np.where(board.headings == NO_HEADING, 0, board.headings)
    posed = bool((board.headings != NO_HEADING).any())
    for action in range(n_actions):
        side, turn = _usual_change(pair, board, action)
        # Where headings exist, a change is one relative to the heading.
        if side != STAYS:
            moves[:, action] = (side + facing) % 4
        elif turn != 0:
            turns[:, action] = (turn + facing) % 4
        if posed:  # a state without a heading, such as a goal, leads to no side
            moves[board.headings == NO_HEADING, action] = STAYS
            turns[board.headings == NO_HEADING, action] = STAYS
    return moves, turns


def _usual_change(pair: EnvPair, board: PoseBoard, action: int) -> tuple[int, int]:
    """The side moved to (relative to the heading) and the quarter turns of most probability."""
    matrix = sp.coo_array(pair.model.transition_of(action))
    before, after = matrix.coords
    places = np.array(board.cells)[board.places]
    rows, columns = board.shape
    step = places[after] - places[before]
    # Round the edge of a torus: from the first row to the last is one step north.
    half = np.array([rows // 2, columns // 2])
    step = (step + half) % [rows, columns] - half
    headings = board.headings
    side = np.full(len(before), STAYS)
    for heading, offset in enumerate(OFFSETS):
        side[(step == offset).all(axis=1)] = heading
    known = (headings[before] != NO_HEADING) & (headings[after] != NO_HEADING)
    turn = np.where(known, (headings[after] - headings[before]) % 4, 0)
    side = np.where((side != STAYS) & known, (side - headings[before]) % 4, side)
    # A jump to a cell that is no neighbour is nobody's way to go.
    changes = np.where((step != 0).any(axis=1), side != STAYS, turn != 0)
    weights = np.zeros((5, 4))  # the last row: no other cell
    np.add.at(weights, (side[changes] % 5, turn[changes]), matrix.data[changes])
    if not weights.any():
        return STAYS, 0
    best_side, best_turn = np.unravel_index(int(weights.argmax()), weights.shape)
    usual = changes & (side % 5 == best_side) & (turn == best_turn)
    if matrix.data[usual].max() < MEANT:
        return STAYS, 0
    return (STAYS if best_side == 4 else int(best_side)), int(best_turn)

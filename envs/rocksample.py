"""RockSample: a rover on a square map of rocks samples the good ones and leaves by the east side.

`size` × `size` cells (x, y), x to the east and y to the north, and `rocks` rocks in known cells, each
good or bad with probability 1/2. The rover knows where it is. Actions: north, east, south, west move
one cell; check i measures rock i from afar; sample takes the rock in the rover's cell: +10 if it is
good (it is bad from then on), −10 if it is bad. Moving off the east side pays 10 and ends; moving off any
other side, and sampling where no rock is, costs 100 and ends. γ = 0.95. A check tells rightly whether
the rock is good with probability (1 + η)/2, η = 2^(−d/d0), where d is the distance to the rock
and d0 the `half_efficiency_distance`; every other action observes "good", which says nothing.

The rover starts in cell (0, size // 2), the rocks' qualities uniform. States are numbered by x, then y,
then the rocks' qualities as a binary number whose first digit is rock 0 (1: good); the end comes last:
size² · 2^rocks + 1 states. Names are those of the archive's RockSample_4_4.POMDP, which
`rocksample(4,4)` equals up to that file's six decimals: state s<x><y><qualities> (s<x>-<y>-<qualities>
where size > 10), st the end; actions amn, ame, ams, amw, ac0 …, as; observations ogood, obad.

Source: T. Smith, R. Simmons, "Heuristic Search Value Iteration for POMDPs", UAI 2004. The layouts of
(4,4), (5,5), (5,7), (7,8) and (10,10) are Smith's, as in his ZMDP software, with his d0, which differ:
20 but for (5,5), 4, and (4,4), ln 2 (η = e^(−d), as the archive's file has it).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import options, render_rocks, stacks
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError, invalid

MOVES = (("amn", 0, 1), ("ame", 1, 0), ("ams", 0, -1), ("amw", -1, 0))
"""Name, dx and dy of each move."""
OBSERVATIONS = ("ogood", "obad")
HALF_EFFICIENCY_DISTANCE = 20.0
"""d0 where a published layout has no other."""
MOST_STATES = 2_000_000


class Layout(NamedTuple):
    """Where the rocks lie and how well the sensor works."""

    rocks: tuple[tuple[int, int], ...]
    half_efficiency_distance: float = HALF_EFFICIENCY_DISTANCE


LAYOUTS = {
    (4, 4): Layout(((3, 1), (2, 1), (1, 3), (1, 0)), math.log(2.0)),
    (5, 5): Layout(((2, 4), (0, 4), (3, 3), (2, 2), (4, 1)), 4.0),
    (5, 7): Layout(((1, 0), (2, 1), (1, 2), (2, 2), (4, 2), (0, 3), (3, 4))),
    (7, 8): Layout(((2, 0), (0, 1), (3, 1), (6, 3), (2, 4), (3, 4), (5, 5), (1, 6))),
    (10, 10): Layout(
        ((0, 3), (0, 7), (1, 8), (3, 3), (3, 8), (4, 3), (5, 8), (6, 1), (9, 3), (9, 9))
    ),
}
"""The published layouts, by (size, rocks)."""


def rocksample(
    size: int = 4,
    rocks: int = 4,
    *,
    rock_positions: Any = None,
    seed: int | None = None,
    half_efficiency_distance: float | None = None,
    max_steps: int = 50,
) -> EnvPair:
    """Builds the pair.

    Args:
        size: Cells along each side.
        rocks: Number of rocks.
        rock_positions: A cell (x, y) for each rock, no two alike; None: the published layout.
        seed: Draws the rocks' cells at random instead, every set of cells alike: those numbered
            `numpy.random.default_rng(seed).choice(size², rocks, replace=False)`, in that order, where
            cell c is (c // size, c % size).
        half_efficiency_distance: d0, the distance at which the sensor's efficiency η is 1/2; None:
            that of the published layout, 20 where the layout is another.
        max_steps: Steps after which an episode is cut.

    Raises:
        InvalidInputError: An option is out of range, or no layout is published for this size and
            neither rock_positions nor seed is given.
    """
    size = options.whole("size", size, at_least=1)
    rocks = options.whole("rocks", rocks, at_least=1)
    n_states = size * size * 2 ** min(rocks, 64) + 1
    if n_states > MOST_STATES:
        constraint = f"give at most {MOST_STATES:,} states, size² · 2^rocks + 1"
        raise invalid(f"rocksample({size}, {rocks})", constraint, n_states)
    layout = _layout(size, rocks, rock_positions, seed)
    distance = layout.half_efficiency_distance
    if half_efficiency_distance is not None:
        distance = options.positive("half_efficiency_distance", half_efficiency_distance)
    return EnvPair(
        "rocksample",
        _model(size, layout.rocks, distance),
        max_steps=max_steps,
        source="Smith and Simmons, UAI 2004; archive RockSample_4_4.POMDP",
        draw=render_rocks.drawing(size, layout.rocks),
    )


def _layout(size: int, rocks: int, rock_positions: Any, seed: int | None) -> Layout:
    if rock_positions is not None:
        if seed is not None:
            raise invalid("seed", "not be given with rock_positions", seed)
        return Layout(_checked_positions(size, rocks, rock_positions))
    if seed is not None:
        rng = np.random.default_rng(options.whole("seed", seed, at_least=0))
        if rocks > size * size:
            raise invalid("rocks", f"be at most the {size * size} cells", rocks)
        cells = rng.choice(size * size, rocks, replace=False).tolist()
        return Layout(tuple(divmod(cell, size) for cell in cells))
    if (size, rocks) not in LAYOUTS:
        known = ", ".join(f"({n},{k})" for n, k in LAYOUTS)
        raise InvalidInputError(
            f"rocksample({size}, {rocks}) has no published layout; those are {known}. Give "
            "rock_positions=[[x, y], ...], or seed=0 for rocks in random cells."
        )
    return LAYOUTS[size, rocks]


def _checked_positions(size: int, rocks: int, value: Any) -> tuple[tuple[int, int], ...]:
    cells = options.indices("rock_positions", value, size)
    if cells.shape != (rocks, 2):
        raise invalid("rock_positions", f"be {rocks} cells (x, y), one a rock", value)
    positions: list[tuple[int, int]] = [(x, y) for x, y in cells.tolist()]
    if len(set(positions)) != rocks:
        raise invalid("rock_positions", "be different cells", value)
    return tuple(positions)


def _model(size: int, rocks: tuple[tuple[int, int], ...], half_distance: float) -> TabularPOMDP:
    n_rocks = len(rocks)
    n_states = size * size * 2**n_rocks + 1
    end = n_states - 1
    cell, quality = np.divmod(np.arange(end), 2**n_rocks)
    x, y = np.divmod(cell, size)
    here = np.arange(end)

    after, rewards = [], []
    for _, dx, dy in MOVES:
        inside = (x + dx >= 0) & (x + dx < size) & (y + dy >= 0) & (y + dy < size)
        after.append(np.where(inside, here + (dx * size + dy) * 2**n_rocks, end))
        rewards.append(np.where(inside, 0.0, 10.0 if dx > 0 else -100.0))
    after += [here] * n_rocks
    rewards += [np.zeros(end)] * n_rocks
    sampled, paid = np.full(end, end), np.full(end, -100.0)
    good = [(quality >> (n_rocks - 1 - i)) & 1 == 1 for i in range(n_rocks)]
    for i, (rock_x, rock_y) in enumerate(rocks):
        there = (x == rock_x) & (y == rock_y)
        sampled[there] = (here - good[i] * 2 ** (n_rocks - 1 - i))[there]
        paid[there] = np.where(good[i], 10.0, -10.0)[there]
    after.append(sampled)
    rewards.append(paid)

    says_nothing = _readings(np.ones(n_states))
    seen = [says_nothing] * len(MOVES)
    for i, (rock_x, rock_y) in enumerate(rocks):
        efficiency = np.exp2(-np.hypot(x - rock_x, y - rock_y) / half_distance)
        share = 0.5 * np.where(good[i], 1.0 + efficiency, 1.0 - efficiency)
        seen.append(_readings(np.append(share, 1.0)))
    seen.append(says_nothing)

    start = np.zeros(n_states)
    first = (size // 2) * 2**n_rocks
    start[first : first + 2**n_rocks] = 0.5**n_rocks
    transition, observation = stacks.stacked([_moves(np.append(a, end)) for a in after], seen)
    return TabularPOMDP(
        transition,
        observation,
        reward=np.stack([np.append(r, 0.0) for r in rewards], axis=1),
        initial=start,
        discount=0.95,
        terminal=np.arange(n_states) == end,
        state_names=_state_names(size, n_rocks),
        action_names=[m[0] for m in MOVES] + [f"ac{i}" for i in range(n_rocks)] + ["as"],
        observation_names=OBSERVATIONS,
    )


def _moves(after: npt.NDArray[np.int64]) -> sp.csr_array:
    """The matrix (S, S) of moves that surely lead from s to after[s]."""
    n_states = after.size
    return sp.csr_array(
        (np.ones(n_states), after, np.arange(n_states + 1)), shape=(n_states, n_states)
    )


def _readings(share: FloatArray) -> sp.csr_array:
    """The matrix (S, 2) of observations, "good" with probability share[s]."""
    both = np.stack([share, 1.0 - share], axis=1)
    return sp.csr_array(both)


def _state_names(size: int, n_rocks: int) -> list[str]:
    bits = [format(q, f"0{n_rocks}b") for q in range(2**n_rocks)]
    dash = "-" if size > 10 else ""  # two-digit coordinates would run into each other
    cells = [f"s{x}{dash}{y}{dash}" for x in range(size) for y in range(size)]
    return [cell + quality for cell in cells for quality in bits] + ["st"]

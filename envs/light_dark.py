"""Light-dark: find the goal on a dark line; first go where there is light, to see where you are.

    . . . . . . . G G G . . @ . * * * . . . .      G goal, * light

The agent stands in one of `size` cells in a row and does not know in which: the start is uniform.
`left` and `right` move one cell, surely, and cost 0.1; the ends stop it. `stop` ends the episode: it
pays 10 in the goal, which is the cell `goal` and the one on each side of it, and −10 anywhere else.
γ = 0.95.

After each move the agent measures its cell. In the light, which is the cell `light` and the one on each
side, the reading is exact. In the dark it is normal around the true cell, with a standard deviation of
d/√2 cells, where d is the distance to the nearest lit cell; it is rounded to a cell, and beyond an end
to the last cell. After `stop` the reading is "end". A good policy goes away from the goal, into the
light, and then comes back counting its steps (discounted return 5.2 with the default options); QMDP, which
never goes anywhere to see, earns 4.0. Ends can be felt, too: with the goal close to one, walking into it is
the surer way to know where one is.

The state is the cell, and one more for the end, last.

Source: after R. Platt, R. Tedrake, L. Kaelbling, T. Lozano-Pérez, "Belief space planning assuming
maximum likelihood observations", RSS 2010, whose plane is here a line of cells; the noise that grows
linearly with the distance to the light is that of the one-dimensional form in POMDPs.jl.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import options, render_gauges, stacks
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import invalid

ACTIONS = ("left", "right", "stop")
RADIUS = 1
"""Cells on each side of `goal` that belong to the goal, and of `light` that are lit."""
NOISE = math.sqrt(0.5)
"""Standard deviation of a reading, cells per cell of distance to the light."""
MOVE, RIGHT_STOP, WRONG_STOP = -0.1, 10.0, -10.0


def light_dark(
    *, size: int = 21, light: int | None = None, goal: int | None = None, max_steps: int = 50
) -> EnvPair:
    """Builds the pair.

    Args:
        size: Cells of the line.
        light: The middle of the light, a cell from 0; None: three quarters along the line.
        goal: The middle of the goal, a cell from 0; None: two fifths along the line.
        max_steps: Steps after which an episode is cut.
    """
    size = options.whole("size", size, at_least=3)
    light = _cell("light", 3 * (size - 1) // 4 if light is None else light, size)
    goal = _cell("goal", 2 * (size - 1) // 5 if goal is None else goal, size)
    return EnvPair(
        "light-dark",
        _model(size, light, goal),
        max_steps=max_steps,
        source="after Platt, Tedrake, Kaelbling and Lozano-Pérez, RSS 2010",
        draw=render_gauges.light_dark(size, light, goal, RADIUS),
    )


def _cell(name: str, value: int, size: int) -> int:
    cell = options.whole(name, value, at_least=0)
    if cell >= size:
        raise invalid(name, f"be a cell of the line, in [0, {size})", value)
    return cell


def _model(size: int, light: int, goal: int) -> TabularPOMDP:
    n_states, end = size + 1, size
    cells = np.arange(size)
    after = [np.maximum(cells - 1, 0), np.minimum(cells + 1, size - 1), np.full(size, end)]
    everywhere = np.arange(n_states)
    ones = np.ones(n_states)
    transitions = [
        sp.csr_array((ones, (everywhere, np.append(a, end))), shape=(n_states, n_states))
        for a in after
    ]
    readings = np.zeros((n_states, n_states))
    readings[end, end] = 1.0
    dark = np.maximum(np.abs(cells - light) - RADIUS, 0)
    for cell in range(size):
        readings[cell, :size] = _reading(cell, NOISE * float(dark[cell]), size)
    stops = np.where(np.abs(cells - goal) <= RADIUS, RIGHT_STOP, WRONG_STOP)
    reward = np.stack([np.full(size, MOVE), np.full(size, MOVE), stops], axis=1)
    transition, observation = stacks.stacked(transitions, [sp.csr_array(readings)] * 3)
    return TabularPOMDP(
        transition,
        observation,
        reward=np.vstack([reward, np.zeros(3)]),
        initial=np.append(np.full(size, 1.0 / size), 0.0),
        discount=0.95,
        terminal=everywhere == end,
        state_names=[f"cell-{c}" for c in cells] + ["end"],
        action_names=ACTIONS,
        observation_names=[f"near-{c}" for c in cells] + ["end"],
    )


def _reading(cell: int, deviation: float, size: int) -> FloatArray:
    """The chances (size,) of each reading in a cell."""
    if deviation == 0.0:
        return np.asarray(np.arange(size) == cell, dtype=np.float64)
    # A reading is rounded to cell c between c − 1/2 and c + 1/2; what lies beyond an end is the end's.
    edges = (np.arange(size - 1) + 0.5 - cell) / (deviation * math.sqrt(2.0))
    below = [0.5 * (1.0 + math.erf(edge)) for edge in edges]
    return np.diff([0.0, *below, 1.0])

"""The grid of Induced Model Matching: a torus with a hill of reward, of which one coordinate shows.

A size × size torus of cells (x, y). Actions UP, DOWN, LEFT, RIGHT move by (y−1, y+1, x−1, x+1), round
the edges, without slips. The reward is that of the cell *entered*: the density at
(p[x], p[y]) of a normal with mean 0 and covariance `variance`·I, where p = linspace(−2, 2, size); its
peak is 1/(2π·variance), 1.59 at the centre. The start is uniform. γ = 0.9. The problem goes on for
ever; episodes are cut at 50 steps.

The restricted view sees x only, never y. Whatever was done and seen, y is uniform for it, because the
start is uniform and moves do not depend on where one is; hence `observation_beliefs`. The solver is
given the same grid with another width of the hill, `restricted_variance`, as in the source.

State index: s = x · size + y, so the cells that share an observation lie together.

Source: U. Muneeb, M. I. Ohannessian, "Induced Model Matching: Restricted Models Help Train
Full-Featured Models", NeurIPS 2024 (arXiv 2402.12513), section on reinforcement learning.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import options, render_maps
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair

ACTIONS = ("UP", "DOWN", "LEFT", "RIGHT")
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""(dx, dy) of each action; y grows downwards."""

DENSE_UP_TO = 1_000
"""States up to which the model is dense; above, four dense S × S matrices would be waste."""


def grid(
    *,
    size: int = 11,
    variance: float = 0.1,
    restricted_variance: float = 0.3,
    discount: float = 0.9,
    max_steps: int = 50,
) -> EnvPair:
    """Builds the pair.

    Args:
        size: Cells along each side.
        variance: Width of the reward hill that the environments pay.
        restricted_variance: Width of the hill in the model that the solver is given.
        discount: γ in (0, 1].
        max_steps: Steps after which an episode is cut.
    """
    size = options.whole("size", size, at_least=2)
    variance = options.positive("variance", variance)
    restricted_variance = options.positive("restricted_variance", restricted_variance)
    discount = options.discount(discount)
    return EnvPair(
        "grid",
        _model(size, variance, discount),
        restricted_model=_model(size, restricted_variance, discount),
        max_steps=max_steps,
        observation_beliefs=np.repeat(np.eye(size), size, axis=1) / size,
        source="Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513)",
        draw=render_maps.drawing(_board(size, variance)),
    )


def cell_rewards(size: int, variance: float) -> FloatArray:
    """The density of the reward hill, (size, size) by [x, y]."""
    position = np.linspace(-2.0, 2.0, size)
    squares = position[:, None] ** 2 + position[None, :] ** 2
    return np.asarray(np.exp(-squares / (2.0 * variance)) / (2.0 * np.pi * variance))


def _board(size: int, variance: float) -> render_maps.Board:
    rewards = cell_rewards(size, variance)
    places = [(y, x) for x in range(size) for y in range(size)]
    values = (rewards / rewards.max()).reshape(-1)
    return render_maps.Board(places, (size, size), " " * size * size, values)


def _model(size: int, variance: float, discount: float) -> TabularPOMDP:
    n_states = size * size
    x, y = np.divmod(np.arange(n_states), size)
    entered = [((x + dx) % size) * size + (y + dy) % size for dx, dy in MOVES]
    ones = np.ones(n_states)
    transition = [
        sp.csr_array((ones, (np.arange(n_states), after)), shape=(n_states, n_states))
        for after in entered
    ]
    seen = sp.csr_array((ones, (np.arange(n_states), x)), shape=(n_states, size))
    rewards = cell_rewards(size, variance).reshape(-1)
    dense = n_states <= DENSE_UP_TO
    return TabularPOMDP(
        transition=np.stack([t.toarray() for t in transition], axis=1) if dense else transition,
        observation=np.stack([seen.toarray()] * 4) if dense else [seen] * 4,
        reward=np.stack([rewards[after] for after in entered], axis=1),
        initial=ones / n_states,
        discount=discount,
        state_names=[f"x{i}-y{j}" for i, j in zip(x, y, strict=True)],
        action_names=ACTIONS,
        observation_names=[f"x{i}" for i in range(size)],
    )

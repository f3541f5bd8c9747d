"""A finite horizon as a POMDP of its own, so that every infinite-horizon solver solves it.

States of the layered model are pairs (t, s) of the steps done and the state, layer by layer, and one last
state, the end, that follows the last step. Every policy ends, so γ = 1 is allowed. `imm_rl.agents.solve`
solves it where a `horizon` is asked for, and takes the vectors' first layer.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import Solution
from imm_rl.agents.solvers.regions import Regions, find_regions
from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, TabularPOMDP


def layered(model: TabularPOMDP, horizon: SupportsIndex) -> TabularPOMDP:
    """The model of `horizon` steps of a model, as CSR arrays.

    State t·S + s is s after t steps, t < horizon; state horizon·S is the end. Terminal states stay in
    their layer. Observations and rewards are the model's, rewards the expected ones; the start belief
    lies in layer 0.

    Args:
        model: Any model, γ = 1 included.
        horizon: Steps H, ≥ 1. The layered model holds H times the non-zero entries of the model's.

    Raises:
        InvalidInputError: horizon is no whole number ≥ 1.
    """
    steps = options.whole("horizon", horizon, at_least=1)
    n_states = model.n_states
    ends = np.tile(model.terminal, steps)
    names = [f"{t}:{name}" for t in range(steps) for name in model.state_names]
    return TabularPOMDP(
        [_layered_transition(model, action, steps) for action in range(model.n_actions)],
        [_layered_observation(model, action, steps) for action in range(model.n_actions)],
        np.concatenate([np.tile(model.reward, (steps, 1)), np.zeros((1, model.n_actions))]),
        np.concatenate([model.initial, np.zeros((steps - 1) * n_states + 1)]),
        model.discount,
        terminal=np.append(ends, True),
        state_names=[*names, "end"],
        action_names=model.action_names,
        observation_names=model.observation_names,
    )


def layered_regions(model: TabularPOMDP, horizon: int) -> Regions:
    """The regions of `layered(model, horizon)` to solve it by: the model's, each in all layers.

    The layers themselves are regions too, and smaller ones, but then the first layer's vectors would know
    only where b0 is, and the policy acts on them at every step.
    """
    n_states, layers = model.n_states, np.arange(horizon)[:, None]
    sets = [
        np.append((layers * n_states + states).ravel(), horizon * n_states)
        for states in find_regions(model).sets
    ]
    return Regions(horizon * n_states + 1, sets)


def first_layer(solution: Solution, n_states: int) -> Solution:
    """What a layered model's solution says of the beliefs at the start: vectors (V, S).

    A vector holds the value of its plan from the states of every layer (see `layered_regions`), so its
    first S entries are the value of that plan within the horizon: lower bounds stay lower bounds, and
    FIB's and QMDP's upper bounds upper ones. It is executed by its vectors: a look-ahead on them would
    count a step too many. Vectors that only later layers tell apart are merged.

    Args:
        solution: Of `layered(model, horizon)`.
        n_states: S, of the model.
    """
    part: Any = solution.vectors[:, :n_states]
    base = solution.base
    first: FloatArray = part if base is None else part.toarray() + base[:n_states]
    both = np.column_stack([solution.actions, first])
    _, kept = np.unique(both, axis=0, return_index=True)
    kept = np.sort(kept)
    return solution._replace(
        vectors=np.ascontiguousarray(first[kept]),
        actions=solution.actions[kept],
        execution="vectors",
        base=None,
    )


def _layered_transition(model: TabularPOMDP, action: int, steps: int) -> sp.csr_array:
    """One layer on, from the last to the end; terminal states and the end stay."""
    n_states, end = model.n_states, steps * model.n_states
    step = sp.coo_array(model.transition_of(action))
    used = ~model.terminal[step.row] & (step.data > 0.0)
    layers = n_states * np.arange(steps - 1)[:, None]
    last = end - n_states + np.flatnonzero(~model.terminal)
    stay = np.append(np.flatnonzero(np.tile(model.terminal, steps)), end)
    rows = [(step.row[used] + layers).ravel(), last, stay]
    columns = [(step.col[used] + layers + n_states).ravel(), np.full(last.size, end), stay]
    data = [np.tile(step.data[used], steps - 1), np.ones(last.size + stay.size)]
    entries = (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns)))
    return sp.csr_array(sp.coo_array(entries, shape=(end + 1, end + 1)))


def _layered_observation(model: TabularPOMDP, action: int, steps: int) -> sp.csr_array:
    """The model's in every layer; at the end always the first, as nothing is left to learn."""
    end = sp.csr_array(([1.0], ([0], [0])), shape=(1, model.n_observations))
    return sp.csr_array(sp.vstack([*[sp.csr_array(model.observation_of(action))] * steps, end]))

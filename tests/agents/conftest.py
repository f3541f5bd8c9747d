"""An oracle and a model that several tests of solvers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.envs.model import FloatArray, TabularPOMDP


class Table:
    """What pomdp-py asks of a model, answered from arrays."""

    def __init__(self, table: Any) -> None:
        self.table = np.asarray(table)

    def probability(self, outcome: int, *given: int) -> float:
        return float(self.table[(*given, outcome)])

    def sample(self, state: int, action: int, _: int) -> float:
        return float(self.table[state, action])


@pytest.fixture
def pomdp_py_value() -> Callable[[TabularPOMDP, FloatArray, int], float]:
    """The value of a belief (S,) in a dense model over a horizon, as pomdp-py computes it."""
    oracle = pytest.importorskip(
        "pomdp_py.algorithms.value_function", reason="pomdp-py is not installed"
    )

    def value(model: TabularPOMDP, belief: FloatArray, horizon: int) -> float:
        found = oracle.value(
            dict(enumerate(belief)),
            list(range(model.n_states)),
            list(range(model.n_actions)),
            list(range(model.n_observations)),
            Table(model.transition),  # asked for probability(s', s, a)
            Table(np.stack(model.observation).transpose(1, 0, 2)),  # probability(o, s', a)
            Table(model.reward),
            model.discount,
            horizon=horizon,
        )
        return float(found)

    return value


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def cheese_model(request: pytest.FixtureRequest) -> TabularPOMDP:
    """Cheese with its tables dense, and as CSR."""
    model = imm_rl.make("cheese").model
    if not request.param:
        return model
    actions = range(model.n_actions)
    parts: list[list[Any]] = [
        [sp.csr_array(model.transition_of(a)) for a in actions],
        [sp.csr_array(model.observation_of(a)) for a in actions],
    ]
    return TabularPOMDP(
        *parts, model.reward, model.initial, model.discount, terminal=model.terminal
    )

"""BeliefFilter gives what belief.update gives, by table and past the size of the table."""

from __future__ import annotations

import numpy as np
import pytest

import imm_rl
from imm_rl.envs import belief, belief_filter
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize("most", [0, belief_filter.MOST_TABLE_STATES])
@pytest.mark.parametrize("name", ["tiger", "cheese", "4x3", "crying-baby", "grid(size=3)"])
def test_filter_equals_belief_update(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief_filter, "MOST_TABLE_STATES", most)
    pair = imm_rl.make(name)
    model, rng = pair.model, np.random.default_rng(0)
    beliefs = rng.dirichlet(np.ones(model.n_states), 40)
    states = rng.integers(model.n_states, size=40)
    actions = rng.integers(model.n_actions, size=40)
    after = pair.sampler.transition(states, actions, rng.random(40))
    seen = pair.sampler.observe(actions, after, rng.random(40))
    found = BeliefFilter(model).update(beliefs, actions, seen)
    np.testing.assert_allclose(found, belief.update(beliefs, actions, seen, model), atol=1e-14)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_filter_refuses_an_impossible_observation() -> None:
    model = imm_rl.make("cheese").model
    sure = np.eye(model.n_states)[:1]
    possible = (sure @ model.transition_of(0)) @ model.observation_of(0)
    impossible = np.array([int(np.flatnonzero(possible[0] == 0.0)[0])])
    with pytest.raises(InvalidInputError, match="observation"):
        BeliefFilter(model).update(sure, np.zeros(1, dtype=int), impossible)

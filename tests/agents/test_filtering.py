"""The filter along a rollout against `BeliefFilter.follow`, which goes through it step by step."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.agents import filtering
from imm_rl.agents.filtering import beliefs_along
from imm_rl.envs import make
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.errors import InvalidInputError

SPECS = ["tiger", "hallway", "rocksample(4,4)"]  # a table of updates, dense rows, sparse rows


def a_rollout(spec, n_steps, n_rows, end, seed=0):
    """Random actions and what is observed; episodes end with probability `end`, wherever they are."""
    model = make(spec).model
    rng = np.random.default_rng(seed)
    dense = [
        [np.asarray(m.toarray() if sp.issparse(m) else m) for m in (t, o)]
        for t, o in (
            (model.transition_of(a), model.observation_of(a)) for a in range(model.n_actions)
        )
    ]
    state = np.array([-1] * n_rows)
    actions, seen = np.zeros((2, n_steps, n_rows), dtype=np.int64)
    going = np.ones((n_steps, n_rows), dtype=bool)
    for t in range(n_steps):
        for r in range(n_rows):
            if state[r] < 0:
                state[r] = rng.choice(model.n_states, p=model.initial)
            a = actions[t, r] = rng.integers(model.n_actions)
            state[r] = rng.choice(model.n_states, p=dense[a][0][state[r]])
            seen[t, r] = rng.choice(model.n_observations, p=dense[a][1][state[r]])
            if model.terminal[state[r]] or rng.random() < end:
                going[t, r], state[r] = False, -1
    return model, actions, seen, going


def step_by_step(model, belief, actions, seen, going):
    bayes, met = BeliefFilter(model), []
    for action, observation, on in zip(actions, seen, going, strict=True):
        met.append(as_array(belief))
        belief = bayes.follow(belief, action, observation, on)
    return np.stack(met), as_array(belief)


def as_array(beliefs):
    return beliefs if isinstance(beliefs, np.ndarray) else beliefs.toarray()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("end", [0.0, 0.15, 0.7, 1.0])
def test_beliefs_along_gives_what_following_step_by_step_gives(spec, end):
    model, actions, seen, going = a_rollout(spec, 20, 3, end)
    bayes = BeliefFilter(model)
    met, last = step_by_step(model, bayes.start(3), actions, seen, going)
    wanted = np.random.default_rng(1).permutation(60)
    found, after = beliefs_along(bayes, bayes.start(3), actions, seen, going, wanted)
    assert isinstance(found, sp.csr_array) == bayes.is_sparse
    np.testing.assert_allclose(as_array(found), met.reshape(60, -1)[wanted], atol=1e-12)
    np.testing.assert_allclose(as_array(after), last, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_beliefs_along_goes_on_where_the_last_rollout_ended(spec):
    model, actions, seen, going = a_rollout(spec, 24, 2, 0.1)
    bayes = BeliefFilter(model)
    met, last = step_by_step(model, bayes.start(2), actions, seen, going)
    belief, parts = bayes.start(2), []
    for cut in (slice(0, 1), slice(1, 11), slice(11, 24)):
        n = len(actions[cut]) * 2
        found, belief = beliefs_along(
            bayes, belief, actions[cut], seen[cut], going[cut], np.arange(n)
        )
        parts.append(as_array(found))
    np.testing.assert_allclose(np.concatenate(parts), met.reshape(48, -1), atol=1e-12)
    np.testing.assert_allclose(as_array(belief), last, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_beliefs_along_gives_only_what_is_wanted(spec):
    model, actions, seen, going = a_rollout(spec, 10, 2, 0.2)
    bayes = BeliefFilter(model)
    met, last = step_by_step(model, bayes.start(2), actions, seen, going)
    for wanted in ([13, 2, 7], []):
        places = np.array(wanted, dtype=np.int64)
        found, after = beliefs_along(bayes, bayes.start(2), actions, seen, going, places)
        np.testing.assert_allclose(as_array(found), met.reshape(20, -1)[places], atol=1e-12)
        np.testing.assert_allclose(as_array(after), last, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_beliefs_along_is_the_same_some_rows_at_a_time(spec, monkeypatch):
    model, actions, seen, going = a_rollout(spec, 30, 2, 0.4)
    bayes = BeliefFilter(model)
    whole, _ = beliefs_along(bayes, bayes.start(2), actions, seen, going, np.arange(60))
    monkeypatch.setattr(filtering, "MOST_ROWS", 3)
    parts, _ = beliefs_along(bayes, bayes.start(2), actions, seen, going, np.arange(60))
    np.testing.assert_allclose(as_array(parts), as_array(whole), atol=1e-12)


def test_beliefs_along_refuses_what_cannot_be_observed():
    model, actions, seen, going = a_rollout("rocksample(4,4)", 6, 2, 0.0)
    bayes = BeliefFilter(model)
    never = [
        np.asarray(m.toarray() if sp.issparse(m) else m)
        for m in map(model.observation_of, range(model.n_actions))
    ]
    check = next(
        (a, o)
        for a, rows in enumerate(never)
        for o in range(model.n_observations)
        if not rows[:, o].any()
    )
    actions[3, 1], seen[3, 1], going[:] = *check, True
    with pytest.raises(InvalidInputError):
        beliefs_along(bayes, bayes.start(2), actions, seen, going, np.arange(12))

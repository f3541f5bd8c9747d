"""The Bayes filter against hand-worked values, a plain loop, and its own sparse form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from imm_rl.envs import belief, make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


def random_model(seed: int, n_states: int, n_actions: int, n_observations: int) -> TabularPOMDP:
    """Rows with many zeros, so that sparse code meets empty columns."""
    rng = np.random.default_rng(seed)

    def rows(*shape: int) -> npt.NDArray[np.float64]:
        raw = rng.random(shape) * (rng.random(shape) < 0.6)
        raw[..., 0] += 0.1
        return raw / raw.sum(axis=-1, keepdims=True)

    return TabularPOMDP(
        transition=rows(n_states, n_actions, n_states),
        observation=rows(n_actions, n_states, n_observations),
        reward=rng.normal(size=(n_states, n_actions)),
        initial=rows(n_states),
        discount=0.9,
    )


def as_sparse(model: TabularPOMDP) -> TabularPOMDP:
    actions = range(model.n_actions)
    return TabularPOMDP(
        [sp.csr_array(model.transition_of(a)) for a in actions],
        [sp.csr_array(model.observation_of(a)) for a in actions],
        model.reward,
        model.initial,
        model.discount,
    )


def update_by_loop(
    row: npt.NDArray[np.float64], action: int, observation: int, model: TabularPOMDP
) -> npt.NDArray[np.float64]:
    """Bayes' rule written out, entry by entry."""
    joint = np.zeros(model.n_states)
    for after in range(model.n_states):
        for before in range(model.n_states):
            arrived = row[before] * model.transition[before, action, after]
            joint[after] += arrived * model.observation[action, after, observation]
    return joint / joint.sum()


def possible_rows(
    model: TabularPOMDP, count: int, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random beliefs and actions, with observations that may follow."""
    rng = np.random.default_rng(seed)
    beliefs = rng.dirichlet(np.ones(model.n_states), size=count)
    actions = rng.integers(0, model.n_actions, count)
    chances = belief.likelihood(beliefs, actions, model)
    observations = np.array([rng.choice(model.n_observations, p=row) for row in chances])
    return beliefs, actions, observations


def test_update_gives_tigers_closed_form() -> None:
    model = make("tiger").model
    believed = model.initial
    for heard_left in range(1, 5):
        believed = belief.update(believed, 0, 0, model)
        left, right = 0.85**heard_left, 0.15**heard_left
        np.testing.assert_allclose(believed, [left / (left + right), right / (left + right)])
    after_right = belief.update(believed, 0, 1, model)
    np.testing.assert_allclose(after_right[0], 0.85**3 / (0.85**3 + 0.15**3))


def test_update_forgets_after_tigers_door_is_opened() -> None:
    model = make("tiger").model
    np.testing.assert_array_equal(belief.update([0.99, 0.01], 2, 0, model), [0.5, 0.5])


def test_update_gives_hand_worked_crying_baby() -> None:
    # Full, ignored: hungry with 0.1. Crying: 0.1 * 0.8 against 0.9 * 0.1, so 8 / 17.
    model = make("crying-baby").model
    np.testing.assert_allclose(belief.update([1.0, 0.0], 1, 1, model), [9 / 17, 8 / 17])
    np.testing.assert_allclose(belief.update([1.0, 0.0], 1, 0, model), [81 / 83, 2 / 83])


def test_tiger_values_follow_from_likelihood_and_update() -> None:
    """Exact finite-horizon values at the uniform belief; an exhaustive look-ahead uses both."""
    model = make("tiger").model

    def value(believed: npt.NDArray[np.float64], horizon: int) -> float:
        if horizon == 0:
            return 0.0
        best = -np.inf
        for action in range(3):
            total = float(believed @ model.reward[:, action])
            for observation, chance in enumerate(belief.likelihood(believed, action, model)):
                after = belief.update(believed, action, observation, model)
                total += 0.95 * chance * value(after, horizon - 1)
            best = max(best, total)
        return best

    found = [value(model.initial, horizon) for horizon in (1, 2, 3)]
    np.testing.assert_allclose(found, [-1.0, -1.95, 2.3098], atol=5e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_states=st.integers(1, 6),
    n_actions=st.integers(1, 4),
    n_observations=st.integers(1, 4),
)
def test_update_equals_the_plain_loop_dense_and_sparse(
    seed: int, n_states: int, n_actions: int, n_observations: int
) -> None:
    model = random_model(seed, n_states, n_actions, n_observations)
    beliefs, actions, observations = possible_rows(model, 7, seed)
    wanted = [
        update_by_loop(*row, model) for row in zip(beliefs, actions, observations, strict=True)
    ]
    for given_model in (model, as_sparse(model)):
        found = belief.update(beliefs, actions, observations, given_model)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_predict_equals_the_plain_sum_dense_and_sparse() -> None:
    model = random_model(1, 5, 3, 4)
    beliefs, actions, _ = possible_rows(model, 9, 1)
    wanted = [b @ model.transition[:, a, :] for b, a in zip(beliefs, actions, strict=True)]
    for given_model in (model, as_sparse(model)):
        np.testing.assert_allclose(belief.predict(beliefs, actions, given_model), wanted)


def test_likelihood_sums_to_one_and_weights_updates_back_to_the_prediction() -> None:
    model = random_model(2, 6, 3, 4)
    beliefs, actions, _ = possible_rows(model, 8, 2)
    for given_model in (model, as_sparse(model)):
        chances = belief.likelihood(beliefs, actions, given_model)
        np.testing.assert_allclose(chances.sum(axis=-1), 1.0)
        total = np.zeros_like(beliefs)
        for o in range(4):
            reachable = chances[:, o] > 0
            after = belief.update(
                beliefs[reachable], actions[reachable], np.full(reachable.sum(), o), given_model
            )
            total[reachable] += chances[reachable, o, None] * after
        np.testing.assert_allclose(total, belief.predict(beliefs, actions, given_model))


def test_update_leaves_a_terminal_state_where_it_is(corridor: TabularPOMDP) -> None:
    for action in (0, 1):
        found = belief.update([0.0, 0.0, 1.0], action, 1, corridor)
        np.testing.assert_array_equal(found, [0.0, 0.0, 1.0])
    # From a belief spread over the corridor, seeing the exit means: it has ended.
    np.testing.assert_array_equal(belief.update([0.5, 0.5, 0.0], 0, 1, corridor), [0.0, 0.0, 1.0])


def test_update_prints_belief_action_and_observation_when_impossible(
    corridor: TabularPOMDP,
) -> None:
    beliefs = [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]
    with pytest.raises(InvalidInputError, match="is impossible") as error:
        belief.update(beliefs, [0, 1], [1, 1], corridor)
    text = str(error.value)
    assert "observation 1 (exit)" in text
    assert "action 1 (wait)" in text
    assert "[0.25 0.75 0.  ]" in text


def test_update_refuses_nan_in_the_belief(corridor: TabularPOMDP) -> None:
    with pytest.raises(InvalidInputError, match="nan"):
        belief.update([np.nan, 0.5, 0.5], 0, 0, corridor)


@pytest.mark.parametrize(
    "wrong",
    [
        [0.2, 0.2],
        [0.0, 0.0],
        [-0.5, 1.5],
        [1.0, 2.0],
        [np.nan, 1.0],
        [np.inf, 0.0],
        [np.inf, -np.inf],
        [0.5, 0.4998],
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_filter_refuses_rows_that_are_no_beliefs(wrong: list[float], sparse: bool) -> None:
    model = as_sparse(make("tiger").model) if sparse else make("tiger").model
    match = "belief must be finite, at least 0 and sum to 1 within 0.0001; received "
    for beliefs in (wrong, [[0.5, 0.5], wrong], [[wrong, [1.0, 0.0]]]):
        with pytest.raises(InvalidInputError, match=match):
            belief.update(beliefs, 0, 0, model)
        with pytest.raises(InvalidInputError, match=match):
            belief.predict(beliefs, 0, model)
        with pytest.raises(InvalidInputError, match=match):
            belief.likelihood(beliefs, 0, model)


def test_filter_names_the_row_that_is_no_belief() -> None:
    model = make("tiger").model
    match = r"received \[0.2 0.2\], which sums to 0.4\."
    with pytest.raises(InvalidInputError, match=match):
        belief.update([[0.5, 0.5], [0.2, 0.2], [7.0, 0.0]], 0, 0, model)


def test_update_takes_beliefs_that_are_rounded() -> None:
    found = belief.update(np.array([0.33335, 0.66667], np.float32), 0, 0, make("tiger").model)
    np.testing.assert_allclose(found, [0.85 / 1.15, 0.3 / 1.15], atol=1e-4)
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_update_broadcasts_and_keeps_leading_shapes(sparse: bool) -> None:
    model = random_model(3, 4, 2, 3)
    model = as_sparse(model) if sparse else model
    beliefs, _, _ = possible_rows(model, 6, 3)
    grid = belief.update(beliefs.reshape(2, 3, 4), 1, 0, model)
    assert grid.shape == (2, 3, 4)
    for row, found in zip(beliefs, grid.reshape(6, 4), strict=True):
        np.testing.assert_allclose(found, belief.update(row, 1, 0, model))
    every_action = belief.predict(model.initial, np.arange(2), model)
    assert every_action.shape == (2, 4)
    assert belief.likelihood(model.initial, np.arange(2), model).shape == (2, 3)


def test_update_of_no_rows_is_empty() -> None:
    model = make("tiger").model
    nothing = np.zeros(0, dtype=np.int64)
    assert belief.update(np.zeros((0, 2)), nothing, nothing, model).shape == (0, 2)


def test_update_does_not_change_its_arguments() -> None:
    model = make("tiger").model
    beliefs = np.array([[0.5, 0.5], [0.9, 0.1]])
    before = beliefs.copy()
    belief.update(beliefs, [0, 0], [0, 1], model)
    np.testing.assert_array_equal(beliefs, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.3, 0.2], 0, 0), r"belief must have shape \(\.\.\., S\) with S = 2"),
        ((0.5, 0, 0), r"belief must have shape"),
        (("x", 0, 0), r"belief must be an array of numbers"),
        (([[0.5, 0.5], [1.0]], 0, 0), r"belief must be an array of numbers"),
        (([0.5, 0.5], [[0], [0, 1]], 0), r"action must be whole numbers"),
        (([0.5, 0.5], 3, 0), r"action must be in \[0, 3\); received 3"),
        (([0.5, 0.5], -1, 0), r"action must be in \[0, 3\); received -1"),
        (([0.5, 0.5], 0, 2), r"observation must be in \[0, 2\); received 2"),
        (([0.5, 0.5], 0.0, 0), r"action must be whole numbers"),
        (([[0.5, 0.5]] * 2, [0, 0, 0], 0), r"one leading shape"),
    ],
)
def test_update_names_the_argument_that_is_wrong(
    arguments: tuple[object, object, object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        belief.update(*arguments, make("tiger").model)  # type: ignore[arg-type]

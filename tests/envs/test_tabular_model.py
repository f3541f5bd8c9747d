"""`TabularPOMDP`: what it accepts, derives and refuses."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError

# Two states, two actions, two observations: "stay" keeps the state, "swap" changes it.
TRANSITION = np.stack([np.eye(2), np.eye(2)[::-1]], axis=1)
OBSERVATION = np.array([[[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.5, 0.5]]])
REWARD = np.array([[1.0, 2.0], [3.0, 4.0]])


def build(**changes: Any) -> TabularPOMDP:
    """The model above with some arguments replaced."""
    arguments: dict[str, Any] = {
        "transition": TRANSITION,
        "observation": OBSERVATION,
        "reward": REWARD,
        "initial": [0.5, 0.5],
        "discount": 0.9,
        "state_names": ["left", "right"],
        "action_names": ["stay", "swap"],
        "observation_names": ["dark", "bright"],
    }
    return TabularPOMDP(**(arguments | changes))


def with_entry(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


def sparse_model(**changes: Any) -> TabularPOMDP:
    return build(
        **{
            "transition": [sp.csr_array(TRANSITION[:, a, :]) for a in range(2)],
            "observation": [sp.csr_array(m) for m in OBSERVATION],
        }
        | changes
    )


def test_model_gives_sizes_names_and_slices() -> None:
    model = build()
    assert (model.n_states, model.n_actions, model.n_observations) == (2, 2, 2)
    assert model.action_names == ("stay", "swap")
    np.testing.assert_array_equal(model.transition_of(1), [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(model.observation_of(0), OBSERVATION[0])
    assert not model.is_sparse
    assert not model.terminal.any()
    assert repr(model) == "TabularPOMDP(states=2, actions=2, observations=2, discount=0.9)"


def test_model_numbers_what_is_not_named() -> None:
    model = build(state_names=None)
    assert model.state_names == ("0", "1")


def test_model_expects_rewards_over_next_states_and_observations() -> None:
    by_state = np.zeros((2, 2, 2))
    by_state[0, 0] = [5.0, 7.0]  # stay from left: always arrives left
    by_state[1, 1] = [9.0, 0.0]  # swap from right: always arrives left
    model = build(reward=by_state)
    np.testing.assert_array_equal(model.reward, [[5.0, 0.0], [0.0, 9.0]])
    assert model.outcome_reward is not None

    by_observation = np.zeros((2, 2, 2, 2))
    by_observation[0, 0, 0] = [10.0, -10.0]  # left, dark 0.8: 8 - 2
    np.testing.assert_allclose(build(reward=by_observation).reward, [[6.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(sparse_model(reward=by_observation).reward[0, 0], 6.0)


def test_model_is_the_same_dense_and_sparse() -> None:
    dense, sparse = build(), sparse_model()
    assert sparse.is_sparse
    for a in range(2):
        np.testing.assert_array_equal(sparse.transition_of(a).toarray(), dense.transition_of(a))  # type: ignore[union-attr]
        np.testing.assert_array_equal(sparse.observation_of(a).toarray(), dense.observation_of(a))  # type: ignore[union-attr]


def test_model_renormalises_rows_that_are_off_by_rounding_only() -> None:
    model = build(initial=[0.111111, 0.888888])
    assert model.initial.sum() == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(InvalidInputError, match=r"initial the start belief must sum to 1.*0\.9999"):
        build(initial=[0.1111, 0.8888])


def test_model_keeps_rows_that_sum_to_one_as_they_are() -> None:
    thirds = np.array([[[0.1, 0.9]] * 2] * 2)
    np.testing.assert_array_equal(build(transition=thirds).transition, thirds)


def test_model_cannot_be_changed() -> None:
    model, sparse = build(), sparse_model()
    frozen = [model.transition, model.observation, model.reward, model.initial, model.terminal]
    for array in [*frozen, sparse.transition[0].data, sparse.observation[1].data]:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_model_does_not_share_what_it_was_given() -> None:
    transition, matrix = TRANSITION.copy(), sp.csr_array(np.eye(2))
    model = build(transition=transition)
    sparse = sparse_model(transition=[matrix, matrix])
    transition[:] = 0.5
    matrix.data[:] = 0.5
    np.testing.assert_array_equal(model.transition, TRANSITION)
    np.testing.assert_array_equal(sparse.transition[0].toarray(), np.eye(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"discount": 0.95},
        {"initial": [0.25, 0.75]},
        {"reward": REWARD + 1},
        {"transition": TRANSITION[:, ::-1]},
        {"observation": OBSERVATION[::-1]},
    ],
)
def test_fingerprint_changes_with_every_number(changes: dict[str, Any]) -> None:
    assert build().fingerprint() == build().fingerprint()
    assert build(**changes).fingerprint() != build().fingerprint()


def test_fingerprint_ignores_names_and_the_order_of_sparse_entries() -> None:
    assert build(state_names=["a", "b"]).fingerprint() == build().fingerprint()
    shuffled = sp.csr_array(([0.7, 0.3], [1, 0], [0, 2]), shape=(1, 2))
    straight = sp.csr_array(([0.3, 0.7], [0, 1], [0, 2]), shape=(1, 2))
    models = [
        TabularPOMDP([sp.csr_array([[1.0]])], [part], [[0.0]], [1.0], 0.9)
        for part in (shuffled, straight)
    ]
    assert models[0].fingerprint() == models[1].fingerprint()


def test_model_survives_pickling() -> None:
    for model in (build(), sparse_model()):
        assert pickle.loads(pickle.dumps(model)).fingerprint() == model.fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"transition": with_entry(TRANSITION, (1, 0, 1), 0.75)},
            r"T\[s=right, a=stay, :\] must sum to 1; its sum is 0\.75",
        ),
        (
            {"observation": with_entry(OBSERVATION, (1, 0, 0), 0.25)},
            r"O\[a=swap, s'=left, :\] must sum to 1; its sum is 0\.75",
        ),
        (
            {"transition": with_entry(TRANSITION, (0, 1, 0), -1.0)},
            r"T\[s=left, a=swap, :\] entry 0 must be a probability ≥ 0; received -1\.0",
        ),
        ({"transition": with_entry(TRANSITION, (0, 1, 0), np.nan)}, r"entry 0 .* received nan"),
        ({"transition": np.ones((2, 2))}, r"transition must have shape \(S, A, S\) with S = 2"),
        ({"transition": "wrong"}, r"transition must be an array of numbers"),
        ({"transition": [[[1.0], [1.0, 0.0]]]}, r"transition must be an array of numbers"),
        ({"observation": OBSERVATION[:1]}, r"observation must have 2 actions"),
        ({"observation": OBSERVATION[:, :1]}, r"observation must have shape \(A, S, O\)"),
        ({"reward": np.zeros((2, 3))}, r"reward must have shape \(S, A\).*\(2, 2\)"),
        (
            {"reward": with_entry(REWARD, (1, 0), np.inf)},
            r"reward at \(s=right, a=stay\) must be finite",
        ),
        ({"initial": []}, r"initial must be a vector"),
        ({"initial": [[0.5, 0.5]]}, r"initial must be a vector"),
        ({"discount": 0.0}, r"discount must be in \(0, 1\]; received 0\.0"),
        ({"discount": 1.5}, r"discount must be in \(0, 1\]; received 1\.5"),
        ({"discount": float("nan")}, r"discount must be in \(0, 1\]"),
        ({"discount": "x"}, r"discount must be a number"),
        ({"state_names": ["a", "a"]}, r"state_names must be 2 different names"),
        ({"action_names": ["only"]}, r"action_names must be 2 different names"),
        ({"action_names": 5}, r"action_names must be a list of 2 names; received 5"),
        ({"state_names": "ab"}, r"state_names must be a list of 2 names; received 'ab'"),
        ({"initial": ["0.5", "0.5"]}, r"initial must be an array of numbers"),
        ({"terminal": [1, 0]}, r"terminal must be a bool for each of 2 states"),
        (
            {"terminal": [True, False]},
            r"terminal state left under action stay must pay no reward; received 1\.0",
        ),
        (
            {"terminal": [True, False], "reward": np.zeros((2, 2))},
            r"terminal state left under action swap must be absorbing.*received 0\.0",
        ),
    ],
)
def test_model_names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        build(**changes)


def test_sparse_model_names_what_is_wrong() -> None:
    half = sp.csr_array(np.array([[0.5, 0.5], [0.5, 0.0]]))
    with pytest.raises(InvalidInputError, match=r"T\[s=right, a=stay, :\] must sum to 1"):
        sparse_model(transition=[half, half])
    with pytest.raises(InvalidInputError, match=r"transition\[1\] must have shape \(2, 2\)"):
        sparse_model(transition=[sp.csr_array(np.eye(2)), sp.csr_array(np.eye(3))])
    negative = sp.csr_array(np.array([[1.5, -0.5], [0.0, 1.0]]))
    with pytest.raises(InvalidInputError, match=r"entry 1 must be a probability ≥ 0"):
        sparse_model(transition=[negative, negative])


def test_terminal_states_accept_rounding_and_refuse_outcome_rewards() -> None:
    rounded = np.stack([[[0.7 + 0.2 + 0.1, 0.0], [0.0, 1.0]]] * 2, axis=1)
    assert rounded[0, 0, 0] != 1.0
    model = build(transition=rounded, reward=np.zeros((2, 2)), terminal=[True, False])
    assert model.terminal.tolist() == [True, False]
    # Rewards that cancel on average are rewards all the same.
    cancelling = np.zeros((2, 2, 2, 2))
    cancelling[0, 1, 0] = [1.0, -1.0]
    with pytest.raises(InvalidInputError, match="must pay no reward"):
        build(transition=rounded, reward=cancelling, terminal=[True, False])


def test_terminal_states_of_sparse_models_are_checked_and_the_first_wrong_one_named() -> None:
    n_states = 2_000
    stay, go = sp.eye_array(n_states, format="lil"), sp.eye_array(n_states, format="lil")
    ends = np.arange(n_states) >= 1_000
    reward = np.where(ends, 0.0, 1.0)[:, None].repeat(2, axis=1)
    seen = sp.csr_array(np.ones((n_states, 1)))

    def made() -> TabularPOMDP:
        parts = ([sp.csr_array(stay), sp.csr_array(go)], [seen, seen], reward)
        return TabularPOMDP(*parts, np.full(n_states, 1 / n_states), 0.9, terminal=ends)

    assert made().terminal.sum() == 1_000
    reward[1_500, 0] = -2.0
    with pytest.raises(
        InvalidInputError, match=r"state 1500 under action 0 must pay no reward; received -2\.0"
    ):
        made()
    go[1_400, [1_400, 3]] = 0.25, 0.75
    with pytest.raises(
        InvalidInputError, match=r"state 1400 under action 1 must be absorbing.*received 0\.25"
    ):
        made()


def test_sparse_models_with_indices_of_either_width_are_equal() -> None:
    wide = sp.csr_array((np.ones(2), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    narrow = sp.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert wide.indices.dtype != narrow.indices.dtype
    models = [sparse_model(transition=[m, m]) for m in (wide, narrow)]
    assert models[0].fingerprint() == models[1].fingerprint()
    assert wide.indices.dtype == np.int64  # what was given is left as it was

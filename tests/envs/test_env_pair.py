"""`EnvPair`: defaults, checks, and what its copies share."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.envs import EnvPair, make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


def test_pair_defaults_to_its_own_model_for_the_solver(corridor: TabularPOMDP) -> None:
    pair = EnvPair("corridor", corridor)
    assert pair.restricted_model is corridor
    assert pair.max_steps == 50
    assert pair.observation_beliefs is None
    assert repr(pair).startswith("EnvPair('corridor', TabularPOMDP(states=3")


def test_pair_keeps_another_model_for_the_solver() -> None:
    pair = make("grid", size=4)
    assert pair.restricted_model is not pair.model
    assert pair.restricted_model.fingerprint() != pair.model.fingerprint()


@pytest.mark.parametrize(
    ("name", "view", "size"),
    [
        ("tiger", "mdp", 2),
        ("tiger", "pomdp", 3),  # two observations and "nothing yet"
        ("grid", "mdp", 121),
        ("grid", "pomdp", 11),  # observes at reset
    ],
)
def test_pair_counts_what_a_view_may_return(name: str, view: Any, size: int) -> None:
    assert make(name).n_outputs(view) == size


def test_pair_survives_pickling_without_its_tables() -> None:
    pair = make("grid", size=3)
    assert pair.sampler is pair.sampler
    copied = pickle.loads(pickle.dumps(pair))
    assert "sampler" not in vars(copied)
    assert copied.spec == "grid(size=3)"
    assert copied.model.fingerprint() == pair.model.fingerprint()
    np.testing.assert_array_equal(copied.observation_beliefs, pair.observation_beliefs)


def test_pair_with_spec_leaves_the_first_alone() -> None:
    pair = make("tiger")
    assert pair.with_spec("other").spec == "other"
    assert pair.spec == "tiger"


def test_pair_is_not_copied_deeply() -> None:
    pair = make("tiger")
    assert copy.deepcopy(pair) is pair


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": 3}, "model must be a TabularPOMDP; received 'int'"),
        ({"restricted_model": "x"}, "restricted_model must be a TabularPOMDP"),
        (
            {"restricted_model": "tiger"},
            "restricted_model.n_states must equal model.n_states = 3; received 2",
        ),
        ({"max_steps": 0}, "max_steps must be a whole number ≥ 1; received 0"),
        ({"max_steps": 2.5}, "max_steps must be a whole number ≥ 1; received 2.5"),
        ({"max_steps": True}, "max_steps must be a whole number ≥ 1; received True"),
        (
            {"observation_beliefs": np.ones((3, 3)) / 3},
            r"observation_beliefs must have shape \(O, S\) = \(2, 3\)",
        ),
        ({"observation_beliefs": np.ones((2, 3))}, "one distribution over states a row"),
        ({"observation_beliefs": "x"}, "observation_beliefs must be an array of numbers"),
        (
            {"observation_beliefs": [[1.0, 0.0], [1.0]]},
            "observation_beliefs must be an array of num",
        ),
    ],
)
def test_pair_names_what_is_wrong(
    corridor: TabularPOMDP, changes: dict[str, Any], message: str
) -> None:
    if changes.get("restricted_model") == "tiger":
        changes = {"restricted_model": make("tiger").model}
    with pytest.raises(InvalidInputError, match=message):
        EnvPair(**({"name": "corridor", "model": corridor} | changes))


def test_pair_refuses_observation_beliefs_where_the_action_matters() -> None:
    model = make("tiger").model
    with pytest.raises(InvalidInputError, match="open-left observes differently"):
        EnvPair("tiger", model, observation_beliefs=np.eye(2))


def like(
    model: TabularPOMDP, *, sparse: bool = False, terminal: Any = None, **changes: Any
) -> TabularPOMDP:
    """A copy with entries changed: `initial`, `transition` or `observation` as {index: value}."""
    parts = {
        name: np.array(getattr(model, name)) for name in ("transition", "observation", "initial")
    }
    for name, entries in changes.items():
        for index, value in entries.items():
            parts[name][index] = value
    actions = range(model.n_actions)
    T: Any = [sp.csr_array(parts["transition"][:, a]) for a in actions]
    O: Any = [sp.csr_array(parts["observation"][a]) for a in actions]  # noqa: E741
    return TabularPOMDP(
        T if sparse else parts["transition"],
        O if sparse else parts["observation"],
        model.reward,
        parts["initial"],
        model.discount,
        terminal=model.terminal if terminal is None else terminal,
        state_names=model.state_names,
        action_names=model.action_names,
        observation_names=model.observation_names,
    )


SLIPS = {  # the corridor with all that may happen given some probability
    "transition": {(0, 0): [0.1, 0.8, 0.1], (1, 0): [0.1, 0.1, 0.8], (0, 1): [0.8, 0.1, 0.1]},
    "observation": {(0, 0): [0.5, 0.5], (1, 1): [0.5, 0.5]},
    "initial": {0: 0.5, 1: 0.5},
}
SPARSE = [(False, False), (True, True), (True, False), (False, True)]


@pytest.mark.parametrize(("sparse", "restricted_sparse"), SPARSE)
def test_pair_takes_a_restricted_model_that_allows_more(
    corridor: TabularPOMDP, sparse: bool, restricted_sparse: bool
) -> None:
    restricted = like(corridor, sparse=restricted_sparse, **SLIPS)
    pair = EnvPair("corridor", like(corridor, sparse=sparse), restricted_model=restricted)
    assert pair.restricted_model is restricted


@pytest.mark.parametrize(("sparse", "restricted_sparse"), SPARSE)
@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("initial", "a start in state far is possible in the model and has probability 0 in"),
        ("transition", r"T\[s=near, a=go, s'=near\] is possible in the model"),
        ("observation", r"O\[a=go, s'=near, o=exit\] is possible in the model"),
    ],
)
def test_pair_refuses_a_restricted_model_that_allows_less(
    corridor: TabularPOMDP, sparse: bool, restricted_sparse: bool, lost: str, named: str
) -> None:
    model = like(corridor, sparse=sparse, **SLIPS)
    kept = {name: entries for name, entries in SLIPS.items() if name != lost}
    restricted = like(corridor, sparse=restricted_sparse, **kept)
    with pytest.raises(InvalidInputError, match=named):
        EnvPair("corridor", model, restricted_model=restricted)


def test_pair_refuses_other_terminal_states(corridor: TabularPOMDP) -> None:
    open_end = like(corridor, terminal=[False, False, False])
    with pytest.raises(InvalidInputError, match="state end is terminal in the model alone"):
        EnvPair("corridor", corridor, restricted_model=open_end)
    with pytest.raises(
        InvalidInputError, match="state end is terminal in the restricted model alone"
    ):
        EnvPair("corridor", open_end, restricted_model=corridor)


@pytest.mark.parametrize("sparse", [False, True])
def test_pair_refuses_observation_beliefs_that_depend_on_the_past(
    corridor: TabularPOMDP, sparse: bool
) -> None:
    model = like(corridor, sparse=sparse)
    match = "seeing corridor at the start gives state near probability 1, not 0.5"
    with pytest.raises(InvalidInputError, match=match):
        EnvPair("corridor", model, observation_beliefs=[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    match = "seeing corridor after action go gives state near probability 0, not 1"
    with pytest.raises(InvalidInputError, match=match):
        EnvPair("corridor", model, observation_beliefs=[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_pair_checks_observation_beliefs_against_the_restricted_model() -> None:
    pair = make("grid", size=3)
    assert pair.observation_beliefs is not None
    moved = np.array(pair.observation_beliefs)
    moved[1, 3:6] += [1e-5, -1e-5, 0.0]
    with pytest.raises(InvalidInputError, match="seeing x1 at the start gives state x1-y0"):
        EnvPair("grid", pair.model, observation_beliefs=moved)
    stay = like(pair.model, transition={(0, 0): np.full(9, 1 / 9)})
    with pytest.raises(
        InvalidInputError, match="seeing x0 after action UP gives state x0-y2 probability 0.047619"
    ):
        EnvPair(
            "grid",
            pair.model,
            restricted_model=stay,
            observation_beliefs=pair.observation_beliefs,
        )
    moved = np.array(pair.observation_beliefs)
    moved[1, 3:6] += [1e-8, -1e-8, 0.0]
    assert EnvPair("grid", pair.model, observation_beliefs=moved).observes_at_reset


def test_pair_takes_observation_beliefs_of_episodes_that_go_on(corridor: TabularPOMDP) -> None:
    # "corridor" is seen at the end as well; but there nobody looks any more.
    seen = {(a, 2): [1.0, 0.0] for a in range(2)} | {(a, 1): [0.0, 1.0] for a in range(2)}
    model = like(corridor, observation=seen)
    beliefs = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert EnvPair("corridor", model, observation_beliefs=beliefs).observes_at_reset


def test_pair_leaves_large_observation_beliefs_unchecked(
    corridor: TabularPOMDP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imm_rl.envs.pair_checks.MOST_UPDATES", 23)  # one less than A·O·O·S
    beliefs = [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    assert EnvPair("corridor", corridor, observation_beliefs=beliefs).observes_at_reset


def test_pair_refuses_unknown_views_and_render_modes(corridor: TabularPOMDP) -> None:
    pair = EnvPair("corridor", corridor)
    with pytest.raises(InvalidInputError, match=r"unknown view 'pompd'. Did you mean 'pomdp'"):
        pair.vector(2, "pompd")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="unknown render_mode 'human'"):
        pair.mdp("human")  # type: ignore[arg-type]
    with pytest.raises(
        InvalidInputError, match=r"unknown render_mode 'ansii'. Did you mean 'ansi'"
    ):
        pair.vector(2, render_mode="ansii")  # type: ignore[arg-type]

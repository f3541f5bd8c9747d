"""`EnvPair`: defaults, checks, and what its copies share."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

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

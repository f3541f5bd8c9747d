"""What `EnvPair` demands of its models and its table of beliefs; called on construction.

Belief filters use the restricted model while observations come from the model itself. What the checks
here refuse would stop a training in the middle, at an observation that the filter holds for impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP
from imm_rl.errors import InvalidInputError, invalid

BELIEF_TOLERANCE = 1e-6
"""Largest error of an entry of `observation_beliefs`."""

MOST_UPDATES = 20_000_000
"""Tables of beliefs are checked up to this many numbers, A·O·O·S: a tenth of a second or so."""


def checked_model(name: str, model: TabularPOMDP) -> TabularPOMDP:
    """A model.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(model, TabularPOMDP):
        raise invalid(name, "be a TabularPOMDP", type(model).__name__)
    return model


def checked_restricted(model: TabularPOMDP, restricted: TabularPOMDP | None) -> TabularPOMDP:
    """The model that the solver is given; by default the model itself.

    Raises:
        InvalidInputError: Sizes or terminal states differ, or something that the model does is
            impossible in the restricted one.
    """
    if restricted is None or restricted is model:
        return model
    checked_model("restricted_model", restricted)
    for what in ("n_states", "n_actions", "n_observations"):
        if getattr(restricted, what) != getattr(model, what):
            raise invalid(
                f"restricted_model.{what}",
                f"equal model.{what} = {getattr(model, what)}",
                getattr(restricted, what),
            )
    differ = np.flatnonzero(restricted.terminal != model.terminal)
    if differ.size:
        s = int(differ[0])
        raise InvalidInputError(
            f"restricted_model.terminal must equal model.terminal; state {model.state_names[s]} is "
            f"terminal in {'the model' if model.terminal[s] else 'the restricted model'} alone."
        )
    _check_support(model, restricted)
    return restricted


def checked_observation_beliefs(
    model: TabularPOMDP, restricted: TabularPOMDP, value: npt.ArrayLike | None
) -> FloatArray | None:
    """The table (O, S) of beliefs given the last observation, read only; or None.

    Up to `MOST_UPDATES` it is checked by the restricted model's Bayes filter: from b0 and from every row,
    after every action, an observation o that is possible must lead to row o.

    Raises:
        InvalidInputError: A shape or a row is wrong, observations depend on the action, or a row is not
            what the filter finds.
    """
    if value is None:
        return None
    beliefs: FloatArray = options.floats("observation_beliefs", value).copy()
    shape = (model.n_observations, model.n_states)
    if beliefs.shape != shape:
        raise invalid("observation_beliefs", f"have shape (O, S) = {shape}", beliefs.shape)
    if not ((beliefs >= 0.0).all() and np.allclose(beliefs.sum(axis=1), 1.0, atol=1e-6)):
        raise invalid(
            "observation_beliefs",
            "hold one distribution over states a row",
            f"rows that sum to {beliefs.sum(axis=1)}",
        )
    first = model.observation_of(0)
    for action in range(1, model.n_actions):
        if abs(model.observation_of(action) - first).max() > 0.0:
            raise invalid(
                "observation_beliefs",
                "be given only where observations do not depend on the action",
                f"a model whose action {model.action_names[action]} observes differently",
            )
    if model.n_actions * model.n_observations * beliefs.size <= MOST_UPDATES:
        _check_updates(restricted, beliefs)
    beliefs.setflags(write=False)
    return beliefs


def _check_support(model: TabularPOMDP, restricted: TabularPOMDP) -> None:
    """Refuses a restricted model in which something has probability 0 that the model does."""
    states, actions = model.state_names, model.action_names
    missing = np.flatnonzero((model.initial > 0.0) & (restricted.initial == 0.0))
    if missing.size:
        raise _impossible(f"a start in state {states[int(missing[0])]}")
    for a in range(model.n_actions):
        place = _first_missing(model.transition_of(a), restricted.transition_of(a))
        if place is not None:
            s, after = place
            raise _impossible(f"T[s={states[s]}, a={actions[a]}, s'={states[after]}]")
        place = _first_missing(model.observation_of(a), restricted.observation_of(a))
        if place is not None:
            after, o = place
            seen = model.observation_names[o]
            raise _impossible(f"O[a={actions[a]}, s'={states[after]}, o={seen}]")


def _first_missing(full: Matrix, restricted: Matrix) -> Sequence[int] | None:
    """The first place where `full` is positive and `restricted` is 0."""
    if isinstance(full, np.ndarray) and isinstance(restricted, np.ndarray):
        places: Any = np.argwhere((full > 0.0) & (restricted == 0.0))
    else:
        whole: Any = sp.csr_array(full)
        kept = whole.multiply(sp.csr_array(restricted) > 0.0)
        lost = sp.coo_array(whole - kept)  # exactly 0 where nothing is missing
        places = np.stack([lost.row, lost.col], axis=1)[lost.data > 0.0]
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
    return places[0].tolist() if len(places) else None


def _impossible(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"restricted_model must allow all that the model does; {what} is possible in the model and has "
        "probability 0 in the restricted model, whose belief filter would stop there. Give it a small "
        "probability."
    )


def _check_updates(model: TabularPOMDP, beliefs: FloatArray) -> None:
    _check_led_to(model, beliefs, model.initial[None, :], 0, "at the start")
    for a, action in enumerate(model.action_names):
        predicted = np.asarray(beliefs @ model.transition_of(a))
        _check_led_to(model, beliefs, predicted, a, f"after action {action}")


def _check_led_to(
    model: TabularPOMDP, beliefs: FloatArray, predicted: FloatArray, action: int, when: str
) -> None:
    """Refuses rows of `beliefs` other than those that observations make of `predicted` (R, S)."""
    # Who acts sees that the episode goes on, so no belief is left on terminal states.
    going = np.where(model.terminal, 0.0, predicted)
    observation = model.observation_of(action)
    dense = observation if isinstance(observation, np.ndarray) else observation.toarray()
    for o, name in enumerate(model.observation_names):
        joint = going * dense[:, o]
        mass = joint.sum(axis=1, keepdims=True)
        # Rows are known to within the tolerance, and so is what is rarer than that.
        met = mass[:, 0] > BELIEF_TOLERANCE
        found = joint[met] / mass[met]
        error = np.abs(found - beliefs[o])
        if error.max(initial=0.0) > BELIEF_TOLERANCE:
            row, s = np.unravel_index(error.argmax(), error.shape)
            raise InvalidInputError(
                f"observation_beliefs must be what the Bayes filter finds from the last observation, "
                f"whatever came before; seeing {name} {when} gives state {model.state_names[s]} "
                f"probability {found[row, s]:.6g}, not {beliefs[o, s]:.6g}. "
                "Leave observation_beliefs out where the past matters."
            )

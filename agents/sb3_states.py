"""States of a tabular pair as an SB3 policy observes them, and back. `belief_matcher` uses it.

A policy that sees the state may see it as a number (`Discrete`), one-hot, or in whatever form a wrapper
gives it; matching needs both directions: which states a rollout went through, and what the policy would
have observed in each state that a belief allows.

Index letters: S states, T steps, E copies of the environment.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError, invalid

IntArray = npt.NDArray[np.int64]

_REMEDY = (
    "Train on pair.mdp() or pair.sb3_vector(n), or give observations=, what the policy observes in each "
    "of the S states: an array (S, ...) or a function of the states (S,)"
)


class StateCodec:
    """Maps states to a policy's observations and back.

    Attributes:
        table: (S, ...), what the policy observes in each state; for `Discrete` the states themselves.
            Of one-hot observations the rows are made when they are asked for: `table[states]`.

    Args:
        pair: The problem whose states are meant.
        space: The policy's observation space.
        observations: The table, or a function that maps the states (S,) to it. Not needed for
            Discrete(S) and for one-hot observations, Box of shape (S,).

    Raises:
        InvalidInputError: The space does not show the states and there is no table, the table does not
            lie in the space, or two states look alike in it.
    """

    def __init__(
        self,
        pair: EnvPair,
        space: gymnasium.Space[Any],
        observations: npt.ArrayLike | Callable[[IntArray], npt.ArrayLike] | None = None,
    ) -> None:
        self._n_states = n_states = pair.model.n_states
        self._name = pair.name
        self.table: npt.NDArray[Any] | _OneHot
        self._state_of: dict[bytes, int] = {}
        states = np.arange(n_states)
        if observations is not None:
            given = observations(states) if callable(observations) else observations
            self.table = _checked_table(given, space, n_states)
        elif isinstance(space, gymnasium.spaces.Discrete):
            if space.n != n_states or space.start != 0:
                raise self._unfit(space, f"{pair.name} has {n_states} states")
            self.table = states
        elif isinstance(space, gymnasium.spaces.Box) and space.shape == (n_states,):
            self.table = _OneHot(n_states, space.dtype)
            return
        else:
            raise self._unfit(space, f"a state of {pair.name} is none of its observations")
        for state, row in enumerate(_as_bytes(self.table)):
            if row in self._state_of:
                alike = f"states {[self._state_of[row], state]} alike"
                raise invalid("observations", "be another one for each state", alike)
            self._state_of[row] = state

    def states(self, observations: npt.NDArray[Any]) -> IntArray:
        """The states (...,) behind observations (..., *shape), shape being that of the space.

        Raises:
            InvalidInputError: An observation is that of no state.
        """
        inner = self.table.shape[1:]
        flat = np.asarray(observations, dtype=self.table.dtype).reshape(-1, *inner)
        if isinstance(self.table, _OneHot):
            found = self.table.states(flat)
        else:
            found = np.array([self._state_of.get(row, -1) for row in _as_bytes(flat)], np.int64)
        unknown = np.flatnonzero(found < 0)
        if unknown.size:
            raise InvalidInputError(
                f"the environment shows {reprlib.repr(flat[unknown[0]].tolist())}, which is the "
                f"observation of no state of {self._name}. {_REMEDY}."
            )
        lead = np.shape(observations)
        return found.reshape(lead[: len(lead) - len(inner)])

    def _unfit(self, space: gymnasium.Space[Any], why: str) -> InvalidInputError:
        return InvalidInputError(f"the policy observes {space}, and {why}. {_REMEDY}.")


class _OneHot:
    """The table of one-hot observations without its S² entries, of which a rollout needs few rows."""

    def __init__(self, n_states: int, dtype: Any) -> None:
        self.shape, self.dtype = (n_states, n_states), np.dtype(dtype)

    def __getitem__(self, states: npt.ArrayLike) -> npt.NDArray[Any]:
        """(..., S), the rows of states (...,)."""
        wanted = np.asarray(states)[..., None]
        rows = np.zeros((*wanted.shape[:-1], self.shape[1]), dtype=self.dtype)
        np.put_along_axis(rows, wanted, 1, axis=-1)
        return rows

    def states(self, rows: npt.NDArray[Any]) -> IntArray:
        """The states (N,) of rows (N, S); −1 for a row that is not one-hot."""
        found = rows.argmax(axis=1)
        ones = np.take_along_axis(rows, found[:, None], axis=1)[:, 0] == 1
        return np.where(ones & (np.count_nonzero(rows, axis=1) == 1), found, -1)


def _as_bytes(rows: npt.NDArray[Any]) -> list[bytes]:
    """Each row (N, ...) as bytes, which are equal where all of the row is."""
    return [row.tobytes() for row in rows + 0]  # −0.0 becomes 0.0


def _checked_table(
    given: npt.ArrayLike, space: gymnasium.Space[Any], n_states: int
) -> npt.NDArray[Any]:
    if space.shape is None or space.dtype is None:
        raise invalid(
            "observations", "go with a space of arrays; Dict and Tuple are not served", space
        )
    table = np.asarray(given)
    if table.dtype.kind not in "biuf":
        raise invalid("observations", "be an array of numbers", table.dtype)
    table = table.astype(space.dtype)
    if table.shape != (n_states, *space.shape):
        raise invalid("observations", f"have the shape {(n_states, *space.shape)}", table.shape)
    outside = [s for s in range(n_states) if not space.contains(table[s])]
    if outside:
        raise invalid(f"observations[{outside[0]}]", f"lie in {space}", table[outside[0]].tolist())
    return table

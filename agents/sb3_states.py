"""States of a tabular pair as an SB3 policy observes them, and back. `belief_matcher` uses it.

A policy that sees the state may see it as a number (`Discrete`), one-hot, or in whatever form a wrapper
gives it; matching needs both directions: which states a rollout went through, and what the policy would
have observed in each state that a belief allows.

Index letters: S states, T steps, E copies of the environment.
"""

from __future__ import annotations

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
        states = np.arange(n_states)
        self._discrete = isinstance(space, gymnasium.spaces.Discrete)
        if observations is not None:
            given = observations(states) if callable(observations) else observations
            self.table = _checked_table(given, space, n_states)
        elif isinstance(space, gymnasium.spaces.Discrete):
            if space.n != n_states or space.start != 0:
                raise self._unfit(space, f"{pair.name} has {n_states} states")
            self.table = states
        elif isinstance(space, gymnasium.spaces.Box) and space.shape == (n_states,):
            self.table = np.eye(n_states, dtype=space.dtype)
        else:
            raise self._unfit(space, f"a state of {pair.name} is none of its observations")
        # Equal rows are equal bytes; sorted, so that a rollout is looked up at once.
        rows = _as_bytes(self.table)
        self._order = np.argsort(rows, kind="stable")
        self._sorted = rows[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            alike = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])[0]
            pairs = [int(s) for s in self._order[alike : alike + 2]]
            raise invalid("observations", "be another one for each state", f"states {pairs} alike")

    def states(self, observations: npt.NDArray[Any]) -> IntArray:
        """The states (...,) behind observations (..., *shape).

        Raises:
            InvalidInputError: An observation is that of no state.
        """
        if self._discrete:
            found = np.asarray(observations).astype(np.int64)
            if self.table.ndim == 1 and found.ndim and found.shape[-1:] == (1,):
                found = found[..., 0]  # as SB3's buffer has them
            unknown = (found < 0) | (found >= self._n_states)
            if not unknown.any() and np.array_equal(self.table, np.arange(self._n_states)):
                return found
            observations = found
        inner = self.table.shape[1:]
        flat = np.asarray(observations, dtype=self.table.dtype).reshape(-1, *inner)
        rows = _as_bytes(flat)
        place = np.minimum(np.searchsorted(self._sorted, rows), self._n_states - 1)
        states = self._order[place]
        off = self._sorted[place] != rows
        if off.any():
            raise InvalidInputError(
                f"the environment shows {flat[np.flatnonzero(off)[0]].tolist()}, which is the "
                f"observation of no state of {self._name}. {_REMEDY}."
            )
        leading = np.asarray(observations).shape
        return np.asarray(states.reshape(leading[: len(leading) - len(inner)]), dtype=np.int64)

    def _unfit(self, space: gymnasium.Space[Any], why: str) -> InvalidInputError:
        return InvalidInputError(f"the policy observes {space}, and {why}. {_REMEDY}.")


def _as_bytes(rows: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """Each row (N, ...) as one value that compares equal where all of the row does."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1)) + 0  # −0.0 becomes 0.0
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()


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

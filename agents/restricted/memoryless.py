"""`MemorylessPolicy`: acts on the last observation alone, by a table."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from imm_rl.agents.restricted.base import RestrictedPolicy, checked_beliefs
from imm_rl.envs import options
from imm_rl.envs.model import ROW_SUM_TOLERANCE, FloatArray
from imm_rl.errors import InvalidInputError, invalid

BELIEF_TOLERANCE = 1e-6
"""A belief may differ from an observation's by this much in any entry: a filter's rounding, no more."""


class MemorylessPolicy:
    """A table of action probabilities, one row an observation.

    It fits pairs whose belief is a function of the last observation (the paper's grid): there
    `observation_beliefs` says what each observation lets one believe, and `probs` finds the observation
    back from the belief, so that training treats it like any policy on beliefs.

    Attributes:
        acts_on: "observation", see `RestrictedPolicy`.

    Args:
        table: (O, A), table[o, a] = P(a | o); rows sum to 1.
        observation_beliefs: (O, S), row o is the belief on seeing o.
        name: What tables and plots call it.

    Raises:
        InvalidInputError: Shapes do not fit, a row is no distribution, or two observations have the
            same belief but different rows.
    """

    acts_on: ClassVar[str] = "observation"

    def __init__(
        self,
        table: npt.ArrayLike,
        observation_beliefs: npt.ArrayLike,
        *,
        name: str = "memoryless",
    ) -> None:
        self.name = name
        self.table = _distributions("table", table)
        self.observation_beliefs = _distributions("observation_beliefs", observation_beliefs)
        if len(self.table) != len(self.observation_beliefs):
            raise invalid(
                "table",
                f"have a row for each of {len(self.observation_beliefs)} observations",
                self.table.shape,
            )
        found = self._observations(self.observation_beliefs)
        unlike = np.abs(self.table[found] - self.table).max(axis=1) > BELIEF_TOLERANCE
        if unlike.any():
            o = int(np.flatnonzero(unlike)[0])
            raise InvalidInputError(
                f"observations {int(found[o])} and {o} have the same belief but other action "
                "probabilities; a policy on beliefs cannot tell them apart."
            )

    @classmethod
    def from_policy(
        cls,
        policy: RestrictedPolicy,
        observation_beliefs: npt.ArrayLike,
        *,
        name: str = "memoryless",
    ) -> MemorylessPolicy:
        """What a policy on beliefs does on seeing each observation, written down once."""
        beliefs = _distributions("observation_beliefs", observation_beliefs)
        return cls(policy.probs(beliefs), beliefs, name=name)

    @property
    def n_states(self) -> int:
        """S."""
        return int(self.observation_beliefs.shape[1])

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.table.shape[1])

    @property
    def n_observations(self) -> int:
        """O."""
        return len(self.table)

    def probs(self, context: FloatArray) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S), each of which some observation gives.

        Raises:
            InvalidInputError: A belief that no observation gives.
        """
        beliefs = checked_beliefs(context, self.n_states, check=False)
        return np.asarray(self.table[self._observations(beliefs)])

    def observation_probs(self, observations: npt.ArrayLike) -> FloatArray:
        """Action probabilities (..., A) on seeing observations (...,), integers."""
        seen = options.indices("observations", observations, self.n_observations)
        return np.asarray(self.table[seen])

    def _observations(self, beliefs: FloatArray) -> npt.NDArray[np.int64]:
        flat = beliefs.reshape(-1, self.n_states)
        # Nearest in the Euclidean sense by one product: |b − c|² less |b|².
        known = self.observation_beliefs
        nearest = ((known**2).sum(axis=1) - 2.0 * (flat @ known.T)).argmin(axis=1)
        # NaN is off too.
        off = ~(np.abs(flat - known[nearest]).max(axis=1, initial=0.0) <= BELIEF_TOLERANCE)
        if off.any():
            raise invalid(
                "belief",
                "be that of a single observation, for a memoryless policy",
                flat[int(np.flatnonzero(off)[0])].round(4).tolist(),
                "Use it with a pair whose observation_beliefs it was made for",
            )
        return np.asarray(nearest.reshape(beliefs.shape[:-1]))


def _distributions(name: str, value: npt.ArrayLike) -> FloatArray:
    array: FloatArray = options.floats(name, value).copy()
    if array.ndim != 2 or array.size == 0:
        raise invalid(name, "be a matrix with one row an observation", array.shape)
    sums = array.sum(axis=1)
    bad = ~((array >= 0.0).all(axis=1) & (np.abs(sums - 1.0) <= ROW_SUM_TOLERANCE))
    if bad.any():
        o = int(np.flatnonzero(bad)[0])
        raise invalid(f"{name}[{o}]", "be probabilities that sum to 1", array[o].tolist())
    array /= sums[:, None]
    array.setflags(write=False)
    return array

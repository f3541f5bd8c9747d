"""What every restricted policy offers: action probabilities at beliefs. Training asks for no more."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import options
from imm_rl.envs.belief import SUM_TOLERANCE, check_distributions
from imm_rl.envs.model import FloatArray
from imm_rl.errors import invalid

TIE_TOLERANCE = 1e-9
"""Actions whose values differ by less than this, relative to the largest in size, are tied.

Values that are equal in theory differ by rounding, about 1e-15, and which of them comes out larger
depends on the order in which a matrix product sums, so on batch size and machine. No solver is precise
to 1e-9, so nothing real is lost.
"""


@runtime_checkable
class RestrictedPolicy(Protocol):
    """A policy that acts on beliefs over the full state, and is never trained here.

    A class attribute `acts_on` says what it needs to see: "belief", which is meant where there is none,
    or "observation" for a policy that needs the last observation alone; such a one has a method
    `observation_probs(observations (...,)) -> (..., A)` as well. A class attribute `takes_sparse` that is
    true says that `probs` takes CSR beliefs (N, S) too; others are asked at dense ones.
    """

    @property
    def name(self) -> str:
        """What tables and plots call it."""

    @property
    def n_states(self) -> int:
        """S, of the beliefs it takes."""

    @property
    def n_actions(self) -> int:
        """A, of the probabilities it gives."""

    def probs(self, context: FloatArray) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S)."""


def checked_beliefs(beliefs: Any, n_states: int, *, check: bool = True) -> Any:
    """Beliefs (..., S) as a float64 array, or a CSR array (B, S) as it is.

    Args:
        beliefs: What was given.
        n_states: S.
        check: Whether the values are checked; without it the shape alone is.

    Raises:
        InvalidInputError: The last axis is not S long, or a row is no distribution.
    """
    given: Any = beliefs
    array = sp.csr_array(given) if sp.issparse(beliefs) else options.floats("belief", beliefs)
    if array.ndim == 0 or array.shape[-1] != n_states:
        raise invalid("belief", f"have {n_states} states on its last axis", array.shape)
    if not check:
        return array
    if not isinstance(array, np.ndarray):
        off = np.abs(array.sum(axis=1) - 1.0)
        if not (array.data.min(initial=0.0) >= 0.0 and off.max(initial=0.0) <= SUM_TOLERANCE):
            raise invalid("belief", "be ≥ 0 and sum to 1 in every row", float(off.max()))
        return array
    check_distributions("belief", array.reshape(-1, n_states))
    return array


def greedy_probs(values: FloatArray, ties: str) -> FloatArray:
    """Probabilities (..., A) of acting greedily on values (..., A); −inf marks what is never done.

    Args:
        values: At least one finite entry a row.
        ties: "split" shares the probability evenly among tied actions, "first" takes the first.
    """
    best = tied_with_best(values)
    if ties == "first":
        best &= best.cumsum(axis=-1) == 1
    shares: FloatArray = best / best.sum(axis=-1, keepdims=True)
    return shares


def tied_with_best(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Which actions (..., A) are within `TIE_TOLERANCE` of the best."""
    size = np.abs(np.where(np.isfinite(values), values, 0.0)).max(axis=-1, keepdims=True)
    found: npt.NDArray[np.bool_] = (
        values >= values.max(axis=-1, keepdims=True) - TIE_TOLERANCE * size
    )
    return found


def softmax_probs(values: FloatArray, temperature: float) -> FloatArray:
    """exp(values / temperature), normalised, over the last axis; −inf gives 0."""
    scaled = (values - values.max(axis=-1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    shares: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return shares

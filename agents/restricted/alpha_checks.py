"""Checks of what `AlphaVectorPolicy` is given. Each returns the value in the form the policy keeps."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import invalid, unknown_name


def vectors(value: npt.ArrayLike) -> FloatArray:
    """Finite alpha vectors (V, S), a copy that is read only."""
    array: FloatArray = options.floats("vectors", value).copy()
    if array.ndim != 2 or array.size == 0:
        raise invalid("vectors", "be a matrix (V, S) with at least one vector", array.shape)
    if not np.isfinite(array).all():
        vector, state = np.argwhere(~np.isfinite(array))[0]
        raise invalid(f"vectors[{vector}, {state}]", "be finite", float(array[vector, state]))
    array.setflags(write=False)
    return array


def vector_set(
    value: npt.ArrayLike | sp.csr_array, base: npt.ArrayLike | None
) -> tuple[FloatArray | sp.csr_array, FloatArray | None]:
    """Vectors (V, S), or a CSR array and the base (S,) that its rows add to; read only."""
    if not sp.issparse(value):
        if base is not None:
            raise invalid("base", "be left out with dense vectors", "an array")
        return vectors(value), None
    rows: Any = sp.csr_array(value).astype(np.float64)
    if base is None:
        raise invalid("base", "be given with sparse vectors, one value a state", None)
    shared = vectors(np.asarray(base)[None])[0]
    if shared.shape != rows.shape[1:] or 0 in rows.shape:
        raise invalid(
            "base", f"have shape {rows.shape[1:]}, the states of the vectors", shared.shape
        )
    bad = ~(np.isfinite(rows.data) & (rows.data >= -1e-9 * max(1.0, np.abs(shared).max())))
    if bad.any():
        raise invalid("sparse vectors", "be finite and ≥ 0", float(rows.data[bad][0]))
    rows.data = rows.data.view()  # the caller's own array stays as it is
    rows.data.setflags(write=False)
    return rows, shared


def vector_actions(value: npt.ArrayLike, n_vectors: int) -> IntArray:
    """The actions (V,) of so many vectors, a copy that is read only."""
    constraint = f"be an integer for each of {n_vectors} vectors"
    try:
        array = np.array(value)
    except ValueError:  # ragged
        raise invalid("vector_actions", constraint, value) from None
    if array.dtype.kind not in "iu" or array.shape != (n_vectors,):
        raise invalid("vector_actions", constraint, (array.dtype, array.shape))
    if array.min() < 0:
        raise invalid("vector_actions", "be ≥ 0", int(array.min()))
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array


def choice(name: str, value: str, known: tuple[str, ...]) -> str:
    """One of the known names."""
    if value not in known:
        raise unknown_name(name, value, known)
    return value


def model(value: TabularPOMDP | None) -> TabularPOMDP | None:
    """A model, or none."""
    if not (value is None or isinstance(value, TabularPOMDP)):
        raise invalid("model", "be a TabularPOMDP", type(value).__name__)
    return value


def temperature(value: object) -> float | None:
    """A finite number > 0, or None."""
    if value is None:
        return None
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not 0.0 < number < math.inf:
        raise invalid("temperature", "be a number > 0, or None to act greedily", value)
    return number

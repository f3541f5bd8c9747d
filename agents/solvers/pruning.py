"""Removes alpha vectors that are nowhere needed."""

from __future__ import annotations

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs.model import FloatArray


def undominated(vectors: FloatArray, *, slack: float = 1e-12) -> IntArray:
    """Indices, ascending, of the vectors that no other one exceeds at every state.

    Args:
        vectors: (V, S).
        slack: A vector also goes when it exceeds another by no more than this anywhere, relative to
            the largest entry; so of equal vectors one stays, the first of the largest sum.
    """
    scale = slack * float(np.abs(vectors).max(initial=0.0))
    # Only a vector of a larger sum can dominate: from the largest down, each takes out what it covers.
    left = np.argsort(-vectors.sum(axis=1), kind="stable")
    kept = []
    while left.size:
        first, left = left[0], left[1:]
        kept.append(first)
        left = left[(vectors[left] > vectors[first] + scale).any(axis=1)]
    return np.sort(np.array(kept, dtype=np.int64))

"""Dense or sparse: the form in which a problem built by code hands T and O to `TabularPOMDP`.

Small models are faster as dense arrays, large ones as CSR, one matrix an action; the limit is that
of the reader of `.POMDP` files, so that a problem and its file come in the same form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from imm_rl.envs.model import FloatArray

Stack: TypeAlias = "FloatArray | tuple[sp.csr_array, ...]"

DENSE_UP_TO = 2_000_000
"""Entries of T, S·A·S, up to which a model is dense; as `imm_rl.envs.cassandra.DENSE_LIMIT`."""


def stacked(
    transitions: Sequence[sp.csr_array], observations: Sequence[sp.csr_array]
) -> tuple[Stack, Stack]:
    """T and O of a model from one CSR matrix an action: (S, A, S) and (A, S, O), or both as tuples.

    Args:
        transitions: A matrices (S, S).
        observations: A matrices (S, O).
    """
    n_states = transitions[0].shape[0]
    if n_states * n_states * len(transitions) > DENSE_UP_TO:
        return tuple(transitions), tuple(observations)
    dense = np.stack([part.toarray() for part in transitions], axis=1)
    return dense, np.stack([part.toarray() for part in observations])

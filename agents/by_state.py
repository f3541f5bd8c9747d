"""Noising and naive KL: the restricted policy's probabilities laid on single states, not on an average.

Both are linear in log π(a|s), so that an update's contexts come down to one table W[s, a] of target
mass, whatever their number:

    loss = −Σ_{s,a} W[s, a] log π(a|s),   W[s, a] = Σ_m w_m ρ_m(s) P̂(a|b_m) / Σ_m w_m

with ρ_m(s) = b_m(s), all states that the belief allows, for noising (`losses.noising_loss` with the
belief's states as completions: k = 1 in expectation), and ρ_m the state that the agent was in for
naive KL (`losses.naive_kl_loss` up to the entropy of P̂, which no gradient reaches).

Index letters: N runs, M contexts of a run, S states, A actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.contexts import Contexts
from imm_rl.envs.model import FloatArray


def target_table(contexts: Contexts, n_runs: int, *, visited: bool) -> FloatArray:
    """W, (N, S, A), of every run; all 0 in a run none of whose contexts has weight.

    Args:
        contexts: Of one update.
        n_runs: N.
        visited: Whether each context stands for the state that it was met in (naive KL), which
            `contexts.visited` must say, or for all that its belief allows (noising).
    """
    weights = np.broadcast_to(contexts.weights, (n_runs, contexts.weights.shape[-1]))
    sums = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, sums, out=np.zeros(weights.shape), where=sums > 0.0)
    masses = shares[..., None] * contexts.targets  # (N, M, A)
    places: Any = contexts.visited if visited else contexts.beliefs
    n_states = contexts.beliefs.shape[-1]
    if visited and places.ndim == 2:
        return _scattered(places, masses, n_states)
    if isinstance(places, np.ndarray):
        return np.asarray(np.swapaxes(places, -1, -2) @ masses)
    by_run = contexts.targets.ndim == 3
    table = np.empty((n_runs, n_states, masses.shape[-1]))
    for i, mass in enumerate(masses):
        rows = places[i * len(mass) : (i + 1) * len(mass)] if by_run else places
        table[i] = sp.csr_array(rows).T @ mass
    return table


def _scattered(states: Any, masses: FloatArray, n_states: int) -> FloatArray:
    """Each mass (A,) of (N, M, A) added to its state's row, states (N, M)."""
    n_runs, _, n_actions = masses.shape
    rows = np.arange(n_runs)[:, None] * n_states + states
    cells = rows[..., None] * n_actions + np.arange(n_actions)
    flat = np.bincount(
        cells.ravel(), weights=masses.ravel(), minlength=n_runs * n_states * n_actions
    ).astype(np.float64)
    table: FloatArray = flat.reshape(n_runs, n_states, n_actions)
    return table

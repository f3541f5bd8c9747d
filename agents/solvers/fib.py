"""The fast informed bound (Hauskrecht 2000, Journal of AI Research 13, section 4.3.4).

    α_a(s) = r(s, a) + γ Σ_o max_a' Σ_s' T[s, a, s'] O[a, s', o] α_a'(s')

One vector an action, between the optimal value and QMDP's. It is the paper's restricted policy on the
grid, and the upper bound that point-based solving starts from.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.base import IntArray, Solution, SolveSettings
from imm_rl.agents.solvers.mdp import mdp_values
from imm_rl.envs.model import FloatArray, TabularPOMDP


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Iterates from QMDP down; upper bound max_a Σ_s b0(s) α_a(s)."""
    vectors, settled = informed_vectors(model, settings)
    upper = float((vectors @ model.initial).max())
    settings.report(None, upper, model.n_actions)
    note = "" if settled else settings.clock_note
    actions = np.arange(model.n_actions)
    return Solution(vectors, actions, None, upper, settled, "vectors", note, settled=settled)


def informed_vectors(
    model: TabularPOMDP, settings: SolveSettings, *, share: float = 1.0
) -> tuple[FloatArray, bool]:
    """FIB's vectors (A, S), and whether they settled.

    The iteration starts at QMDP's vectors and falls monotonically, so the result is an upper bound
    wherever it stops. It has settled when what is left to fall is below a thousandth of the precision:
    sweeps are cheap, and a policy that acts on these vectors compares close values.

    Args:
        model: See `mdp_values` for γ = 1.
        settings: Time limit and precision.
        share: The share of the time limit that may be used.
    """
    _, q = mdp_values(model)
    vectors = np.ascontiguousarray(q.T)
    joint, starts = joint_outcomes(model)
    reward = model.reward.T
    # Differences shrink by γ a sweep, so the sum of all that follow is γ/(1−γ) times the last. With
    # γ = 1 (all policies end) there is no such rate, and a difference at rounding level is asked for.
    discount = model.discount
    rest = discount / (1.0 - discount) if discount < 1.0 else 1e6
    while settings.seconds < share * settings.time_limit:
        best = (joint @ vectors.T).max(axis=1)  # (R,): one entry a possible (a, s, o)
        after = np.add.reduceat(best, starts).reshape(reward.shape)
        lowered = np.minimum(vectors, reward + discount * after)
        fall = float((vectors - lowered).max())
        vectors = lowered
        if rest * fall <= 1e-3 * settings.precision * max(1.0, float(np.abs(vectors).max())):
            return vectors, True
    return vectors, False


def joint_outcomes(model: TabularPOMDP) -> tuple[sp.csr_array, IntArray]:
    """P(s', o | s, a) as CSR rows: only possible (a, s, o), in this order.

    Returns:
        The rows (R, S), and where each (a, s) starts among them, (A·S,).
    """
    blocks, counts = [], []
    for action in range(model.n_actions):
        transition = sp.coo_array(model.transition_of(action))
        seen = sp.csr_array(model.observation_of(action))
        # One entry for each (s, s') and each o possible at s'.
        lengths = np.diff(seen.indptr)[transition.col]
        entry = np.repeat(np.arange(transition.nnz), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = seen.indptr[transition.col[entry]] + within
        mass = transition.data[entry] * seen.data[at]
        row = transition.row[entry].astype(np.int64) * model.n_observations + seen.indices[at]
        used, compact = np.unique(row[mass > 0.0], return_inverse=True)
        kept = (mass[mass > 0.0], (compact, transition.col[entry][mass > 0.0]))
        blocks.append(sp.csr_array(kept, shape=(used.size, model.n_states)))
        counts.append(np.bincount(used // model.n_observations, minlength=model.n_states))
    lengths = np.concatenate(counts)
    return sp.csr_array(sp.vstack(blocks)), np.cumsum(lengths) - lengths

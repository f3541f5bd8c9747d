"""Exact value iteration, for small models and short horizons; the oracle that other solvers are held to.

Backups of all beliefs at once by incremental pruning. Between two of them the vectors are improved at the
beliefs where they were best, which is cheap and spares most of the exact backups (N. L. Zhang, W. Zhang,
"Speeding Up the Convergence of Value Iteration in Partially Observable Markov Decision Processes", Journal
of Artificial Intelligence Research 14, 2001).

Bounds: vectors are values of plans from the first on, so V ≤ V*. Let V' be the backup of V, e what its
prunings may have lost, and d the most by which V' exceeds V at any belief. With u(s) the largest expected
discounted number of steps from s on, V + (d + e)·u is no smaller than its own backup, thus no smaller than
V*, and one backup of it gives

    V*(b) ≤ V'(b) + e·u(b) + d·(u(b) − μ(b)),   μ(b) the mass off terminal states.

Where nothing ends, u = 1/(1−γ) and this is the Bellman residual's bound; where every policy ends it holds
for γ = 1 too.
"""

from __future__ import annotations

from typing import NamedTuple, SupportsIndex

import numpy as np

from imm_rl.agents.solvers.base import IntArray, Solution, SolveSettings
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.agents.solvers.incremental_pruning import GivenUpError, IncrementalPruning
from imm_rl.agents.solvers.lp_pruning import largest_margin
from imm_rl.agents.solvers.mdp import mdp_values, policy_values
from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, TabularPOMDP

SWEEPS = 200
"""Most improvements at known beliefs between two exact backups."""


class _Limits:
    """What an infinite horizon's bounds are measured with."""

    def __init__(self, model: TabularPOMDP, backups: IncrementalPruning) -> None:
        alive = (~model.terminal).astype(np.float64)
        counting = TabularPOMDP(
            model.transition,
            model.observation,
            np.tile(alive[:, None], model.n_actions),
            model.initial,
            model.discount,
            terminal=model.terminal,
        )
        steps, _ = mdp_values(counting)
        self.steps = float(model.initial @ steps)  # u(b0)
        self.later = self.steps - float(model.initial @ alive)  # u(b0) − μ(b0)
        self.prunings = backups.prunings

    def slack(self, tolerance: float) -> float:
        """Prunings may use up a tenth of the tolerance, all together."""
        return 0.1 * tolerance / (self.prunings * max(1.0, self.steps))


class _Vectors(NamedTuple):
    """Plans at one moment: vectors (V, S), actions (V,)."""

    vectors: FloatArray
    actions: IntArray

    def at(self, beliefs: FloatArray) -> FloatArray:
        """Values (B,) of beliefs (B, S)."""
        values: FloatArray = (beliefs @ self.vectors.T).max(axis=1)
        return values


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Alpha vectors with proven bounds of the optimal value at b0, by exact backups.

    Stops when the bounds meet (converged), by the clock (looked at between linear programs), when a
    backup gets too large, or when rounding keeps the bounds apart.

    Raises:
        InvalidInputError: The model is too large, or γ = 1 and some policy never ends.
    """
    backups = IncrementalPruning(model, lambda: _look_at_clock(settings))
    informed, settled = informed_vectors(model, settings, share=0.2)
    high = float((informed @ model.initial).max())
    limits = _Limits(model, backups)
    blind = [policy_values(model, action) for action in range(model.n_actions)]
    plans = _Vectors(np.stack(blind), np.arange(model.n_actions))
    start = model.initial[None, :]
    low, last, note = float(plans.at(start)[0]), np.inf, ""
    improve = True
    try:
        while True:
            tolerance = settings.tolerance(low)
            if improve:
                plans = _improved(backups, plans, tolerance, settings)
            found = backups.backup(plans.vectors, slack=limits.slack(tolerance))
            better = _Vectors(found.vectors, found.actions)
            value, lost = float(better.at(start)[0]), found.lost * limits.steps
            beliefs = backups.pool
            rise = max(0.0, float((better.at(beliefs) - plans.at(beliefs)).max()))
            if value + lost + rise * limits.later < high:  # else the bound would not fall
                rise, where = largest_margin(
                    better.vectors, plans.vectors, known=rise, check=backups.check
                )
                backups.remember(where)
                high = min(high, value + lost + rise * limits.later)
            plans, low = better, max(low, value)
            settings.report(low, high, len(plans.vectors))
            if high - low <= tolerance:
                break
            if rise <= found.lost:
                note = "stopped as rounding keeps the bounds apart"
                break
            # Where known beliefs do not serve, plain backups do: with them the rise falls by γ each.
            improve, last = rise < 0.9 * last, rise
    except GivenUpError as error:
        note = f"stopped {error}"
    low = float(plans.at(start)[0])
    high = max(low, high)
    if note:
        note = f"{note}, at a gap of {high - low:.3g}"
    return Solution(
        plans.vectors, plans.actions, low, high, not note, "vectors", note, settled=settled
    )


def exact_horizon(model: TabularPOMDP, horizon: SupportsIndex, settings: SolveSettings) -> Solution:
    """The best plans of `horizon` steps, as vectors over the beliefs at their start; any γ in (0, 1].

    Both bounds are the value at b0, exact but for what prunings lose: some 1e-9 of the largest difference
    between vectors, each. Where the clock or the size of a backup stops this after k backups, the rest is
    done at known beliefs (lower bound) and by FIB's steps (upper bound), and the note says so.

    Args:
        model: A small one.
        horizon: Steps, ≥ 1.
        settings: Its time limit is looked at between linear programs; precision and seed play no part.

    Raises:
        InvalidInputError: horizon is no whole number ≥ 1, or the model is too large.
    """
    steps = options.whole("horizon", horizon, at_least=1)
    backups = IncrementalPruning(model, lambda: _look_at_clock(settings))
    plans = _Vectors(np.zeros((1, model.n_states)), np.zeros(1, dtype=np.int64))
    above, note = plans.vectors, ""
    for step in range(steps):
        if not note:
            try:
                found = backups.backup(plans.vectors, slack=0.0)
                above = found.vectors
            except GivenUpError as error:
                note = f"exact for the last {step} of {steps} steps only: stopped {error}"
        if note:
            found = backups.point_backup(plans.vectors, backups.pool)
            above = backups.informed_backup(above)
        plans = _Vectors(found.vectors, found.actions)
    if note:
        plans = _distinct(plans)
    low = float((plans.vectors @ model.initial).max())
    high = max(low, float((above @ model.initial).max()))
    settings.report(low, high, len(plans.vectors))
    return Solution(plans.vectors, plans.actions, low, high, not note, "vectors", note)


def _improved(
    backups: IncrementalPruning, plans: _Vectors, tolerance: float, settings: SolveSettings
) -> _Vectors:
    """Backs up known beliefs until little is left to gain there; no value falls at any of them."""
    beliefs = backups.pool
    # Gains shrink by about γ a sweep, so what is left is about γ/(1−γ) times the last.
    enough = 0.05 * tolerance * max(1.0 - backups.model.discount, 0.01)
    for _ in range(SWEEPS):
        if settings.out_of_time:
            break
        scores = beliefs @ plans.vectors.T
        best = scores.argmax(axis=1)
        old = scores.max(axis=1)
        found = backups.point_backup(plans.vectors, beliefs)
        rise = (found.vectors * beliefs).sum(axis=1) - old
        vectors = np.where(rise[:, None] > 0.0, found.vectors, plans.vectors[best])
        plans = _distinct(
            _Vectors(vectors, np.where(rise > 0.0, found.actions, plans.actions[best]))
        )
        if rise.max() <= enough:
            break
    return plans


def _distinct(plans: _Vectors) -> _Vectors:
    """Without repetitions."""
    vectors, first = np.unique(plans.vectors, axis=0, return_index=True)
    return _Vectors(vectors, plans.actions[first])


def _look_at_clock(settings: SolveSettings) -> None:
    if settings.out_of_time:
        raise GivenUpError(f"by the time limit of {settings.time_limit:g} s")

"""Point-based value iteration: Perseus (Spaan and Vlassis 2005) on chunks of beliefs, with both bounds.

Rounds of: collect beliefs (from walks of the current policy, and from where the bounds disagree), back
them up until they settle, tighten the upper bound at the disputed ones. The first vectors are those of
blind policies, so the lower bound is proven at every moment; the upper bound starts at FIB's.
"""

from __future__ import annotations

import itertools

import numpy as np

from imm_rl.agents.solvers.backup import Backup
from imm_rl.agents.solvers.base import IntArray, Solution, SolveSettings
from imm_rl.agents.solvers.collect import BeliefSet, disputed, walk
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.agents.solvers.mdp import policy_values
from imm_rl.agents.solvers.pruning import undominated
from imm_rl.agents.solvers.sawtooth import UpperBound
from imm_rl.envs.model import FloatArray, TabularPOMDP

CHUNK = 64
"""Beliefs backed up at a time: enough for matrix products, few enough that most are spared."""

SWEEPS = 40
"""Most sweeps a round. Fewer leave good beliefs to be found later, more polish values of poor ones."""

WALKS, STEPS, EXPLORE = 32, 40, 0.2
NEW_BELIEFS, MOST_BELIEFS = 200, 2000
"""Beliefs met on walks: how many walks a round, their length, how many beliefs are kept."""

WIDTH, DEPTH, NEW_POINTS = 8, 60, 40
"""Disputed beliefs: how many at each depth, how deep, how many a round."""

PATIENCE = 3
"""Rounds without progress after which the solver stops."""


class LowerBound:
    """Alpha vectors of plans, and their improvement over a set of beliefs.

    Attributes:
        model: The model.
        vectors: (V, S).
        actions: (V,).
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self.model = model = dynamics.model
        self._dynamics = dynamics
        self.vectors: FloatArray = np.stack(
            [policy_values(model, action) for action in range(model.n_actions)]
        )
        self.actions: IntArray = np.arange(model.n_actions)

    def at(self, beliefs: FloatArray) -> FloatArray:
        """Values (B,) of beliefs (B, S)."""
        values: FloatArray = (beliefs @ self.vectors.T).max(axis=1)
        return values

    def act(self, beliefs: FloatArray) -> IntArray:
        """The best vectors' actions (B,)."""
        return np.asarray(self.actions[(beliefs @ self.vectors.T).argmax(axis=1)])

    def sweep(
        self, beliefs: FloatArray, rng: np.random.Generator, settings: SolveSettings
    ) -> float:
        """One Perseus sweep: no belief's value falls, most rise. Returns the largest rise.

        Beliefs are taken in random chunks; those that a chunk's new vectors have raised already are
        spared. A belief that its own backup does not raise keeps the vector it has.
        """
        backup = Backup(self._dynamics, self.vectors)
        scores = beliefs @ self.vectors.T
        best = scores.argmax(axis=1)
        old = scores[np.arange(len(beliefs)), best]
        new = np.full(len(beliefs), -np.inf)
        vectors, actions = [], []
        left = rng.permutation(len(beliefs))
        while left.size and not settings.out_of_time:
            chunk, left = left[:CHUNK], left[CHUNK:]
            found = backup(beliefs[chunk])
            raised = found.values > old[chunk]
            stay = np.unique(best[chunk[~raised]])
            rows = np.concatenate([found.vectors[raised], self.vectors[stay]])
            owners = np.concatenate([found.actions[raised], self.actions[stay]])
            rows, first = np.unique(rows, axis=0, return_index=True)
            vectors.append(rows)
            actions.append(owners[first])
            new = np.maximum(new, (beliefs @ rows.T).max(axis=1))
            left = left[new[left] < old[left]]
        if left.size:  # out of time: what was not reached keeps its vectors
            stay = np.unique(best[left])
            vectors.append(self.vectors[stay])
            actions.append(self.actions[stay])
            new = np.maximum(new, old)
        self.vectors, self.actions = np.concatenate(vectors), np.concatenate(actions)
        self._prune(beliefs)
        return float((new - old).max())

    def _prune(self, beliefs: FloatArray) -> None:
        """Keeps the vectors that are best at some belief."""
        kept = np.unique((beliefs @ self.vectors.T).argmax(axis=1))
        self.vectors, self.actions = self.vectors[kept], self.actions[kept]

    def prune_dominated(self) -> None:
        """Drops vectors that another one exceeds everywhere."""
        kept = undominated(self.vectors)
        self.vectors, self.actions = self.vectors[kept], self.actions[kept]


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Alpha vectors with proven bounds of the optimal value at b0.

    Stops when the bounds meet (converged), when they no longer improve, or by the clock. Only in the
    last case the result depends on the machine's speed.
    """
    rng = np.random.default_rng(settings.seed)
    informed, _ = informed_vectors(model, settings, share=0.3)
    dynamics = Dynamics(model)
    lower, upper = LowerBound(dynamics), UpperBound(dynamics, informed)
    beliefs, points = BeliefSet(model.n_states), BeliefSet(model.n_states)
    initial = beliefs.add(model.initial[None, :], 1)
    stalled, last_low, last_gap, note = 0, -np.inf, np.inf, ""
    for rounds in itertools.count(1):
        tolerance = settings.precision * max(1.0, abs(float(lower.at(initial)[0])))
        beliefs.add(_dispute(dynamics, lower, upper, points, tolerance, settings), NEW_POINTS)
        met = walk(model, lower.act, rng, walks=WALKS, steps=STEPS, explore=EXPLORE)
        beliefs.add(met, min(NEW_BELIEFS, MOST_BELIEFS - len(beliefs)))
        _settle(lower, beliefs.beliefs, rng, tolerance, settings)
        upper.improve(SWEEPS, 0.01 * tolerance, settings)

        low, high = float(lower.at(initial)[0]), float(upper.at(initial)[0])
        settings.report(low, high, len(lower.vectors))
        if high - low <= tolerance:
            break
        if settings.out_of_time:
            note = f"stopped by the time limit of {settings.time_limit:g} s"
            break
        progress = low > last_low + 0.1 * tolerance or high - low < 0.9 * last_gap
        stalled = 0 if progress else stalled + 1
        last_low, last_gap = max(low, last_low), high - low
        if stalled == PATIENCE:
            note = f"stopped after {rounds} rounds, as the bounds no longer improved"
            break
    lower.prune_dominated()
    low = float(lower.at(initial)[0])
    return Solution(lower.vectors, lower.actions, low, max(low, high), not note, "lookahead", note)


def _dispute(
    dynamics: Dynamics,
    lower: LowerBound,
    upper: UpperBound,
    points: BeliefSet,
    tolerance: float,
    settings: SolveSettings,
) -> FloatArray:
    """Gives the upper bound new points, from where the gap comes from; returns them (K, S)."""
    added = [np.empty((0, dynamics.model.n_states))]
    room = NEW_POINTS if upper.has_room(NEW_POINTS) else 0
    frontiers = disputed(
        dynamics, upper, lower.vectors, width=WIDTH, depth=DEPTH, tolerance=0.5 * tolerance
    )
    while room and not settings.out_of_time:
        frontier = next(frontiers, None)
        if frontier is None:
            break
        added.append(points.add(frontier, room))
        room -= len(added[-1])
    new = np.concatenate(added)
    if len(new):
        upper.add(new)
    return new


def _settle(
    lower: LowerBound,
    beliefs: FloatArray,
    rng: np.random.Generator,
    tolerance: float,
    settings: SolveSettings,
) -> None:
    """Sweeps until little is left to gain on these beliefs, or for `SWEEPS`."""
    # Gains shrink by about γ a sweep, so what is left is about γ/(1−γ) times the last.
    discount = lower.model.discount
    enough = 0.05 * tolerance * max(1.0 - discount, 0.01)
    for _ in range(SWEEPS):
        rise = lower.sweep(beliefs, rng, settings)
        if rise <= enough or settings.out_of_time:
            return

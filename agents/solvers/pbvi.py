"""Point-based value iteration: Perseus (Spaan and Vlassis 2005) on beliefs that its own policy meets.

Rounds of: walk by the current policy, and by FIB's, which goes where rewards are before the lower bound
knows of them; keep beliefs that are new; back all of them up until they settle.
The lower bound alone is worked on; the upper one is FIB's. `sarsop` works on both.
"""

from __future__ import annotations

import itertools

import numpy as np

from imm_rl.agents.solvers.base import IntArray, Solution, SolveSettings
from imm_rl.agents.solvers.collect import BeliefSet, Located, walk
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.agents.solvers.lower_bound import LowerBound
from imm_rl.envs.model import FloatArray, TabularPOMDP

SWEEPS = 40
"""Most sweeps a round. Fewer leave good beliefs to be found later, more polish values of poor ones."""

WALKS, STEPS, EXPLORE = 32, 40, 0.2
"""Walks a round by either policy, steps of each, share of random actions (more after idle rounds)."""

NEW_BELIEFS, MOST_BELIEFS = 200, 5000
"""Beliefs kept of either policy's walks a round, and in all."""

OWN_SHARE, OWN_ROUNDS, OWN_WALKS, OWN_STEPS, OWN_SWEEPS = 0.25, 20, 64, 60, 5
"""The last share of the time, and what is done in it; see `consolidated`."""

PATIENCE = 10
"""Rounds without progress after which the solver stops."""


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Alpha vectors with a proven lower bound of the optimal value at b0, and FIB's upper bound.

    Stops when the bounds meet (converged), when the lower one no longer rises, or by the clock. Only
    in the last case, or where FIB did not settle, the result depends on the machine's speed.
    """
    rng = np.random.default_rng(settings.seed)
    informed, settled = informed_vectors(model, settings, share=0.2)
    high = float((informed @ model.initial).max())
    dynamics = Dynamics(model, settings.regions)
    lower, beliefs = LowerBound(dynamics), BeliefSet(dynamics)
    beliefs.add([Located(0, dynamics.root)], 1)

    def hopeful(region: int, rows: FloatArray) -> IntArray:
        return np.asarray((rows @ informed[:, dynamics.regions[region].states].T).argmax(axis=1))

    stalled, last, note = 0, -np.inf, ""
    for rounds in itertools.count(1):
        tolerance = settings.tolerance(lower.at_root())
        explore = min(EXPLORE * (1 + stalled), 0.6)  # what walks do not meet cannot raise the bound
        for act in (lower.act, hopeful):
            walked = walk(dynamics, act, rng, walks=WALKS, steps=STEPS, explore=explore)
            beliefs.add(walked.met, min(NEW_BELIEFS, MOST_BELIEFS - len(beliefs)))
        settle(lower, beliefs.sets, rng, tolerance, SWEEPS, settings, high=high)
        low = lower.at_root()
        if high - low <= tolerance:
            break
        if settings.passed(1.0 - OWN_SHARE):
            note = settings.clock_note
            break
        stalled = 0 if low > last + 0.1 * tolerance else stalled + 1
        last = max(low, last)
        if stalled == PATIENCE:
            note = f"stopped after {rounds} rounds, as the lower bound no longer rose"
            break
    consolidated(dynamics, lower, beliefs, rng, settings, high=high)
    return finished(lower, high, note)._replace(settled=settled)


def settle(
    lower: LowerBound,
    sets: list[FloatArray],
    rng: np.random.Generator,
    tolerance: float,
    sweeps: int,
    settings: SolveSettings,
    *,
    high: float,
) -> None:
    """Sweeps until little is left to gain on these beliefs, at most so often; reports after each.

    `high` is the upper bound at b0, for the report alone.
    """
    # Gains shrink by about γ a sweep, so what is left is about γ/(1−γ) times the last.
    enough = 0.05 * tolerance * max(1.0 - lower.discount, 0.01)
    for _ in range(sweeps):
        rise = lower.sweep(sets, rng, settings)
        settings.report(lower.at_root(), high, len(lower))
        if rise <= enough or settings.out_of_time:
            return


def consolidated(
    dynamics: Dynamics,
    lower: LowerBound,
    beliefs: BeliefSet,
    rng: np.random.Generator,
    settings: SolveSettings,
    *,
    high: float,
) -> None:
    """Backs up what the finished policy meets itself, until it earns what its vectors promise.

    Vectors are kept for the beliefs they are best at, and the plans behind them lead to others too, where
    the best vector left may be a poor one.
    """
    for _ in range(OWN_ROUNDS):
        if settings.out_of_time:
            return
        walked = walk(dynamics, lower.act, rng, walks=OWN_WALKS, steps=OWN_STEPS, explore=0.0)
        ends = walked.met[-OWN_WALKS:]
        rest = np.array([lower.at(item.region, item.belief[None])[0] for item in ends])
        earned = walked.earned + walked.weights * rest
        error = float(earned.std()) / len(earned) ** 0.5
        if earned.mean() + error >= lower.at_root():
            return
        beliefs.add(walked.met, len(walked.met))
        settle(lower, beliefs.sets, rng, 0.0, OWN_SWEEPS, settings, high=high)


def finished(lower: LowerBound, high: float, note: str) -> Solution:
    """The solution that a lower bound stands for."""
    lower.prune_dominated()
    low, found = lower.at_root(), lower.vector_set()
    return Solution(
        found.vectors, found.actions, low, max(low, high), not note, "vectors", note, found.base
    )

"""Point-based solving with both bounds, after HSVI and SARSOP, on many beliefs at a time.

Rounds of: trials that follow the action best by the upper bound into the beliefs that the gap at b0
comes from (Smith and Simmons 2004; Kurniawati, Hsu and Lee 2008), walks of the current policy, which
are beliefs near the optimally reachable ones; then backups of all beliefs for the lower bound and of the
trials' points for the upper one. Vectors and points are shared by all beliefs of a region.
"""

from __future__ import annotations

import itertools

import numpy as np

from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.agents.solvers.collect import BeliefSet, Located, by_region, disputed, walk
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.fib import informed_vectors
from imm_rl.agents.solvers.lower_bound import LowerBound
from imm_rl.agents.solvers.pbvi import OWN_SHARE, consolidated, finished, settle
from imm_rl.agents.solvers.sawtooth import UpperBound
from imm_rl.envs.model import TabularPOMDP

WIDTHS, DEPTH = (8, 1), 100
"""How many beliefs a trial follows at a depth, by turns from round to round, and how deep. Wide trials
close gaps that many observations share, narrow ones reach deep."""

NEW_POINTS, EXPANSIONS, MOST_EFFORT = 60, 120, 16
"""A round's trials end after so many new points, or beliefs whose successors were looked at. Where few
points were new, the next trials are twice as long and the wide ones twice as wide, at most so many times
as at first; where all were, half as long again."""

SWEEPS, FEW_SWEEPS = 40, 5
"""Most sweeps a round over the beliefs of the lower bound; the fewer where the last ones did not raise
b0's, and the time is better spent on the upper bound."""

POINT_SWEEPS, TRIAL_SWEEPS = 40, 3
"""Most sweeps over the points of the upper bound, a round and after each trial."""

WALKS, STEPS, EXPLORE, NEW_BELIEFS, MOST_BELIEFS = 32, 40, 0.2, 200, 5000
"""See `pbvi`."""

PATIENCE = 5
"""Rounds without progress after which the solver stops."""


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Alpha vectors with proven bounds of the optimal value at b0.

    Stops when the bounds meet (converged), when they no longer improve, or by the clock. Only in the
    last case, or where FIB did not settle, the result depends on the machine's speed.
    """
    rng = np.random.default_rng(settings.seed)
    informed, settled = informed_vectors(model, settings, share=0.3)
    dynamics = Dynamics(model, settings.regions)
    lower, upper = LowerBound(dynamics), UpperBound(dynamics, informed)
    beliefs = BeliefSet(dynamics)
    beliefs.add([Located(0, dynamics.root)], 1)  # also where no time is left for a trial
    search = _Search(dynamics, lower, upper, beliefs, settings)
    stalled, last_low, last_gap, quiet, note = 0, -np.inf, np.inf, False, ""
    for rounds in itertools.count(1):
        tolerance = settings.tolerance(lower.at_root())
        found = search.round(WIDTHS[rounds % len(WIDTHS)], tolerance)
        walked = walk(dynamics, lower.act, rng, walks=WALKS, steps=STEPS, explore=EXPLORE)
        beliefs.add(walked.met, min(NEW_BELIEFS, MOST_BELIEFS - len(beliefs)))
        sweeps = FEW_SWEEPS if quiet else SWEEPS
        settle(lower, beliefs.sets, rng, tolerance, sweeps, settings, high=upper.at_root())
        upper.improve(POINT_SWEEPS, 0.01 * tolerance, settings)

        low, high = lower.at_root(), upper.at_root()
        settings.report(low, high, len(lower))
        if high - low <= tolerance:
            break
        if settings.passed(1.0 - OWN_SHARE):
            note = settings.clock_note
            break
        quiet = low <= last_low + 0.1 * tolerance
        progress = found or not quiet or high - low < 0.99 * last_gap
        stalled = 0 if progress else stalled + 1
        last_low, last_gap = max(low, last_low), high - low
        if stalled == PATIENCE:
            note = f"stopped after {rounds} rounds, as the bounds no longer improved"
            break
    consolidated(dynamics, lower, beliefs, rng, settings, high=high)
    return finished(lower, high, note)._replace(settled=settled)


class _Search:
    """Trials: where the bounds disagree, the upper one gets points and the lower one beliefs."""

    def __init__(
        self,
        dynamics: Dynamics,
        lower: LowerBound,
        upper: UpperBound,
        beliefs: BeliefSet,
        settings: SolveSettings,
    ) -> None:
        self._dynamics, self._lower, self._upper = dynamics, lower, upper
        self._beliefs, self._settings = beliefs, settings
        self._points = BeliefSet(dynamics)
        self._effort = 1

    def round(self, width: int, tolerance: float) -> bool:
        """Trials of this width until the round's budget is used. Whether any point was new."""
        room, expansions = NEW_POINTS, self._effort * EXPANSIONS
        width = width if width == 1 else width * self._effort
        while room > 0 and expansions > 0 and not self._settings.out_of_time:
            points, expanded = self._trial(width, room, expansions, tolerance)
            self._upper.improve(TRIAL_SWEEPS, 0.01 * tolerance, self._settings)
            room, expansions = room - points, expansions - expanded
        few = room > NEW_POINTS // 2
        if few:
            self._effort = min(2 * self._effort, MOST_EFFORT)
        elif room <= 0:
            self._effort = max(self._effort // 2, 1)
        return room < NEW_POINTS

    def _trial(self, width: int, room: int, expansions: int, tolerance: float) -> tuple[int, int]:
        """Follows the gap down from b0, then adds what it met as points, the deepest first.

        Returns:
            How many points it added and how many beliefs it looked beyond.
        """
        added: list[list[Located]] = []
        points = expanded = 0
        for frontier in disputed(
            self._dynamics,
            self._upper,
            self._lower,
            width=width,
            depth=DEPTH,
            tolerance=0.5 * tolerance,
        ):
            self._beliefs.add(frontier, len(frontier))
            fitting = [item for item in frontier if self._upper.has_room(item.region, 1)]
            added.append(self._points.add(fitting, room - points))
            points += len(added[-1])
            expanded += len(frontier)
            if points >= room or expanded >= expansions or self._settings.out_of_time:
                break
        for new in reversed(added):
            for region, rows in by_region(new):
                # There was room for each alone; large tables take their time, too.
                if self._upper.has_room(region, len(rows)) and not self._settings.out_of_time:
                    self._upper.add(region, rows)
        return points, expanded

"""Point-based backups: the best one-step improvement of sets of alpha vectors at given beliefs.

    α = r(·, a) + γ Σ_o T_a diag(O[a, ·, o]) α_{j(o)}

with a the best action and j(o) the best vector after a and o. Each result is the value of a plan (do a,
then follow the plan of α_{j(o)}), so lower bounds stay true.
Index letters: B beliefs, N states of a region, A actions, V vectors, O outcomes of an action,
G outcomes of a region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.dynamics import Dynamics, Region, joint
from imm_rl.envs.model import FloatArray

TABLE_ENTRIES = 1_000_000
"""Projections are tabulated up to this many numbers; beyond, the loop over observations is as quick."""


class BackedUp(NamedTuple):
    """The best plans at B beliefs, P different ones."""

    vectors: FloatArray  # (P, N)
    actions: IntArray  # (P,)
    plans: IntArray  # (B,), which plan is each belief's
    values: FloatArray  # (B,)


class Backup:
    """Backs beliefs of one region up, as many times as wanted, against vectors that stay as they are.

    Args:
        dynamics: The model.
        region: Of the beliefs.
        vectors: Of every region, (V, N) each.
    """

    def __init__(self, dynamics: Dynamics, region: int, vectors: Sequence[FloatArray]) -> None:
        self._discount = dynamics.model.discount
        self._region = here = dynamics.regions[region]
        self._parts = [
            np.ascontiguousarray(vectors[outcome.region][:, outcome.places])
            for outcome in here.outcomes
        ]
        alone = len(dynamics) == 1
        fits = alone and len(here.outcomes) * vectors[0].size <= TABLE_ENTRIES
        self._table = _tabulated(here, self._parts) if fits else None

    def __call__(self, beliefs: FloatArray) -> BackedUp:
        """The best plans at beliefs (B, N)."""
        region = self._region
        q = beliefs @ region.reward
        picks = []
        for action in range(len(region.steps)):
            after, pick = self._best(beliefs, action)
            q[:, action] += self._discount * after
            picks.append(pick)
        best = q.argmax(axis=1)
        plans = np.empty(len(beliefs), dtype=np.int64)
        vectors: list[FloatArray] = []
        actions: list[int] = []
        for action in np.unique(best):
            rows = np.flatnonzero(best == action)
            distinct, place = _distinct(picks[action][:, rows])
            plans[rows] = len(actions) + place
            vectors.append(self._plans(int(action), distinct))
            actions += [int(action)] * distinct.shape[1]
        values = q[np.arange(len(q)), best]
        return BackedUp(np.concatenate(vectors), np.array(actions), plans, values)

    def _best(self, beliefs: FloatArray, action: int) -> tuple[FloatArray, IntArray]:
        """Expected value after an action (B,), and the vector picked at each observation (O, B)."""
        step, start = self._region.steps[action], self._region.starts[action]
        if self._table is not None:
            scores = beliefs @ self._table[start : start + len(step.outcomes)]  # (O, B, V)
            pick = scores.argmax(axis=2)
            return np.take_along_axis(scores, pick[..., None], 2).sum(axis=(0, 2)), pick
        predicted = step.predict(beliefs)
        picks, total, every = [], np.zeros(len(beliefs)), np.arange(len(beliefs))
        for outcome, part in zip(step.outcomes, self._parts[start:], strict=False):
            scores = joint(outcome, predicted) @ part.T
            pick = scores.argmax(axis=1)
            picks.append(pick)
            total += scores[every, pick]
        return total, np.stack(picks)

    def _plans(self, action: int, picks: IntArray) -> FloatArray:
        """The vectors (B, N) of doing action and then following picks (O, B)."""
        step, start = self._region.steps[action], self._region.starts[action]
        after = np.zeros((picks.shape[1], step.n_reached))
        for outcome, part, pick in zip(step.outcomes, self._parts[start:], picks, strict=False):
            after[:, outcome.reached] += part[pick] * outcome.likelihood
        values: FloatArray = self._region.reward[:, action] + self._discount * step.expect(after)
        return values


def _distinct(picks: IntArray) -> tuple[IntArray, IntArray]:
    """The different columns of picks (O, B), in order, and which of them each column is."""
    seen: dict[bytes, int] = {}
    columns = np.ascontiguousarray(picks.T)
    place = np.array([seen.setdefault(column.tobytes(), len(seen)) for column in columns])
    _, first = np.unique(place, return_index=True)
    return picks[:, first], place


def _tabulated(region: Region, parts: Sequence[FloatArray]) -> FloatArray:
    """Σ_s' T[s, a, s'] O[a, s', o] α_i(s') as (G, N, V)."""
    tables = []
    for outcome, part in zip(region.outcomes, parts, strict=True):
        step = region.steps[outcome.action]
        seen = np.zeros((len(part), step.n_reached))
        seen[:, outcome.reached] = part * outcome.likelihood
        tables.append(step.expect(seen).T)
    return np.stack(tables)

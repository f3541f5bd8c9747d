"""An upper bound from values at points: the sawtooth interpolation (Hauskrecht 2000, section 4.3.3).

    U(b) = Σ_s b(s) c(s) + min(0, min_k φ_k(b) (u_k − Σ_s p_k(s) c(s)))
    φ_k(b) = min over s with p_k(s) > 0 of b(s) / p_k(s)

with corner values c and values u_k at points p_k: b holds a share φ_k of p_k, the rest is valued at the
corners. U is positively homogeneous, so beliefs need not be normalised:
P(o | b, a) U(b_o) = U(P(o | b, a) b_o).

All points are backed up together, over and over, against each other: as they stay where they are, the
φ between successors and points are computed once. A point serves the beliefs of its own region.
Index letters: N states of a region, A actions, B beliefs, K points of a region, M successors that
lie in a region, G outcomes of a region, R rows that are backed up (points and corners of all regions).
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.solvers.base import IntArray, SolveSettings
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.envs.model import FloatArray

RATIO_ENTRIES = 12_000_000
SUCCESSOR_ENTRIES = 30_000_000
"""Points are no longer added when all φ tables or tables of successors would pass these sizes."""

CORNER_ENTRIES = 5_000_000
"""Corners are improved too where the table of their successors is no larger than this."""


class _Patch:
    """What the bound knows of one region: points, and the successors of any row that lie in it."""

    def __init__(self, n_states: int, vectors: FloatArray) -> None:
        self.vectors = vectors  # (A, N), FIB's
        self.corners = vectors.max(axis=0)  # (N,)
        self.points = np.empty((0, n_states))
        self.values = np.empty(0)
        self.successors = np.empty((0, n_states))
        self.informed = np.empty(0)  # FIB at the successors
        # Where each stands among the successors of all rows.
        self.slots = np.empty(0, dtype=np.int64)
        self.ratios = np.empty((0, 0))

    def at(self, beliefs: FloatArray) -> FloatArray:
        informed = (beliefs @ self.vectors.T).max(axis=1)
        table = ratios(beliefs, self.points)
        return np.asarray(np.minimum(informed, self.sawtooth(beliefs, table)))

    def at_successors(self) -> FloatArray:
        return np.minimum(self.informed, self.sawtooth(self.successors, self.ratios))

    def sawtooth(self, beliefs: FloatArray, table: FloatArray) -> FloatArray:
        below = np.minimum(self.values - self.points @ self.corners, 0.0)
        values: FloatArray = beliefs @ self.corners
        if len(below):
            values += (table * below).min(axis=1)
        return values

    def add_points(self, points: FloatArray, values: FloatArray) -> None:
        self.values = np.concatenate([self.values, values])
        self.points = np.concatenate([self.points, points])
        self.ratios = np.concatenate([self.ratios, ratios(self.successors, points)], axis=1)

    def add_successors(self, successors: FloatArray, slots: IntArray) -> None:
        self.successors = np.concatenate([self.successors, successors])
        self.slots = np.concatenate([self.slots, slots])
        found = (successors @ self.vectors.T).max(axis=1)
        self.informed = np.concatenate([self.informed, found])
        self.ratios = np.concatenate([self.ratios, ratios(successors, self.points)])


class UpperBound:
    """The smaller of FIB's vectors and the sawtooth; only ever falls.

    Args:
        dynamics: The model.
        vectors: (A, S), FIB's vectors, an upper bound.
    """

    def __init__(self, dynamics: Dynamics, vectors: FloatArray) -> None:
        self._dynamics = dynamics
        self._patches = [
            _Patch(len(region.states), np.ascontiguousarray(vectors[:, region.states]))
            for region in dynamics.regions
        ]
        n_actions = dynamics.model.n_actions
        # Of the rows that are backed up: whose point or corner, rewards, where successors start.
        self._owners = np.empty((0, 2), dtype=np.int64)  # region, whether a corner
        self._rewards = np.empty((0, n_actions))
        self._starts = np.empty(0, dtype=np.int64)
        self._n_successors = 0
        self._entries = 0
        entries = sum(
            len(r.states)
            * len(r.outcomes)
            * max(len(dynamics.regions[o.region].states) for o in r.outcomes)
            for r in dynamics.regions
        )
        if entries <= CORNER_ENTRIES:
            for index, region in enumerate(dynamics.regions):
                self._add_rows(index, np.eye(len(region.states)), corners=True)

    def at(self, region: int, beliefs: FloatArray) -> FloatArray:
        """U (B,) of beliefs (B, N) in a region, which need not be normalised."""
        return self._patches[region].at(beliefs)

    def at_root(self) -> float:
        """U(b0)."""
        return float(self._patches[0].at(self._dynamics.root[None])[0])

    def action_values(
        self, region: int, beliefs: FloatArray
    ) -> tuple[FloatArray, dict[int, FloatArray], FloatArray]:
        """Q (B, A) of one step and then U; successors, see `Dynamics`; their U (B, G)."""
        here = self._dynamics.regions[region]
        successors = self._dynamics.successors(region, beliefs)
        after = np.empty((len(beliefs), len(here.outcomes)))
        for y, rows in successors.items():
            values = self.at(y, rows.reshape(-1, rows.shape[2]))
            after[:, here.targets[y]] = values.reshape(rows.shape[:2])
        q = beliefs @ here.reward
        q += self._dynamics.model.discount * np.add.reduceat(after, here.starts, axis=1)
        return q, successors, after

    def has_room(self, region: int, n_points: int) -> bool:
        """Whether this many more points fit."""
        here = self._dynamics.regions[region]
        rows = len(here.outcomes) * n_points
        width = max(len(self._dynamics.regions[o.region].states) for o in here.outcomes)
        tables = sum(patch.ratios.size for patch in self._patches)
        tables += len(self._patches[region].successors) * n_points
        fits = self._entries + rows * width <= SUCCESSOR_ENTRIES
        return fits and tables <= RATIO_ENTRIES

    def add(self, region: int, points: FloatArray) -> None:
        """Adds points (K, N) of a region, distinct beliefs that are no corners, backed up once."""
        patch = self._patches[region]
        backed = self.action_values(region, points)[0].max(axis=1)
        patch.add_points(points, np.minimum(patch.at(points), backed))
        self._add_rows(region, points, corners=False)

    def improve(self, sweeps: int, tolerance: float, settings: SolveSettings) -> None:
        """Backs up all points until no value falls by more than tolerance, at most `sweeps` times."""
        if not len(self._rewards):
            return
        discount = self._dynamics.model.discount
        after = np.zeros(self._n_successors)
        groups = [
            (np.flatnonzero((self._owners[:, 0] == index) & (self._owners[:, 1] == corner)), corner)
            for index in range(len(self._patches))
            for corner in (1, 0)
        ]
        for _ in range(sweeps):
            if settings.out_of_time:
                return
            for patch in self._patches:
                after[patch.slots] = patch.at_successors()
            expected = np.add.reduceat(after, self._starts).reshape(self._rewards.shape)
            backed = (self._rewards + discount * expected).max(axis=1)
            fall = 0.0
            for number, (rows, corner) in enumerate(groups):
                if not rows.size:
                    continue
                patch = self._patches[number // 2]
                target = patch.corners if corner else patch.values
                new = np.minimum(target, backed[rows])
                fall = max(fall, float((target - new).max()))
                target[:] = new
            if fall <= tolerance:
                return

    def _add_rows(self, region: int, beliefs: FloatArray, *, corners: bool) -> None:
        here = self._dynamics.regions[region]
        n, n_outcomes = len(beliefs), len(here.outcomes)
        # Every row has a slot for each outcome; one that is impossible for it stays 0.
        slots = self._n_successors + np.arange(n)[:, None] * n_outcomes
        for y, rows in self._dynamics.successors(region, beliefs).items():
            used = rows.any(axis=2)
            self._patches[y].add_successors(rows[used], (slots + here.targets[y])[used])
            self._entries += int(used.sum()) * rows.shape[2]
        self._n_successors += n * n_outcomes
        self._starts = np.concatenate([self._starts, (slots + here.starts).reshape(-1)])
        self._rewards = np.concatenate([self._rewards, beliefs @ here.reward])
        owners = np.column_stack([np.full(n, region), np.full(n, int(corners))])
        self._owners = np.concatenate([self._owners, owners])


def ratios(beliefs: FloatArray, points: FloatArray) -> FloatArray:
    """φ (B, K): how much of each point (K, N) is contained in each belief (B, N)."""
    table = np.empty((len(beliefs), len(points)))
    if not table.size:
        return table
    if len(beliefs) < len(points):
        # φ = 1 / max over s of p(s) / b(s). A state that b lacks makes it 0, or drops out with p(s) = 0.
        inverse = np.divide(1.0, beliefs, out=np.full_like(beliefs, 1e300), where=beliefs > 1e-300)
        for row, factors in enumerate(inverse):
            (points * factors).max(axis=1, out=table[row])
        return np.asarray(1.0 / table)
    columns = np.ascontiguousarray(beliefs.T) if len(points) > 1 else beliefs.T
    for k, point in enumerate(points):
        # States where the point is 0 do not bound its share.
        held = np.flatnonzero(point)
        (columns[held] / point[held, None]).min(axis=0, out=table[:, k])
    return table

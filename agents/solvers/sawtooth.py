"""An upper bound from values at points: the sawtooth interpolation (Hauskrecht 2000, section 4.3.3).

    U(b) = Σ_s b(s) c(s) + min(0, min_k φ_k(b) (u_k − Σ_s p_k(s) c(s)))
    φ_k(b) = min over s with p_k(s) > 0 of b(s) / p_k(s)

with corner values c and values u_k at points p_k: b holds a share φ_k of p_k, the rest is valued at the
corners. U is positively homogeneous, so beliefs need not be normalised:
P(o | b, a) U(b_o) = U(P(o | b, a) b_o).

All points are backed up together, over and over, against each other: as they stay where they are, the
φ between successors and points are computed once.
Index letters: S states, A actions, K points, P plans of rows to back up, N successors of all rows.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.solvers.base import SolveSettings
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.envs.model import FloatArray

RATIO_ENTRIES = 6_000_000
SUCCESSOR_ENTRIES = 20_000_000
"""Points are no longer added when the φ table or the table of successors would pass these sizes."""

CORNER_ENTRIES = 5_000_000
"""Corners are improved too where the table of their successors is no larger than this."""


class UpperBound:
    """The smaller of FIB's vectors and the sawtooth; only ever falls.

    Args:
        dynamics: The model.
        vectors: (A, S), FIB's vectors, an upper bound.
    """

    def __init__(self, dynamics: Dynamics, vectors: FloatArray) -> None:
        self._dynamics = dynamics
        self._vectors = vectors
        n_states = dynamics.model.n_states
        self.corners: FloatArray = vectors.max(axis=0)
        self.points = np.empty((0, n_states))
        self.values = np.empty(0)
        self._rows = np.empty((0, dynamics.model.n_actions))  # rewards of the rows backed up
        self._successors = np.empty((0, n_states))
        self._informed = np.empty(0)  # FIB at the successors
        self._starts = np.empty(0, dtype=np.int64)
        self._ratios = np.empty((0, 0))
        self._with_corners = n_states**2 * dynamics.n_pairs <= CORNER_ENTRIES
        if self._with_corners:
            self._add_rows(np.eye(n_states))

    def at(self, beliefs: FloatArray) -> FloatArray:
        """U (B,) of beliefs (B, S), which need not be normalised."""
        informed = (beliefs @ self._vectors.T).max(axis=1)
        sawtooth = self._sawtooth(beliefs, ratios(beliefs, self.points))
        return np.asarray(np.minimum(informed, sawtooth))

    def action_values(self, beliefs: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Q (B, A) of one step and then U; successors (B, G, S), unnormalised; their U (B, G)."""
        model = self._dynamics.model
        successors = self._dynamics.successors(beliefs)
        after = self.at(successors.reshape(-1, model.n_states)).reshape(successors.shape[:2])
        q = beliefs @ model.reward
        q += model.discount * np.add.reduceat(after, self._dynamics.action_starts, axis=1)
        return q, successors, after

    def has_room(self, n_points: int) -> bool:
        """Whether this many more points fit."""
        rows = len(self._successors) + self._dynamics.n_pairs * n_points
        ratios_fit = rows * (len(self.points) + n_points) <= RATIO_ENTRIES
        return ratios_fit and rows * self._dynamics.model.n_states <= SUCCESSOR_ENTRIES

    def add(self, points: FloatArray) -> None:
        """Adds points (K, S), distinct beliefs that are no corners, at their present bound."""
        self.values = np.concatenate([self.values, self.at(points)])
        self.points = np.concatenate([self.points, points])
        new = ratios(self._successors, points)
        self._ratios = np.concatenate([self._ratios, new], axis=1)
        self._add_rows(points)

    def improve(self, sweeps: int, tolerance: float, settings: SolveSettings) -> None:
        """Backs up all points until no value falls by more than tolerance, at most `sweeps` times."""
        model = self._dynamics.model
        for _ in range(sweeps):
            if settings.out_of_time:
                return
            after = np.minimum(self._informed, self._sawtooth(self._successors, self._ratios))
            expected = np.add.reduceat(after, self._starts).reshape(self._rows.shape)
            backed = (self._rows + model.discount * expected).max(axis=1)
            old = np.concatenate(
                [self.corners, self.values] if self._with_corners else [self.values]
            )
            new = np.minimum(old, backed)
            if self._with_corners:
                self.corners, self.values = np.split(new, [model.n_states])
            else:
                self.values = new
            if (old - new).max(initial=0.0) <= tolerance:
                return

    def _sawtooth(self, beliefs: FloatArray, table: FloatArray) -> FloatArray:
        below = np.minimum(self.values - self.points @ self.corners, 0.0)
        drop = (table * below).min(axis=1, initial=0.0)
        values: FloatArray = beliefs @ self.corners + drop
        return values

    def _add_rows(self, beliefs: FloatArray) -> None:
        model = self._dynamics.model
        successors = self._dynamics.successors(beliefs)
        used = successors.sum(axis=2) > 0.0
        per_action = np.add.reduceat(used, self._dynamics.action_starts, axis=1, dtype=np.int64)
        lengths = per_action.reshape(-1)
        new = successors[used]
        starts = len(self._successors) + np.cumsum(lengths) - lengths
        self._rows = np.concatenate([self._rows, beliefs @ model.reward])
        self._starts = np.concatenate([self._starts, starts])
        self._successors = np.concatenate([self._successors, new])
        self._informed = np.concatenate([self._informed, (new @ self._vectors.T).max(axis=1)])
        table = ratios(new, self.points)
        self._ratios = np.concatenate([self._ratios, table])


def ratios(beliefs: FloatArray, points: FloatArray) -> FloatArray:
    """φ (N, K): how much of each point (K, S) is contained in each belief (N, S)."""
    table = np.empty((len(beliefs), len(points)))
    columns = np.ascontiguousarray(beliefs.T)
    for k, point in enumerate(points):
        # States where the point is 0 do not bound its share.
        held = np.flatnonzero(point)
        (columns[held] / point[held, None]).min(axis=0, out=table[:, k])
    return table

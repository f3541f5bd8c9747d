"""The exact backup of a set of alpha vectors: incremental pruning.

    V'(b) = max_a [ r(b, a) + Σ_o max_i b·γ T_a diag(O[a, ·, o]) α_i ]

For each action the projections of each observation are pruned, then summed observation by observation,
pruned after every sum; last, the actions' sets are pruned together.
Source: A. R. Cassandra, M. L. Littman, N. L. Zhang, "Incremental Pruning: A Simple, Fast, Exact Method for
Partially Observable Markov Decision Processes", UAI 1997.

Observations that tell the same apart (their likelihoods are proportional over the states an action can
lead to) count as one: the best vector is the same after both.
Index letters: V vectors, S states, A actions, O observations, B beliefs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.lp_pruning import parsimonious
from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP
from imm_rl.errors import InvalidInputError

MODEL_ENTRIES = 10_000_000
"""A model is refused whose matrices (S, S), one an action and observation, hold more numbers."""

SUM_ENTRIES = 20_000_000
"""A backup whose sets of sums would hold more numbers (160 MB) is given up."""

POOL = 1000
"""Most beliefs that are remembered, of those at which some vector was best."""


class GivenUpError(Exception):
    """A backup was stopped; the text says why, as the end of "stopped ..."."""


class PrunedSet(NamedTuple):
    """Alpha vectors.

    Attributes:
        vectors: (V, S).
        actions: (V,).
        witnesses: (V, S), a belief where each is best.
        lost: How far the maximum may be below that of all plans, at any belief.
    """

    vectors: FloatArray
    actions: IntArray
    witnesses: FloatArray
    lost: float


class IncrementalPruning:
    """Backups of one model.

    Attributes:
        prunings: The most prunings that a value passes through in one backup: it loses no more than
            this many times the slack.
        check: Called between linear programs; raises to stop.
        pool: (B, S), beliefs at which some vector was best; where the next backup looks first.

    Args:
        model: A small one.
        check: See above.

    Raises:
        InvalidInputError: The model is too large.
    """

    def __init__(self, model: TabularPOMDP, check: Callable[[], None]) -> None:
        self.model = model
        self.check = check
        n_states, n_actions = model.n_states, model.n_actions
        if n_states**2 * n_actions * model.n_observations > MODEL_ENTRIES:
            raise InvalidInputError(
                f"the exact solver takes models with S·S·A·O ≤ {MODEL_ENTRIES:,}; received "
                f"{n_states}·{n_states}·{n_actions}·{model.n_observations}. Point-based solvers, "
                "such as pbvi, take larger ones."
            )
        self._steps = [_steps(model, action) for action in range(n_actions)]
        self.prunings = 2 * max(len(steps) for steps in self._steps)
        uniform = np.full((1, n_states), 1.0 / n_states)
        self.pool = np.concatenate([model.initial[None, :], uniform, np.eye(n_states)])

    def backup(self, vectors: FloatArray, *, slack: float) -> PrunedSet:
        """All vectors that are needed one step earlier, from vectors (V, S).

        Raises:
            GivenUpError: Sums are too many; or what `check` raises.
        """
        self._used = 0.0
        sets = [self._action(action, vectors, slack) for action in range(self.model.n_actions)]
        actions = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
        together = np.concatenate(sets)
        kept, witnesses = self._pruned(together, self.pool, slack)
        self.remember(witnesses)
        lost = self.prunings * self._used
        return PrunedSet(together[kept], actions[kept], witnesses, lost)

    def point_backup(self, vectors: FloatArray, beliefs: FloatArray) -> PrunedSet:
        """The best plans at beliefs (B, S) alone, one step and then what vectors (V, S) stand for."""
        best = np.full(len(beliefs), -np.inf)
        plans, actions = np.empty_like(beliefs), np.zeros(len(beliefs), dtype=np.int64)
        for action, steps in enumerate(self._steps):
            plan = np.tile(self.model.reward[:, action], (len(beliefs), 1))
            for step in steps:
                projected = vectors @ step.T
                plan += projected[(beliefs @ projected.T).argmax(axis=1)]
            values = (plan * beliefs).sum(axis=1)
            better = values > best
            best[better], plans[better], actions[better] = values[better], plan[better], action
        return PrunedSet(plans, actions, beliefs, np.inf)

    def informed_backup(self, vectors: FloatArray) -> FloatArray:
        """Upper bounds (A, S) one step earlier, of values that vectors (V, S) bound: FIB's step."""
        return np.stack(
            [
                self.model.reward[:, action] + sum((vectors @ step.T).max(axis=0) for step in steps)
                for action, steps in enumerate(self._steps)
            ]
        )

    def remember(self, beliefs: FloatArray) -> None:
        """Puts beliefs (B, S) into the pool. b0 and the corners stay in it, of others the latest."""
        fixed = self.model.n_states + 2
        latest = np.concatenate([beliefs, self.pool[fixed:]])
        _, first = np.unique(latest.round(9), axis=0, return_index=True)
        self.pool = np.concatenate([self.pool[:fixed], latest[np.sort(first)][:POOL]])

    def _action(self, action: int, vectors: FloatArray, slack: float) -> FloatArray:
        """The vectors of doing action first."""
        sets = []
        for step in self._steps[action]:
            projected = vectors @ step.T
            kept, witnesses = self._pruned(projected, self.pool, slack)
            sets.append((projected[kept], witnesses))
        sets.sort(key=lambda one: len(one[0]))
        total, points = sets[0]
        for part, witnesses in sets[1:]:
            entries = len(total) * part.size
            if entries > SUM_ENTRIES:
                raise GivenUpError(
                    f"as sums of {len(total)} and {len(part)} vectors are too many for this solver"
                )
            sums = (total[:, None] + part[None]).reshape(-1, part.shape[1])
            points = np.concatenate([self.pool, points, witnesses])
            kept, points = self._pruned(sums, points, slack)
            total = sums[kept]
        return np.asarray(total + self.model.reward[:, action])

    def _pruned(
        self, vectors: FloatArray, beliefs: FloatArray, slack: float
    ) -> tuple[IntArray, FloatArray]:
        found = parsimonious(vectors, beliefs, slack=slack, check=self.check)
        self._used = max(self._used, found.lost)
        return found.kept, found.witnesses


def _steps(model: TabularPOMDP, action: int) -> list[FloatArray]:
    """γ T_a diag(O[a, ·, o]) (S, S) of each observation that can follow the action."""
    transition, seen = _dense(model.transition_of(action)), _dense(model.observation_of(action))
    seen = seen * (transition.max(axis=0) > 0.0)[:, None]
    groups: dict[bytes, FloatArray] = {}
    for column in seen.T[seen.any(axis=0)]:
        key = (column / column.max()).round(12).tobytes()
        groups[key] = column + groups.get(key, 0.0)
    return [model.discount * transition * column for column in groups.values()]


def _dense(matrix: Matrix) -> FloatArray:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())

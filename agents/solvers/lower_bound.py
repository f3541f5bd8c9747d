"""A lower bound that backups raise: alpha vectors of executable plans, region by region.

Point-based solvers (`pbvi`, `sarsop`) share it. The first vectors are those of blind policies, so the
bound is proven at every moment.
Index letters: B beliefs, N states of a region, V vectors, S states.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.solvers.backup import Backup
from imm_rl.agents.solvers.base import IntArray, SolveSettings, VectorSet
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.mdp import mdp_values, policy_values
from imm_rl.agents.solvers.pruning import undominated
from imm_rl.envs.model import FloatArray, TabularPOMDP

CHUNK = 64
"""Beliefs backed up at a time: enough for matrix products, few enough that most are spared."""

DENSE_ENTRIES = 4_000_000
"""Vectors of more numbers than this over all states are handed out by region."""


class LowerBound:
    """Alpha vectors of plans, and their improvement over sets of beliefs.

    Attributes:
        vectors: Of each region, (V, N).
        actions: Of each region, (V,).
    """

    def __init__(self, dynamics: Dynamics) -> None:
        self._dynamics = dynamics
        self._model = model = dynamics.model
        blind = np.stack([policy_values(model, action) for action in range(model.n_actions)])
        self.vectors = [np.ascontiguousarray(blind[:, r.states]) for r in dynamics.regions]
        self.actions: list[IntArray] = [np.arange(model.n_actions) for _ in dynamics.regions]
        for region in range(len(dynamics)):
            self._keep(region, undominated(self.vectors[region]))

    @property
    def discount(self) -> float:
        """γ."""
        return self._model.discount

    def __len__(self) -> int:
        """How many vectors there are."""
        return sum(len(actions) for actions in self.actions)

    def at(self, region: int, beliefs: FloatArray) -> FloatArray:
        """Values (B,) of beliefs (B, N) of a region."""
        values: FloatArray = (beliefs @ self.vectors[region].T).max(axis=1)
        return values

    def at_root(self) -> float:
        """The value of b0."""
        return float(self.at(0, self._dynamics.root[None])[0])

    def act(self, region: int, beliefs: FloatArray) -> IntArray:
        """The best vectors' actions (B,)."""
        best = (beliefs @ self.vectors[region].T).argmax(axis=1)
        return np.asarray(self.actions[region][best])

    def sweep(
        self, sets: Sequence[FloatArray], rng: np.random.Generator, settings: SolveSettings
    ) -> float:
        """One Perseus sweep over beliefs of all regions. Returns the largest rise."""
        order = rng.permutation(len(sets))
        return max(
            (
                self._sweep(int(region), sets[region], rng, settings)
                for region in order
                if len(sets[region])
            ),
            default=0.0,
        )

    def _sweep(
        self,
        region: int,
        beliefs: FloatArray,
        rng: np.random.Generator,
        settings: SolveSettings,
    ) -> float:
        """No belief's value falls, most rise (Spaan and Vlassis 2005).

        Beliefs are taken in random chunks; those that a chunk's new vectors have raised already are
        spared. A belief that its own backup does not raise keeps the vector it has.
        """
        backup = Backup(self._dynamics, region, self.vectors)
        own, owners = self.vectors[region], self.actions[region]
        scores = beliefs @ own.T
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
            used = np.unique(found.plans[raised])
            rows = np.concatenate([found.vectors[used], own[stay]])
            vectors.append(rows)
            actions.append(np.concatenate([found.actions[used], owners[stay]]))
            new = np.maximum(new, (beliefs @ rows.T).max(axis=1))
            left = left[new[left] < old[left]]
        if left.size:  # out of time: what was not reached keeps its vectors
            stay = np.unique(best[left])
            vectors.append(own[stay])
            actions.append(owners[stay])
            new = np.maximum(new, old)
        self.vectors[region] = np.concatenate(vectors)
        self.actions[region] = np.concatenate(actions)
        self._keep(region, np.unique((beliefs @ self.vectors[region].T).argmax(axis=1)))
        return float((new - old).max())

    def prune_dominated(self) -> None:
        """Drops vectors that another one of their region exceeds everywhere."""
        for region in range(len(self._dynamics)):
            self._keep(region, undominated(self.vectors[region]))

    def vector_set(self) -> VectorSet:
        """All vectors over all states.

        A vector says nothing of states outside its region. There it gets what the worst policy earns,
        which no plan falls below, so that it is a lower bound at every belief.
        """
        n_states = self._model.n_states
        actions = np.concatenate(self.actions)
        if len(self._dynamics) == 1 and self.vectors[0].shape[1] == n_states:
            return VectorSet(self.vectors[0], actions, None)
        base = worst_values(self._model)
        if len(actions) * n_states <= DENSE_ENTRIES:
            dense = np.tile(base, (len(actions), 1))
            row = 0
            for region, vectors in zip(self._dynamics.regions, self.vectors, strict=True):
                dense[row : row + len(vectors), region.states] = vectors
                row += len(vectors)
            return VectorSet(dense, actions, None)
        parts = []
        for region, vectors in zip(self._dynamics.regions, self.vectors, strict=True):
            n, width = vectors.shape
            data = (vectors - base[region.states]).reshape(-1)
            indices = np.tile(region.states, n)
            parts.append(
                sp.csr_array((data, indices, np.arange(n + 1) * width), shape=(n, n_states))
            )
        return VectorSet(sp.csr_array(sp.vstack(parts)), actions, base)

    def _keep(self, region: int, kept: IntArray) -> None:
        self.vectors[region] = self.vectors[region][kept]
        self.actions[region] = self.actions[region][kept]


def worst_values(model: TabularPOMDP) -> FloatArray:
    """What the worst policy that sees the state earns, (S,): no policy earns less."""
    opposite = copy.copy(model)
    opposite.reward = -model.reward
    return -mdp_values(opposite)[0]

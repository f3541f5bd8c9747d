"""Draws transitions, observations and rewards of a `TabularPOMDP` for many copies at once.

Pure functions of states, actions and uniform numbers: the caller owns the random generators, so the
same uniforms always give the same outcomes, whoever asks (environments, training, evaluation).
A distribution with K possible outcomes is a row of K outcomes and K cumulative probabilities, padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP

IntArray: TypeAlias = npt.NDArray[np.int64]


class Step(NamedTuple):
    """What R copies did in one step; each array is (R,)."""

    next_states: IntArray
    observations: IntArray
    rewards: FloatArray
    terminated: npt.NDArray[np.bool_]


class Sampler:
    """The inverse-CDF tables of one model; built once, then read only.

    Attributes:
        model: What is drawn from.
        next_table: Next states, rows a·S + s.
        seen_table: Observations, rows a·S + s'.
        first_table: Start states, one row.
        reward_table: (A·S,), expected rewards, a·S + s.

    Args:
        model: What is drawn from.
    """

    def __init__(self, model: TabularPOMDP) -> None:
        self.model = model
        actions = range(model.n_actions)
        # Rows are a * S + s, so that one gather serves all actions.
        self.next_table = Table([model.transition_of(a) for a in actions])
        self.seen_table = Table([model.observation_of(a) for a in actions])
        self.first_table = Table([model.initial[None, :]])
        self.reward_table = np.ascontiguousarray(model.reward.T).reshape(-1)
        self._ends = bool(model.terminal.any())

    def initial(self, uniforms: FloatArray) -> IntArray:
        """Start states (R,) from uniforms (R,) in [0, 1)."""
        return self.first_table.draw(np.zeros(uniforms.shape, dtype=np.int64), uniforms)

    def transition(self, states: IntArray, actions: IntArray, uniforms: FloatArray) -> IntArray:
        """Next states (R,)."""
        return self.next_table.draw(actions * self.model.n_states + states, uniforms)

    def observe(self, actions: IntArray, next_states: IntArray, uniforms: FloatArray) -> IntArray:
        """Observations (R,) made on arriving in next_states (R,) by actions (R,)."""
        return self.seen_table.draw(actions * self.model.n_states + next_states, uniforms)

    def reward(
        self, states: IntArray, actions: IntArray, next_states: IntArray, observations: IntArray
    ) -> FloatArray:
        """Rewards (R,) of these outcomes: the outcome's own reward where the model has one."""
        outcome = self.model.outcome_reward
        if outcome is None:
            return self.reward_table.take(actions * self.model.n_states + states)
        if outcome.ndim == 3:
            return outcome[states, actions, next_states]
        return outcome[states, actions, next_states, observations]

    def step(
        self,
        states: IntArray,
        actions: IntArray,
        uniforms: FloatArray,
        observation_uniforms: FloatArray,
    ) -> Step:
        """One step of R copies; all arguments are (R,)."""
        next_states = self.transition(states, actions, uniforms)
        observations = self.observe(actions, next_states, observation_uniforms)
        rewards = self.reward(states, actions, next_states, observations)
        terminated = (
            self.model.terminal[next_states] if self._ends else np.zeros(states.shape, dtype=bool)
        )
        return Step(next_states, observations, rewards, terminated)


class Table:
    """The rows of M matrices (R, C), each a distribution: K outcomes, K−1 cumulative probabilities.

    K is the largest number of outcomes that a row has; shorter rows are padded. Outcomes are kept
    flat, since `take` from a flat array is several times faster than an indexed gather.

    Attributes:
        width: K.
        outcomes: (M·R·K,), flat.
        cumulative: (M·R, K−1), +inf past a row's last outcome.
    """

    def __init__(self, matrices: Sequence[Matrix]) -> None:
        stacked = sp.csr_array(sp.vstack([sp.csr_array(m) for m in matrices]))
        stacked.eliminate_zeros()
        n_rows = stacked.shape[0]
        counts = np.diff(stacked.indptr)
        self.width = width = int(counts.max())
        row = np.repeat(np.arange(n_rows), counts)
        column = np.arange(stacked.nnz) - np.repeat(stacked.indptr[:-1], counts)
        probabilities = np.zeros((n_rows, width))
        probabilities[row, column] = stacked.data
        outcomes = np.zeros((n_rows, width), dtype=np.int64)
        outcomes[row, column] = stacked.indices
        cumulative = np.cumsum(probabilities, axis=1)[:, :-1]
        # Past a row's last outcome nothing may be drawn, whatever the rounding of its sum.
        cumulative[np.arange(width - 1)[None, :] >= counts[:, None] - 1] = np.inf
        self.outcomes = outcomes.reshape(-1)
        self.cumulative = np.ascontiguousarray(cumulative)

    def draw(self, rows: IntArray, uniforms: FloatArray) -> IntArray:
        """The outcomes (R,) of rows (R,) at uniforms (R,): the first whose cumulative exceeds it."""
        if self.width == 1:
            return self.outcomes.take(rows)
        if self.width == 2:  # one comparison; most of tiger's time would go into the general sum
            picked = uniforms >= self.cumulative.take(rows)
        else:
            picked = (uniforms[..., None] >= self.cumulative.take(rows, axis=0)).sum(axis=-1)
        return self.outcomes.take(rows * self.width + picked)

"""Draws transitions, observations and rewards of a `TabularPOMDP` for many copies at once.

Pure functions of states, actions and uniform numbers: the caller owns the random generators, so the
same uniforms always give the same outcomes, whoever asks (environments, training, evaluation).
A distribution with K possible outcomes is a row of K outcomes and K cumulative probabilities, padded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.model import FloatArray, TabularPOMDP

IntArray = npt.NDArray[np.int64]


class Step(NamedTuple):
    """What R copies did in one step; each array is (R,)."""

    next_states: IntArray
    observations: IntArray
    rewards: FloatArray
    terminated: npt.NDArray[np.bool_]


class Sampler:
    """The inverse-CDF tables of one model; built once, then read only."""

    def __init__(self, model: TabularPOMDP) -> None:
        self.model = model
        actions = range(model.n_actions)
        # Rows are a * S + s, so that one gather serves all actions.
        self._next, self._next_cdf = _tables([model.transition_of(a) for a in actions])
        self._seen, self._seen_cdf = _tables([model.observation_of(a) for a in actions])
        self._first, self._first_cdf = _tables([model.initial[None, :]])
        self._reward = np.ascontiguousarray(model.reward.T).reshape(-1)
        self._ends = bool(model.terminal.any())

    def initial(self, uniforms: FloatArray) -> IntArray:
        """Start states (R,) from uniforms (R,) in [0, 1)."""
        return _draw(
            self._first, self._first_cdf, np.zeros(uniforms.shape, dtype=np.int64), uniforms
        )

    def transition(self, states: IntArray, actions: IntArray, uniforms: FloatArray) -> IntArray:
        """Next states (R,)."""
        return _draw(self._next, self._next_cdf, actions * self.model.n_states + states, uniforms)

    def observe(self, actions: IntArray, next_states: IntArray, uniforms: FloatArray) -> IntArray:
        """Observations (R,) made on arriving in next_states (R,) by actions (R,)."""
        return _draw(
            self._seen, self._seen_cdf, actions * self.model.n_states + next_states, uniforms
        )

    def reward(
        self, states: IntArray, actions: IntArray, next_states: IntArray, observations: IntArray
    ) -> FloatArray:
        """Rewards (R,) of these outcomes: the outcome's own reward where the model has one."""
        outcome = self.model.outcome_reward
        if outcome is None:
            return self._reward[actions * self.model.n_states + states]
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


def _tables(matrices: list[Any]) -> tuple[IntArray, FloatArray]:
    """Outcomes (M·R, K) and cumulative probabilities (M·R, K−1) of the rows of M matrices (R, C)."""
    stacked = sp.csr_array(sp.vstack([sp.csr_array(m) for m in matrices]))
    stacked.eliminate_zeros()
    counts = np.diff(stacked.indptr)
    width = int(counts.max())
    row = np.repeat(np.arange(stacked.shape[0]), counts)
    column = np.arange(stacked.nnz) - np.repeat(stacked.indptr[:-1], counts)
    probabilities = np.zeros((stacked.shape[0], width))
    probabilities[row, column] = stacked.data
    last = stacked.indices[stacked.indptr[1:] - 1]
    outcomes = np.repeat(last[:, None].astype(np.int64), width, axis=1)
    outcomes[row, column] = stacked.indices
    cumulative = np.cumsum(probabilities, axis=1)[:, :-1]
    # Past a row's last outcome nothing may be drawn, whatever the rounding of its sum.
    cumulative[np.arange(width - 1)[None, :] >= counts[:, None] - 1] = np.inf
    return outcomes, cumulative


def _draw(
    outcomes: IntArray, cumulative: FloatArray, rows: IntArray, uniforms: FloatArray
) -> IntArray:
    width = outcomes.shape[1]
    if width == 1:
        return outcomes[rows, 0]
    if width == 2:  # one comparison; most of tiger's time would go into the general form's sum
        return outcomes[rows, (uniforms >= cumulative[rows, 0]).astype(np.int64)]
    picked = (uniforms[..., None] >= cumulative[rows]).sum(axis=-1)
    return outcomes[rows, picked]

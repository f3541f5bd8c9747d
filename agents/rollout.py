"""Steps a tabular model for many runs at once, each with its own policy table.

Used for training (`IMMReinforce`) and for evaluation. The policy is a table of cumulative action
probabilities, so a step is a few gathers whatever the number of runs.

Index letters: N runs, E copies a run, R = N·E rows, T steps, S states, A actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.model import FloatArray
from imm_rl.envs.sampler import IntArray, Sampler

if TYPE_CHECKING:
    from imm_rl.agents.advice import Adviser

BoolArray = npt.NDArray[np.bool_]


class Rollout(NamedTuple):
    """T steps of R rows; every array is (T, R). A step that ends an episode is followed by a start.

    `counted` says which steps are the agent's own, and so may be contexts to match at; None: all.
    """

    states: IntArray
    actions: IntArray
    next_states: IntArray
    rewards: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    counted: BoolArray | None = None


class TabularRollouts:
    """R rows of one model that carry their states from one rollout to the next.

    Args:
        sampler: Draws the model's outcomes.
        streams: The rows' random numbers for the environment.
        action_streams: The same for actions.
        n_runs: N.
        n_envs: E.
        max_steps: Steps after which an episode is cut (a truncation, not a termination).
    """

    def __init__(
        self,
        sampler: Sampler,
        streams: SeedStreams,
        action_streams: SeedStreams,
        *,
        n_runs: int,
        n_envs: int,
        max_steps: int,
    ) -> None:
        self._sampler = sampler
        self._streams = streams
        self._action_streams = action_streams
        self._n_envs = n_envs
        self._max_steps = max_steps
        # Row r of run n reads the policy's rows n·S … n·S + S − 1.
        self._run_offset = np.repeat(np.arange(n_runs), n_envs) * sampler.model.n_states
        self.restart()

    def restart(self) -> None:
        """Starts a new episode in every row."""
        (uniforms,) = self._streams.uniforms(1, 1, self._n_envs)
        self.states = self._sampler.initial(uniforms[0])
        self.elapsed = np.zeros(self.states.shape, dtype=np.int64)
        self._restarted = True
        self.earned = np.zeros(self.states.shape)
        self.finished = np.zeros((2, self.states.size))

    def collect(
        self, action_cdf: FloatArray, n_steps: int, adviser: Adviser | None = None
    ) -> Rollout:
        """Steps every row n_steps times.

        Args:
            action_cdf: (N, S, A−1), cumulative probabilities of all actions but the last.
            n_steps: T.
            adviser: Changes the probabilities step by step, and may say that a step is not the
                agent's own. It draws from streams of its own.
        """
        sampler, ends = self._sampler, self._sampler.model.terminal
        any_terminal = bool(ends.any())
        n_runs, n_states, width = action_cdf.shape
        # `take` would copy a table with gaps at every step.
        cdf = np.ascontiguousarray(action_cdf).reshape(n_runs * n_states, width)
        moves, starts, sights = self._streams.uniforms(3, n_steps, self._n_envs)
        (choices,) = self._action_streams.uniforms(1, n_steps, self._n_envs)

        shape = (n_steps, self.states.size)
        states, actions, next_states = (np.empty(shape, dtype=np.int64) for _ in range(3))
        terminated, truncated = (np.zeros(shape, dtype=bool) for _ in range(2))
        # The step at which each row's episode is cut. Without terminal states nothing else ends one,
        # so that most steps need no look at the rows.
        current, cut = self.states, self._max_steps - self.elapsed
        every_step = any_terminal or adviser is not None
        soonest = 0 if every_step else int(cut.min())
        own: BoolArray | None = None
        if adviser is not None:
            adviser.begin(current, n_steps, restart=self._restarted)
            own = np.ones(shape, dtype=bool)
        self._restarted = False
        for t in range(n_steps):
            states[t] = current
            thresholds = cdf.take(self._run_offset + current, axis=0)
            if adviser is not None and own is not None:
                thresholds, theirs = adviser.advise(thresholds, t + self._max_steps - cut)
                own[t] = True if theirs is None else theirs
            actions[t] = chosen = (choices[t][:, None] >= thresholds).sum(axis=1)
            next_states[t] = current = sampler.transition(current, chosen, moves[t])
            if t + 1 < soonest:
                continue
            terminated[t] = ends[current]
            truncated[t] = (t + 1 >= cut) & ~terminated[t]
            over = terminated[t] | truncated[t]
            if over.any():
                current = np.where(over, sampler.initial(starts[t]), current)
                cut = np.where(over, t + 1 + self._max_steps, cut)
                soonest = 0 if every_step else int(cut.min())
            if adviser is not None:
                adviser.observe(actions[t], next_states[t], over, current)
        self.states, self.elapsed = current, n_steps + self._max_steps - cut
        rewards = self._rewards(states, actions, next_states, sights)
        self._add_up(rewards, terminated | truncated)
        if own is not None and own.all():
            own = None
        return Rollout(states, actions, next_states, rewards, terminated, truncated, own)

    def finished_returns(self) -> FloatArray:
        """Mean undiscounted return (N,) of the episodes that ended since the last call; NaN if none."""
        sums, counts = self.finished.reshape(2, -1, self._n_envs).sum(axis=2)
        self.finished[:] = 0.0
        means = np.full(sums.shape, np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    def state(self) -> dict[str, np.ndarray]:
        """Where every row and its streams stand."""
        return {
            "environment": np.array(self._streams.state()),
            "action": np.array(self._action_streams.state()),
            "states": self.states.copy(),
            "elapsed": self.elapsed.copy(),
            "earned": self.earned.copy(),
            "finished": self.finished.copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts every row and its streams where `state` says."""
        self._streams.restore(str(state["environment"]))
        self._action_streams.restore(str(state["action"]))
        self.states, self.elapsed = state["states"], state["elapsed"]
        self.earned, self.finished = state["earned"], state["finished"]
        self._restarted = False

    def _add_up(self, rewards: FloatArray, over: BoolArray) -> None:
        """Keeps `earned`, each row's return so far, and `finished`, the sum and number of those done."""
        start = 0
        for t in np.flatnonzero(over.any(axis=1)):
            self.earned += rewards[start : t + 1].sum(axis=0)
            self.finished += np.stack([self.earned, np.ones_like(self.earned)]) * over[t]
            self.earned[over[t]] = 0.0
            start = t + 1
        self.earned += rewards[start:].sum(axis=0)

    def _rewards(
        self, states: IntArray, actions: IntArray, next_states: IntArray, sights: FloatArray
    ) -> FloatArray:
        """Rewards (T, R), drawn with the observation only where the model pays by it."""
        outcome = self._sampler.model.outcome_reward
        observations = (
            self._sampler.observe(actions, next_states, sights)
            if outcome is not None and outcome.ndim == 4
            else states
        )
        return self._sampler.reward(states, actions, next_states, observations)


def action_cdf(probs: FloatArray) -> FloatArray:
    """Cumulative probabilities (…, A−1) of all actions but the last, for `TabularRollouts.collect`."""
    return np.cumsum(probs, axis=-1, dtype=np.float64)[..., :-1]

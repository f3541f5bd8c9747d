"""Reward-to-go, baselines and normalisation: what weighs log π(a|s) in the policy gradient.

Index letters: N runs, E copies a run, R = N·E rows, T steps, S states.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.rollout import BoolArray, Rollout
from imm_rl.envs.model import FloatArray


def rewards_to_go(rollout: Rollout, gamma: float, values: FloatArray | None = None) -> FloatArray:
    """Discounted rewards-to-go (T, R).

    Args:
        rollout: T steps of R rows.
        gamma: Discount.
        values: (T, R), the value of each next state, or None. With values, a return that is cut by a
            time limit or by the end of the rollout goes on with the value of the state reached;
            without, it stops there (the paper's form). A termination always ends it.
    """
    returns = np.empty_like(rollout.rewards)
    over = rollout.terminated | rollout.truncated
    following = np.zeros(rollout.rewards.shape[1]) if values is None else values[-1]
    for t in range(len(returns) - 1, -1, -1):
        cut = 0.0 if values is None else np.where(rollout.terminated[t], 0.0, values[t])
        following = rollout.rewards[t] + gamma * np.where(over[t], cut, following)
        returns[t] = following
    return returns


class Advantages:
    """Turns rollouts into advantages (T, R) of N runs; owns the table of state values, if any.

    The value baseline is a table, one running mean of the returns seen from each state: exact for
    tabular problems and free of the reward's scale, which a network trained by gradient is not.

    Args:
        n_runs: N.
        n_states: S.
        gamma: Discount.
        baseline: `none`; `mean`, the run's mean return over the batch; `value`, the table.
        normalize: Scale each run's batch to mean 0 and deviation 1.
        bootstrap: Go on with the table's value where a time limit cuts; needs `value`.
    """

    # The mean over all returns of a state lags behind a policy that improves; 0.2 forgets the oldest.
    LEAST_RATE = 0.2

    def __init__(
        self,
        n_runs: int,
        n_states: int,
        *,
        gamma: float,
        baseline: str,
        normalize: bool,
        bootstrap: bool,
    ) -> None:
        self._n_runs, self._n_states = n_runs, n_states
        self._gamma, self._baseline = gamma, baseline
        self._normalize, self._bootstrap = normalize, bootstrap
        self.values = np.zeros(n_runs * n_states)
        self.updates = np.zeros(n_runs * n_states)

    def __call__(self, rollout: Rollout) -> FloatArray:
        """Advantages (T, R) of a rollout; the table learns from it afterwards.

        Steps that are not the agent's own (`Rollout.counted`) have none, and teach nothing.
        """
        own = rollout.counted
        if self._baseline != "value":
            returns = rewards_to_go(rollout, self._gamma)
            advantages = returns if self._baseline == "none" else returns - self._mean(returns, own)
        else:
            run = np.arange(rollout.states.shape[1]) // self._copies(rollout.states)
            here = run * self._n_states + rollout.states
            there = run * self._n_states + rollout.next_states
            following = self._values_at(there, run) if self._bootstrap else None
            returns = rewards_to_go(rollout, self._gamma, following)
            # A state never met has no value yet: the batch's mean return stands in.
            known = self.updates[here] > 0.0
            advantages = returns - np.where(known, self.values[here], self._mean(returns, own))
            self._learn(here, returns, own)
        if self._normalize:
            advantages = advantages - self._mean(advantages, own)
            advantages = advantages / (np.sqrt(self._mean(advantages**2, own)) + 1e-8)
        return advantages if own is None else np.where(own, advantages, 0.0)

    def state(self) -> dict[str, np.ndarray]:
        """The table of values and how often each was moved."""
        return {"values": self.values.copy(), "updates": self.updates.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the table where `state` says."""
        self.values, self.updates = state["values"], state["updates"]

    def _values_at(self, cells: np.ndarray, run: np.ndarray) -> FloatArray:
        """Values (T, R); of a state never met, the mean over the run's states that were."""
        known = (self.updates > 0.0).reshape(self._n_runs, -1)
        sums = (self.values.reshape(self._n_runs, -1) * known).sum(axis=1)
        means = sums / np.maximum(known.sum(axis=1), 1)
        values: FloatArray = np.where(self.updates[cells] > 0.0, self.values[cells], means[run])
        return values

    def _copies(self, array: np.ndarray) -> int:
        return int(array.shape[1]) // self._n_runs

    def _mean(self, values: FloatArray, own: BoolArray | None) -> FloatArray:
        """Mean over each run's batch, (T, R) -> (R,), repeated for its copies; 0 of no steps."""
        copies = self._copies(values)
        by_run = (len(values), self._n_runs, copies)
        if own is None:
            per_run = values.reshape(by_run).mean(axis=(0, 2))
        else:
            counts = own.reshape(by_run).sum(axis=(0, 2))
            per_run = (values * own).reshape(by_run).sum(axis=(0, 2)) / np.maximum(counts, 1)
        return np.repeat(per_run, copies)

    def _learn(self, cells: np.ndarray, returns: FloatArray, own: BoolArray | None) -> None:
        size = self.values.size
        if own is not None:
            cells, returns = cells[own], returns[own]
        counts = np.bincount(cells.ravel(), minlength=size)
        sums = np.bincount(cells.ravel(), weights=returns.ravel(), minlength=size)
        met = counts > 0
        self.updates[met] += 1.0
        rate = np.maximum(1.0 / self.updates[met], self.LEAST_RATE)
        self.values[met] += rate * (sums[met] / counts[met] - self.values[met])

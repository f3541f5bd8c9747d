"""What a policy earns: the trained agent, the restricted policy on its beliefs, and the optimum.

Returns are undiscounted sums of rewards over an episode of a fixed number of steps (terminal states
end it), the number that `rollout/ep_rew_mean` and the paper's figure show.

Index letters: N runs, S states, A actions, B episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imm_rl.agents.restricted.asking import restricted_episodes
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import TabularRollouts, action_cdf
from imm_rl.agents.solvers.mdp import finite_horizon_values
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair


class Evaluator:
    """Plays fresh episodes with the policies of N runs, from streams of their own.

    Args:
        pair: What is played.
        seeds: K seeds; N = L·K runs, all variants of a seed meeting the same random numbers.
        n_variants: L.
        episodes: B, for each run.
        n_steps: Steps of an episode.
    """

    def __init__(
        self, pair: EnvPair, seeds: Sequence[int], n_variants: int, *, episodes: int, n_steps: int
    ) -> None:
        self._streams = SeedStreams(seeds, "evaluation", n_variants)
        self._n_runs = len(seeds) * n_variants
        self._n_steps = n_steps
        self._rows = TabularRollouts(
            pair.sampler,
            self._streams,
            self._streams,
            n_runs=self._n_runs,
            n_envs=episodes,
            max_steps=n_steps,
        )

    def returns(self, probs: FloatArray) -> FloatArray:
        """Undiscounted returns (N, B) of policies probs (N, S, A)."""
        self._rows.restart()
        rollout = self._rows.collect(action_cdf(probs), self._n_steps)
        # A terminated row starts anew within the rollout: only its first episode counts.
        ended = np.cumsum(rollout.terminated, axis=0, dtype=np.int64)
        first = ended - rollout.terminated.astype(np.int64) == 0
        totals: FloatArray = (rollout.rewards * first).sum(axis=0)
        return totals.reshape(self._n_runs, -1)

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands."""
        return {"stream": np.array(self._streams.state())}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the stream where `state` says."""
        self._streams.restore(str(state["stream"]))


def exact_returns(model: TabularPOMDP, probs: FloatArray, n_steps: int) -> FloatArray:
    """Expected undiscounted returns (N,) of policies probs (N, S, A) over n_steps, without sampling.

    Backward induction, V_h = Σ_a π(a|s) (r(s, a) + Σ_s' T[s, a, s'] V_{h−1}(s')), from b0.
    """
    values: FloatArray = np.zeros(probs.shape[:2])
    transitions = [model.transition_of(a) for a in range(model.n_actions)]
    for _ in range(n_steps):
        # (S, S') @ (S', N), which serves dense and CSR alike.
        after = np.stack([(t @ values.T).T for t in transitions], axis=-1)
        values = (probs * (model.reward + after)).sum(axis=-1)
    expected: FloatArray = values @ model.initial
    return expected


def oracle_return(model: TabularPOMDP, n_steps: int) -> float:
    """The largest expected undiscounted return within n_steps of whoever sees the state."""
    return float(finite_horizon_values(model, n_steps) @ model.initial)


def restricted_returns(
    pair: EnvPair,
    policy: RestrictedPolicy,
    *,
    episodes: int,
    n_steps: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Undiscounted returns (B,) of the restricted policy in the environment, on its own beliefs."""
    total = np.zeros(episodes)
    for moment in restricted_episodes(pair, policy, episodes=episodes, n_steps=n_steps, rng=rng):
        total[moment.episodes] += moment.rewards
    return total

"""What a policy earns: the trained agent, the restricted policy on its beliefs, and the optimum.

Returns are undiscounted sums of rewards over an episode of a fixed number of steps (terminal states
end it), the number that `rollout/ep_rew_mean` and the paper's figure show.

Index letters: N runs, S states, A actions, B episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imm_rl.agents.advice import BeliefFollower, Mixture
from imm_rl.agents.restricted.asking import restricted_episodes
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import TabularRollouts, action_cdf
from imm_rl.agents.solvers.mdp import finite_horizon_values
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair


class Played(NamedTuple):
    """What N runs earned in B episodes each: undiscounted and discounted sums of rewards, (N, B)."""

    returns: FloatArray
    discounted: FloatArray


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
        self._pair, self._seeds, self._n_variants = pair, seeds, n_variants
        self._streams = SeedStreams(seeds, "evaluation", n_variants)
        self._advice: SeedStreams | None = None
        self._follower: BeliefFollower | None = None
        self._n_runs, self._episodes = len(seeds) * n_variants, episodes
        self._n_steps = n_steps
        self._rows = TabularRollouts(
            pair.sampler,
            self._streams,
            self._streams,
            n_runs=self._n_runs,
            n_envs=episodes,
            max_steps=n_steps,
        )

    def mix_with(self, policy: RestrictedPolicy) -> None:
        """Lets `play` mix a restricted policy's probabilities in, on observations of their own stream.

        Raises:
            InvalidInputError: The policy cannot be asked at a belief or an observation.
        """
        self._advice = SeedStreams(self._seeds, "evaluation advice", self._n_variants)
        self._follower = BeliefFollower(self._pair, policy, self._advice, self._episodes)

    def returns(self, probs: FloatArray) -> FloatArray:
        """Undiscounted returns (N, B) of policies probs (N, S, A)."""
        return self.play(probs).returns

    def play(
        self, probs: FloatArray, *, greedy: bool = False, shares: FloatArray | None = None
    ) -> Played:
        """Plays policies probs (N, S, A) in B episodes each.

        Args:
            probs: Action probabilities at each state.
            greedy: Takes the likeliest action, the first of equals.
            shares: (N,), the restricted policy's share of the probabilities, after `mix_with`.
        """
        mixture: Mixture | None = None
        if shares is not None and shares.any() and self._follower is not None:
            rows = np.repeat(shares, self._episodes)
            mixture = Mixture(self._follower, rows, greedy=greedy)
        elif greedy:
            probs = np.eye(probs.shape[-1])[probs.argmax(axis=-1)]
        self._rows.restart()
        rollout = self._rows.collect(action_cdf(probs), self._n_steps, mixture)
        # A terminated row starts anew within the rollout: only its first episode counts.
        ended = np.cumsum(rollout.terminated, axis=0, dtype=np.int64)
        first = ended - rollout.terminated.astype(np.int64) == 0
        earned = rollout.rewards * first
        discounts = self._pair.model.discount ** np.arange(self._n_steps)
        totals = (earned.sum(axis=0), discounts @ earned)
        return Played(*(total.reshape(self._n_runs, -1) for total in totals))

    def state(self) -> dict[str, np.ndarray]:
        """Where the streams stand."""
        state = {"stream": np.array(self._streams.state())}
        return state if self._advice is None else state | {"advice": np.array(self._advice.state())}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the streams where `state` says."""
        self._streams.restore(str(state["stream"]))
        if self._advice is not None:
            self._advice.restore(str(state["advice"]))


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

"""Restricted contexts: at which beliefs the induced policy is matched, and with what weight.

Contexts are recomputed after a rollout from its states and actions: observations are drawn from the
model and the Bayes filter is run for all rows at once. Nobody's environment or buffer needs a change.

A filter that runs on the agent's own actions takes them as given, though a seeing agent's actions
carry information about the state. The matching term stays well defined (match at this belief, with
this belief's completions); only the choice of where to match is affected.

Index letters: N runs, E copies a run, R = N·E rows, T steps, M contexts of a run, S states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from imm_rl.agents.context_weights import Weigh, weighing
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import Rollout, action_cdf
from imm_rl.agents.streams import SeedStreams, generator
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair


class Contexts(NamedTuple):
    """Where and how much to match.

    Attributes:
        beliefs: (M, S) common to all runs, or (N, M, S).
        targets: (M, A) or (N, M, A), the restricted policy's action probabilities there.
        weights: (N, M) or (1, M); only their ratios within a run matter.
    """

    beliefs: FloatArray
    targets: FloatArray
    weights: FloatArray


class ContextSource(Protocol):
    """Where the beliefs to match at come from."""

    def contexts(self, rollout: Rollout) -> Contexts:
        """The contexts of the runs' update after this rollout."""

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the source where `state` says."""


class GivenTargets:
    """The restricted model of `InducedModelMatching`: a source has asked the policy already."""

    def probs(self, context: Contexts, /) -> FloatArray:
        """The targets that came with the contexts."""
        return context.targets


def make_source(
    pair: EnvPair,
    policy: RestrictedPolicy,
    *,
    kind: str,
    weight: str,
    seeds: Sequence[int],
    n_variants: int,
    n_envs: int,
) -> ContextSource:
    """The source that the settings `contexts` and `context_weight` name."""
    weigh = weighing(weight, policy)
    if kind == "restricted":
        return RestrictedRolloutContexts(pair, policy, weigh)
    streams = SeedStreams(seeds, "context", n_variants)
    source = FilteredContexts if pair.observation_beliefs is None else ObservationContexts
    return source(
        pair, policy, weigh, streams=streams, n_runs=len(seeds) * n_variants, n_envs=n_envs
    )


class ObservationContexts:
    """For pairs whose belief is a function of the last observation (the paper's grid).

    All runs share one list of beliefs, one for each observation; a run's weights are the shares of
    its visits, so that a context met ten times is matched once with ten times the weight.
    """

    def __init__(
        self,
        pair: EnvPair,
        policy: RestrictedPolicy,
        weigh: Weigh,
        *,
        streams: SeedStreams,
        n_runs: int,
        n_envs: int,
    ) -> None:
        if pair.observation_beliefs is None:
            raise ValueError("ObservationContexts needs a pair with observation_beliefs")
        self._beliefs = pair.observation_beliefs
        self._targets = policy.probs(self._beliefs)
        self._factor = weigh(self._beliefs, self._targets)
        self._sampler = pair.sampler
        self._streams, self._n_runs, self._n_envs = streams, n_runs, n_envs

    def contexts(self, rollout: Rollout) -> Contexts:
        """Every observation's belief, weighted by each run's visits."""
        n_steps, n_rows = rollout.states.shape
        (uniforms,) = self._streams.uniforms(1, n_steps, self._n_envs)
        # Such an observation does not depend on the action, so any action's row serves.
        seen = self._sampler.observe(np.zeros_like(rollout.states), rollout.states, uniforms)
        run = np.arange(n_rows) // self._n_envs
        cells = self._n_runs * len(self._beliefs)
        counts = np.bincount((run * len(self._beliefs) + seen).ravel(), minlength=cells)
        weights = counts.reshape(self._n_runs, -1) * self._factor
        return Contexts(self._beliefs, self._targets, weights)

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands."""
        return {"stream": np.array(self._streams.state())}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the stream where `state` says."""
        self._streams.restore(str(state["stream"]))


class FilteredContexts:
    """The Bayes filter along each run's own rollouts, carried from one rollout to the next."""

    def __init__(
        self,
        pair: EnvPair,
        policy: RestrictedPolicy,
        weigh: Weigh,
        *,
        streams: SeedStreams,
        n_runs: int,
        n_envs: int,
    ) -> None:
        self._policy, self._weigh = policy, weigh
        self._initial = pair.restricted_model.initial
        self._filter = BeliefFilter(pair.restricted_model)
        self._sampler = pair.sampler
        self._streams, self._n_runs, self._n_envs = streams, n_runs, n_envs
        self._belief = np.tile(self._initial, (n_runs * n_envs, 1))

    def contexts(self, rollout: Rollout) -> Contexts:
        """The belief before each action of the rollout, E·T of them a run."""
        n_steps, n_rows = rollout.states.shape
        (uniforms,) = self._streams.uniforms(1, n_steps, self._n_envs)
        seen = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        over = rollout.terminated | rollout.truncated
        times_over = set(np.flatnonzero(over.any(axis=1)).tolist())
        beliefs = np.empty((n_rows, n_steps, self._initial.size))
        current = self._belief
        for t in range(n_steps):
            beliefs[:, t] = current
            current = self._filter.update(current, rollout.actions[t], seen[t])
            if t in times_over:
                current[over[t]] = self._initial
        self._belief = current
        beliefs = beliefs.reshape(self._n_runs, -1, self._initial.size)
        targets = self._policy.probs(beliefs)
        return Contexts(beliefs, targets, self._weigh(beliefs, targets))

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and the beliefs that the next rollout starts from."""
        return {"stream": np.array(self._streams.state()), "belief": self._belief.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts stream and beliefs where `state` says."""
        self._streams.restore(str(state["stream"]))
        self._belief = state["belief"]


class RestrictedRolloutContexts:
    """Beliefs that the restricted policy meets when it acts itself, drawn once from the model.

    They cost no step of the environment and are the same for every run and update. Equal beliefs are
    merged, so that small problems have few.
    """

    EPISODES = 64
    MOST = 512

    def __init__(self, pair: EnvPair, policy: RestrictedPolicy, weigh: Weigh) -> None:
        unique, counts = np.unique(_met(pair, policy, self.EPISODES), axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[: self.MOST]
        beliefs = unique[most] / unique[most].sum(axis=1, keepdims=True)
        targets = policy.probs(beliefs)
        weights = counts[most] * weigh(beliefs, targets)
        self._contexts = Contexts(beliefs, targets, weights[None, :])

    def contexts(self, rollout: Rollout) -> Contexts:  # noqa: ARG002  the protocol's argument
        """The same beliefs and weights at every update."""
        return self._contexts

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the beliefs are a function of pair and policy."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""


def _met(pair: EnvPair, policy: RestrictedPolicy, episodes: int) -> FloatArray:
    """Beliefs (M, S) before every action of some episodes, rounded so that equal ones can be merged."""
    rng = generator(0, "restricted")
    model, sampler = pair.restricted_model, pair.sampler
    belief_filter = BeliefFilter(model)
    states = sampler.initial(rng.random(episodes))
    belief = np.tile(model.initial, (episodes, 1))
    if pair.observation_beliefs is not None:
        belief = pair.observation_beliefs[sampler.observe(0 * states, states, rng.random(episodes))]
    met = []
    for _ in range(pair.max_steps):
        met.append(belief.round(6))
        choices = rng.random((episodes, 1)) >= action_cdf(policy.probs(belief))
        actions = choices.sum(axis=1)
        states = sampler.transition(states, actions, rng.random(episodes))
        belief = belief_filter.update(
            belief, actions, sampler.observe(actions, states, rng.random(episodes))
        )
        alive = ~model.terminal[states]
        states, belief, episodes = states[alive], belief[alive], int(alive.sum())
    return np.concatenate(met)

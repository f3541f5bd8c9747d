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
from imm_rl.agents.restricted.asking import (
    NOTHING_SEEN,
    acts_on_observation,
    probs_at,
    restricted_episodes,
)
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import BoolArray, Rollout
from imm_rl.agents.streams import SeedStreams, generator
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError, invalid


class Contexts(NamedTuple):
    """Where and how much to match.

    Attributes:
        beliefs: (M, S) common to all runs, or (N, M, S).
        targets: (M, A) or (N, M, A), the restricted policy's action probabilities there.
        weights: (N, M) or (1, M); only their ratios within a run matter.
        steps: How many steps the weights are of, so that weights summed over M and divided by it are
            the mean weight of a step.
    """

    beliefs: FloatArray
    targets: FloatArray
    weights: FloatArray
    steps: int


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
    weight: str | None,
    seeds: Sequence[int],
    n_variants: int,
    n_envs: int,
) -> ContextSource:
    """The source that the settings `contexts` and `context_weight` name for this policy.

    Raises:
        InvalidInputError: The policy cannot be asked what a setting needs.
    """
    if weight is None:
        weight = "uniform" if acts_on_observation(policy) else "informed"
    weigh = weighing(weight, policy)
    if kind == "restricted":
        if acts_on_observation(policy):
            raise InvalidInputError(
                "contexts 'restricted' are the beliefs that a policy acts on, and this one acts on "
                "observations. Set contexts to 'agent'."
            )
        return RestrictedRolloutContexts(pair, policy, weigh)
    rows = Rows(SeedStreams(seeds, "context", n_variants), len(seeds) * n_variants, n_envs)
    if acts_on_observation(policy):
        wanted, rows_given = pair.model.n_observations, len(policy.table)  # type: ignore[attr-defined]
        if rows_given != wanted:
            raise invalid(
                "the restricted policy's table",
                f"have a row for each of {wanted} observations",
                rows_given,
            )
        return ObservationContexts(pair, policy.observation_beliefs, policy.table, weigh, rows)  # type: ignore[attr-defined]
    if pair.observation_beliefs is None:
        return FilteredContexts(pair, policy, weigh, rows)
    beliefs = pair.observation_beliefs
    return ObservationContexts(pair, beliefs, probs_at(policy, beliefs), weigh, rows)


class Rows(NamedTuple):
    """The rows whose contexts a source recomputes: their random numbers, N runs, E copies a run."""

    streams: SeedStreams
    n_runs: int
    n_envs: int

    def uniforms(self, n_steps: int) -> FloatArray:
        """Uniform numbers (T, R)."""
        drawn: FloatArray = self.streams.uniforms(1, n_steps, self.n_envs)[0]
        return drawn


class ObservationContexts:
    """Contexts that are the last observation: each stands for the same belief wherever it is met.

    So it is for pairs whose belief is a function of the last observation (the paper's grid), and for
    policies that act on it alone. All runs share one list of beliefs, one an observation; a run's
    weights are the shares of its visits, so that a context met ten times is matched once with ten times
    the weight. Steps before an episode's first observation are no context.
    """

    def __init__(
        self, pair: EnvPair, beliefs: FloatArray, targets: FloatArray, weigh: Weigh, rows: Rows
    ) -> None:
        self._beliefs, self._targets = beliefs, targets
        self._factor = weigh(beliefs, targets)
        self._sampler = pair.sampler
        # Where the reset shows an observation, it depends on the state alone.
        self._by_state = pair.observation_beliefs is not None
        self._rows = rows
        self._last = np.full(rows.n_runs * rows.n_envs, NOTHING_SEEN)

    def contexts(self, rollout: Rollout) -> Contexts:
        """Every observation's belief, weighted by each run's visits."""
        seen = self._seen(rollout)
        run = np.arange(seen.shape[1]) // self._rows.n_envs
        some = seen != NOTHING_SEEN
        width = len(self._beliefs)
        cells = (run * width + seen)[some]
        counts = np.bincount(cells, minlength=self._rows.n_runs * width)
        weights = counts.reshape(self._rows.n_runs, width) * self._factor
        return Contexts(self._beliefs, self._targets, weights, seen.size // self._rows.n_runs)

    def _seen(self, rollout: Rollout) -> IntArray:
        """The observation (T, R) on which each action of the rollout is taken."""
        uniforms = self._rows.uniforms(len(rollout.states))
        if self._by_state:  # any action's row serves
            return self._sampler.observe(np.zeros_like(rollout.states), rollout.states, uniforms)
        after = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        after = np.where(rollout.terminated | rollout.truncated, NOTHING_SEEN, after)
        seen = np.concatenate([self._last[None], after[:-1]])
        self._last = after[-1]
        return seen

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and what each row saw last."""
        return {"stream": np.array(self._rows.streams.state()), "last": self._last.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts stream and rows where `state` says."""
        self._rows.streams.restore(str(state["stream"]))
        self._last = state["last"]


class FilteredContexts:
    """The Bayes filter along each run's own rollouts, carried from one rollout to the next."""

    def __init__(self, pair: EnvPair, policy: RestrictedPolicy, weigh: Weigh, rows: Rows) -> None:
        self._policy, self._weigh = policy, weigh
        self._initial = pair.restricted_model.initial
        self._filter = BeliefFilter(pair.restricted_model)
        self._sampler = pair.sampler
        self._rows = rows
        self._belief = np.tile(self._initial, (rows.n_runs * rows.n_envs, 1))

    def contexts(self, rollout: Rollout) -> Contexts:
        """The belief before each action of the rollout, E·T of them a run."""
        n_steps, n_rows = rollout.states.shape
        uniforms = self._rows.uniforms(n_steps)
        seen = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        going: BoolArray = ~(rollout.terminated | rollout.truncated)
        all_going = [bool(row.all()) for row in going]
        beliefs = np.empty((n_rows, n_steps, self._initial.size))
        current = self._belief
        for t in range(n_steps):
            beliefs[:, t] = current
            if all_going[t]:
                current = self._filter.update(current, rollout.actions[t], seen[t])
                continue
            on = going[t]
            following = np.tile(self._initial, (n_rows, 1))
            if on.any():
                following[on] = self._filter.update(
                    current[on], rollout.actions[t, on], seen[t, on]
                )
            current = following
        self._belief = current
        beliefs = beliefs.reshape(self._rows.n_runs, -1, self._initial.size)
        targets = probs_at(self._policy, beliefs)
        return Contexts(beliefs, targets, self._weigh(beliefs, targets), beliefs.shape[1])

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and the beliefs that the next rollout starts from."""
        return {"stream": np.array(self._rows.streams.state()), "belief": self._belief.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts stream and beliefs where `state` says."""
        self._rows.streams.restore(str(state["stream"]))
        self._belief = state["belief"]


class RestrictedRolloutContexts:
    """Beliefs that the restricted policy meets when it acts itself, drawn once from the model.

    They cost no step of the environment and are the same for every run and update. Equal beliefs are
    merged, so that small problems have few.
    """

    EPISODES = 64
    MOST = 512

    def __init__(self, pair: EnvPair, policy: RestrictedPolicy, weigh: Weigh) -> None:
        rng = generator(0, "restricted")
        played = restricted_episodes(
            pair, policy, episodes=self.EPISODES, n_steps=pair.max_steps, rng=rng
        )
        met = np.concatenate([moment.beliefs.round(6) for moment in played])
        unique, counts = np.unique(met, axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[: self.MOST]
        beliefs = unique[most] / unique[most].sum(axis=1, keepdims=True)
        targets = probs_at(policy, beliefs)
        weights = counts[most] * weigh(beliefs, targets)
        self._contexts = Contexts(beliefs, targets, weights[None, :], int(counts[most].sum()))

    def contexts(self, rollout: Rollout) -> Contexts:  # noqa: ARG002  the protocol's argument
        """The same beliefs and weights at every update."""
        return self._contexts

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the beliefs are a function of pair and policy."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""

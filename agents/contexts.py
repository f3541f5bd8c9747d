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
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.context_weights import Weigh, weighing, weight_name
from imm_rl.agents.filtering import beliefs_along
from imm_rl.agents.restricted.asking import (
    NOTHING_SEEN,
    acts_on_observation,
    is_view_policy,
    probs_at,
)
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import BoolArray, Rollout
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.sparse_rows import SparseRows


class Contexts(NamedTuple):
    """Where and how much to match.

    Attributes:
        beliefs: (M, S) common to all runs, or (N, M, S). Or CSR: (M, S) common to all runs, or
            (N·M, S) with the contexts of the first run first; the targets' rank says which.
        targets: (M, A) or (N, M, A), the restricted policy's action probabilities there.
        weights: (N, M) or (1, M); only their ratios within a run matter.
        steps: How many steps the weights are of, so that weights summed over M and divided by it are
            the mean weight of a step.
        visited: The states that the contexts were met in: (N, M) whole numbers or, where equal
            contexts are merged, (N, M, S) shares of their visits. None where they were not met by the
            agent, or nobody asked.
    """

    beliefs: Beliefs
    targets: FloatArray
    weights: FloatArray
    steps: int
    visited: IntArray | FloatArray | None = None

    @property
    def support_weights(self) -> FloatArray | SparseRows:
        """The beliefs in the form in which the matching term takes them."""
        if isinstance(self.beliefs, np.ndarray):
            return self.beliefs
        return SparseRows(self.beliefs, None if self.targets.ndim == 2 else len(self.targets))


class ContextSource(Protocol):
    """Where the beliefs to match at come from."""

    def contexts(self, rollout: Rollout) -> Contexts:
        """The contexts of the runs' update after this rollout."""

    def restart(self) -> None:
        """Every row starts an episode, whether or not its last one had ended."""

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
    policy: Any,
    *,
    kind: str,
    weight: str | None,
    seeds: Sequence[int],
    n_variants: int,
    n_envs: int,
    most: int | None = None,
    visited: bool = False,
) -> ContextSource:
    """The source that the settings `contexts` and `context_weight` name for this policy.

    With `most`, which goes with a single run, at most so many beliefs of a rollout are kept, drawn at
    random: enough where each update looks at a few of them only. With `visited` the contexts say in
    which states they were met.

    Raises:
        InvalidInputError: The policy cannot be asked what a setting needs.
    """
    remembers_views = is_view_policy(policy)
    weigh = weighing(weight_name(weight, policy), policy)
    rows = Rows(SeedStreams(seeds, "context", n_variants), len(seeds) * n_variants, n_envs)
    if remembers_views:
        from imm_rl.agents.history_contexts import HistoryContexts  # it builds on this module

        if kind == "restricted":
            raise InvalidInputError(
                "contexts 'restricted' are the beliefs that a policy acts on, and this one acts on what "
                "it observes. Set contexts to 'agent'."
            )
        return HistoryContexts(pair, policy, weigh, rows, most)
    if kind == "restricted":
        if acts_on_observation(policy):
            raise InvalidInputError(
                "contexts 'restricted' are the beliefs that a policy acts on, and this one acts on "
                "observations. Set contexts to 'agent'."
            )
        from imm_rl.agents.restricted_contexts import RestrictedRolloutContexts  # the same

        return RestrictedRolloutContexts(pair, policy, weigh)
    if acts_on_observation(policy):
        wanted, rows_given = pair.model.n_observations, len(policy.table)
        if rows_given != wanted:
            raise invalid(
                "the restricted policy's table",
                f"have a row for each of {wanted} observations",
                rows_given,
            )
        return ObservationContexts(
            pair, policy.observation_beliefs, policy.table, weigh, rows, visited=visited
        )
    if pair.observation_beliefs is None:
        return FilteredContexts(pair, policy, weigh, rows, most)
    beliefs = pair.observation_beliefs
    targets = probs_at(policy, beliefs)
    return ObservationContexts(pair, beliefs, targets, weigh, rows, visited=visited)


class Rows(NamedTuple):
    """The rows whose contexts a source recomputes: their random numbers, N runs, E copies a run."""

    streams: SeedStreams
    n_runs: int
    n_envs: int

    def uniforms(self, n_steps: int) -> FloatArray:
        """Uniform numbers (T, R)."""
        drawn: FloatArray = self.streams.uniforms(1, n_steps, self.n_envs)[0]
        return drawn

    def choice(self, n: int, most: int) -> IntArray:
        """`most` different numbers below n, of the first run's stream."""
        keys = self.streams.uniforms(1, 1, n)[0, 0]
        return np.asarray(np.argpartition(keys, most)[:most])


class ObservationContexts:
    """Contexts that are the last observation: each stands for the same belief wherever it is met.

    So it is for pairs whose belief is a function of the last observation (the paper's grid), and for
    policies that act on it alone. All runs share one list of beliefs, one an observation; a run's
    weights are the shares of its visits, so that a context met ten times is matched once with ten times
    the weight. Steps before an episode's first observation are no context.

    Attributes:
        beliefs: (O, S), the belief on each observation.
        targets: (O, A), the restricted policy's probabilities there.
        factor: (O,), how much a visit counts.
        by_state: Whether what is observed depends on the state alone, from an episode's start on.
    """

    def __init__(
        self,
        pair: EnvPair,
        beliefs: FloatArray,
        targets: FloatArray,
        weigh: Weigh,
        rows: Rows,
        *,
        visited: bool = False,
    ) -> None:
        self.beliefs, self.targets = beliefs, targets
        self.factor = weigh(beliefs, targets)
        self._sampler = pair.sampler
        # Where the reset shows an observation, it depends on the state alone.
        self.by_state = pair.observation_beliefs is not None
        self._rows, self._asked_visits = rows, visited
        self._last = np.full(rows.n_runs * rows.n_envs, NOTHING_SEEN)

    def contexts(self, rollout: Rollout) -> Contexts:
        """Every observation's belief, weighted by each run's visits."""
        seen = self._seen(rollout)
        run = np.arange(seen.shape[1]) // self._rows.n_envs
        some = seen != NOTHING_SEEN
        if rollout.counted is not None:
            some &= rollout.counted
        width = len(self.beliefs)
        cells = (run * width + seen)[some]
        counts = np.bincount(cells, minlength=self._rows.n_runs * width)
        weights = counts.reshape(self._rows.n_runs, width) * self.factor
        visits = None
        if self._asked_visits:
            visits = self._visits(cells, rollout.states[some], counts)
        steps = seen.size // self._rows.n_runs
        return Contexts(self.beliefs, self.targets, weights, steps, visits)

    def _visits(self, cells: IntArray, states: IntArray, counts: IntArray) -> FloatArray:
        """Of each run and observation, the shares (N, M, S) of the states in which it was met."""
        n_states = self.beliefs.shape[1]
        pairs = np.bincount(cells * n_states + states, minlength=counts.size * n_states)
        shares = pairs.reshape(counts.size, n_states) / np.maximum(counts, 1)[:, None]
        return shares.reshape(self._rows.n_runs, -1, n_states)

    def _seen(self, rollout: Rollout) -> IntArray:
        """The observation (T, R) on which each action of the rollout is taken."""
        uniforms = self._rows.uniforms(len(rollout.states))
        if self.by_state:  # any action's row serves
            return self._sampler.observe(np.zeros_like(rollout.states), rollout.states, uniforms)
        after = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        after = np.where(rollout.terminated | rollout.truncated, NOTHING_SEEN, after)
        seen = np.concatenate([self._last[None], after[:-1]])
        self._last = after[-1]
        return seen

    def restart(self) -> None:
        """Nothing is seen yet in any row."""
        self._last = np.full_like(self._last, NOTHING_SEEN)

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and what each row saw last."""
        return {"stream": np.array(self._rows.streams.state()), "last": self._last.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts stream and rows where `state` says."""
        self._rows.streams.restore(str(state["stream"]))
        self._last = state["last"]


class FilteredContexts:
    """The Bayes filter along each run's own rollouts, carried from one rollout to the next."""

    def __init__(
        self,
        pair: EnvPair,
        policy: RestrictedPolicy,
        weigh: Weigh,
        rows: Rows,
        most: int | None = None,
    ) -> None:
        self._policy, self._weigh = policy, weigh
        self._filter = BeliefFilter(pair.restricted_model)
        self._sampler = pair.sampler
        self._rows, self._most = rows, most
        self.restart()

    def restart(self) -> None:
        """Every row is at the start belief."""
        self._belief = self._filter.start(self._rows.n_runs * self._rows.n_envs)

    def contexts(self, rollout: Rollout) -> Contexts:
        """The belief before each action of the rollout, E·T of them a run, or `most` of these."""
        kept = self.kept(rollout)
        uniforms = self._rows.uniforms(len(rollout.states))
        seen = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
        beliefs = self._beliefs(rollout, seen, kept)
        targets = probs_at(self._policy, beliefs)
        weights = self._weigh(beliefs, targets)
        if targets.ndim == 2:  # of sparse beliefs
            targets = targets.reshape(self._rows.n_runs, -1, targets.shape[-1])
            weights = weights.reshape(self._rows.n_runs, -1)
        visited = rows_run_by_run(rollout.states, self._rows.n_runs, kept)
        return Contexts(beliefs, targets, weights, weights.shape[1], visited)

    def _beliefs(
        self, rollout: Rollout, seen: IntArray, kept: Sequence[IntArray] | None
    ) -> Beliefs:
        """The belief before each step, given what is observed after it, (T, R); those that are kept."""
        going: BoolArray = ~(rollout.terminated | rollout.truncated)
        n_steps, n_rows = going.shape
        if kept is None:  # by run, then by copy, then by step
            wanted = (np.arange(n_rows)[:, None] + n_rows * np.arange(n_steps)).reshape(-1)
        else:
            wanted = np.concatenate([rows + n_rows * t for t, rows in enumerate(kept)])
        beliefs, self._belief = beliefs_along(
            self._filter, self._belief, rollout.actions, seen, going, wanted
        )
        if isinstance(beliefs, np.ndarray):
            return beliefs.reshape(
                1 if kept is not None else self._rows.n_runs, -1, beliefs.shape[1]
            )
        return beliefs

    def kept(self, rollout: Rollout) -> Sequence[IntArray] | None:
        """The rows of each of T steps whose beliefs are kept; None for all of them."""
        shape = rollout.states.shape
        counted = np.arange(rollout.states.size)
        if rollout.counted is not None:
            counted = np.flatnonzero(rollout.counted)
        if self._most is not None and counted.size > self._most:
            counted = counted[self._rows.choice(counted.size, self._most)]
        if counted.size == rollout.states.size:
            return None
        chosen = np.zeros(rollout.states.size, dtype=bool)
        chosen[counted] = True
        return [np.flatnonzero(rows) for rows in chosen.reshape(shape)]

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and the beliefs that the next rollout starts from."""
        stream = {"stream": np.array(self._rows.streams.state())}
        if isinstance(self._belief, np.ndarray):
            return stream | {"belief": self._belief.copy()}
        parts = {name: getattr(self._belief, name).copy() for name in _CSR_PARTS}
        return stream | {f"belief/{name}": part for name, part in parts.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts stream and beliefs where `state` says."""
        self._rows.streams.restore(str(state["stream"]))
        if isinstance(self._belief, np.ndarray):
            self._belief = state["belief"]
            return
        parts = tuple(state[f"belief/{name}"] for name in _CSR_PARTS)
        self._belief = sp.csr_array(parts, shape=self._belief.shape)


_CSR_PARTS = ("data", "indices", "indptr")


def rows_run_by_run(values: np.ndarray, n_runs: int, kept: Sequence[IntArray] | None) -> np.ndarray:
    """Values (T, R, ...) as (N, E·T, ...), the order of the beliefs; those kept alone as (1, M, ...)."""
    if kept is not None:
        return np.concatenate([step[rows] for step, rows in zip(values, kept, strict=True)])[None]
    by_row = np.moveaxis(values, 0, 1)
    return by_row.reshape(n_runs, -1, *values.shape[2:])

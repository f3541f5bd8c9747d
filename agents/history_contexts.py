"""`HistoryContexts`: where a policy is matched that acts on observations and may remember them.

Such a policy (an SB3 model trained on a pair's POMDP view, recurrent or not) has no answer to a belief. But
its restricted context is the history of observations, and the model says which states a history may stand
for: the Bayes filter's belief. So the filter and the policy are run side by side on observations drawn
along each rollout. `contexts.make_source` makes one.

Index letters: N runs, E copies a run, R = N·E rows, T steps, M contexts of a run, S states.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from imm_rl.agents.context_weights import Weigh
from imm_rl.agents.contexts import Contexts, FilteredContexts, Rows, rows_run_by_run
from imm_rl.agents.restricted.view_policy import ViewPolicy, followed
from imm_rl.agents.rollout import Rollout
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray


class HistoryContexts(FilteredContexts):
    """The Bayes filter and a policy on observations along each run's own rollouts.

    Args:
        pair: The problem.
        policy: Acts on what `pair.pomdp()` shows.
        weigh: How much each belief counts.
        rows: The rows that are followed.
        most: Contexts of a rollout that are kept, as in `contexts.make_source`.
    """

    def __init__(
        self,
        pair: EnvPair,
        policy: ViewPolicy,
        weigh: Weigh,
        rows: Rows,
        most: int | None = None,
    ) -> None:
        self._pair, self._on_views = pair, policy
        self._memory: Any = None
        super().__init__(pair, policy, weigh, rows, most)  # type: ignore[arg-type]  # asked in `contexts`

    def restart(self) -> None:
        """Every row is at the start belief and has seen nothing yet."""
        super().restart()
        n_rows = self._rows.n_runs * self._rows.n_envs
        self._view = np.full(n_rows, self._pair.model.n_observations)  # the index of "nothing yet"
        self._starts = np.ones(n_rows, dtype=bool)

    def contexts(self, rollout: Rollout) -> Contexts:
        """The belief before each action of the rollout, and what the policy does on that history."""
        n_runs = self._rows.n_runs
        kept = self.kept(rollout)
        uniforms = self._rows.uniforms(len(rollout.states))
        over = rollout.terminated | rollout.truncated
        starts = np.concatenate([self._starts[None], over[:-1]])
        self._starts = over[-1]
        beliefs: Beliefs
        if self._pair.observation_beliefs is not None:  # seen from the reset on, and they tell all
            views = self._sampler.observe(np.zeros_like(rollout.states), rollout.states, uniforms)
            flat = rows_run_by_run(views, n_runs, kept)
            beliefs = self._pair.observation_beliefs[flat]
        else:
            seen = self._sampler.observe(rollout.actions, rollout.next_states, uniforms)
            views = self._views(seen, over)
            beliefs = self._beliefs(rollout, seen, kept)
        answers, self._memory = followed(self._on_views, views, starts, self._memory)
        targets = rows_run_by_run(answers, n_runs, kept)
        weights = self._weigh(beliefs, targets).reshape(n_runs, -1)
        visited = rows_run_by_run(rollout.states, n_runs, kept)
        return Contexts(beliefs, targets, weights, weights.shape[1], visited)

    def _views(self, seen: IntArray, over: np.ndarray) -> IntArray:
        """What is seen before each action, (T, R), of what is observed after it."""
        after = np.where(over, self._pair.model.n_observations, seen)
        views = np.concatenate([self._view[None], after[:-1]])
        self._view = after[-1]
        return views

    def state(self) -> dict[str, np.ndarray]:
        """Where stream, beliefs and the policy's memory stand."""
        kept = super().state() | {"view": self._view.copy(), "starts": self._starts.copy()}
        return kept if self._memory is None else kept | {"memory": np.array(self._memory)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts all of it where `state` says."""
        super().restore(state)
        self._view, self._starts = state["view"].copy(), state["starts"].copy()
        self._memory = state.get("memory")

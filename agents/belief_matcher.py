"""`BeliefMatcher`: the matching term of an SB3 policy on a tabular pair. `sb3.IMMCallback` drives it.

After each rollout the beliefs that the restricted policy would have had along it are recomputed
(`contexts`); before each gradient some of them are drawn, and the policy is evaluated at the states that
these allow. Only those: with a thousand states and beliefs over thirty, most states are left alone.

Index letters: T steps, E copies, M contexts of a rollout, B of a batch, S states, A actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from imm_rl.agents.by_state import target_table
from imm_rl.agents.contexts import Contexts, GivenTargets, make_source
from imm_rl.agents.episodes import EpisodeTracker
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import Rollout
from imm_rl.agents.sb3_one_hot import log_probs_at
from imm_rl.agents.sb3_rollout import RolloutReader, Steps
from imm_rl.agents.sb3_states import StateCodec
from imm_rl.agents.sb3_term import PolicyTerm
from imm_rl.agents.streams import generator, restore_stream, stream_state
from imm_rl.agents.view_terms import within
from imm_rl.device import uploaded
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.pair import EnvPair
from imm_rl.matching import InducedModelMatching, SharedSupport
from imm_rl.state_file import state_part

MOST_CONTEXTS = 1024
"""Beliefs kept of a rollout; a batch draws from them."""


class BeliefMatcher:
    """Matches at beliefs.

    Args:
        pair: The problem.
        policy: The restricted policy, on beliefs.
        codec: How the trained policy observes states.
        weight: The setting `context_weight`; None for the default.
        batch_size: B, at most.
        n_envs: E.
        seed: Of the drawn observations and batches.
        method: A name of `methods.TERMS`.
    """

    def __init__(
        self,
        pair: EnvPair,
        policy: RestrictedPolicy,
        codec: StateCodec,
        *,
        weight: str | None,
        batch_size: int,
        n_envs: int,
        seed: int,
        method: str = "imm",
    ) -> None:
        self._codec, self._batch_size, self._method = codec, batch_size, method
        self._source = make_source(
            pair,
            policy,
            kind="agent",
            weight=weight,
            seeds=[seed],
            n_variants=1,
            n_envs=n_envs,
            most=MOST_CONTEXTS,
            visited=method == "naive-kl",
        )
        self._imm = InducedModelMatching(
            GivenTargets(), SharedSupport(weights_of=lambda contexts: contexts.support_weights)
        )
        self._draws = generator(seed, "batch")
        self._contexts: Contexts | None = None
        self._positive = np.zeros(0, dtype=np.int64)
        self._masks = np.ones((pair.model.n_states, pair.model.n_actions), dtype=bool)
        self._masked = False
        self._tracker = EpisodeTracker(n_envs)

    def follow(self, steps: Steps, *, continues: bool) -> None:
        """Takes up a rollout: its beliefs are the contexts of the gradients to come."""
        states = self._codec.states(steps.observations)  # (T, E)
        last = self._codec.states(steps.next_observations)
        carried, known = self._tracker.follow(steps, continues=continues)
        nothing_known = not known.any()  # of episodes whose beginning was not seen, none ended
        if nothing_known or not carried:
            self._source.restart()
        self._contexts, self._positive = None, np.zeros(0, dtype=np.int64)
        if nothing_known:
            return
        # Beliefs of unknown steps are not asked for; there each step may as well end an episode.
        ends = np.concatenate([steps.starts[1:], steps.next_starts[None]]) | ~known
        rollout = Rollout(
            states=states,
            actions=steps.actions[..., 0].astype(np.int64),
            # Where an episode ends the state after it is not recorded, and not needed.
            next_states=np.where(ends, states, np.concatenate([states[1:], last[None]])),
            rewards=np.zeros(states.shape),
            terminated=ends,
            truncated=np.zeros_like(ends),
            counted=None if known.all() else known,
        )
        if steps.masks is not None:
            self._masked = True
            self._masks[states] = steps.masks
        self._contexts = found = self._source.contexts(rollout)
        self._positive = np.flatnonzero(found.weights[0] > 0.0)

    @property
    def ready(self) -> bool:
        """Whether there is a context to match at."""
        return bool(self._positive.size)

    @property
    def weight(self) -> float:
        """How much a step's context counts on average: 1 if all count fully."""
        if self._contexts is None:
            return 0.0
        return float(self._contexts.weights.sum()) / self._contexts.steps

    def term(self, policy: Any, reader: RolloutReader) -> PolicyTerm | None:
        """The term at a batch of contexts, with gradients; None where none of them can be matched."""
        contexts, rows = self._contexts, self._positive
        assert contexts is not None  # `ready` was asked
        if rows.size > self._batch_size:
            rows = self._draws.choice(rows, self._batch_size, replace=False)
        beliefs, states = _columns(contexts.beliefs, rows)  # (B, n), the n states that they allow
        targets = contexts.targets.reshape(-1, contexts.targets.shape[-1])[rows]
        weights = contexts.weights[0][rows]
        masks = None
        if self._masked:
            masks = self._masks[states]
            targets, some = within(targets, beliefs @ masks > 0.0)
            weights = weights * some
            if not weights.any():
                return None
            masks = uploaded(masks, policy.device)
        found = log_probs_at(policy, reader.as_seen(self._codec.table[states]), masks)
        batch = Contexts(beliefs, targets, weights, len(rows))
        term = self._imm.term(lambda _: found, batch, weights=weights)
        shares = batch.support_weights
        loss = term.loss if self._method == "imm" else self._by_state(found, batch, rows, states)
        return PolicyTerm(
            loss,
            lambda: self._imm.measures(term, weights, log_probs=found, support_weights=shares),
        )

    def _by_state(
        self, log_probs: torch.Tensor, batch: Contexts, rows: np.ndarray, states: np.ndarray
    ) -> torch.Tensor:
        """The loss of noising or naive KL, of log-probabilities (n, A) at states (n,)."""
        naive = self._method == "naive-kl"
        if naive and self._contexts is not None and self._contexts.visited is not None:
            met = self._contexts.visited[0][rows]  # (B,) whole numbers or (B, S) shares
            there = np.searchsorted(states, met) if met.ndim == 1 else met[:, states]
            batch = batch._replace(visited=there[None])
        found = target_table(batch, 1, visited=naive)[0]
        table = uploaded(found, log_probs.device, log_probs.dtype)
        # A masked action has no target, and a log-probability of −inf.
        loss: torch.Tensor = -(table * log_probs.masked_fill(table <= 0.0, 0.0)).sum()
        return loss

    def state(self) -> dict[str, np.ndarray]:
        """What going on exactly needs, between two rollouts."""
        source = {f"source/{key}": value for key, value in self._source.state().items()}
        return source | {
            "draws": np.array(stream_state(self._draws)),
            "masks": self._masks.copy(),
            "masked": np.array(self._masked),
            **self._tracker.state(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the matcher where `state` says."""
        restore_stream(self._draws, str(state["draws"]))
        self._masks, self._masked = state["masks"].copy(), bool(state["masked"])
        if self._tracker.restore(state):
            self._source.restore(state_part("source", state))


def _columns(beliefs: Beliefs, rows: np.ndarray) -> tuple[Beliefs, np.ndarray]:
    """The rows (B, n) of beliefs (M, S), (1, M, S) or CSR, and the n states that any of them allows."""
    if isinstance(beliefs, np.ndarray):
        chosen = beliefs.reshape(-1, beliefs.shape[-1])[rows]
        states = np.flatnonzero(chosen.any(axis=0))
        return (chosen if states.size == chosen.shape[1] else chosen[:, states]), states
    sparse = beliefs[rows]
    allowed = np.zeros(sparse.shape[1], dtype=bool)
    allowed[sparse.indices] = True
    states = np.flatnonzero(allowed)
    columns = (np.cumsum(allowed) - 1)[sparse.indices]
    shape = (len(rows), len(states))
    return sp.csr_array((sparse.data, columns, sparse.indptr), shape=shape), states

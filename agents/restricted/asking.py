"""Asks a restricted policy what it would do, in the one form that training and evaluation use.

A policy acts on the belief (`acts_on` is "belief", or absent) or on the last observation alone
("observation"). What a policy of the user's answers is checked here, so that a wrong shape or a NaN is
said at once and by name.

Beliefs come dense, or as rows of a CSR array where the model has many states (`BeliefFilter`). Only a
policy with a class attribute `takes_sparse = True` is handed CSR arrays; others get dense rows, a few
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError, invalid

NOTHING_SEEN = -1
"""Stands for the observation before the first one of an episode."""

MOST_DENSE = 1 << 22
"""Numbers of dense beliefs that are made at a time out of sparse ones: 32 MiB."""

MOST_ROWS = 1024
"""Sparse beliefs that a policy is asked for at a time; what it needs for each is its own affair."""


def acts_on_observation(policy: Any) -> bool:
    """Whether the policy is a function of the last observation alone."""
    return getattr(policy, "acts_on", "belief") == "observation"


def is_view_policy(policy: Any) -> bool:
    """Whether the policy acts on what is observed, perhaps with a memory (`ViewPolicy`)."""
    return callable(getattr(policy, "follow", None)) and not hasattr(policy, "probs")


def policy_name(policy: Any) -> str:
    """What tables and errors call a policy; one of the user's own may have no name."""
    return str(getattr(policy, "name", type(policy).__name__))


def probs_at(policy: Any, beliefs: Beliefs) -> FloatArray:
    """Action probabilities (…, A) at beliefs (…, S), or at CSR beliefs (N, S).

    The policy is asked for rows (N, S); if they are sparse, for some of them at a time.

    Raises:
        InvalidInputError: The answer is not (N, A) distributions.
    """
    if isinstance(beliefs, np.ndarray):
        rows = beliefs.reshape(-1, beliefs.shape[-1])
        return _answer(policy, rows).reshape(*beliefs.shape[:-1], -1)
    n_rows, n_states = beliefs.shape
    takes_sparse = getattr(policy, "takes_sparse", False)
    size = MOST_ROWS if takes_sparse else max(MOST_DENSE // n_states, 1)
    probs = np.empty((n_rows, int(policy.n_actions)))
    for start in range(0, n_rows, size):
        part = beliefs[start : start + size]
        probs[start : start + size] = _answer(policy, part if takes_sparse else part.toarray())
    return probs


def _answer(policy: Any, rows: Beliefs) -> FloatArray:
    """What the policy says of rows (N, S), checked: (N, A)."""
    answer = policy.probs(rows)
    name = f"probs of restricted policy {policy_name(policy)!r}"
    if hasattr(answer, "detach"):  # a torch tensor
        answer = answer.detach().cpu().numpy()
    wanted = (rows.shape[0], int(policy.n_actions))
    try:
        probs = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise invalid(name, f"be numbers of shape {wanted}", type(answer).__name__) from None
    if probs.shape != wanted:
        raise invalid(name, f"have shape {wanted}, a row a belief", probs.shape)
    # One comparison that NaN fails too.
    if not (probs.min() >= 0.0 and np.abs(probs.sum(axis=1) - 1.0).max() <= 1e-4):
        bad = ~((probs >= 0.0).all(axis=1) & (np.abs(probs.sum(axis=1) - 1.0) <= 1e-4))
        raise invalid(name, "be ≥ 0 and sum to 1 in every row", probs[np.flatnonzero(bad)[0]])
    return probs


class Moment(NamedTuple):
    """One step of the episodes that go on, B of them.

    Attributes:
        episodes: (B,), which ones.
        beliefs: (B, S), what they act on; CSR where the pair's `BeliefFilter` is sparse.
        rewards: (B,), what the action earned.
        states: (B,), what the policy does not see.
        probs: (B, A), its action probabilities.
    """

    episodes: IntArray
    beliefs: Beliefs
    rewards: FloatArray
    states: IntArray
    probs: FloatArray


def restricted_episodes(
    pair: EnvPair, policy: Any, *, episodes: int, n_steps: int, rng: np.random.Generator
) -> Iterator[Moment]:
    """Plays the restricted policy in the environment, on its own beliefs or observations.

    A policy that acts on the last observation acts uniformly before there is one.

    Yields:
        Every step, until n_steps are done or every episode has ended.
    """
    sampler, belief_filter = pair.sampler, BeliefFilter(pair.restricted_model)
    going = np.arange(episodes)
    states = sampler.initial(rng.random(episodes))
    beliefs = belief_filter.start(episodes)
    seen = np.full(episodes, NOTHING_SEEN)
    if pair.observation_beliefs is not None:
        seen = sampler.observe(np.zeros_like(states), states, rng.random(episodes))
        beliefs = pair.observation_beliefs[seen]  # dense; so stay the updates
    for _ in range(n_steps):
        probs = answers(policy, beliefs, seen)
        choices = rng.random((going.size, 1)) >= np.cumsum(probs, axis=1)[:, :-1]
        actions = choices.sum(axis=1)
        step = sampler.step(states, actions, rng.random(going.size), rng.random(going.size))
        yield Moment(going, beliefs, step.rewards, states, probs)
        on = ~step.terminated
        going, states, seen = going[on], step.next_states[on], step.observations[on]
        if going.size == 0:
            return
        beliefs = belief_filter.update(beliefs[on], actions[on], seen)


def answers(policy: Any, beliefs: Beliefs, seen: IntArray) -> FloatArray:
    """Action probabilities (R, A) at beliefs (R, S) or at what was seen last, (R,).

    A policy on observations acts uniformly before there is one (`NOTHING_SEEN`).
    """
    if not acts_on_observation(policy):
        return probs_at(policy, beliefs)
    probs = np.full((len(seen), int(policy.n_actions)), 1.0 / policy.n_actions)
    some = seen != NOTHING_SEEN
    if some.any():
        probs[some] = policy.observation_probs(seen[some])
    return probs


def told(policy: Any) -> FloatArray:
    """What the policy does if it is told the state, (S, A): its action at beliefs sure of one state.

    Raises:
        InvalidInputError: It acts on observations, and cannot be told.
    """
    if acts_on_observation(policy) or is_view_policy(policy):
        raise InvalidInputError(
            "context_weight 'informed' asks what the restricted policy would do if told the state, "
            "and a policy on observations cannot be told. Set context_weight to 'uniform'."
        )
    n_states = int(policy.n_states)
    if n_states**2 <= MOST_DENSE:
        return probs_at(policy, np.eye(n_states))
    return probs_at(policy, sp.csr_array(sp.eye_array(n_states, format="csr")))

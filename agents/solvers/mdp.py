"""Optimal values of the fully observed problem: what QMDP starts from and what an oracle can earn."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import RunFailedError, invalid

DIRECT_STATES = 1000
"""CSR models of more states are solved by iteration: a factorisation may fill up with the cube of S."""


def mdp_values(model: TabularPOMDP) -> tuple[FloatArray, FloatArray]:
    """Optimal infinite-horizon values of the MDP, by policy iteration (Howard 1960).

    Policy iteration ends at the exact values up to rounding, whatever the discount, so that bounds
    built on them hold.

    Args:
        model: γ below 1, or γ = 1 where every policy ends, see `require_bounded_horizon`.

    Returns:
        V (S,) and Q (S, A), discounted sums of rewards; 0 at terminal states.

    Raises:
        InvalidInputError: γ = 1 and some policy never ends.
    """
    require_bounded_horizon(model)
    policy = model.reward.argmax(axis=1)
    every = np.arange(model.n_states)
    values = np.zeros(model.n_states)
    for _ in range(1000):
        values = policy_values(model, policy, values)
        q = _one_step(model, values, model.discount)
        # Ties keep the action that stands: rounding alone must not make the policy go round in circles.
        slack = 1e-10 * float(np.abs(q).max())
        better = q.max(axis=1) > q[every, policy] + slack
        if not better.any():
            return q.max(axis=1), q
        policy = np.where(better, q.argmax(axis=1), policy)
    raise RunFailedError("policy iteration did not settle within 1000 policies.")


def policy_values(model: TabularPOMDP, policy: Any, start: FloatArray | None = None) -> FloatArray:
    """Values (S,) of a policy on states: solves (I − γ T_π) v = r_π.

    Args:
        model: See `mdp_values`.
        policy: (S,) actions, or one action: then the values are the alpha vector of acting blindly; or
            (S, A) action probabilities.
        start: (S,), a guess at the values; saves time on large models.
    """
    n, every = model.n_states, np.arange(model.n_states)
    stays = model.discount * ~model.terminal  # nothing is earned from a terminal state on
    mixed = np.ndim(policy) == 2
    if mixed:
        policy = np.asarray(policy, dtype=np.float64)
        reward = (policy * model.reward).sum(axis=1)
    else:
        policy = np.broadcast_to(policy, (n,))
        reward = model.reward[every, policy]
    if isinstance(model.transition, tuple):
        step = sp.csr_array((n, n))
        for action in range(model.n_actions) if mixed else np.unique(policy):
            share = policy[:, action] if mixed else policy == action
            step = step + sp.diags_array(share * stays) @ model.transition[action]
        if n > DIRECT_STATES and model.discount < 1.0:
            return _iterated(step, reward, model.discount, start)
        return np.asarray(spla.spsolve(sp.csc_array(sp.eye_array(n) - step), reward))
    if mixed:
        step = stays[:, None] * np.einsum("sa,sat->st", policy, model.transition)
    else:
        step = stays[:, None] * model.transition[every, policy]
    return np.asarray(np.linalg.solve(np.eye(n) - step, reward))


def _iterated(
    step: sp.csr_array, reward: FloatArray, discount: float, start: FloatArray | None
) -> FloatArray:
    """Iterates v = r + step v until it is exact to 1e-12, relative to the largest value."""
    values = np.zeros_like(reward) if start is None else start
    # The error is at most γ/(1−γ) times the last change; changes do not fall below rounding.
    enough = 1e-12 * (1.0 - discount) / discount + 1e-15
    while True:
        new = np.asarray(reward + step @ values)
        change = np.abs(new - values).max()
        values = new
        if change <= enough * np.abs(values).max():
            return values


def finite_horizon_values(
    model: TabularPOMDP, horizon: SupportsIndex, discount: float = 1.0
) -> FloatArray:
    """Largest expected return of a state-seeing agent within `horizon` steps: V (S,).

    Backward induction, V_h(s) = max_a r(s, a) + discount · Σ_s' T[s, a, s'] V_{h−1}(s'), V_0 = 0.

    Args:
        model: Any model, γ = 1 included; its own discount is not used.
        horizon: Steps, ≥ 0.
        discount: Of the return; 1 is the plain sum of rewards.

    Raises:
        InvalidInputError: horizon is not a whole number ≥ 0.
    """
    try:
        steps = operator.index(horizon)
    except TypeError:
        steps = -1
    if steps < 0:
        raise invalid("horizon", "be a whole number of steps ≥ 0", horizon)
    values = np.zeros(model.n_states)
    for _ in range(steps):
        values = _one_step(model, values, discount).max(axis=1)
    return values


def require_bounded_horizon(model: TabularPOMDP) -> None:
    """Refuses γ = 1 unless every policy ends, where values may have no bound.

    Raises:
        InvalidInputError: γ = 1 and some policy never ends.
    """
    if model.discount < 1.0:
        return
    endless = endless_state(model)
    if endless is not None:
        raise invalid(
            "discount",
            "be below 1 for an unbounded horizon, unless every policy ends in a terminal state",
            1.0,
            f"From state {model.state_names[endless]} a policy can go on for ever: give the model a "
            "discount below 1, or solve it for a number of steps (imm-rl solve --horizon H)",
        )


def endless_state(model: TabularPOMDP) -> int | None:
    """A state from which some policy can stay off the terminal states for ever, or None.

    Such states are found by elimination: drop a state when each of its actions may leave what is left;
    nothing may be left.
    """
    left = ~model.terminal
    while left.any():
        stays = [np.asarray(model.transition_of(a) @ ~left) == 0.0 for a in range(model.n_actions)]
        still = left & np.any(stays, axis=0)
        if (still == left).all():
            return int(np.flatnonzero(left)[0])
        left = still
    return None


def _one_step(model: TabularPOMDP, values: FloatArray, discount: float) -> FloatArray:
    """Q (S, A) = r + discount · T V, for dense and CSR models."""
    if isinstance(model.transition, tuple):
        after = np.stack([transition @ values for transition in model.transition], axis=1)
    else:
        after = model.transition @ values
    return np.asarray(model.reward + discount * after)

"""The Bayes filter of a `TabularPOMDP`: what somebody who sees only observations may believe.

Pure functions of arrays, for any number of beliefs at once; restricted policies, contexts and
evaluation call them. Index letters: B batch (any leading shape), S states, A actions, O observations.

    predict      b'(s')   = Σ_s b(s) T[s,a,s']
    likelihood   P(o|b,a) = Σ_s' b'(s') O[a,s',o]
    update       b_o(s')  = b'(s') O[a,s',o] / P(o|b,a)

(Kaelbling, Littman and Cassandra, 1998, "Planning and acting in partially observable stochastic
domains", section 3.3.) Work is grouped by action: one matrix product an action, no loop over rows.
Beliefs that are mostly zeros, on models with many states, are better kept as `envs.sparse_belief` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import options
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError, invalid

IntArray: TypeAlias = npt.NDArray[np.int64]

SUM_TOLERANCE = 1e-4
"""A belief that sums to 1 within this is taken for one: room for float32 and for long rows."""

BLOCK = 65_536
"""Numbers handled at a time by `update`, half a megabyte: what is read again is still in the cache."""


def predict(belief: npt.ArrayLike, action: npt.ArrayLike, model: TabularPOMDP) -> FloatArray:
    """The belief after an action, before its observation.

    Args:
        belief: (..., S), rows sum to 1.
        action: (...,) ints; broadcast against the leading shape of belief.
        model: The POMDP, dense or sparse.

    Returns:
        (..., S), Σ_s b(s) T[s, a, s'].

    Raises:
        InvalidInputError: A shape does not fit, a belief is no distribution, or an action is out of range.
    """
    shape, rows_BS, (actions_B,) = _rows(
        model, belief, options.indices("action", action, model.n_actions)
    )
    return _predicted(rows_BS, actions_B, model).reshape(*shape, model.n_states)


def likelihood(belief: npt.ArrayLike, action: npt.ArrayLike, model: TabularPOMDP) -> FloatArray:
    """The distribution of the next observation.

    Args:
        belief: (..., S), rows sum to 1.
        action: (...,) ints; broadcast against the leading shape of belief.
        model: The POMDP, dense or sparse.

    Returns:
        (..., O), P(o | b, a); rows sum to 1.

    Raises:
        InvalidInputError: A shape does not fit, a belief is no distribution, or an action is out of range.
    """
    shape, rows_BS, (actions_B,) = _rows(
        model, belief, options.indices("action", action, model.n_actions)
    )
    predicted_BS = _predicted(rows_BS, actions_B, model)
    result_BO = _by_action(
        actions_B,
        model.n_observations,
        lambda a, rows: _product(predicted_BS[rows], model.observation_of(a)),
    )
    return result_BO.reshape(*shape, model.n_observations)


def update(
    belief: npt.ArrayLike,
    action: npt.ArrayLike,
    observation: npt.ArrayLike,
    model: TabularPOMDP,
) -> FloatArray:
    """The belief after an action and the observation it led to.

    Args:
        belief: (..., S), rows sum to 1.
        action: (...,) ints; broadcast against the leading shape of belief.
        observation: (...,) ints in [0, O); broadcast likewise. The index O with which POMDP views
            say "nothing observed yet" is no observation: filters start at `model.initial`.
        model: The POMDP, dense or sparse.

    Returns:
        (..., S), the posterior; rows sum to 1.

    Raises:
        InvalidInputError: A shape does not fit, a belief is no distribution, an index is out of range,
            or an observation has probability 0 under its belief and action (the message prints all
            three).
    """
    shape, rows_BS, (actions_B, observations_B) = _rows(
        model,
        belief,
        options.indices("action", action, model.n_actions),
        options.indices("observation", observation, model.n_observations),
        check=model.is_sparse,  # the dense update checks where the rows are in the cache
    )
    result_BS, evidence_B = (_updated_sparse if model.is_sparse else _updated_dense)(
        rows_BS, actions_B, observations_B, model
    )
    if not evidence_B.min(initial=1.0) > 0.0:
        row = int(np.flatnonzero(evidence_B <= 0.0)[0])
        raise impossible(rows_BS[row], int(actions_B[row]), int(observations_B[row]), model)
    return result_BS.reshape(*shape, model.n_states)


def check_distributions(name: str, rows: FloatArray, ones: FloatArray | None = None) -> None:
    """Refuses rows (B, S) that are no beliefs: finite, at least 0, sum 1 within `SUM_TOLERANCE`.

    Args:
        name: What the error calls them.
        rows: As above.
        ones: S ones, where the caller has them.

    Raises:
        InvalidInputError: Naming the first bad row.
    """
    # NaN fails every comparison. Sums by a product: several times as quick as sum() for short rows.
    if rows.min(initial=0.0) >= 0.0:
        off = rows @ (np.ones(rows.shape[1]) if ones is None else ones) - 1.0
        if np.abs(off).max(initial=0.0) <= SUM_TOLERANCE:
            return
    with np.errstate(invalid="ignore"):  # inf - inf
        sums = rows.sum(axis=1)
        good = (rows >= 0.0).all(axis=1) & (np.abs(sums - 1.0) <= SUM_TOLERANCE)
    row = int(np.flatnonzero(~good)[0])
    raise InvalidInputError(
        f"{name} must be finite, at least 0 and sum to 1 within {SUM_TOLERANCE:g}; received "
        f"{shown(rows[row])}, which sums to {sums[row]:.6g}."
    )


def _updated_dense(
    beliefs: FloatArray, actions: IntArray, observations: IntArray, model: TabularPOMDP
) -> tuple[FloatArray, FloatArray]:
    """Posteriors (B, S) of a dense model and P(o | b, a) (B,); a row of probability 0 is undefined.

    Half the time goes into the matrix products, so the rest is kept to few passes over rows that are in
    the cache still: block by block they are sorted by action, checked, multiplied, normalised and put
    back where they were.
    """
    n_states, n_actions = model.n_states, model.n_actions
    stack: FloatArray = np.asarray(model.observation)  # (A, S, O)
    few = len(beliefs) < n_actions * model.n_observations  # not worth a table of rows a·O + o
    table = None if few else stack.transpose(0, 2, 1).reshape(-1, n_states)
    matrices: FloatArray = np.asarray(model.transition).transpose(1, 0, 2)
    if not few:
        matrices = np.ascontiguousarray(matrices)
    result, evidence = np.empty((len(beliefs), n_states)), np.empty(len(beliefs))
    whole_row = np.dtype((np.void, 8 * n_states))  # moved as one item: quicker than S numbers
    size = max(min(BLOCK // n_states, len(beliefs)), 1)
    ones, (taken, joint) = np.ones(n_states), np.empty((2, size, n_states))
    keys = actions.astype(np.uint8) if n_actions <= 256 else actions  # bytes are sorted by counting
    for start in range(0, len(beliefs), size):
        block = slice(start, start + size)
        order = keys[block].argsort(kind="stable")
        taken, joint = taken[: len(order)], joint[: len(order)]
        beliefs[block].take(order, axis=0, out=taken, mode="clip")  # "raise" would copy once more
        check_distributions("belief", taken, ones)
        first = 0
        for action, last in enumerate(np.bincount(keys[block], minlength=n_actions).cumsum()):
            if last > first:
                np.matmul(taken[first:last], matrices[action], out=joint[first:last])
            first = last
        acted, seen = actions[block].take(order), observations[block].take(order)
        if table is None:
            joint *= stack[acted, :, seen]
        else:
            joint *= table.take(acted * model.n_observations + seen, 0, out=taken, mode="clip")
        total = joint @ ones
        evidence[block][order] = total
        with np.errstate(divide="ignore", invalid="ignore"):  # the caller looks at the evidence
            joint *= (1.0 / total)[:, None]
        result[block].view(whole_row)[:, 0][order] = joint.view(whole_row)[:, 0]
    return result, evidence


def _updated_sparse(
    beliefs: FloatArray, actions: IntArray, observations: IntArray, model: TabularPOMDP
) -> tuple[FloatArray, FloatArray]:
    """The same for a model of CSR arrays."""
    joint = _by_action(
        actions,
        model.n_states,
        lambda a, rows: _columns(model.observation_of(a), observations[rows]),
    )
    joint *= _predicted(beliefs, actions, model)
    evidence: FloatArray = joint.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint /= evidence[:, None]
    return joint, evidence


def _predicted(beliefs: FloatArray, actions: IntArray, model: TabularPOMDP) -> FloatArray:
    return _by_action(
        actions,
        model.n_states,
        lambda a, rows: _product(beliefs[rows], model.transition_of(a)),
    )


def _by_action(
    actions: IntArray, width: int, compute: Callable[[int, IntArray | slice], FloatArray]
) -> FloatArray:
    """Fills (B, width) with compute(action, rows that took it), one call an action."""
    taken = np.unique(actions)
    if (
        taken.size == 1
    ):  # no gather and no scatter: the common case of a single row or a blind policy
        return compute(int(taken[0]), slice(None))
    result = np.empty((actions.size, width))
    for action in taken:
        rows = np.flatnonzero(actions == action)
        result[rows] = compute(int(action), rows)
    return result


def _product(rows: FloatArray, matrix: FloatArray | sp.csr_array) -> FloatArray:
    return np.asarray(rows @ matrix)


def _columns(matrix: FloatArray | sp.csr_array, columns: IntArray) -> FloatArray:
    """matrix[:, columns] transposed, dense: (B, S)."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(matrix.T[columns])
    used, place = np.unique(columns, return_inverse=True)
    return np.asarray(matrix.tocsc()[:, used].toarray().T[place])


def _rows(
    model: TabularPOMDP, belief: npt.ArrayLike, *indices: IntArray, check: bool = True
) -> tuple[tuple[int, ...], FloatArray, list[IntArray]]:
    """The common leading shape, the beliefs as (B, S) and each index array as (B,)."""
    beliefs = options.floats("belief", belief)
    if beliefs.ndim == 0 or beliefs.shape[-1] != model.n_states:
        raise invalid("belief", f"have shape (..., S) with S = {model.n_states}", beliefs.shape)
    shapes = [beliefs.shape[:-1], *(index.shape for index in indices)]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise invalid("belief, action and observation", "have one leading shape", shapes) from None
    if check:
        check_distributions("belief", beliefs.reshape(-1, model.n_states))
    rows = np.broadcast_to(beliefs, (*shape, model.n_states)).reshape(-1, model.n_states)
    return shape, rows, [np.broadcast_to(index, shape).reshape(-1) for index in indices]


def impossible(
    belief: FloatArray, action: int, observation: int, model: TabularPOMDP
) -> InvalidInputError:
    """The error that prints a belief (S,), the action and the observation that it rules out."""
    return InvalidInputError(
        f"observation {observation} ({model.observation_names[observation]}) is impossible after "
        f"action {action} ({model.action_names[action]}) from belief {shown(belief)}: its probability "
        "is 0. Check that belief, action and observation belong together and to this model."
    )


def shown(belief: FloatArray) -> str:
    """A belief (S,) as errors print it."""
    with np.printoptions(precision=4, suppress=True, threshold=40):
        return np.array2string(belief, max_line_width=1_000)

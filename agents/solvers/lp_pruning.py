"""Keeps, of a set of alpha vectors, those that are best at some belief; by linear programs.

Lark's algorithm (in White 1991, Annals of Operations Research 32) on batches. The incremental pruning of
`imm_rl.agents.solvers.incremental_pruning` calls it several times a backup. For a candidate w and the
vectors W kept so far, a linear program finds the belief at which w stands out most,

    max over beliefs b of min over u in W of b·(w − u)

If that margin is within the slack, w goes; else the best of all candidates at b joins W. Either way one
candidate fewer is left, so the loop ends, whatever the rounding: no vector is ever compared with a rounded
copy of another.

Programs are few, since cheaper tests come first, and quick, since many are handed to HiGHS as one. The
tests: what is best at a known belief stays; what lies below a vector of W, or below a mixture of them that
an earlier program has shown, goes.
Index letters: V vectors, W vectors kept, C candidates, S states, B beliefs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.pruning import undominated
from imm_rl.envs.model import FloatArray

LEAST_SLACK = 1e-9
"""Relative to the largest difference between vectors: HiGHS is asked for, and reaches, this much."""

ROUNDING = 1e-13
"""Relative to the largest entry: differences no larger than this are taken for rounding."""

INSIDE = 1e-10
"""Beliefs are moved this far towards the centre before the best vector is looked up: at a corner many may
be equally good, and not beside it. It is less than the slack, so what stood out still does."""

TIGHT = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}

BATCH, BATCH_ENTRIES = 32, 50_000
"""How many programs are solved as one, at most, and how large their matrix may get."""

SCORE_ENTRIES = 4_000_000
"""Scores are computed in blocks of no more numbers than this."""


class Parsimonious(NamedTuple):
    """What is left of a set of vectors.

    Attributes:
        kept: (W,), ascending indices.
        witnesses: (W, S), a belief at which each of them is best.
        lost: The slack that was used: at no belief has the maximum fallen by more.
    """

    kept: IntArray
    witnesses: FloatArray
    lost: float


class Margins(NamedTuple):
    """How far candidates stand out from a set of vectors.

    Attributes:
        margins: (C,), of each the largest min_u b·(w − u).
        beliefs: (C, S), where.
        mixtures: (C, S), mixtures of the set's vectors that prove that it is not more elsewhere:
            w ≤ mixture + margin at every state.
    """

    margins: FloatArray
    beliefs: FloatArray
    mixtures: FloatArray


def parsimonious(
    vectors: FloatArray,
    beliefs: FloatArray,
    *,
    slack: float,
    check: Callable[[], None] = lambda: None,
) -> Parsimonious:
    """The vectors that are needed for max_i b·α_i.

    Args:
        vectors: (V, S), V ≥ 1.
        beliefs: (B, S), where to look for the best vectors first; any, also none.
        slack: At no belief need a vector that stands out by no more than this be kept; no less than
            `LEAST_SLACK` and `ROUNDING` say is used.
        check: Called between programs; stops the pruning by raising.
    """
    # States at which all vectors are equal, terminal ones for a start, decide nothing.
    differ = np.flatnonzero(np.ptp(vectors, axis=0) > 0.0)
    n_states = vectors.shape[1]
    if differ.size == 0:
        centre = np.full((1, n_states), 1.0 / n_states)
        return Parsimonious(np.zeros(1, dtype=np.int64), centre, 0.0)
    values = vectors[:, differ] - vectors[:, differ].min(axis=0)  # only differences matter
    noise = ROUNDING * float(np.abs(vectors).max())
    slack = max(slack, LEAST_SLACK * float(values.max()), noise)
    points = np.concatenate([_within(beliefs, differ), np.eye(differ.size)])
    points = (1.0 - INSIDE) * points + INSIDE / differ.size
    best, first = np.unique(_best(values, points, check), return_index=True)
    scale = float(np.abs(values[best]).max(initial=0.0))
    some = undominated(values[best], slack=slack / scale if scale > 0.0 else 0.0)
    kept, witnesses = [best[some]], [points[first[some]]]
    left = np.setdiff1d(np.arange(len(values)), best)
    left = _uncovered(values, left, values[best[some]] + slack, check)
    while left.size:
        check()
        own = values[np.concatenate(kept)]
        batch = left[: max(1, min(BATCH, BATCH_ENTRIES // own.size))]
        found = margins(values[batch], own)
        stands_out = found.margins > slack
        beliefs_out = found.beliefs[stands_out]
        beliefs_out = (1.0 - INSIDE) * beliefs_out + INSIDE / differ.size
        new, first = np.unique(left[_best(values[left], beliefs_out, check)], return_index=True)
        kept.append(new)
        witnesses.append(beliefs_out[first])
        left = np.setdiff1d(left, np.concatenate([new, batch[~stands_out]]))
        covers = np.concatenate([values[new], found.mixtures[~stands_out]])
        left = _uncovered(values, left, covers + slack, check)
    indices = np.concatenate(kept)
    order = np.argsort(indices)
    full = np.zeros((indices.size, n_states))
    full[:, differ] = np.concatenate(witnesses)[order]
    return Parsimonious(indices[order], full, slack)


def margins(candidates: FloatArray, vectors: FloatArray) -> Margins:
    """How far each of candidates (C, S) stands out from vectors (W, S), by one linear program.

    Variables b (C, S) and margin δ (C,), one block a candidate: max Σ δ_c with b_c·(u − w_c) + δ_c ≤ 0 for
    all u. The constraints' multipliers are the weights of the mixtures.
    """
    count, n_states = candidates.shape
    program = _program(candidates, vectors)
    for presolve in (False, True):
        options: Any = {**TIGHT, "presolve": presolve}
        result: Any = linprog(**program, method="highs", options=options)
        if result.status == 0:
            beliefs = np.asarray(result.x).reshape(count, -1)[:, :n_states].clip(min=0.0)
            weights = -np.asarray(result.ineqlin.marginals).reshape(count, -1)
            # Never all zero, so that what comes out is a mixture whatever HiGHS gave.
            return _measured(candidates, vectors, beliefs, weights.clip(min=1e-30))
    # No answer: any mixture is a true one, and no candidate is shown not to stand out.
    beliefs, weights = np.ones_like(candidates), np.ones((count, len(vectors)))
    found = _measured(candidates, vectors, beliefs, weights)
    return found._replace(margins=np.full(count, np.inf))


def _program(candidates: FloatArray, vectors: FloatArray) -> dict[str, Any]:
    """The arguments of `linprog`; differences are scaled to 1 at most."""
    count, n_states = candidates.shape
    differences = vectors[None] - candidates[:, None]  # (C, W, S)
    scale = float(np.abs(differences).max()) or 1.0
    width = n_states + 1
    ones = np.ones((*differences.shape[:2], 1))
    rows = np.concatenate([differences / scale, ones], axis=2).reshape(-1, width)
    columns = np.repeat(np.arange(count) * width, len(vectors))[:, None] + np.arange(width)
    row_starts = np.arange(len(rows) + 1) * width
    shape = (len(rows), count * width)
    above = sp.csr_array((rows.ravel(), columns.ravel(), row_starts), shape=shape)
    total = sp.kron(sp.eye_array(count), np.append(np.ones(n_states), 0.0)[None])
    return {
        "c": np.tile(np.append(np.zeros(n_states), -1.0), count),
        "A_ub": sp.csc_array(above),
        "b_ub": np.zeros(len(rows)),
        "A_eq": sp.csc_array(total),
        "b_eq": np.ones(count),
        "bounds": np.tile([[0.0, 1.0]] * n_states + [[-np.inf, np.inf]], (count, 1)),
    }


def _measured(
    candidates: FloatArray, vectors: FloatArray, beliefs: FloatArray, weights: FloatArray
) -> Margins:
    """Margins as they are at the beliefs found, free of the program's tolerances."""
    beliefs = beliefs / beliefs.sum(axis=1, keepdims=True)
    found = (candidates * beliefs).sum(axis=1) - (beliefs @ vectors.T).max(axis=1)
    mixtures = weights @ vectors / weights.sum(axis=1, keepdims=True)
    return Margins(found, beliefs, mixtures)


def largest_margin(
    vectors: FloatArray,
    others: FloatArray,
    *,
    known: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> tuple[float, FloatArray]:
    """max_b (max_i b·α_i − max_j b·β_j) of vectors (V, S) and others (W, S), proven from above.

    Args:
        vectors: (V, S), α.
        others: (W, S), β.
        known: That it is no less than this; the result is not either.
        check: Called between programs.

    Returns:
        The margin, and beliefs (B, S), perhaps none, at which single vectors reached it or more than
        half of it.
    """
    # A vector stands out from any one of the others by no more than their largest difference.
    most = np.array([(vector - others).max(axis=1).min() for vector in vectors])
    order, largest = np.argsort(-most, kind="stable"), known
    beliefs, reached = [np.empty((0, vectors.shape[1]))], [np.empty(0)]
    batch = max(1, min(BATCH, BATCH_ENTRIES // others.size))
    for start in range(0, order.size, batch):
        part = order[start : start + batch]
        part = part[most[part] > largest]
        if part.size == 0:
            break
        check()
        found = margins(vectors[part], others)
        proven = (vectors[part] - found.mixtures).max(axis=1)
        largest = max(largest, float(np.minimum(most[part], proven).max()))
        beliefs.append(found.beliefs)
        reached.append(found.margins)
    return largest, np.concatenate(beliefs)[np.concatenate(reached) > 0.5 * largest]


def _within(beliefs: FloatArray, states: IntArray) -> FloatArray:
    """Beliefs (B, S) on some of the states alone, normalised; without those that have no mass there."""
    inside = beliefs[:, states]
    mass = inside.sum(axis=1)
    return np.asarray(inside[mass > 1e-12] / mass[mass > 1e-12, None])


def _best(values: FloatArray, points: FloatArray, check: Callable[[], None]) -> IntArray:
    """Index (B,) of the best vector at each point."""
    best = np.empty(len(points), dtype=np.int64)
    block = max(1, SCORE_ENTRIES // len(values))
    for start in range(0, len(points), block):
        check()
        part = slice(start, start + block)
        best[part] = (points[part] @ values.T).argmax(axis=1)
    return best


def _uncovered(
    values: FloatArray, left: IntArray, covers: FloatArray, check: Callable[[], None]
) -> IntArray:
    """Those of left that exceed each cover (K, S) at some state."""
    for cover in covers:
        if left.size == 0:
            break
        check()
        left = left[(values[left] > cover).any(axis=1)]
    return left

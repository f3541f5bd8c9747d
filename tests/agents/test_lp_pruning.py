"""Pruning by linear programs: small sets by hand, random ones against the maximum on a fine grid."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.solvers import lp_pruning
from imm_rl.agents.solvers.lp_pruning import largest_margin, margins, parsimonious
from imm_rl.envs.model import FloatArray

CROSS = np.array([[1.0, 0.0], [0.0, 1.0]])
NOWHERE = np.empty((0, 2))


def grid(n_states: int, parts: int) -> FloatArray:
    """All beliefs whose entries are multiples of 1 / parts."""
    counts = [c for c in itertools.product(range(parts + 1), repeat=n_states) if sum(c) == parts]
    return np.array(counts) / parts


def test_margins_by_hand() -> None:
    found = margins(np.array([[0.6, 0.6], [0.4, 0.4], [2.0, -1.0]]), CROSS)
    # At (½, ½) the crossing lines are worth ½; the third is best at the first corner, 1 above.
    np.testing.assert_allclose(found.margins, [0.1, -0.1, 1.0], atol=1e-9)
    np.testing.assert_allclose(found.beliefs, [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(found.mixtures, [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]], atol=1e-9)


def test_parsimonious_drops_what_only_a_mixture_covers() -> None:
    vectors = np.array([[0.49, 0.49], *CROSS, [0.51, 0.51], [0.75, 0.25]])
    found = parsimonious(vectors, NOWHERE, slack=1e-9)
    # (¾, ¼) lies on the line from (1, 0) to (½, ½), below the one to (0.51, 0.51).
    assert found.kept.tolist() == [1, 2, 3]
    assert (found.witnesses @ vectors.T).argmax(axis=1).tolist() == [1, 2, 3]


def test_parsimonious_keeps_one_of_equal_vectors() -> None:
    assert parsimonious(np.ones((5, 3)), np.empty((0, 3)), slack=1e-9).kept.tolist() == [0]
    vectors = np.concatenate([CROSS, CROSS, CROSS])
    kept = parsimonious(vectors, np.array([[0.3, 0.7]]), slack=1e-9).kept
    assert np.unique(vectors[kept], axis=0).tolist() == CROSS[::-1].tolist()
    assert len(kept) == 2


def test_parsimonious_drops_within_the_slack_and_says_what_it_used() -> None:
    vectors = np.array([*CROSS, [0.55, 0.55]])
    kept = [parsimonious(vectors, NOWHERE, slack=slack).kept.tolist() for slack in (0.04, 0.06)]
    assert kept == [[0, 1, 2], [0, 1]]
    assert parsimonious(vectors, NOWHERE, slack=0.06).lost == 0.06
    assert parsimonious(vectors, NOWHERE, slack=0.0).lost == lp_pruning.LEAST_SLACK


def test_parsimonious_ignores_states_where_all_are_equal() -> None:
    vectors = np.column_stack([CROSS, np.full(2, 7.0)])
    # At the third state, and at beliefs that lie there, neither is better.
    found = parsimonious(vectors, np.array([[0.0, 0.0, 1.0]]), slack=1e-9)
    assert found.kept.tolist() == [0, 1]
    np.testing.assert_allclose(found.witnesses, np.eye(3)[:2], atol=1e-9)


@pytest.mark.parametrize("n_states", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_parsimonious_keeps_the_maximum_and_nothing_else(n_states: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steep = rng.normal(size=(30, n_states))
    steep /= np.linalg.norm(steep, axis=1, keepdims=True)  # all but a few are needed
    inner = rng.dirichlet(np.ones(30), size=60) @ steep  # none of these is
    vectors = np.concatenate([inner, steep, steep - 0.1, steep])
    found = parsimonious(vectors, rng.dirichlet(np.ones(n_states), size=3), slack=1e-9)
    beliefs = grid(n_states, {2: 500, 3: 80, 4: 30}[n_states])
    best = (beliefs @ vectors.T).max(axis=1)
    np.testing.assert_allclose((beliefs @ vectors[found.kept].T).max(axis=1), best, atol=1e-9)
    # Each one kept is needed where its witness says.
    own = found.witnesses @ vectors[found.kept].T
    others = own - np.where(np.eye(len(own)), np.inf, 0.0)
    assert (np.diag(own) >= others.max(axis=1)).all()
    assert (found.kept >= 60).all()


def test_parsimonious_needs_few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    solver = lp_pruning.linprog

    def counted(**program: Any) -> Any:
        calls.append(program["A_eq"].shape[0])
        return solver(**program)

    monkeypatch.setattr(lp_pruning, "linprog", counted)
    rng = np.random.default_rng(0)
    sums = (rng.normal(size=(20, 1, 3)) + rng.normal(size=(1, 20, 3))).reshape(-1, 3)
    parsimonious(sums, rng.dirichlet(np.ones(3), size=200), slack=1e-9)
    assert sum(calls) < 60
    assert max(calls) <= lp_pruning.BATCH


def test_parsimonious_keeps_everything_where_no_program_is_solved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lp_pruning, "linprog", lambda **_: SimpleNamespace(status=4))
    vectors = np.array([*CROSS, [0.3, 0.65], [0.49, 0.49]])
    # None is below another one everywhere, and without programs nothing else is known.
    assert parsimonious(vectors, NOWHERE, slack=1e-9).kept.tolist() == [0, 1, 2, 3]
    margin, _ = largest_margin(vectors[2:3], CROSS)
    assert margin >= 0.0  # a bound still, if a loose one


def test_parsimonious_stops_when_told() -> None:
    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        parsimonious(np.array([*CROSS, [0.6, 0.6]]), NOWHERE, slack=1e-9, check=stop)


def test_largest_margin_by_hand() -> None:
    vectors = np.array([[0.6, 0.6], [1.0, 0.0]])
    margin, where = largest_margin(vectors, CROSS)
    assert margin == pytest.approx(0.1)
    np.testing.assert_allclose(where, [[0.5, 0.5]], atol=1e-9)
    assert largest_margin(CROSS, vectors)[0] == pytest.approx(0.4)  # at (0, 1)
    assert largest_margin(CROSS, CROSS)[0] == 0.0
    assert largest_margin(vectors, CROSS, known=0.3)[0] == 0.3


@pytest.mark.parametrize("seed", range(6))
def test_largest_margin_is_the_largest_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(7, 3)), rng.normal(size=(40, 3))
    beliefs = grid(3, 120)
    seen = ((beliefs @ one.T).max(axis=1) - (beliefs @ two.T).max(axis=1)).max()
    margin, where = largest_margin(one, two)
    assert max(seen, 0.0) - 1e-9 <= margin <= max(seen, 0.0) + 0.05
    if len(where):
        there = (where @ one.T).max(axis=1) - (where @ two.T).max(axis=1)
        assert there.max() == pytest.approx(margin, abs=1e-8)


def test_parsimonious_takes_noise_for_noise() -> None:
    rng = np.random.default_rng(0)
    vectors = 1e6 + 1e-9 * rng.random(size=(50, 3))  # the last digits of a float64 of this size
    assert len(parsimonious(vectors, np.empty((0, 3)), slack=0.0).kept) == 1
    # The same differences between small numbers are real ones.
    assert len(parsimonious(vectors - 1e6, np.empty((0, 3)), slack=0.0).kept) > 3

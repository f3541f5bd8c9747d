"""Completions from a batch: by hand, against brute force, their invariances and their limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imm_rl import induced
from imm_rl.agents.neighbours import Equal, Nearest, complete, parse_completions, view_scale
from imm_rl.errors import InvalidInputError

# Differences of views over scale and bandwidth are whole numbers here.
FOUR = np.array([[0.0], [1.0], [3.0], [7.0]])


def test_nearest_by_hand() -> None:
    found = complete(Nearest(k=3, bandwidth=0.5), FOUR, [2.0])
    np.testing.assert_array_equal(found.index, [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 1]])
    np.testing.assert_allclose(
        found.log_weights, [[0, -0.5, -4.5], [0, -0.5, -2], [0, -2, -4.5], [0, -8, -18]], rtol=1e-14
    )
    equal = complete(Nearest(k=3), FOUR, [2.0])
    np.testing.assert_array_equal(equal.index, found.index)
    np.testing.assert_array_equal(equal.log_weights, np.zeros((4, 3)))


def test_nearest_induces_the_weighted_mean_by_hand() -> None:
    index, log_weights = complete(Nearest(k=3, bandwidth=0.5), FOUR, [2.0])
    first = np.array([0.1, 0.4, 0.5, 0.9])  # Q of the first of two targets at the four states
    log_probs = torch.from_numpy(np.log(np.stack([first, 1 - first], axis=1)))
    found = induced.sampled(log_probs[torch.from_numpy(index)], torch.from_numpy(log_weights))
    near, far = math.exp(-0.5), math.exp(-4.5)
    expected = (0.1 + 0.4 * near + 0.5 * far) / (1 + near + far)  # at state 0
    assert found.exp()[0].tolist() == pytest.approx([expected, 1 - expected], abs=1e-12)
    assert found.exp()[3, 0].item() == pytest.approx(
        (0.9 + 0.5 * math.exp(-8) + 0.4 * math.exp(-18)) / (1 + math.exp(-8) + math.exp(-18)),
        abs=1e-12,
    )


def test_nearest_measures_columns_in_their_scale() -> None:
    views = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]
    assert complete(Nearest(k=2), views, [1.0, 1.0]).index[0].tolist() == [0, 1]
    assert complete(Nearest(k=2), views, [1.0, 2.0]).index[0].tolist() == [0, 2]
    weights = complete(Nearest(k=3, bandwidth=1.0), views, [1.0, 2.0]).log_weights
    np.testing.assert_allclose(weights[1], [0.0, -4.5, -6.5])  # 3² and 3² + 2², halved


@pytest.mark.parametrize(("n", "r", "k"), [(2, 1, 2), (7, 3, 4), (256, 2, 16), (1000, 5, 33)])
def test_nearest_agrees_with_brute_force(n: int, r: int, k: int) -> None:
    rng = np.random.default_rng(n)
    views = rng.normal(size=(n, r)) * 10.0 ** rng.integers(-3, 4, r) + 1e4
    scale = rng.uniform(0.5, 2.0, r) * view_scale(views)
    index = complete(Nearest(k=k), views, scale).index
    apart = np.sqrt((((views[:, None] - views) / scale) ** 2).sum(axis=2))
    found = np.take_along_axis(apart, index, axis=1)
    np.testing.assert_allclose(found, np.sort(apart, axis=1)[:, :k], rtol=1e-3)
    assert all(len(set(row)) == k for row in index.tolist())


def batches() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "normal": rng.normal(size=(300, 2)),
        "lattice": rng.integers(0, 3, (300, 2)).astype(float),
        "all the same": np.full((100, 3), 0.1),
        "far off": 1e9 + rng.integers(0, 5, (100, 1)),
        "an outlier": np.concatenate([np.zeros((99, 1)), [[1e12]]]),
        "tiny": 1e-200 * rng.normal(size=(50, 2)),
        "huge": 1e200 * rng.normal(size=(50, 2)),
        "one": np.array([[5.0]]),
        "float32": rng.normal(size=(70, 4)).astype(np.float32),
        "flags": rng.random((60, 2)) < 0.5,
    }


@pytest.mark.parametrize("name", batches())
@pytest.mark.parametrize("kind", [Nearest(8), Nearest(1), Nearest(500, 0.3), Equal(4), Equal(500)])
def test_a_state_is_its_own_first_completion(kind: Nearest | Equal, name: str) -> None:
    views = batches()[name]
    index, log_weights = complete(kind, views)
    assert index.dtype == np.int64
    assert log_weights.dtype == np.float64
    assert index.shape == log_weights.shape
    assert index.shape[1] <= min(kind.k, len(views))
    np.testing.assert_array_equal(index[:, 0], np.arange(len(views)))
    np.testing.assert_array_equal(log_weights[:, 0], 0.0)
    kept = np.isfinite(log_weights)
    for i, row in enumerate(index):
        assert len(set(row[kept[i]].tolist())) == kept[i].sum()  # none twice
        assert (row[~kept[i]] == i).all()


def test_nearest_does_not_depend_on_the_order_of_states() -> None:
    rng = np.random.default_rng(0)
    views, order = rng.normal(size=(200, 3)), rng.permutation(200)
    one = complete(Nearest(8, 0.4), views)
    other = complete(Nearest(8, 0.4), views[order])
    np.testing.assert_array_equal(order[other.index], one.index[order])
    np.testing.assert_allclose(other.log_weights, one.log_weights[order], rtol=1e-9)


def test_completions_do_not_depend_on_units_and_origin() -> None:
    views = np.random.default_rng(1).normal(size=(200, 3))
    units, origin = np.array([1e-6, 1.0, 1e6]), np.array([3.0, -7.0, 1e6])
    scale = view_scale(views)
    one = complete(Nearest(8, 0.4), views, scale)
    for other in (
        complete(Nearest(8, 0.4), views * units, scale * units),
        complete(Nearest(8, 0.4), views * units),  # its own scale goes along
        complete(Nearest(8, 0.4), views + origin, scale),
    ):
        np.testing.assert_array_equal(other.index, one.index)
        np.testing.assert_allclose(other.log_weights, one.log_weights, rtol=1e-6, atol=1e-9)


def test_a_constant_column_changes_nothing() -> None:
    views = np.random.default_rng(1).normal(size=(100, 2))
    wider = np.concatenate([views, np.full((100, 1), 0.1)], axis=1)
    assert view_scale(wider)[2] == 1.0
    one, other = complete(Nearest(8, 0.4), views), complete(Nearest(8, 0.4), wider)
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.log_weights, other.log_weights)


def test_view_scale_is_the_standard_deviation() -> None:
    views = np.array([[1.0, 5.0, 0.0, 2e-9], [3.0, 5.0, 0.0, 4e-9]])
    np.testing.assert_allclose(view_scale(views), [1.0, 1.0, 1.0, 1e-9])
    # The mean of equal numbers may be off by rounding, and the deviation then is not 0.
    assert view_scale(np.full((997, 1), 0.1)).tolist() == [1.0]
    assert view_scale(np.array([[-1e300], [1e300]])).tolist() == [1e300]


def test_nearest_takes_duplicates_before_others_and_spreads_them() -> None:
    rng = np.random.default_rng(2)
    views = rng.permutation(np.repeat([[0.0, 1.0], [0.3, 1.0], [0.3, 7.7], [1.0, 1.0]], 64, axis=0))
    index = complete(Nearest(16), views).index
    np.testing.assert_array_equal(views[index], np.repeat(views[:, None], 16, axis=1))
    used = np.bincount(index.reshape(-1), minlength=256)
    # 16 each on average. The first 16 of 64 for everybody would be used 64 times, the others once.
    assert used.min() >= 4
    assert used.max() <= 40


def test_equal_by_hand() -> None:
    views = [[2], [5], [2], [2], [5]]
    found = complete(Equal(k=2), views)
    np.testing.assert_array_equal(found.index, [[0, 2], [1, 4], [2, 3], [3, 0], [4, 1]])
    np.testing.assert_array_equal(found.log_weights, np.zeros((5, 2)))
    found = complete(Equal(k=9), views)
    np.testing.assert_array_equal(
        found.index, [[0, 2, 3], [1, 4, 1], [2, 3, 0], [3, 0, 2], [4, 1, 4]]
    )
    np.testing.assert_array_equal(
        found.log_weights, [[0, 0, 0], [0, 0, -np.inf], [0, 0, 0], [0, 0, 0], [0, 0, -np.inf]]
    )


def test_equal_tells_unlike_views_apart_in_every_column_and_minus_zero_not_from_zero() -> None:
    views = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0 + 1e-15], [1.0, 0.0]])
    index, log_weights = complete(Equal(), views)
    assert [set(row[np.isfinite(w)]) for row, w in zip(index, log_weights, strict=True)] == [
        {0, 1},
        {0, 1},
        {2},
        {3},
    ]


@pytest.mark.parametrize("k", [2, 7, 16, 50])
def test_equal_uses_every_state_of_a_large_group_equally_often(k: int) -> None:
    views = np.random.default_rng(0).permutation(np.repeat([[1, 2], [2, 1]], [50, 31], axis=0))
    index, log_weights = complete(Equal(k), views)
    kept = np.isfinite(log_weights)
    rows = np.broadcast_to(np.arange(81)[:, None], index.shape)
    np.testing.assert_array_equal(views[index[kept]], views[rows[kept]])
    used = np.bincount(index[kept], minlength=81)
    first = views[:, 0] == 1
    assert set(used[first]) == {min(k, 50)}
    assert set(used[~first]) == {min(k, 31)}


def test_equal_needs_no_scale() -> None:
    views = np.random.default_rng(0).integers(0, 3, (40, 2))
    one, other = complete(Equal(), views), complete(Equal(), views, [0.1, 100.0])
    np.testing.assert_array_equal(one.index, other.index)


@pytest.mark.parametrize(
    ("views", "scale", "message"),
    [
        ([[0.0, 1.0], [2.0, math.nan]], None, r"views\[1, 1\] must be finite; received nan"),
        ([[math.inf], [0.0]], None, r"views\[0, 0\] must be finite; received inf"),
        ([0.0, 1.0], None, r"views must have shape \(B, r\).*received \(2,\)"),
        (np.zeros((0, 2)), None, r"views must have shape \(B, r\), B and r at least 1"),
        (np.zeros((2, 0)), None, r"received \(2, 0\)"),
        ("ab", None, "views must be an array of numbers"),
        ([[0.0], [1.0]], [1.0, 1.0], r"scale must have one entry a column, shape \(1,\)"),
        ([[0.0], [1.0]], [0.0], r"scale must be finite and above 0; received \[0.0\]"),
        ([[0.0], [1.0]], [math.nan], "scale must be finite and above 0"),
        ([[0.0], [1e200]], [1.0], "views must be finite numbers when centred and divided by scale"),
    ],
)
def test_complete_refuses(views: object, scale: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        complete(Nearest(), views, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nearest", Nearest()),
        ("nearest:k=5", Nearest(5)),
        (" nearest: bandwidth=0.2, k=16 ", Nearest(16, 0.2)),
        ("equal", Equal()),
        ("equal:k=3", Equal(3)),
    ],
)
def test_parse_completions_reads_the_forms(text: str, kind: Nearest | Equal) -> None:
    assert parse_completions(text) == kind
    assert parse_completions(kind) is kind
    assert parse_completions(kind.text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nearst",
        "nearest:",
        "nearest:16",
        "nearest:k=many",
        "nearest:k=1.5",
        "nearest:k=1_0",
        "nearest:k=3,k=4",
        "nearest:width=2",
        "nearest:forms=2",
        "equal:bandwidth=0.1",
        "equal:k=",
        None,
        7,
    ],
)
def test_parse_completions_lists_the_forms_for_any_other_text(text: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse_completions(text)
    forms = "nearest, nearest:k=16,bandwidth=0.2, equal, equal:k=64"
    assert (
        str(raised.value) == f"completions must have one of the forms {forms}; received {text!r}."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nearest:k=0", "k of completions 'nearest' must be a whole number ≥ 1; received 0"),
        ("equal:k=-3", "k of completions 'equal' must be a whole number ≥ 1; received -3"),
        ("nearest:bandwidth=0", "bandwidth of completions 'nearest' must be a positive number"),
        ("nearest:bandwidth=nan", "bandwidth of completions 'nearest' must be a positive number"),
    ],
)
def test_parse_completions_refuses_numbers_out_of_range(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_completions(text)


def full_model(views: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """A smooth Q(y | view, hidden), (..., 3)."""
    along = 2.0 * views.sum(axis=-1)
    utilities = np.stack([np.sin(along) + hidden, 2.0 * along * hidden, np.cos(along - hidden)], -1)
    weights: np.ndarray = np.exp(utilities)
    return weights / weights.sum(axis=-1, keepdims=True)


def estimation_error(kind: Nearest | Equal, views: np.ndarray, hidden: np.ndarray) -> float:
    """Mean total variation between the estimated and the exact induced model, hidden ~ U[−1, 1]."""
    index, log_weights = complete(kind, views)
    log_probs = torch.from_numpy(np.log(full_model(views, hidden)))
    estimate = induced.sampled(log_probs[torch.from_numpy(index)], torch.from_numpy(log_weights))
    nodes, node_weights = np.polynomial.legendre.leggauss(30)
    exact = (full_model(views[:, None], nodes) * node_weights[:, None] / 2).sum(axis=1)
    return float(0.5 * np.abs(estimate.exp().numpy() - exact).sum(axis=1).mean())


@pytest.mark.parametrize("kind", ["nearest", "kernel", "equal"])
def test_estimate_converges_to_the_exact_induced_model(kind: str) -> None:
    means = []
    for n, batches in ((64, 20), (4096, 5)):  # errors of large batches hardly differ
        k = 2 * math.isqrt(n)  # grows, but slower than the batch
        errors = []
        for seed in range(batches):
            rng = np.random.default_rng(seed)
            views, hidden = rng.normal(size=(n, 1)), rng.uniform(-1.0, 1.0, n)
            if kind == "equal":
                how: Nearest | Equal = Equal(k)
                views = views.round()
            else:
                how = Nearest(k, n**-0.2 if kind == "kernel" else None)
            errors.append(estimation_error(how, views, hidden))
        means.append(np.mean(errors))
    assert means[1] <= 0.5 * means[0]
    assert means[1] < 0.025

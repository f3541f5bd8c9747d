"""The estimates of the induced model: golden values and gradients, invariances, limits, errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imm_rl import induced
from imm_rl.completions import InBatch
from imm_rl.errors import InvalidInputError

INF = float("inf")
SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**32 - 1)


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_log_probs(rng: np.random.Generator, *shape: int, spread: float = 2.0) -> Tensor:
    return torch.from_numpy(rng.normal(scale=spread, size=shape)).log_softmax(-1)


def random_distributions(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


# --- sampled ------------------------------------------------------------------------------------


def test_sampled_equals_hand_values_and_gradients() -> None:
    log_probs = double([[[0.5, 0.5], [0.25, 0.75]]]).log().requires_grad_()
    log_weights = double([[1.0, 3.0]]).log()  # w = 1/4, 3/4
    result = induced.sampled(log_probs, log_weights)
    # 1/8 + 3/16 = 5/16 and 1/8 + 9/16 = 11/16.
    torch.testing.assert_close(result, double([[5 / 16, 11 / 16]]).log())
    result[0, 0].backward()
    # The share of each completion in the mixture: (1/8)/(5/16) = 2/5 and 3/5; nothing for y = 1.
    torch.testing.assert_close(log_probs.grad, double([[[0.4, 0.0], [0.6, 0.0]]]))


def test_sampled_gradcheck() -> None:
    rng = np.random.default_rng(0)
    log_probs = random_log_probs(rng, 2, 3, 4, 2).requires_grad_()
    log_weights = torch.from_numpy(rng.normal(size=(2, 3, 4))).requires_grad_()
    assert torch.autograd.gradcheck(induced.sampled, (log_probs, log_weights))


def test_sampled_drops_completions_of_weight_minus_infinity() -> None:
    log_probs = double([[[0.5, 0.5], [0.9, 0.1]]]).log().requires_grad_()
    result = induced.sampled(log_probs, double([[0.0, -INF]]))
    torch.testing.assert_close(result, double([[0.5, 0.5]]).log())
    result.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[[1.0, 1.0], [0.0, 0.0]]]


@pytest.mark.parametrize("low", [-80.0, -150.0, -1e6])
def test_sampled_keeps_value_and_gradient_in_float32_when_all_completions_are_low(
    low: float,
) -> None:
    log_probs = torch.tensor([[[low, 0.0], [low, 0.0]]], requires_grad=True)
    result = induced.sampled(log_probs, torch.zeros(1, 2))
    torch.testing.assert_close(result, torch.tensor([[low, 0.0]]))
    result.sum().backward()
    torch.testing.assert_close(log_probs.grad, torch.full((1, 2, 2), 0.5))


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS)
def test_sampled_ignores_order_of_completions_and_moves_with_shifts(
    n: int, k: int, y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, n, k, y)
    log_weights = torch.from_numpy(rng.normal(size=(n, k)))
    result = induced.sampled(log_probs, log_weights)
    order = torch.from_numpy(rng.permutation(k))
    torch.testing.assert_close(induced.sampled(log_probs[:, order], log_weights[:, order]), result)
    shift = torch.from_numpy(rng.normal(scale=200.0, size=(n, 1, y)))
    moved = induced.sampled(log_probs + shift, log_weights - 7.0)
    torch.testing.assert_close(moved, result + shift.squeeze(1))
    torch.testing.assert_close(result.exp().sum(-1), torch.ones(n, dtype=torch.float64))


# --- shared_support -----------------------------------------------------------------------------


def test_shared_support_equals_hand_values_and_gradients() -> None:
    log_probs = double([[0.5, 0.5], [0.1, 0.9]]).log().requires_grad_()
    result = induced.shared_support(log_probs, double([[0.25, 0.75], [1.0, 0.0]]))
    # Item 0: 0.125 + 0.075 = 0.2; item 1 is the first state.
    torch.testing.assert_close(result, double([[0.2, 0.8], [0.5, 0.5]]).log())
    (result * double([[1.0, 0.0], [0.0, 10.0]])).sum().backward()
    # d log 0.2 / d log q(y=0|s) = 0.125/0.2 and 0.075/0.2; item 1 adds 10 to its only state.
    torch.testing.assert_close(log_probs.grad, double([[0.625, 10.0], [0.375, 0.0]]))


def test_shared_support_gradcheck_with_own_and_shared_weights() -> None:
    rng = np.random.default_rng(1)
    log_probs = random_log_probs(rng, 2, 3, 4).requires_grad_()
    for shape in ((2, 5, 3), (5, 3)):
        weights = random_distributions(rng, *shape)
        assert torch.autograd.gradcheck(
            lambda x, w=weights: induced.shared_support(x, w), (log_probs,)
        )


@pytest.mark.parametrize("low", [-1.0, -80.0, -103.0, -150.0, -600.0])
def test_shared_support_keeps_value_and_gradient_in_float32_beside_a_higher_unweighted_state(
    low: float,
) -> None:
    # State 0 holds the maximum and no weight: exp(low) underflows float32 beyond −103.
    log_probs = torch.tensor([[0.0, low], [low, 0.0]], requires_grad=True)
    result = induced.shared_support(log_probs, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(result, torch.tensor([[low, 0.0]]))
    loss = -result[0, 0]
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(-low))
    # A step down the gradient raises the one probability that can mend the loss, by all of it.
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0, 0.0], [-1.0, 0.0]]


def test_shared_support_keeps_gradients_of_low_and_high_items_apart() -> None:
    log_probs = torch.tensor([[0.0], [-80.0], [-150.0]], requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1e-4, 1 - 1e-4], [0.5, 0.5, 0.0]])
    result = induced.shared_support(log_probs, weights)
    expected = torch.tensor([0.0, np.log(1e-4) - 80.0, np.log(0.5)])
    torch.testing.assert_close(result[:, 0], expected.float())
    result.sum().backward()
    # Item 1's mixture is its −80 state up to e^−70·1e4; item 2's is state 0 up to e^−80.
    torch.testing.assert_close(log_probs.grad, torch.tensor([[2.0], [1.0], [0.0]]))


def test_shared_support_counts_the_hopelessly_low_as_zero_without_nan() -> None:
    for low in (-700.0, -720.0, -740.0, -5000.0):
        log_probs = double([[0.0], [low]]).requires_grad_()
        result = induced.shared_support(log_probs, double([[0.0, 1.0], [1.0, 0.0]]))
        assert result.tolist() == [[-INF], [0.0]]
        result.sum().backward()
        assert log_probs.grad is not None
        assert log_probs.grad.tolist() == [[1.0], [0.0]]


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS)
def test_shared_support_equals_sampled_over_all_states_and_ignores_their_order(
    n: int, s: int, y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs, weights = random_log_probs(rng, s, y), random_distributions(rng, n, s)
    result = induced.shared_support(log_probs, weights)
    everywhere = log_probs.expand(n, s, y)
    torch.testing.assert_close(induced.sampled(everywhere, weights.log()), result)
    order = torch.from_numpy(rng.permutation(s))
    torch.testing.assert_close(induced.shared_support(log_probs[order], weights[:, order]), result)
    shift = torch.from_numpy(rng.normal(scale=300.0, size=y))
    torch.testing.assert_close(induced.shared_support(log_probs + shift, weights), result + shift)


def test_shared_support_checks_values_only_when_asked() -> None:
    log_probs, weights = double([[0.5, 0.5]]).log(), double([[0.5]])
    with pytest.raises(InvalidInputError, match=r"a row \(0,\) with minimum 0.5 and sum 0.5"):
        induced.shared_support(log_probs, weights)
    unchecked = induced.shared_support(log_probs, weights, check=False)
    torch.testing.assert_close(unchecked, double([[0.25, 0.25]]).log())


def test_shared_support_takes_weights_of_the_other_float_type() -> None:
    rng = np.random.default_rng(5)
    log_probs, weights = random_log_probs(rng, 3, 2), random_distributions(rng, 4, 3)
    narrow = induced.shared_support(log_probs.float(), weights)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), induced.shared_support(log_probs, weights))
    assert induced.shared_support(log_probs, weights.float()).dtype == torch.float64


# --- grouped ------------------------------------------------------------------------------------


def test_grouped_equals_hand_values_and_gradients() -> None:
    log_probs = double([[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]]).log().requires_grad_()
    result = induced.grouped(log_probs, torch.tensor([1, 0, 1]), double([1.0, 5.0, 3.0]))
    # Group 1: (0.5 + 3·0.1)/4 = 0.2 and (0.5 + 2.7)/4 = 0.8; group 0 is its only item.
    torch.testing.assert_close(result, double([[0.2, 0.8], [0.2, 0.8]]).log())
    result[1, 0].backward()
    torch.testing.assert_close(log_probs.grad, double([[0.625, 0], [0, 0], [0.375, 0]]))


def test_grouped_gradcheck() -> None:
    log_probs = random_log_probs(np.random.default_rng(2), 6, 3).requires_grad_()
    groups = torch.tensor([2, 0, 1, 1, 2, 2], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda x: induced.grouped(x, groups), (log_probs,))


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS)
def test_grouped_equals_shared_support_with_the_weights_of_each_group(
    extra: int, g: int, y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(g), rng.integers(g, size=extra)]))
    weights = torch.from_numpy(rng.uniform(0.1, 5.0, size=len(labels)))
    log_probs, groups = random_log_probs(rng, len(labels), y), torch.from_numpy(labels)
    table = (groups == torch.arange(g).unsqueeze(1)) * weights
    expected = induced.shared_support(log_probs, table / table.sum(-1, keepdim=True))
    torch.testing.assert_close(induced.grouped(log_probs, groups, weights), expected)
    order = torch.from_numpy(rng.permutation(len(labels)))
    torch.testing.assert_close(
        induced.grouped(log_probs[order], groups[order], 3 * weights[order]), expected
    )


def test_grouped_keeps_low_members_in_float32_when_the_highest_has_no_weight() -> None:
    log_probs = torch.tensor([[0.0], [-150.0]], requires_grad=True)
    result = induced.grouped(log_probs, torch.tensor([0, 0]), torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(result, torch.tensor([[-150.0]]))
    result.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0], [1.0]]


GROUPS = torch.tensor([2, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ruled_out", [False, True])
def test_grouped_gradcheck_with_weights_and_ruled_out_targets(
    weighted: bool, ruled_out: bool
) -> None:
    rng = np.random.default_rng(6)
    weights = torch.from_numpy(rng.uniform(0.2, 3.0, size=6)) if weighted else None
    lowest = torch.zeros(6, 3, dtype=torch.float64)
    if ruled_out:  # of a whole group, of some of a group, of a group of one
        lowest[[2, 3, 1], [1, 1, 2]] = -INF
        lowest[4, 0] = -INF

    def finite(x: Tensor) -> Tensor:
        return induced.grouped(x + lowest, GROUPS, weights).clamp_min(-1e3)

    assert torch.autograd.gradcheck(finite, (random_log_probs(rng, 6, 3).requires_grad_(),))


def test_grouped_equals_its_formula_where_targets_are_ruled_out() -> None:
    rng = np.random.default_rng(7)
    log_probs = random_log_probs(rng, 6, 4)
    log_probs[[2, 3, 1, 4], [1, 1, 2, 0]] = -INF
    weights = torch.from_numpy(rng.uniform(0.2, 3.0, size=6))
    rows = []
    for group in range(3):
        own = torch.eq(GROUPS, group)
        shares = weights[own] / weights[own].sum()
        rows.append((shares.unsqueeze(1) * log_probs[own].exp()).sum(0).log())
    found = induced.grouped(log_probs, GROUPS, weights)
    torch.testing.assert_close(found, torch.stack(rows))
    assert found.isneginf().nonzero().tolist() == [[0, 2], [1, 1]]


@pytest.mark.parametrize("weighted", [False, True])
def test_grouped_leaves_groups_of_one_as_they_are(weighted: bool) -> None:
    log_probs = random_log_probs(np.random.default_rng(8), 4, 3).requires_grad_()
    groups = torch.tensor([3, 0, 2, 1])
    weights = double([0.5, 2.0, 7.0, 1e-3]) if weighted else None
    found = induced.grouped(log_probs, groups, weights)
    torch.testing.assert_close(found[groups], log_probs)
    given = torch.arange(12.0).double().view(4, 3)
    (found * given).sum().backward()
    torch.testing.assert_close(log_probs.grad, given[groups])


@pytest.mark.parametrize("apart", [80.0, 150.0])
def test_grouped_keeps_members_far_apart_in_float32(apart: float) -> None:
    # Within a group the far member counts for nothing; in a group of its own it keeps its value.
    log_probs = torch.tensor([[0.0], [-apart], [-apart], [-apart - 1.0]], requires_grad=True)
    found = induced.grouped(log_probs, torch.tensor([0, 0, 1, 1]))
    low = -apart + np.log((1 + np.exp(-1.0)) / 2)
    torch.testing.assert_close(found, torch.tensor([[-np.log(2)], [low]]).float())
    found.sum().backward()
    share = 1 / (1 + np.exp(-1.0))
    expected = torch.tensor([[1.0], [np.exp(-apart)], [share], [1 - share]]).float()
    torch.testing.assert_close(log_probs.grad, expected, rtol=1e-5, atol=1e-38)


def test_grouped_takes_views() -> None:
    rng = np.random.default_rng(9)
    whole = random_log_probs(rng, 3, 12)
    weights = torch.from_numpy(rng.uniform(0.2, 3.0, size=12))
    results = []
    for make in (lambda x: x, lambda x: x.contiguous()):
        source = whole.clone().requires_grad_()
        view = make(source.T[::2])
        groups = make(GROUPS.repeat_interleave(2)[::2])
        found = induced.grouped(view, groups, make(weights[::2]))
        found.sum(0)[1:].sum().backward()
        results.append((found.detach(), source.grad))
    assert not whole.T[::2].is_contiguous()
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_grouped_refuses_a_second_derivative_rather_than_give_a_wrong_one() -> None:
    log_probs = random_log_probs(np.random.default_rng(10), 6, 3).requires_grad_()
    loss = induced.grouped(log_probs, GROUPS).square().sum()
    gradient = torch.autograd.grad(loss, log_probs, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# --- all three ----------------------------------------------------------------------------------


def estimate_by(name: str) -> Callable[[Tensor], Tensor]:
    """Each estimate over the two rows of (2, Y), equally weighted, as a function of the rows."""
    return {
        "sampled": lambda x: induced.sampled(x.unsqueeze(0), x.new_zeros(1, 2)),
        "shared_support": lambda x: induced.shared_support(x, x.new_full((1, 2), 0.5)),
        "grouped": lambda x: induced.grouped(x, torch.tensor([0, 0])),
    }[name]


ESTIMATES = pytest.mark.parametrize("name", ["sampled", "shared_support", "grouped"])


@ESTIMATES
def test_induced_is_minus_infinity_without_nan_gradient_when_a_target_is_ruled_out(
    name: str,
) -> None:
    rows = double([[-INF, 0.0, -INF], [-INF, -1.0, 0.0]]).requires_grad_()
    result = estimate_by(name)(rows)
    assert result[0, 0] == -INF
    torch.testing.assert_close(result[0, 2], double(0.5).log())
    result.sum().backward()
    assert rows.grad is not None
    assert rows.grad[:, 0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(rows.grad[:, 1:].sum(0), double([1.0, 1.0]))


@ESTIMATES
def test_induced_passes_nan_on(name: str) -> None:
    result = estimate_by(name)(double([[float("nan"), 0.0], [0.0, 0.0]]))
    assert result.isnan().tolist() == [[True, False]]


def test_shared_support_passes_nan_weights_on_when_unchecked() -> None:
    weights = double([[float("nan"), 0.5], [0.5, 0.5]])
    result = induced.shared_support(double([[0.0], [0.0]]), weights, check=False)
    assert result.isnan().tolist() == [[True], [False]]


@ESTIMATES
def test_induced_keeps_the_dtype(name: str) -> None:
    rows = torch.zeros(2, 3)
    assert estimate_by(name)(rows).dtype == torch.float32
    assert estimate_by(name)(rows.double()).dtype == torch.float64


@pytest.mark.parametrize("shared", [False, True])
def test_induced_leading_axes_are_independent_runs(shared: bool) -> None:
    rng = np.random.default_rng(3)
    own = (4,) if shared else (2, 3, 4)
    support, weights = random_log_probs(rng, 2, 3, 5, 2), random_distributions(rng, *own, 5)
    drawn, log_weights = random_log_probs(rng, 2, 3, 4, 5, 2), weights.log()
    together = induced.shared_support(support, weights), induced.sampled(drawn, log_weights)
    for i in range(2):
        for j in range(3):
            w = weights if shared else weights[i, j]
            alone = induced.shared_support(support[i, j], w), induced.sampled(drawn[i, j], w.log())
            for batch, single in zip(together, alone, strict=True):
                torch.testing.assert_close(batch[i, j], single, rtol=1e-13, atol=0)


ZEROS = torch.zeros(4, 3, 2)  # (N, K, Y) or one run axis of (S, Y)
FLAT = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: induced.sampled(FLAT, FLAT), r"log_probs .* \(..., N, K, Y\); .*float32 \(3, 2\)"),
        (lambda: induced.sampled(ZEROS.numpy(), FLAT), "log_probs must be a .*'ndarray'"),
        (lambda: induced.sampled(ZEROS.half(), FLAT), "log_probs must be .*float16"),
        (lambda: induced.sampled(ZEROS, torch.zeros(3, 4)), r"log_weights .*\(4, 3\); .*\(3, 4\)"),
        (
            lambda: induced.sampled(ZEROS.expand(5, 4, 3, 2), torch.zeros(6, 4, 3)),
            r"log_weights .* \(N, K\) = \(4, 3\) after axes that broadcast to \(5,\); .*\(6, 4, 3\)",
        ),
        (lambda: induced.sampled(ZEROS, torch.zeros(4, 3).int()), "log_weights must .*int32"),
        (
            lambda: induced.sampled(ZEROS, torch.tensor([[0.0] * 3] * 3 + [[-INF] * 3])),
            r"log_weights .*'maximum -inf for item \(3,\)'",
        ),
        (lambda: induced.sampled(ZEROS, torch.full((4, 3), float("nan"))), "log_weights .*nan"),
        (lambda: induced.sampled(ZEROS[:, :0], torch.zeros(4, 0)), "at least one completion"),
        (lambda: induced.shared_support(FLAT[0], FLAT), r"log_probs .* \(..., S, Y\)"),
        (lambda: induced.shared_support(FLAT, [[1.0, 0.0, 0.0]]), "weights must .*'list'"),
        (lambda: induced.shared_support(FLAT, torch.ones(5, 2) / 2), r"\(N, S\) = \(5, 3\)"),
        (lambda: induced.shared_support(FLAT, torch.ones(6, 1, 3) / 3), r"received .*\(6, 1, 3\)"),
        (lambda: induced.shared_support(FLAT, FLAT.T), r"weights must .* sum 0\."),
        (
            lambda: induced.shared_support(FLAT, torch.tensor([[1.5, -0.5, 0.0]])),
            "weights must .* minimum -0.5",
        ),
        (
            lambda: induced.shared_support(FLAT, torch.full((1, 3), float("nan"))),
            "weights must .* sum nan",
        ),
        (lambda: induced.grouped(ZEROS, torch.zeros(4).long()), r"log_probs .* shape \(M, Y\);"),
        (lambda: induced.grouped(FLAT, torch.zeros(3)), "groups must .*integers.*float32"),
        (lambda: induced.grouped(FLAT, [0, 0, 0]), "groups must .*integers.*'list'"),
        (
            lambda: induced.grouped(FLAT, torch.tensor([0, 1])),
            r"groups must .*\(3,\).*int64 \(2,\)",
        ),
        (lambda: induced.grouped(FLAT[:0], torch.zeros(0).long()), "M at least 1"),
        (lambda: induced.grouped(FLAT, torch.tensor([0, 2, 2])), "none in group 1"),
        (lambda: induced.grouped(FLAT, torch.tensor([0, -1, 1])), "groups must be at least 0"),
        (
            lambda: induced.grouped(FLAT, torch.tensor([0, 1, 1]), torch.tensor([0.0, 1.0, 0.0])),
            "none in group 0",
        ),
        (
            lambda: induced.grouped(FLAT, torch.tensor([0, 1, 1]), torch.tensor([1.0, 1.0, -2.0])),
            "weights must be finite and at least 0; received -2.0",
        ),
        (
            lambda: induced.grouped(FLAT, torch.tensor([0, 1, 1]), torch.ones(2)),
            r"weights must .* \(M,\) = \(3,\)",
        ),
    ],
)
def test_induced_refuses_bad_arguments_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        call()
    assert isinstance(caught.value, ValueError)


def test_grouped_takes_the_number_of_groups_and_checks_it() -> None:
    log_probs = torch.randn(5, 3, dtype=torch.float64).log_softmax(-1)
    groups = torch.tensor([0, 1, 1, 2, 0])
    found = induced.grouped(log_probs, groups, n_groups=3)
    assert torch.equal(found, induced.grouped(log_probs, groups))
    for wrong in (2, 4):
        with pytest.raises(InvalidInputError, match=f"number of groups, 3; received {wrong}"):
            induced.grouped(log_probs, groups, n_groups=wrong)


def test_in_batch_takes_the_number_of_groups_for_rows_of_groups_alone() -> None:
    log_probs = torch.randn(5, 3, dtype=torch.float64).log_softmax(-1)
    groups = torch.tensor([0, 1, 1, 2, 0])
    counted = InBatch(lambda _: groups, per_group=True, n_groups_of=lambda _: 3)
    found = counted.induced(lambda _: log_probs, None)
    assert torch.equal(found, induced.grouped(log_probs, groups))
    with pytest.raises(InvalidInputError, match="n_groups_of must be left out unless per_group"):
        InBatch(lambda _: groups, n_groups_of=lambda _: 3)

"""The losses: golden values and gradients, invariances, degenerate weights and targets, errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imm_rl import induced, losses
from imm_rl.errors import InvalidInputError

INF = float("inf")
SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**32 - 1)


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_log_probs(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(scale=2.0, size=shape)).log_softmax(-1)


def random_distributions(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


# --- imm_loss -----------------------------------------------------------------------------------


def test_imm_loss_equals_hand_value_and_gradient() -> None:
    log_probs = double([[0.5, 0.5], [0.25, 0.75]]).log().requires_grad_()
    loss = losses.imm_loss(log_probs, double([[0.25, 0.75], [0.5, 0.5]]))
    # Item 0: log 2. Item 1: (log 4 + log 4/3)/2 = log 4 − (log 3)/2.
    expected = (math.log(2) + math.log(4) - math.log(3) / 2) / 2
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-14)
    assert loss.item() == pytest.approx(0.7650676986728904, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, double([[-0.125, -0.375], [-0.25, -0.25]]))


def test_imm_loss_is_the_weighted_mean_when_weights_are_given() -> None:
    log_probs = double([[0.5, 0.5], [0.25, 0.75]]).log().requires_grad_()
    target = double([[0.25, 0.75], [1.0, 0.0]])
    loss = losses.imm_loss(log_probs, target, double([1.0, 3.0]))
    assert loss.item() == pytest.approx((math.log(2) + 3 * math.log(4)) / 4, rel=1e-14)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, double([[-0.0625, -0.1875], [-0.75, 0.0]]))
    scaled = losses.imm_loss(log_probs, target, double([10.0, 30.0]))
    torch.testing.assert_close(scaled, loss)


def test_imm_loss_and_noising_gradcheck() -> None:
    rng = np.random.default_rng(0)
    target = random_distributions(rng, 3, 4)
    weights = torch.from_numpy(rng.uniform(size=(2, 3))).requires_grad_()
    log_probs = random_log_probs(rng, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: losses.imm_loss(x, target, w), (log_probs, weights)
    )
    log_probs = random_log_probs(rng, 2, 3, 5, 4).requires_grad_()
    log_weights = torch.from_numpy(rng.normal(size=(3, 5))).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: losses.noising_loss(x, w, target, weights.detach()), (log_probs, log_weights)
    )


def test_imm_loss_of_an_argmax_target_ignores_ruled_out_actions() -> None:
    log_probs = double([[0.0, -INF, -INF]]).requires_grad_()
    loss = losses.imm_loss(log_probs, double([[1.0, 0.0, 0.0]]))
    assert loss.item() == 0.0
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[-1.0, 0.0, 0.0]]


def test_imm_loss_is_infinite_when_the_model_rules_out_what_the_target_asks_for() -> None:
    log_probs = double([[-INF, 0.0]])
    assert losses.imm_loss(log_probs, double([[0.5, 0.5]])).item() == INF
    # An item without weight does not count, whatever it is.
    both = torch.cat([log_probs, double([[0.5, 0.5]]).log()])
    loss = losses.imm_loss(both, double([[0.5, 0.5]] * 2), double([0.0, 2.0]))
    assert loss.item() == pytest.approx(math.log(2))


def test_imm_loss_is_zero_with_zero_gradient_when_all_weights_of_a_run_are_zero() -> None:
    log_probs = random_log_probs(np.random.default_rng(1), 2, 3, 4).requires_grad_()
    target = torch.full((3, 4), 0.25, dtype=torch.float64)
    loss = losses.imm_loss(log_probs, target, double([[0.0] * 3, [1.0] * 3]))
    assert loss[0] == 0.0
    assert loss[1] > 0.0
    loss.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0].tolist() == [[0.0] * 4] * 3
    torch.testing.assert_close(log_probs.grad[1], torch.full_like(target, -0.25 / 3))


def test_imm_loss_of_no_items_is_zero() -> None:
    assert losses.imm_loss(torch.zeros(2, 0, 3), torch.zeros(0, 3)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("low", [-80.0, -150.0])
def test_imm_loss_keeps_the_gradient_of_low_probabilities_in_float32(low: float) -> None:
    # One state of the belief's two, both of them far below an unweighted one.
    log_probs = torch.tensor([[0.0, low], [low, 0.0], [low - 1, 0.0]], requires_grad=True)
    belief = torch.tensor([[0.0, 0.5, 0.5]])
    loss = losses.imm_loss(induced.shared_support(log_probs, belief), torch.tensor([[1.0, 0.0]]))
    loss.backward()
    share = 1 / (1 + math.exp(-1))
    assert loss.item() == pytest.approx(-low - math.log((1 + math.exp(-1)) / 2), rel=1e-6)
    expected = torch.tensor([[0.0, 0.0], [-share, 0.0], [share - 1, 0.0]])
    torch.testing.assert_close(log_probs.grad, expected, rtol=1e-4, atol=0)


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SEEDS)
def test_imm_loss_ignores_the_order_of_items_and_is_least_at_the_target(
    n: int, y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs, target = random_log_probs(rng, n, y), random_distributions(rng, n, y)
    weights = torch.from_numpy(rng.uniform(0.1, 1.0, size=n))
    loss = losses.imm_loss(log_probs, target, weights)
    order = torch.from_numpy(rng.permutation(n))
    shuffled = losses.imm_loss(log_probs[order], target[order], weights[order])
    torch.testing.assert_close(shuffled, loss)
    # Cross-entropy = KL + entropy, so its least value is the entropy of the target.
    least = losses.imm_loss(target.log(), target, weights)
    torch.testing.assert_close(least, (weights * losses.entropy(target)).sum() / weights.sum())
    assert least <= loss + 1e-12


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, SEEDS)
def test_imm_loss_gradient_is_untouched_by_a_shift_of_logits(n: int, y: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(n, y)))
    target = random_distributions(rng, n, y)

    def loss_and_gradient(shift: Tensor) -> tuple[Tensor, Tensor]:
        x = (logits + shift).requires_grad_()
        loss = losses.imm_loss(x.log_softmax(-1), target)
        return loss.detach(), torch.autograd.grad(loss, x)[0]

    plain = loss_and_gradient(torch.zeros(n, 1))
    shifted = loss_and_gradient(torch.from_numpy(rng.normal(scale=30.0, size=(n, 1))))
    torch.testing.assert_close(shifted, plain)
    # The well-known form of it: (softmax − target)/N.
    torch.testing.assert_close(plain[1], (logits.softmax(-1) - target) / n)


# --- the comparisons ----------------------------------------------------------------------------


def test_noising_loss_equals_hand_value_and_gradient() -> None:
    log_probs = double([[[0.5, 0.5], [0.25, 0.75]]]).log().requires_grad_()
    log_weights = double([[1.0, 3.0]]).log()
    loss = losses.noising_loss(log_probs, log_weights, double([[1.0, 0.0]]))
    # (log 2)/4 + 3 (log 4)/4, against −log(5/16) of the mixture.
    assert loss.item() == pytest.approx(1.75 * math.log(2), rel=1e-14)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, double([[[-0.25, 0.0], [-0.75, 0.0]]]))


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, SIZES, SEEDS)
def test_noising_loss_bounds_imm_loss_and_meets_it_where_completions_agree(
    n: int, k: int, y: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs, target = random_log_probs(rng, n, k, y), random_distributions(rng, n, y)
    log_weights = torch.from_numpy(rng.normal(size=(n, k)))
    weights = torch.from_numpy(rng.uniform(0.1, 1.0, size=n))

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        mixture = induced.sampled(x, log_weights)
        return (
            losses.noising_loss(x, log_weights, target, weights),
            losses.imm_loss(mixture, target, weights),
        )

    noising, imm = both(log_probs)
    assert noising >= imm - 1e-12
    if k > 1 and y > 1:
        assert noising > imm
    torch.testing.assert_close(*both(log_probs[:, :1].expand(n, k, y)))


def test_noising_loss_skips_completions_and_targets_without_weight() -> None:
    log_probs = double([[[-INF, 0.0], [0.5, 0.5]]])
    dropped = losses.noising_loss(log_probs, double([[-INF, 0.0]]), double([[1.0, 0.0]]))
    assert dropped.item() == pytest.approx(-0.5)
    argmax = losses.noising_loss(log_probs, double([[0.0, 0.0]]), double([[0.0, 1.0]]))
    assert argmax.item() == pytest.approx(-0.25)


def test_naive_kl_loss_equals_hand_value_and_gradient() -> None:
    log_probs = double([[0.5, 0.5], [0.25, 0.75]]).log().requires_grad_()
    loss = losses.naive_kl_loss(log_probs, double([[0.25, 0.75], [1.0, 0.0]]), double([1.0, 3.0]))
    # Item 0: log 2 − entropy(1/4, 3/4); item 1: log 4.
    first = math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert loss.item() == pytest.approx((first + 3 * math.log(4)) / 4, rel=1e-14)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, double([[-0.0625, -0.1875], [-0.75, 0.0]]))


def test_naive_kl_loss_is_zero_only_where_the_policies_agree() -> None:
    target = double([[0.3, 0.7], [1.0, 0.0]])
    agree = double([[0.3, 0.7], [1.0, 0.0]]).log()
    assert losses.naive_kl_loss(agree, target).item() == pytest.approx(0.0, abs=1e-15)
    assert losses.naive_kl_loss(agree.flip(0), target, double([0.0, 1.0])).item() > 1.0


def test_interpolate_equals_hand_values_and_its_ends() -> None:
    probs, restricted = double([[0.5, 0.5], [1.0, 0.0]]), double([0.1, 0.9])
    mixed = losses.interpolate(probs, restricted, 0.25)
    torch.testing.assert_close(mixed, double([[0.4, 0.6], [0.775, 0.225]]))
    assert torch.equal(losses.interpolate(probs, restricted, 0), probs)
    assert torch.equal(losses.interpolate(probs, restricted, 1), restricted.expand(2, 2))


def test_entropy_is_in_nats_with_zeros_allowed() -> None:
    rows = double([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    expected = [math.log(2), 0.0, 0.25 * math.log(4) + 0.75 * math.log(4 / 3)]
    torch.testing.assert_close(losses.entropy(rows), double(expected))


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_losses_leading_axes_are_independent_runs(shared: bool) -> None:
    rng = np.random.default_rng(2)
    runs = () if shared else (2, 3)
    log_probs, drawn = random_log_probs(rng, 2, 3, 4, 5), random_log_probs(rng, 2, 3, 4, 6, 5)
    log_weights = torch.from_numpy(rng.normal(size=(*runs, 4, 6)))
    target = random_distributions(rng, *runs, 4, 5)
    weights = torch.from_numpy(rng.uniform(size=(*runs, 4)))
    together = (
        losses.imm_loss(log_probs, target, weights),
        losses.noising_loss(drawn, log_weights, target, weights),
        losses.naive_kl_loss(log_probs, target, weights),
    )
    assert [loss.shape for loss in together] == [(2, 3)] * 3
    for run in np.ndindex(2, 3):
        own = () if shared else run
        alone = (
            losses.imm_loss(log_probs[run], target[own], weights[own]),
            losses.noising_loss(drawn[run], log_weights[own], target[own], weights[own]),
            losses.naive_kl_loss(log_probs[run], target[own], weights[own]),
        )
        for batch, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batch[run], single, rtol=1e-13, atol=0)


def test_losses_follow_the_dtype_of_the_model() -> None:
    log_probs, target = torch.full((1, 2), 0.5).log(), double([[0.5, 0.5]])
    weights = double([1.0])
    assert losses.imm_loss(log_probs, target, weights).dtype == torch.float32
    assert losses.naive_kl_loss(log_probs, target, weights).dtype == torch.float32
    noising = losses.noising_loss(log_probs.unsqueeze(1), double([[0.0]]), target, weights)
    assert noising.dtype == torch.float32
    assert losses.interpolate(log_probs.exp(), target, 0.5).dtype == torch.float32


def test_losses_skip_the_values_when_unchecked() -> None:
    log_probs = double([[0.5, 0.5]]).log()
    loss = losses.imm_loss(log_probs, double([[2.0, 2.0]]), check=False)
    assert loss.item() == pytest.approx(4 * math.log(2))


ROWS = torch.full((3, 2), 0.5)
LOGS = ROWS.log()
DRAWN = LOGS.unsqueeze(1).expand(3, 4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.imm_loss(LOGS[0], ROWS), r"induced_log_probs .* \(..., N, Y\); .*\(2,\)"),
        (lambda: losses.imm_loss(LOGS.half(), ROWS), "induced_log_probs must .*float16"),
        (lambda: losses.imm_loss(LOGS, ROWS[:2]), r"target_probs .*\(N, Y\) = \(3, 2\);.*\(2, 2\)"),
        (lambda: losses.imm_loss(LOGS, ROWS.unsqueeze(0)), r"target_probs .*\(1, 3, 2\)"),
        (lambda: losses.imm_loss(LOGS, ROWS.int()), "target_probs must .*int32"),
        (lambda: losses.imm_loss(LOGS, LOGS), "target_probs must hold distributions"),
        (lambda: losses.imm_loss(LOGS, 1.1 * ROWS), r"a row \(0,\) .* sum 1\.1"),
        (lambda: losses.imm_loss(LOGS, ROWS, torch.ones(2)), r"weights .*\(N\) = \(3,\); .*\(2,\)"),
        (
            lambda: losses.imm_loss(LOGS, ROWS, torch.tensor([1.0, -1.0, 1.0])),
            "weights must be finite and at least 0; received -1.0",
        ),
        (lambda: losses.imm_loss(LOGS, ROWS, torch.full((3,), INF)), "weights must .* inf"),
        (lambda: losses.noising_loss(LOGS, LOGS, ROWS), r"log_probs .*\(..., N, K, Y\)"),
        (lambda: losses.noising_loss(DRAWN, LOGS, ROWS), r"log_weights .*\(N, K\) = \(3, 4\)"),
        (lambda: losses.noising_loss(DRAWN, torch.zeros(3, 4), ROWS.T), "target_probs must"),
        (
            lambda: losses.noising_loss(DRAWN, torch.full((3, 4), -INF), ROWS),
            "log_weights must be finite or −inf",
        ),
        (lambda: losses.naive_kl_loss(LOGS, ROWS[0]), r"restricted_probs .*\(N, Y\) = \(3, 2\)"),
        (lambda: losses.naive_kl_loss(LOGS, 2 * ROWS), "restricted_probs must hold"),
        (lambda: losses.interpolate(ROWS, ROWS, 1.5), r"ratio must be in \[0, 1\]; received 1.5"),
        (lambda: losses.interpolate(ROWS, ROWS, float("nan")), "ratio must .* nan"),
        (lambda: losses.interpolate(ROWS, ROWS, "0.5"), r"ratio must be in .*; received '0.5'"),  # type: ignore[arg-type]
        (lambda: losses.interpolate(ROWS, ROWS, None), "ratio must .* None"),  # type: ignore[arg-type]
        (lambda: losses.interpolate(ROWS, torch.ones(3), 0.5), r"restricted_probs .* = \(2,\)"),
        (lambda: losses.entropy(torch.ones(2, dtype=torch.int64)), "probs must .*int64"),
    ],
)
def test_losses_refuse_bad_arguments_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        call()
    assert isinstance(caught.value, ValueError)

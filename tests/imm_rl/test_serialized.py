"""Algorithm 2 against the plain sampled loss: the same gradient, in memory that K does not set."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from imm_rl import induced, losses, serialized
from imm_rl.errors import InvalidInputError

INF = float("inf")


def net(features: int, targets: int, *, dropout: float = 0.0) -> nn.Sequential:
    layers = (nn.Linear(features, 5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, targets))
    return nn.Sequential(*layers, nn.LogSoftmax(-1)).double()


def gradients(model: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def problem(
    n: int, k: int, y: int, seed: int = 0
) -> tuple[nn.Sequential, Tensor, Tensor, Tensor, Tensor]:
    """A random net, contexts (N, K, 3), log-weights, targets and item weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    contexts = torch.from_numpy(rng.normal(size=(n, k, 3)))
    target = torch.from_numpy(rng.dirichlet(np.ones(y), size=n))
    log_weights = torch.from_numpy(rng.normal(size=(n, k)))
    return net(3, y), contexts, log_weights, target, torch.from_numpy(rng.uniform(size=n))


def test_serialized_backward_equals_hand_value_and_gradient() -> None:
    # Two completions with q(y=0) = θ0, θ1: loss −log((θ0 + 3 θ1)/4), so ∂/∂θ1 = −3/(θ0 + 3 θ1).
    theta = torch.tensor([0.5, 0.25], dtype=torch.float64, requires_grad=True)

    def log_prob_fn(index: Tensor) -> Tensor:
        q = theta[index]
        return torch.stack([q, 1 - q], dim=-1).log()

    loss = losses.serialized_backward(
        log_prob_fn,
        torch.tensor([[0, 1]]),
        torch.tensor([[1.0, 3.0]], dtype=torch.float64).log(),
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        scale=10.0,
    )
    assert loss.item() == pytest.approx(-math.log(5 / 16), rel=1e-14)
    assert not loss.requires_grad
    assert theta.grad is not None
    assert theta.grad.tolist() == pytest.approx([-8.0, -24.0], rel=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 9),
    st.sampled_from([1.0, -0.3, 7.0]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_serialized_backward_gradient_is_that_of_the_sampled_loss_for_any_chunk(
    n: int, k: int, y: int, chunk: int, scale: float, weighted: bool, seed: int
) -> None:
    model, contexts, log_weights, target, given_weights = problem(n, k, y, seed)
    weights = given_weights if weighted else None
    expected = losses.imm_loss(induced.sampled(model(contexts), log_weights), target, weights)
    (scale * expected).backward()
    plain = gradients(model)
    model.zero_grad()
    loss = losses.serialized_backward(
        model, contexts, log_weights, target, scale=scale, chunk=chunk, weights=weights
    )
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradients(model), plain, rtol=1e-10, atol=1e-14)


def test_serialized_backward_adds_to_the_gradients_that_are_there() -> None:
    model, contexts, log_weights, target, _ = problem(2, 3, 4)
    losses.serialized_backward(model, contexts, log_weights, target)
    once = gradients(model)
    losses.serialized_backward(model, contexts, log_weights, target, scale=2.0, chunk=2)
    thrice = [3 * grad for grad in once if grad is not None]
    torch.testing.assert_close(gradients(model), thrice)


def test_serialized_backward_leaves_gradients_alone_when_scale_is_zero() -> None:
    model, contexts, log_weights, target, _ = problem(2, 3, 4)
    loss = losses.serialized_backward(model, contexts, log_weights, target, scale=0.0)
    mixture = induced.sampled(model(contexts), log_weights)
    torch.testing.assert_close(loss, losses.imm_loss(mixture, target).detach())
    assert gradients(model) == [None] * 4


@pytest.mark.parametrize("completions", [4, 32])
@pytest.mark.parametrize("chunk", [1, 3])
def test_serialized_backward_keeps_one_chunk_alive_whatever_the_number_of_completions(
    completions: int, chunk: int
) -> None:
    model, contexts, log_weights, target, _ = problem(2, completions, 3)
    sizes: list[int] = []
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        alive.append(sum(output() is not None for output in outputs))
        sizes.append(part.shape[1])
        result: Tensor = model(part)
        outputs.append(weakref.ref(result))
        return result

    losses.serialized_backward(log_prob_fn, contexts, log_weights, target, chunk=chunk)
    one_pass = [chunk] * (completions // chunk)
    one_pass += [completions % chunk] if completions % chunk else []
    assert sizes == one_pass * 2
    assert max(alive) == 0


def test_serialized_backward_saves_activations_of_one_chunk_whatever_the_completions() -> None:
    def peak(completions: int) -> int:
        model, contexts, log_weights, target, _ = problem(2, completions, 3)
        current = highest = 0

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal current, highest
                self.tensor = tensor
                current += tensor.numel()
                highest = max(highest, current)

            def __del__(self) -> None:
                nonlocal current
                current -= self.tensor.numel()

        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            losses.serialized_backward(model, contexts, log_weights, target)
        return highest

    assert 0 < peak(4) == peak(64)


@pytest.mark.parametrize("chunk", [1, 2, 6])
def test_serialized_backward_replays_dropout_so_that_both_passes_see_one_model(
    chunk: int,
) -> None:
    _, contexts, log_weights, target, _ = problem(2, 6, 3)
    model = net(3, 3, dropout=0.5).train()
    outputs: list[Tensor] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        outputs.append(model(part))
        return outputs[-1]

    torch.manual_seed(5)
    losses.serialized_backward(log_prob_fn, contexts, log_weights, target, chunk=chunk)
    first, second = outputs[: 6 // chunk], outputs[6 // chunk :]
    assert [x.tolist() for x in first] == [x.tolist() for x in second]
    replayed = gradients(model)

    model.zero_grad()
    torch.manual_seed(5)
    log_probs = torch.cat([model(part) for part in contexts.split(chunk, dim=1)], dim=1)
    losses.imm_loss(induced.sampled(log_probs, log_weights), target).backward()
    torch.testing.assert_close(gradients(model), replayed)


def test_serialized_backward_moves_the_generator_on_by_one_pass() -> None:
    model, contexts, log_weights, target, _ = problem(2, 4, 3)
    seen: list[float] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        seen.append(torch.rand(()).item())
        return model(part)

    losses.serialized_backward(log_prob_fn, contexts, log_weights, target)
    assert seen[:4] == seen[4:]
    assert len(set(seen)) == 4
    assert torch.rand(()).item() not in seen


@pytest.mark.parametrize(
    ("device", "in_use", "kept"),
    [
        ("cuda:1", True, ["cuda:1"]),  # not the current one
        ("cpu", True, ["cuda:3"]),  # contexts that the function itself may move to the current one
        ("cpu", False, []),
    ],
)
def test_serialized_backward_keeps_the_generator_of_the_contexts_device(
    monkeypatch: pytest.MonkeyPatch, device: str, in_use: bool, kept: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    found = serialized._cuda_devices(torch.device(device))
    assert [str(each) for each in found] == kept


def test_serialized_backward_asks_for_the_generators_of_its_contexts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[torch.device] = []
    forked: list[object] = []
    fork = torch.random.fork_rng

    def devices_of(device: torch.device) -> list[torch.device]:
        asked.append(device)
        return []

    def recorded(devices: list[torch.device]) -> object:
        forked.append(devices)
        return fork(devices)

    monkeypatch.setattr(serialized, "_cuda_devices", devices_of)
    monkeypatch.setattr(torch.random, "fork_rng", recorded)
    model, contexts, log_weights, target, _ = problem(2, 3, 3)
    losses.serialized_backward(model, contexts, log_weights, target)
    assert (asked, forked) == ([torch.device("cpu")], [[]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_serialized_backward_replays_dropout_on_a_gpu() -> None:
    _, contexts, log_weights, target, _ = problem(2, 6, 3)
    model = net(3, 3, dropout=0.5).train().cuda()
    outputs: list[Tensor] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        outputs.append(model(part.cuda()))
        return outputs[-1]

    for moved in (contexts.cuda(), contexts):  # moved by the caller, or by the function itself
        outputs.clear()
        losses.serialized_backward(log_prob_fn, moved, log_weights.cuda(), target.cuda())
        assert [x.tolist() for x in outputs[:6]] == [x.tolist() for x in outputs[6:]]


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_serialized_backward_passes_no_nan_when_targets_are_ruled_out(chunk: int) -> None:
    # y = 2 is ruled out everywhere, y = 1 for one completion, and the last one has no weight.
    mask = torch.tensor([[0.0, 0.0, -INF], [0.0, -INF, -INF], [0.0, 0.0, -INF]])
    logits = torch.zeros(3, 3, requires_grad=True)
    log_weights = torch.tensor([[0.0, 0.0, -INF]])
    target = torch.tensor([[0.5, 0.5, 0.0]])

    def log_prob_fn(index: Tensor) -> Tensor:
        return (logits + mask).log_softmax(-1)[index]

    loss = losses.serialized_backward(
        log_prob_fn, torch.tensor([[0, 1, 2]]), log_weights, target, chunk=chunk
    )
    # Q̄ = ((1/2, 1/2, 0) + (1, 0, 0))/2 = (3/4, 1/4, 0).
    assert loss.item() == pytest.approx(-0.5 * math.log(3 / 16), rel=1e-6)
    # Completion 0: a = (1/3, 1), q = (1/2, 1/2): −P̂ a + q ΣP̂ a = −1/6 + 1/3, −1/2 + 1/3.
    expected = torch.tensor([[1 / 6, -1 / 6, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(logits.grad, expected)


def test_serialized_backward_adds_zero_when_all_item_weights_are_zero() -> None:
    model, contexts, log_weights, target, weights = problem(2, 3, 4)
    loss = losses.serialized_backward(model, contexts, log_weights, target, weights=0 * weights)
    assert loss.item() == 0.0
    assert all(grad is not None and not grad.any() for grad in gradients(model))


def test_serialized_backward_keeps_the_gradient_of_low_probabilities_in_float32() -> None:
    log_probs = torch.tensor([[-150.0, 0.0], [-80.0, 0.0], [-81.0, 0.0]], requires_grad=True)
    loss = losses.serialized_backward(
        lambda index: log_probs[index],
        torch.tensor([[0, 1, 2]]),
        torch.zeros(1, 3),
        torch.tensor([[1.0, 0.0]]),
    )
    share = 1 / (1 + math.exp(-1))
    assert loss.item() == pytest.approx(80 + math.log(3 * share), rel=1e-6)
    assert log_probs.grad is not None
    grad = log_probs.grad[:, 0].tolist()
    assert grad == pytest.approx([-math.exp(-70) * share, -share, share - 1], rel=1e-4)


GOOD = (torch.zeros(2, 3), torch.zeros(2, 3), torch.full((2, 4), 0.25))


def uniform(part: Tensor) -> Tensor:
    return torch.zeros(*part.shape, 4, requires_grad=True).log_softmax(-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.serialized_backward(uniform, GOOD[0][0], *GOOD[1:]),
            r"contexts must be a tensor of shape \(N, K, ...\); received 'float32 \(3,\)'",
        ),
        (
            lambda: losses.serialized_backward(uniform, [[1]], *GOOD[1:]),
            "contexts must .*'list'",
        ),
        (
            lambda: losses.serialized_backward(uniform, GOOD[0], GOOD[1].T, GOOD[2]),
            r"log_weights must .*\(N, K\) = \(2, 3\); .*\(3, 2\)",
        ),
        (
            lambda: losses.serialized_backward(uniform, GOOD[0], GOOD[1] - INF, GOOD[2]),
            "log_weights must be finite or −inf",
        ),
        (
            lambda: losses.serialized_backward(uniform, GOOD[0][:, :0], GOOD[1][:, :0], GOOD[2]),
            "log_weights must have at least one completion",
        ),
        (
            lambda: losses.serialized_backward(uniform, *GOOD[:2], GOOD[2][:1]),
            r"target_probs must .*\(2, 4\); .*\(1, 4\)",
        ),
        (
            lambda: losses.serialized_backward(uniform, *GOOD[:2], 2 * GOOD[2]),
            "target_probs must hold distributions",
        ),
        (
            lambda: losses.serialized_backward(uniform, *GOOD, weights=torch.ones(3)),
            r"weights must .*\(2,\); .*\(3,\)",
        ),
        (lambda: losses.serialized_backward(uniform, *GOOD, chunk=0), "chunk must .*received 0"),
        (lambda: losses.serialized_backward(uniform, *GOOD, chunk=1.5), "chunk must .*1.5"),
        (lambda: losses.serialized_backward(uniform, *GOOD, chunk=True), "chunk must .*True"),
        (
            lambda: losses.serialized_backward(lambda part: uniform(part)[..., :2], *GOOD),
            r"log_prob_fn\(contexts\) must .*\(N, c, Y\) = \(2, 1, 4\); .*\(2, 1, 2\)",
        ),
        (
            lambda: losses.serialized_backward(lambda part: uniform(part).detach(), *GOOD),
            "log_prob_fn must return a tensor with gradients",
        ),
    ],
)
def test_serialized_backward_refuses_bad_arguments_by_name(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()

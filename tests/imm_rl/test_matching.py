"""`InducedModelMatching` as RL, language and logistic code use it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from imm_rl import induced, losses
from imm_rl.errors import InvalidInputError
from imm_rl.matching import (
    InBatch,
    InducedModelMatching,
    Sampled,
    SharedSupport,
    Term,
)

Array = npt.NDArray[np.float64]
INF = float("inf")


class Fixed:
    """A restricted model that returns one table, whatever the context."""

    def __init__(self, table: object) -> None:
        self.table = table

    def probs(self, context: object) -> object:
        return self.table


class FirstState:
    """A restricted policy over beliefs: two actions, the first as likely as the first state."""

    def probs(self, context: Array) -> Array:
        return np.stack([context[..., 0], 1 - context[..., 0]], axis=-1)


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def table_of(log_probs: Tensor) -> Callable[[object], Tensor]:
    return lambda _: log_probs


# --- beliefs over a shared support (RL) ---------------------------------------------------------


def test_term_of_beliefs_equals_hand_value_and_gradient() -> None:
    log_probs = double([[0.5, 0.5], [0.1, 0.9]]).log().requires_grad_()
    imm = InducedModelMatching(FirstState(), SharedSupport())
    term = imm.term(table_of(log_probs), np.array([[0.25, 0.75]]))
    # Q̄ = (0.2, 0.8), P̂ = (0.25, 0.75).
    torch.testing.assert_close(term.induced, double([[0.2, 0.8]]).log())
    torch.testing.assert_close(term.target, double([[0.25, 0.75]]))
    assert term.loss.item() == pytest.approx(-0.25 * math.log(0.2) - 0.75 * math.log(0.8))
    term.loss.backward()
    # −P̂(y) a_s(y), with a(0) = (0.625, 0.375) and a(1) = (0.125, 0.675)/0.8.
    expected = [[-0.15625, -0.1171875], [-0.09375, -0.6328125]]
    torch.testing.assert_close(log_probs.grad, double(expected))


def test_term_has_one_loss_a_run_the_same_as_alone() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 4, 2)))
    beliefs, weights = rng.dirichlet(np.ones(4), size=(3, 5)), rng.uniform(size=(3, 5))
    imm = InducedModelMatching(FirstState(), SharedSupport())

    def gradient(logits: Tensor, beliefs: Array, weights: Array) -> tuple[Tensor, Tensor]:
        logits = logits.clone().requires_grad_()
        loss = imm.term(table_of(logits.log_softmax(-1)), beliefs, weights).loss
        return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]

    together = gradient(logits, beliefs, weights)
    assert together[0].shape == (3,)
    for run in range(3):
        alone = gradient(logits[run], beliefs[run], weights[run])
        torch.testing.assert_close((together[0][run], together[1][run]), alone, rtol=1e-12, atol=0)


def test_term_shares_beliefs_and_targets_between_runs() -> None:
    rng = np.random.default_rng(1)
    log_probs = torch.from_numpy(rng.normal(size=(3, 4, 2))).log_softmax(-1)
    beliefs, weights = rng.dirichlet(np.ones(4), size=5), rng.uniform(size=5)
    imm = InducedModelMatching(FirstState(), SharedSupport())
    shared = imm.term(table_of(log_probs), beliefs, weights)
    own = imm.term(table_of(log_probs), np.stack([beliefs] * 3), np.stack([weights] * 3))
    torch.testing.assert_close(shared.loss, own.loss)
    assert shared.loss.shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["array", "read-only", "reversed", "float32", "tensor"])
def test_term_takes_arrays_and_tensors_and_follows_the_dtype_of_the_model(
    dtype: torch.dtype, kind: str
) -> None:
    beliefs = np.array([[0.25, 0.75], [0.5, 0.5]])
    given = {
        "array": beliefs,
        "read-only": beliefs.copy(),
        "reversed": beliefs[:, ::-1].copy()[:, ::-1],
        "float32": beliefs.astype(np.float32),
        "tensor": torch.from_numpy(beliefs),
    }[kind]
    if isinstance(given, np.ndarray):
        given.flags.writeable = kind != "read-only"
    log_probs = double([[0.5, 0.5], [0.1, 0.9]]).log().to(dtype)
    target = [[0.25, 0.75], [1.0, 0.0]]
    restricted = Fixed(torch.tensor(target) if kind == "tensor" else np.array(target))
    term = InducedModelMatching(restricted, SharedSupport()).term(table_of(log_probs), given)
    assert {term.loss.dtype, term.target.dtype, term.induced.dtype} == {dtype}
    first = -0.25 * math.log(0.2) - 0.75 * math.log(0.8)
    assert term.loss.item() == pytest.approx((first - math.log(0.3)) / 2, rel=1e-6)


def test_shared_support_hands_its_support_to_the_model_and_its_context_to_the_weights() -> None:
    support = double([[0.0], [1.0], [2.0]])
    model = nn.Sequential(nn.Linear(1, 2), nn.LogSoftmax(-1)).double()
    centres = np.array([0.0, 2.0])

    def kernel(context: Array) -> Array:
        near = np.exp(-((context[:, None] - np.arange(3.0)) ** 2))
        return near / near.sum(-1, keepdims=True)

    imm = InducedModelMatching(
        Fixed(np.array([[1.0, 0.0], [0.5, 0.5]])), SharedSupport(support, kernel)
    )
    term = imm.term(model, centres)
    expected = torch.from_numpy(kernel(centres)) @ model(support).exp()
    torch.testing.assert_close(term.induced.exp(), expected)


def test_term_keeps_the_gradient_of_argmax_targets_at_low_probabilities_in_float32() -> None:
    logits = torch.tensor([[0.0, 80.0], [80.0, 0.0]], requires_grad=True)
    imm = InducedModelMatching(Fixed(np.array([[1.0, 0.0]])), SharedSupport())
    term = imm.term(table_of(logits.log_softmax(-1)), np.array([[1.0, 0.0]]))
    assert term.loss.item() == pytest.approx(80.0)
    term.loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]))


# --- sampled and in-batch completions (language, tables) ----------------------------------------


def drawn_problem() -> tuple[nn.Sequential, Tensor, Array, Array]:
    """A net, contexts (N, K, 3), log-weights (N, K) and targets (N, Y)."""
    rng = np.random.default_rng(2)
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(-1)).double()
    contexts = torch.from_numpy(rng.normal(size=(5, 6, 3)))
    return model, contexts, rng.normal(size=(5, 6)), rng.dirichlet(np.ones(4), size=5)


def test_sampled_term_is_the_loss_of_the_sampled_mixture() -> None:
    model, contexts, log_weights, target = drawn_problem()
    completions = Sampled(lambda context: (contexts[context], log_weights[context]))
    rows = np.array([3, 1])
    imm = InducedModelMatching(Fixed(target[rows]), completions)
    term = imm.term(model, rows, weights=np.array([1.0, 2.0]))
    mixture = induced.sampled(model(contexts[rows]), torch.from_numpy(log_weights[rows]))
    expected = losses.imm_loss(mixture, torch.from_numpy(target[rows]), double([1.0, 2.0]))
    torch.testing.assert_close(term.loss, expected)


def gradients_by(completions: Sampled, scale: float) -> tuple[Tensor, list[Tensor]]:
    model, _, _, target = drawn_problem()
    imm = InducedModelMatching(Fixed(target), completions)
    loss = imm.backward(model, None, scale, weights=np.arange(5.0))
    return loss, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("chunk", [1, 4])
def test_backward_adds_the_same_gradient_serialized_and_not(chunk: int) -> None:
    model, contexts, log_weights, target = drawn_problem()

    def draw(_: object) -> tuple[Tensor, Array]:
        return contexts, log_weights

    imm = InducedModelMatching(Fixed(target), Sampled(draw))
    term = imm.term(model, None, weights=np.arange(5.0))
    (0.7 * term.loss).backward()
    expected = [p.grad for p in model.parameters()]
    plain = gradients_by(Sampled(draw), 0.7)
    serialized = gradients_by(Sampled(draw, serialized=True, chunk=chunk), 0.7)
    for loss, gradients in (plain, serialized):
        torch.testing.assert_close(loss, term.loss.detach())
        assert not loss.requires_grad
        torch.testing.assert_close(gradients, expected)


def test_backward_serialized_shows_the_model_one_chunk_at_a_time() -> None:
    model, contexts, log_weights, target = drawn_problem()
    completions = Sampled(lambda _: (contexts, log_weights), serialized=True, chunk=2)
    sizes: list[int] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        sizes.append(part.shape[1])
        return model(part)

    InducedModelMatching(Fixed(target), completions).backward(log_prob_fn, None)
    assert sizes == [2] * 6


def test_backward_sums_the_losses_of_runs() -> None:
    log_probs = torch.zeros(3, 2, 2, dtype=torch.float64).log_softmax(-1).requires_grad_()
    imm = InducedModelMatching(FirstState(), SharedSupport())
    loss = imm.backward(table_of(log_probs), np.array([[1.0, 0.0]]), 5.0)
    torch.testing.assert_close(loss, torch.full((3,), math.log(2), dtype=torch.float64))
    torch.testing.assert_close(log_probs.grad, double([[[-5.0, 0.0], [0.0, 0.0]]] * 3))


@pytest.mark.parametrize("serialized", [False, True])
def test_backward_builds_no_graph_and_no_gradients_when_scale_is_zero(serialized: bool) -> None:
    model, contexts, log_weights, target = drawn_problem()
    completions = Sampled(lambda _: (contexts, log_weights), serialized=serialized)
    with_graph: list[bool] = []

    def log_prob_fn(part: Tensor) -> Tensor:
        with_graph.append(torch.is_grad_enabled())
        return model(part)

    loss = InducedModelMatching(Fixed(target), completions).backward(log_prob_fn, None, 0.0)
    assert loss.item() > 0.0
    assert not any(with_graph)
    assert all(p.grad is None for p in model.parameters())


def test_in_batch_items_with_one_label_complete_each_other() -> None:
    log_probs = double([[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]]).log().requires_grad_()
    labels = np.array([907, 3, 907])
    target = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    imm = InducedModelMatching(Fixed(target), InBatch(lambda context: context))
    term = imm.term(table_of(log_probs), labels)
    torch.testing.assert_close(term.induced.exp(), double([[0.3, 0.7], [0.2, 0.8], [0.3, 0.7]]))
    assert term.loss.item() == pytest.approx(-(2 * math.log(0.3) + math.log(0.8)) / 3)
    term.loss.backward()
    # Label 907: twice −1/3, shared 5 : 1; label 3: −1/3 on its target.
    expected = [[-5 / 9, 0.0], [0.0, -1 / 3], [-1 / 9, 0.0]]
    torch.testing.assert_close(log_probs.grad, double(expected))


def test_in_batch_with_a_row_a_group_is_the_same_loss_and_gradient() -> None:
    rng = np.random.default_rng(4)
    labels = torch.tensor([1, 0, 1, 2, 1, 0, 2, 2, 3])
    sizes = torch.bincount(labels).double()
    table = rng.dirichlet(np.ones(5), size=4)
    logits = torch.from_numpy(rng.normal(size=(9, 5)))

    def result(per_group: bool) -> tuple[Tensor, Tensor, Tensor]:
        x = logits.clone().requires_grad_()
        target = table if per_group else table[labels]
        completions = InBatch(lambda context: context, per_group=per_group)
        imm = InducedModelMatching(Fixed(target), completions)
        weights = sizes if per_group else None
        term = imm.term(lambda _: x.log_softmax(-1), labels, weights)
        gradient = torch.autograd.grad(term.loss, x)[0]
        kl = imm.measures(term, weights)["kl"]
        assert term.induced.shape == ((4, 5) if per_group else (9, 5))
        return term.loss.detach(), gradient, kl

    torch.testing.assert_close(result(True), result(False), rtol=1e-12, atol=1e-15)


def test_three_completions_of_one_problem_agree() -> None:
    # One restricted context that stands for two full ones: the same loss by every estimate.
    log_probs = double([[0.5, 0.5], [0.2, 0.8]]).log()
    one, two = np.array([[0.3, 0.7]]), np.array([[0.3, 0.7]] * 2)
    terms = [
        InducedModelMatching(Fixed(one), SharedSupport()).term(
            table_of(log_probs), np.array([[0.5, 0.5]])
        ),
        InducedModelMatching(
            Fixed(one), Sampled(lambda _: (torch.tensor([[0, 1]]), np.zeros((1, 2))))
        ).term(lambda index: log_probs[index], None),
        InducedModelMatching(Fixed(two), InBatch(lambda _: np.array([4, 4]))).term(
            table_of(log_probs), None
        ),
    ]
    expected = -0.3 * math.log(0.35) - 0.7 * math.log(0.65)
    assert [term.loss.item() for term in terms] == pytest.approx([expected] * 3, rel=1e-12)


# --- measures -----------------------------------------------------------------------------------


def test_measures_equal_hand_values() -> None:
    log_probs = double([[0.5, 0.5], [0.1, 0.9]]).log().requires_grad_()
    beliefs, weights = np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1.0, 3.0])
    target = np.array([[0.75, 0.25], [0.5, 0.5]])
    imm = InducedModelMatching(Fixed(target), SharedSupport())
    term = imm.term(table_of(log_probs), beliefs, weights)
    measures = imm.measures(term, weights, log_probs=log_probs, support_weights=beliefs)
    # Item 0: P̂ = (3/4, 1/4), Q̄ = (0.2, 0.8): they disagree. Item 1: P̂ = Q̄, all tied: they agree.
    kl = 0.75 * math.log(0.75 / 0.2) + 0.25 * math.log(0.25 / 0.8)
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.75 * math.log(0.75 / 0.1) + 0.25 * math.log(0.25 / 0.9)
    assert measures.keys() == {"kl", "agreement", "naive_kl"}
    assert measures["kl"].item() == pytest.approx(kl / 4)
    assert measures["agreement"].item() == pytest.approx(0.75)
    assert measures["naive_kl"].item() == pytest.approx((first / 4 + 3 * second / 4) / 4)
    assert not any(value.requires_grad for value in measures.values())


def test_measures_count_items_equally_when_no_weights_are_given() -> None:
    log_probs = double([[0.5, 0.5], [0.1, 0.9]]).log()
    target = np.array([[0.75, 0.25], [0.5, 0.5]])
    imm = InducedModelMatching(Fixed(target), SharedSupport())
    measures = imm.measures(imm.term(table_of(log_probs), np.array([[0.25, 0.75], [1.0, 0.0]])))
    assert measures.keys() == {"kl", "agreement"}
    assert measures["agreement"].item() == pytest.approx(0.5)


def test_measures_are_one_a_run_and_bound_each_other() -> None:
    rng = np.random.default_rng(3)
    log_probs = torch.from_numpy(rng.normal(size=(3, 4, 2))).log_softmax(-1)
    beliefs, weights = rng.dirichlet(np.ones(4), size=(3, 5)), rng.uniform(size=(3, 5))
    weights[2] = 0.0
    imm = InducedModelMatching(FirstState(), SharedSupport())
    term = imm.term(table_of(log_probs), beliefs, weights)
    measures = imm.measures(term, weights, log_probs=log_probs, support_weights=beliefs)
    assert {value.shape for value in measures.values()} == {(3,)}
    assert (measures["naive_kl"][:2] > measures["kl"][:2]).all()
    assert (measures["kl"][:2] > 0).all()
    assert [value[2].item() for value in measures.values()] == [0.0, 0.0, 0.0]


def test_measures_are_zero_where_the_induced_model_is_the_restricted_one() -> None:
    target = np.array([[0.3, 0.7], [0.6, 0.4], [1.0, 0.0]])
    log_probs = torch.from_numpy(target).float().log()
    imm = InducedModelMatching(Fixed(target), SharedSupport())
    term = imm.term(table_of(log_probs), np.eye(3))
    measures = imm.measures(term, log_probs=log_probs, support_weights=np.eye(3))
    assert measures["kl"].item() == pytest.approx(0.0, abs=1e-7)
    assert measures["kl"].item() >= 0.0
    assert measures["agreement"].item() == pytest.approx(1.0)
    assert measures["naive_kl"].item() == pytest.approx(0.0, abs=1e-7)


def test_measures_naive_kl_is_infinite_only_where_a_weighted_state_rules_the_target_out() -> None:
    log_probs = double([[0.0, -INF], [math.log(0.5), math.log(0.5)]])

    def naive_kl(target: list[float], belief: list[float]) -> float:
        imm = InducedModelMatching(Fixed(np.array([target])), SharedSupport())
        beliefs = np.array([belief])
        term = imm.term(table_of(log_probs), beliefs)
        measures = imm.measures(term, log_probs=log_probs, support_weights=beliefs)
        return measures["naive_kl"].item()

    assert naive_kl([0.0, 1.0], [0.5, 0.5]) == INF
    assert naive_kl([0.0, 1.0], [0.0, 1.0]) == pytest.approx(math.log(2))
    assert naive_kl([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.log(2) / 2)


# --- arguments ----------------------------------------------------------------------------------


def test_matching_parses_its_schedule() -> None:
    imm = InducedModelMatching(FirstState(), SharedSupport(), "linear:1->0@0.5")
    assert imm.schedule(0.25) == 0.5
    assert InducedModelMatching(FirstState(), SharedSupport()).schedule(0.5) == 0.0
    with pytest.raises(InvalidInputError, match="a λ schedule must"):
        InducedModelMatching(FirstState(), SharedSupport(), "much")


def test_matching_checks_values_on_the_first_good_call_only() -> None:
    log_probs = torch.zeros(2, 2).log_softmax(-1)
    good, bad = np.array([[0.5, 0.5]]), np.array([[0.5, 0.7]])
    imm = InducedModelMatching(FirstState(), SharedSupport())
    for _ in range(2):  # a refused call does not use the check up
        with pytest.raises(InvalidInputError, match="weights must hold distributions"):
            imm.term(table_of(log_probs), bad)
    imm.term(table_of(log_probs), good)
    assert imm.term(table_of(log_probs), bad).loss.isfinite()
    unchecked = InducedModelMatching(FirstState(), SharedSupport(), check=False)
    assert unchecked.term(table_of(log_probs), bad).loss.isfinite()


def test_matching_checks_shapes_on_every_call() -> None:
    imm = InducedModelMatching(FirstState(), SharedSupport())
    log_probs = torch.zeros(2, 2).log_softmax(-1)
    imm.term(table_of(log_probs), np.array([[0.5, 0.5]]))
    with pytest.raises(InvalidInputError, match=r"weights must .*\(N, S\) = \(1, 3\)"):
        imm.term(table_of(torch.zeros(3, 2)), np.array([[0.5, 0.5]]))


def term_with(
    *, restricted: object = None, completions: object = None, weights: object = None
) -> Callable[[], Term]:
    def call() -> Term:
        imm = InducedModelMatching(
            Fixed(np.array([[0.5, 0.5]])) if restricted is None else restricted,  # type: ignore[arg-type]
            SharedSupport() if completions is None else completions,  # type: ignore[arg-type]
        )
        log_probs = torch.zeros(2, 2).log_softmax(-1)
        return imm.term(table_of(log_probs), np.array([[0.5, 0.5]]), weights)  # type: ignore[arg-type]

    return call


class OneRow:
    def induced(self, log_prob_fn: object, context: object, *, check: bool = True) -> Tensor:
        return torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (term_with(restricted=3), "restricted must have a method probs; received 'int'"),
        (term_with(completions=3), "completions must have a method induced; received 'int'"),
        (term_with(restricted=Fixed([[0.5, 0.5]])), r"restricted.probs\(context\) must .*'list'"),
        (
            term_with(restricted=Fixed(np.ones((1, 3)) / 3)),
            r"restricted.probs\(context\) must .*\(N, Y\) = \(1, 2\); .*\(1, 3\)",
        ),
        (
            term_with(restricted=Fixed(np.array([[0.5, 0.6]]))),
            r"restricted.probs\(context\) must hold distributions",
        ),
        (term_with(completions=OneRow()), r"completions.induced\(...\) must .*\(2,\)"),
        (term_with(completions=SharedSupport(None, lambda b: b.tolist())), "weights of SharedSup"),
        (term_with(completions=Sampled(lambda _: ([0], [0]))), r"contexts of Sampled .*'list'"),
        (
            term_with(completions=Sampled(lambda _: (torch.zeros(1, 1), [0]))),
            "log-weights of Sampled must .*'list'",
        ),
        (term_with(completions=InBatch(lambda _: [0, 1])), "groups of InBatch must .*'list'"),
        (term_with(weights=[1.0]), "weights must be a NumPy array or a tensor; received 'list'"),
        (term_with(weights=np.ones(2)), r"weights must .*\(N\) = \(1,\); .*\(2,\)"),
        (term_with(weights=np.array([-1.0])), "weights must be finite and at least 0"),
        (
            lambda: Sampled(lambda _: (torch.zeros(1, 1), np.zeros(1)), chunk=2),
            "chunk must be left",
        ),
    ],
)
def test_matching_refuses_bad_parts_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call()


def test_measures_refuse_half_of_what_naive_kl_needs() -> None:
    log_probs = torch.zeros(2, 2).log_softmax(-1)
    imm = InducedModelMatching(FirstState(), SharedSupport())
    term = imm.term(table_of(log_probs), np.array([[0.5, 0.5]]))
    with pytest.raises(InvalidInputError, match="log_probs and support_weights must be given"):
        imm.measures(term, log_probs=log_probs)
    with pytest.raises(InvalidInputError, match=r"support_weights must .*\(N, S\) = \(1, 2\)"):
        imm.measures(term, log_probs=log_probs, support_weights=np.ones((1, 3)))

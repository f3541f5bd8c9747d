"""Sparse weights give the loss, the gradient and the measures that dense weights give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from imm_rl import induced
from imm_rl.errors import InvalidInputError
from imm_rl.matching import InducedModelMatching, SharedSupport
from imm_rl.sparse_rows import SparseRows, _gathered

R, N, S, Y = 3, 5, 11, 4


def weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.random(shape) * (rng.random(shape) < 0.4)
    drawn[..., 2] += 0.1
    return drawn / drawn.sum(axis=-1, keepdims=True)


def log_probs(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (3.0 * logits).log_softmax(-1).to(dtype).requires_grad_()


class Fixed:
    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def probs(self, _: object) -> np.ndarray:
        return self.table


@pytest.mark.parametrize(
    ("leading", "runs"), [((), None), ((R,), None), ((R,), R)], ids=["one", "shared", "own"]
)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_sparse_weights_give_what_dense_ones_give(
    leading: tuple[int, ...], runs: int | None, dtype: torch.dtype, atol: float
) -> None:
    dense = weights(N, S) if runs is None else weights(R, N, S)
    rows = SparseRows(sp.csr_array(dense.reshape(-1, S)), runs)
    target = np.random.default_rng(2).dirichlet(np.ones(Y), N)
    found = []
    for given in (dense, rows):
        table = log_probs(*leading, S, Y, dtype=dtype)
        imm = InducedModelMatching(Fixed(target), SharedSupport())
        term = imm.term(lambda _, table=table: table, given)
        measures = imm.measures(term, log_probs=table, support_weights=given)
        (gradient,) = torch.autograd.grad(term.loss.sum(), table)
        found.append([term.loss, term.induced, gradient, *measures.values()])
        assert gradient.dtype == dtype
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.0, atol=atol)


def test_sparse_product_by_hand() -> None:
    # Run 0 takes half of each of its first two rows, run 1 all of its last.
    rows = SparseRows(sp.csr_array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), 2)
    values = torch.arange(12.0, dtype=torch.float64).reshape(2, 3, 2).requires_grad_()
    product = rows.product(values)
    assert product.tolist() == [[[1.0, 2.0]], [[10.0, 11.0]]]
    (product * torch.tensor([1.0, 10.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [
        [[0.5, 5.0], [0.5, 5.0], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 0.0], [1.0, 10.0]],
    ]


def test_the_product_of_other_devices_is_that_of_the_cpu() -> None:
    matrix, found = sp.csr_array(weights(N, S)), []
    for product in (SparseRows(matrix).product, lambda values: _gathered(matrix, values)):
        table = log_probs(S, Y)
        summed = product(table)
        found.append((summed, torch.autograd.grad((summed**2).sum(), table)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(found[0][0].detach(), matrix @ log_probs(S, Y).detach().numpy())


def test_a_target_ruled_out_everywhere_is_ruled_out_without_a_nan() -> None:
    table = torch.tensor([[0.0, -math.inf], [math.log(0.5)] * 2], dtype=torch.float64)
    table.requires_grad_()
    rows = SparseRows(sp.csr_array([[1.0, 0.0], [0.5, 0.5]]))
    found = induced.shared_support(table, rows)
    np.testing.assert_allclose(found[0].detach(), [0.0, -math.inf])
    np.testing.assert_allclose(found[1].detach().exp(), [0.75, 0.25])
    found[1].sum().backward()
    assert table.grad is not None
    assert bool(torch.isfinite(table.grad).all())
    # The mean over completions of log Q is −inf wherever one with a weight is.
    imm = InducedModelMatching(Fixed(np.array([[1.0, 0.0], [0.5, 0.5]])), SharedSupport())
    term = imm.term(lambda _: table, rows)
    measures = imm.measures(term, log_probs=table, support_weights=rows)
    assert float(measures["naive_kl"]) == math.inf


@pytest.mark.parametrize(
    ("matrix", "runs", "said"),
    [
        (np.ones((2, 3)) / 3, None, "columns"),
        (np.ones((4, 2)) / 2, 2, "runs"),
        (np.ones((3, 2)), None, "distributions"),
        (np.array([[1.5, -0.5]]), None, "distributions"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    matrix: np.ndarray, runs: int | None, said: str
) -> None:
    table = log_probs(2, Y)
    with pytest.raises(InvalidInputError, match=said):
        induced.shared_support(table, SparseRows(sp.csr_array(matrix), runs))

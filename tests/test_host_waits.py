"""The test tool `no_host_waits`: it catches what waits, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch

VALUES = torch.arange(6.0).reshape(2, 3)
MASK = VALUES > 2
NoHostWaits = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("wait", "message"),
    [
        (lambda: VALUES.sum().item(), "_local_scalar_dense"),
        (lambda: float(VALUES.sum()), "_local_scalar_dense"),
        (lambda: int(VALUES.argmax()), "_local_scalar_dense"),
        (lambda: bool(MASK.any()), "_local_scalar_dense|is_nonzero"),
        (lambda: 1 if MASK.all() else 0, "_local_scalar_dense|is_nonzero"),
        (lambda: torch.allclose(VALUES, VALUES), "allclose"),
        (lambda: torch.equal(VALUES, VALUES), "equal"),
        (lambda: list(range(VALUES.argmax())), "_local_scalar_dense"),
        (lambda: MASK.nonzero(), "nonzero"),
        (lambda: torch.where(MASK), "nonzero"),
        (lambda: VALUES[MASK], "boolean index"),
        (lambda: VALUES.masked_select(MASK), "masked_select"),
        (lambda: VALUES.clone().__setitem__(MASK, torch.zeros(3)), "boolean index"),
        (lambda: VALUES.unique(), "_unique2"),
        (lambda: VALUES.unique(dim=0), "unique_dim"),
        (lambda: VALUES.unique_consecutive(), "unique_consecutive"),
        (lambda: VALUES.long().flatten().bincount(), "bincount"),
        (lambda: VALUES.repeat_interleave(torch.tensor([1, 2]), 0), "repeat_interleave"),
        (lambda: VALUES.tolist(), "tolist"),
        (lambda: VALUES.numpy(), "numpy"),
        (lambda: np.asarray(VALUES), "__array__|numpy"),
        (lambda: VALUES.cpu(), "cpu"),
        (lambda: VALUES.to_sparse(), "_to_sparse|nonzero"),
    ],
)
def test_no_host_waits_refuses(
    wait: Callable[[], Any], message: str, no_host_waits: NoHostWaits
) -> None:
    with pytest.raises(AssertionError, match=message), no_host_waits():
        wait()
    wait()  # and outside it is as it was


def test_no_host_waits_sees_the_backward_pass(no_host_waits: NoHostWaits) -> None:
    class Looking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            return grads[0] * float(grads[0].sum())

    x = torch.ones(3, requires_grad=True)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), no_host_waits():
        Looking.apply(x).sum().backward()


def test_no_host_waits_lets_all_else_pass(no_host_waits: NoHostWaits) -> None:
    weight = torch.ones(3, 3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with no_host_waits():
        rows = torch.tensor([1, 0])  # an upload is no round trip
        loss = torch.where(MASK, VALUES @ weight, 0.0)[rows].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()
        filled = VALUES.clone()
        filled[MASK] = 0.0
        filled.masked_fill_(MASK, 1.0).index_put_((rows,), VALUES, accumulate=True)
        uploaded = torch.from_numpy(np.ones(3)).to("cpu", non_blocking=True)
        uploaded.repeat_interleave(torch.tensor([1, 2, 3]), output_size=6)
        torch.zeros(4).index_add_(0, rows, VALUES[:, 0])
    assert float(weight.detach().sum()) < 9.0

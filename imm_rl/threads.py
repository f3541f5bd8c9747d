"""Keeps PyTorch to one thread where the tensors are small.

Sharing out a hundred thousand numbers between two cores gains little when both are free, and when one
is busy with something else every operation waits for it: the paper's figure of the grid took 15 s on two
threads of a quiet 2-core machine, 200 s on the same machine beside one other process, and 17 to 19 s on
one thread in both cases. The figure of logistic regression, tensors of two million numbers: 16 s and 23 s
on two threads and one of the quiet machine, 160 s and 32 s on the busy one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1_000_000
"""Elements of the largest tensor below which one thread is used."""


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside the block, or the function that it decorates; the setting before, after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fitting_threads(elements: int) -> Iterator[None]:
    """One thread inside the block if the largest tensor is small; the setting before, after it."""
    if elements >= SMALL:
        yield
        return
    with one_thread():
        yield

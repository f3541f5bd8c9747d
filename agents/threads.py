"""Keeps PyTorch to one thread where the tensors are small.

Sharing out a hundred thousand numbers between two cores gains little when both are free, and when one
is busy with something else every operation waits for it: the paper's figure took 15 s on two threads
of a quiet 2-core machine, 200 s on the same machine beside one other process, and 17 to 19 s on one
thread in both cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1_000_000
"""Elements of the largest tensor below which one thread is used."""


@contextmanager
def fitting_threads(elements: int) -> Iterator[None]:
    """One thread inside the block if the largest tensor is small; the setting before, after it."""
    before = torch.get_num_threads()
    if elements < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

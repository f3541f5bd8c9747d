"""One thread for small tensors, and the user's setting afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from imm_rl.threads import SMALL, fitting_threads, one_thread


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("elements", "inside"), [(SMALL - 1, 1), (SMALL, 3)])
def test_threads_fit_the_size_and_are_put_back(elements: int, inside: int) -> None:
    with fitting_threads(elements):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == 3


def test_one_thread_decorates_a_function_that_may_be_called_again() -> None:
    inside = one_thread()(torch.get_num_threads)
    assert [inside(), inside()] == [1, 1]
    assert torch.get_num_threads() == 3

"""fitting_threads: one thread for small tensors, and the user's setting afterwards."""

from __future__ import annotations

import pytest
import torch

from imm_rl.agents.threads import SMALL, fitting_threads


@pytest.mark.parametrize(("elements", "inside"), [(SMALL - 1, 1), (SMALL, 3)])
def test_threads_fit_the_size_and_are_put_back(elements: int, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with fitting_threads(elements):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

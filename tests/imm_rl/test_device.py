from __future__ import annotations

import pytest
import torch

from imm_rl.device import torch_device
from imm_rl.errors import InvalidInputError


@pytest.mark.parametrize("found", [False, True])
def test_torch_device_is_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert torch_device("cpu").type == "cpu"
    assert torch_device("auto").type == ("cuda" if found else "cpu")


def test_torch_device_refuses_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match="finds no CUDA device here. Use 'cpu' or 'auto'"):
        torch_device("cuda")
    with pytest.raises(InvalidInputError, match="unknown device 'gpu'.*Known: auto, cpu, cuda"):
        torch_device("gpu")

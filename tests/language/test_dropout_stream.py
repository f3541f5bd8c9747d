from __future__ import annotations

import pytest
import torch

from imm_rl.language.dropout_stream import DropoutStream

CPU = torch.device("cpu")


def masks(stream: DropoutStream) -> torch.Tensor:
    with stream.drawn_from():
        return torch.nn.functional.dropout(torch.ones(64), 0.5)


def test_a_stream_gives_the_masks_of_its_seed() -> None:
    torch.manual_seed(5)
    expected = torch.nn.functional.dropout(torch.ones(64), 0.5)
    stream = DropoutStream(5, CPU)
    assert torch.equal(masks(stream), expected)
    assert not torch.equal(masks(stream), expected)  # it goes on
    assert not torch.equal(masks(DropoutStream(5, CPU, rank=1)), expected)


def test_a_stream_seeds_no_generator_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` reseeds all GPUs of the machine."""

    def seeded(seed: int) -> None:
        raise AssertionError("everybody's generators were seeded")

    monkeypatch.setattr(torch, "manual_seed", seeded)
    before = torch.get_rng_state()
    DropoutStream(5, CPU)
    assert torch.equal(torch.get_rng_state(), before)

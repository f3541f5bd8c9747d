"""The random numbers of a training's dropout, apart from everybody else's.

PyTorch's layers draw their masks from the generator that all of the process share. A `DropoutStream` puts
it, for the time of a block, where this training left it, and back where it was afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class DropoutStream:
    """One training's masks.

    Attributes:
        state: Where the stream stands; part of a checkpoint, and only good on the same kind of device.

    Args:
        seed: Of the stream.
        device: Of the model.
        rank: Of the process, of several that train one model: each has masks of its own, the first one
            those of a training in one process.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self._device = device
        if rank:
            seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
        # Not by `torch.manual_seed`, which reseeds the generators of all GPUs, and others draw from these.
        kind = device if device.type == "cuda" else "cpu"
        self.state = torch.Generator(kind).manual_seed(seed).get_state()

    def keep(self) -> None:
        """Notes where the stream stands, within its block."""
        self.state = self._now()

    @contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Layers draw from this stream inside the block."""
        with torch.random.fork_rng(self._devices()):
            if self._device.type == "cuda":
                torch.cuda.set_rng_state(self.state, self._device)
            else:
                torch.set_rng_state(self.state)
            try:
                yield
            finally:
                self.keep()

    def _devices(self) -> list[torch.device]:
        return [self._device] if self._device.type == "cuda" else []

    def _now(self) -> torch.Tensor:
        if self._device.type == "cuda":
            return torch.cuda.get_rng_state(self._device)
        return torch.get_rng_state()

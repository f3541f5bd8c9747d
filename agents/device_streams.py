"""`DeviceStreams`: the numbers of `SeedStreams` on a device, drawn ahead on the host.

Each seed keeps its own NumPy generator, so that its numbers depend neither on the device nor on the seeds
that train along. They are drawn for several updates at a time, since asking thousands of generators costs
more than what they give, and go up in one piece; an upload makes nobody wait.

Index letters: L variants, K seeds, E copies, R = L·K·E rows, T steps, P updates drawn ahead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.streams import generator
from imm_rl.device import uploaded

MOST_BYTES = 1 << 25
"""Of numbers drawn ahead by one stream: 32 MiB, unless a single update needs more."""

MOST_AHEAD = 32
"""Updates drawn ahead at most."""


class DeviceStreams:
    """One purpose's generators of K seeds, as `SeedStreams`; the numbers are float64 tensors.

    Args:
        seeds: K of them.
        purpose: A name of `streams.PURPOSES`.
        n_variants: L.
        device: Where the numbers go.
    """

    def __init__(
        self, seeds: Sequence[int], purpose: str, n_variants: int, device: torch.device
    ) -> None:
        self._generators = [generator(seed, purpose) for seed in seeds]
        self._n_variants, self._device = n_variants, device
        self._shape: tuple[int, int, int] = (0, 0, 0)
        self._block = torch.zeros(0)  # (K, P, blocks, T, E)
        self._left = 0  # updates drawn and not yet asked for

    def uniforms(self, n_blocks: int, n_steps: int, n_envs: int) -> Tensor:
        """Uniform numbers (n_blocks, n_steps, R) on [0, 1), the same for every variant of a seed."""
        shape = (n_blocks, n_steps, n_envs)
        if shape != self._shape or not self._left:
            self._draw(shape)
        drawn = self._block[:, self._block.shape[1] - self._left]  # (K, blocks, T, E)
        self._left -= 1
        by_step = drawn.permute(1, 2, 0, 3).unsqueeze(2)
        expanded = by_step.expand(-1, -1, self._n_variants, -1, -1)
        return expanded.reshape(n_blocks, n_steps, -1)

    def _draw(self, shape: tuple[int, int, int]) -> None:
        self._rewind()
        again = shape == self._shape  # what is asked for once, as at a start, is not drawn ahead
        size = 8 * math.prod(shape) * len(self._generators)
        ahead = min(max(MOST_BYTES // size, 1), MOST_AHEAD) if again else 1
        numbers = np.empty((len(self._generators), ahead, *shape))
        for row, source in zip(numbers, self._generators, strict=True):
            source.random(out=row)
        self._block, self._shape, self._left = uploaded(numbers, self._device), shape, ahead

    def _rewind(self) -> None:
        """Puts the generators where the numbers that were given away end."""
        for source, state in zip(self._generators, self._states(), strict=True):
            source.bit_generator.state = state
        self._left = 0

    def _states(self) -> list[dict[str, object]]:
        states = [dict(source.bit_generator.state) for source in self._generators]
        if not self._left:
            return states
        back = self._left * math.prod(self._shape)  # one step of the generator for each number
        found = []
        for state in states:
            moved: Any = np.random.PCG64()
            moved.state = state
            moved.advance(2**128 - back)
            found.append(dict(moved.state))
        return found

    def state(self) -> str:
        """Where every generator stands, as JSON; `SeedStreams` takes it as well."""
        return json.dumps(self._states())

    def restore(self, state: str) -> None:
        """Puts every generator where `state` says."""
        for source, saved in zip(self._generators, json.loads(state), strict=True):
            source.bit_generator.state = saved
        self._left = 0

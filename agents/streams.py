"""Random streams: one generator for each seed and purpose, so that no part disturbs another's numbers.

The environment, the agent, the contexts and the evaluation draw from streams of their own. Runs of
one seed that differ in their weight λ share the seed's numbers (common random numbers).

Index letters: L variants (weights λ), K seeds, E environment copies; a run is a (variant, seed) pair
and R = L·K·E rows step side by side in that order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from imm_rl.envs.model import FloatArray

PURPOSES = (
    *("init", "environment", "action", "context", "evaluation", "restricted", "batch"),
    *("advice", "evaluation advice"),  # new ones at the end: a purpose's place seeds its stream
)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of one seed for one purpose of `PURPOSES`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose),)))


def stream_state(rng: np.random.Generator) -> str:
    """Where a generator stands, as JSON."""
    return json.dumps(rng.bit_generator.state)


def restore_stream(rng: np.random.Generator, state: str) -> None:
    """Puts a generator where `state` says."""
    rng.bit_generator.state = json.loads(state)


class SeedStreams:
    """One purpose's generators of K seeds, drawn from in blocks for L variants."""

    def __init__(self, seeds: Sequence[int], purpose: str, n_variants: int = 1) -> None:
        self._generators = [generator(seed, purpose) for seed in seeds]
        self._n_variants = n_variants

    def uniforms(self, n_blocks: int, n_steps: int, n_envs: int) -> FloatArray:
        """Uniform numbers (n_blocks, n_steps, R) on [0, 1), the same for every variant of a seed."""
        drawn = np.stack([g.random((n_blocks, n_steps, n_envs)) for g in self._generators], axis=2)
        shape = (n_blocks, n_steps, self._n_variants, *drawn.shape[2:])
        return np.broadcast_to(drawn[:, :, None], shape).reshape(n_blocks, n_steps, -1)

    def state(self) -> str:
        """Where every generator stands, as JSON."""
        return json.dumps([g.bit_generator.state for g in self._generators])

    def restore(self, state: str) -> None:
        """Puts every generator where `state` says."""
        for g, saved in zip(self._generators, json.loads(state), strict=True):
            g.bit_generator.state = saved

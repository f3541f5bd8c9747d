"""The generators that belong to nobody, as Stable-Baselines3 uses them: Python's, NumPy's and torch's.

A training's checkpoint holds where they stand, and an evaluation within a training leaves them so.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from imm_rl.envs.global_random import seeded_globals


def generator_states() -> dict[str, np.ndarray]:
    """Where they stand, as arrays."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  the shared one
    states = {
        "python": np.array(json.dumps(random.getstate())),
        "numpy": np.array(json.dumps([name, position, has_gauss, gauss])),
        "numpy_keys": np.array(keys),
        "torch": torch.get_rng_state().numpy(),
    }
    if _has_cuda():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda_{i}"] = state.numpy()
    return states


def restore_generators(states: dict[str, np.ndarray]) -> None:
    """Puts them where `states` says."""
    version, numbers, gauss = json.loads(str(states["python"]))
    random.setstate((version, tuple(numbers), gauss))
    name, position, has_gauss, normal = json.loads(str(states["numpy"]))
    np.random.set_state((name, states["numpy_keys"], position, has_gauss, normal))  # noqa: NPY002
    torch.set_rng_state(torch.from_numpy(np.array(states["torch"])))
    cuda = [torch.from_numpy(np.array(v)) for k, v in states.items() if k.startswith("cuda_")]
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)


def _has_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def seeded_apart(seed: int) -> Iterator[None]:
    """Seeds them inside the block; after it they are where they were."""
    devices = range(torch.cuda.device_count()) if _has_cuda() else ()
    with seeded_globals(seed), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield

"""A collator whose draws depend on nothing but the seed, the epoch and the sentences of the batch.

PyTorch's generator is shared by masks, completions and dropout. `Trainer` makes batches ahead, or in other
processes, so a training that goes on in the midst of an epoch would draw other ones than it would have
drawn without a stop. With draws of each batch's own it draws the same, whoever makes the batch and when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from imm_rl.language.masked_collator import MaskedCollator


class SeededDraws:
    """Makes the batches of a collator, each with draws of its own.

    Attributes:
        epoch: Of the batches that are made next, from 0; whoever trains sets it.
        tokenizer: `Trainer` saves it with its checkpoints.

    Args:
        collator: What makes the batches, drawing with PyTorch's generator of the CPU.
        seed: Of all draws.
    """

    def __init__(self, collator: MaskedCollator, seed: int) -> None:
        self.epoch = 0
        self.tokenizer = collator.tokenizer
        self._collator, self._seed = collator, seed

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A batch; PyTorch's generator is left as it was."""
        found = hashlib.sha256(f"{self._seed} {self.epoch}".encode())
        for feature in features:
            found.update(np.asarray(feature["input_ids"], dtype=np.int64).tobytes())
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(int.from_bytes(found.digest()[:8], "big", signed=True))
        try:
            return self._collator(features)
        finally:
            torch.set_rng_state(before)

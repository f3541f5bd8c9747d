"""One-hot state networks of many runs at once: every parameter has a leading axis of R runs.

A one-hot input makes the first layer a table, so the network is evaluated on all S states by reading
its first weight, with no input at all. The optimiser touches every row of that table anyway, so this
costs no more than a batch would, and it gives the induced model every state it may need.

Index letters: R runs, S states, H hidden units, Y outputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class BatchedStateNetwork(nn.Module):
    """R independent tanh networks from a one-hot state to Y outputs.

    Args:
        n_states: S.
        hidden_sizes: Units of each hidden layer.
        n_outputs: Y.
        generators: One NumPy generator for each run; weights and biases start as those of
            `torch.nn.Linear`: uniform on ±1/sqrt(fan_in).
    """

    def __init__(
        self,
        n_states: int,
        hidden_sizes: Sequence[int],
        n_outputs: int,
        generators: Sequence[np.random.Generator],
    ) -> None:
        super().__init__()
        sizes = [n_states, *hidden_sizes, n_outputs]
        weights, biases = [], []
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 1.0 / np.sqrt(fan_in)
            drawn = [
                (
                    g.uniform(-bound, bound, (fan_in, fan_out)),
                    g.uniform(-bound, bound, (1, fan_out)),
                )
                for g in generators
            ]
            weights.append(nn.Parameter(_float32([weight for weight, _ in drawn])))
            biases.append(nn.Parameter(_float32([bias for _, bias in drawn])))
        self.weights = nn.ParameterList(weights)  # (R, fan_in, fan_out)
        self.biases = nn.ParameterList(biases)  # (R, 1, fan_out)

    def forward(self) -> Tensor:
        """Outputs (R, S, Y) for every state."""
        # Row s of the first weight is what the one-hot state s makes of it.
        outputs: Tensor = self.weights[0] + self.biases[0]  # (R, S, H)
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            outputs = torch.baddbmm(bias, torch.tanh(outputs), weight)
        return outputs


def _float32(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))

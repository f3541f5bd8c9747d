"""BatchedStateNetwork against torch.nn layers fed one-hot states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from imm_rl.agents.network import BatchedStateNetwork
from imm_rl.agents.streams import generator


@pytest.mark.parametrize("hidden", [(4,), (5, 3)])
def test_network_is_r_ordinary_networks_on_one_hot_states(hidden: tuple[int, ...]) -> None:
    network = BatchedStateNetwork(7, hidden, 3, [generator(s, "init") for s in (0, 1)])
    outputs = network()
    assert outputs.shape == (2, 7, 3)
    for run in range(2):
        layers: list[nn.Module] = []
        for weight, bias in zip(network.weights, network.biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[2])
            linear.weight.data = weight[run].T
            linear.bias.data = bias[run, 0]
            layers += [linear, nn.Tanh()]
        expected = nn.Sequential(*layers[:-1])(torch.eye(7))
        torch.testing.assert_close(outputs[run], expected)


def test_network_starts_within_torchs_bounds_and_apart() -> None:
    network = BatchedStateNetwork(100, (32,), 4, [generator(s, "init") for s in (0, 1)])
    first, second = (w.detach() for w in network.weights)
    assert first.abs().max() <= 0.1 + 1e-7
    assert second.abs().max() <= 1 / np.sqrt(32) + 1e-7
    assert first.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)  # of a uniform distribution
    assert not torch.equal(first[0], first[1])

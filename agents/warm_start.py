"""`bc`: behaviour cloning of the restricted policy before the training, as a start for the parameters.

The restricted policy plays episodes of the pair's model; the agent, which sees the state, is fitted to
the policy's probabilities at the states it met. These episodes are not counted among the agent's
environment steps (whoever owns the restricted policy may have recorded them), which is generous to this
method; how many steps they had is logged as `bc/demonstration_steps`.

Index letters: N runs, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.restricted.asking import restricted_episodes
from imm_rl.agents.streams import generator
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair


def demonstrations(
    pair: EnvPair, policy: Any, seeds: Sequence[int], episodes: int
) -> tuple[FloatArray, FloatArray]:
    """What the restricted policy does at the states it meets, (K, S, A): shares of all steps, sum 1.

    And how many steps that were, (K,).

    Args:
        pair: The problem.
        policy: Acts on beliefs or on the last observation.
        seeds: K; each plays episodes of its own.
        episodes: Of each seed.
    """
    tables = np.zeros((len(seeds), pair.model.n_states, pair.model.n_actions))
    for table, seed in zip(tables, seeds, strict=True):
        played = restricted_episodes(
            pair,
            policy,
            episodes=episodes,
            n_steps=pair.max_steps,
            rng=generator(seed, "restricted"),
        )
        for moment in played:
            np.add.at(table, moment.states, moment.probs)
    steps: FloatArray = tables.sum(axis=(1, 2))
    return tables / steps[:, None, None], steps.round()


def clone(
    forward: Callable[[], Tensor],
    parameters: Sequence[torch.nn.Parameter],
    table: FloatArray,
    *,
    updates: int,
    learning_rate: float,
) -> FloatArray:
    """Fits policies to demonstrations by Adam on −Σ W[s, a] log π(a|s); returns the losses (N,) before.

    Args:
        forward: Gives logits (N, S, A).
        parameters: What is fitted.
        table: (N, S, A), as `demonstrations` gives it, a row of runs for each.
        updates: Steps of Adam; its state is not kept.
        learning_rate: Its step size.
    """
    targets = torch.as_tensor(table, dtype=torch.float32, device=parameters[0].device)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    first: Tensor | None = None
    for _ in range(updates):
        losses = -(targets * torch.log_softmax(forward(), dim=-1)).sum(dim=(1, 2))
        first = losses.detach() if first is None else first
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return np.zeros(len(table)) if first is None else first.cpu().numpy().astype(np.float64)

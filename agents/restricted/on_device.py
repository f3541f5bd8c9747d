"""Restricted policies as functions of tensors: `on_device(policy, device)`, for training on a GPU.

Alpha vectors (executed by themselves or by a tabulated look-ahead) and belief tables are served; any other
policy is asked on the host, and then all of a training's rollouts are there (`device_parts.refusal`).

Index letters: M beliefs (leading axes allowed), S states, A actions, V vectors, C columns of a look-ahead's
table, N beliefs of a belief table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.base import TIE_TOLERANCE, greedy_probs, softmax_probs
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.envs.model import FloatArray

TensorPolicy: TypeAlias = "Callable[[Tensor], Tensor]"
"""Maps beliefs (..., S) to action probabilities (..., A), float64, without the host waiting."""

MOST_SCORES = 1 << 25
"""Numbers that are held at a time: 256 MiB of float64."""

MOST_PAIRS = 2048
"""Actions and observations of a look-ahead, each of which is a product of its own."""


def on_device(policy: Any, device: torch.device) -> TensorPolicy | None:
    """The policy as a function of tensors of a device; None where it is none of those served."""
    if type(policy) is BeliefTablePolicy:
        return _table(policy, device)
    if type(policy) is not AlphaVectorPolicy or not isinstance(policy.vectors, np.ndarray):
        return None
    values: TensorPolicy
    if policy.execution == "vectors":
        values = _BestOf(policy.vectors, policy.vector_actions, policy.n_actions, device)
    else:
        ahead = policy.lookahead
        if ahead.table is None or len(ahead.pair_starts) > MOST_PAIRS or policy.model is None:
            return None
        values = _LookAhead(
            ahead.table, ahead.pair_starts, ahead.action_starts, policy.model.reward, device
        )
    temperature, ties = policy.temperature, policy.ties
    if temperature is None:
        return lambda beliefs: _greedy(values(beliefs), ties)
    return lambda beliefs: (values(beliefs) / temperature).softmax(-1)


def _greedy(values: Tensor, ties: str) -> Tensor:
    """As `base.greedy_probs`."""
    size = values.masked_fill(~values.isfinite(), 0.0).abs().amax(-1, keepdim=True)
    best = values >= values.amax(-1, keepdim=True) - TIE_TOLERANCE * size
    if ties == "first":
        best = best & (best.cumsum(-1) == 1)
    return best.double() / best.sum(-1, keepdim=True)


class _BestOf:
    """max_i Σ_s b(s) α_i(s) over each action's vectors, (..., A); −inf for an action that has none."""

    def __init__(
        self, vectors: FloatArray, actions: np.ndarray, n_actions: int, device: torch.device
    ) -> None:
        owned = [vectors[actions == a] for a in range(n_actions)]
        self._vectors = [torch.from_numpy(part).to(device) for part in owned]

    def __call__(self, beliefs: Tensor) -> Tensor:
        rows = beliefs.flatten(0, -2)
        values = [_best(rows, part) for part in self._vectors]
        return torch.stack(values, -1).view(*beliefs.shape[:-1], -1)


class _LookAhead:
    """r(b, a) + the sum over observations of the best projected vector, as `LookAhead`."""

    def __init__(
        self,
        table: FloatArray,
        pair_starts: np.ndarray,
        action_starts: np.ndarray,
        reward: FloatArray,
        device: torch.device,
    ) -> None:
        ends = [*pair_starts[1:].tolist(), len(table)]
        pairs = [table[i:j] for i, j in zip(pair_starts.tolist(), ends, strict=True)]
        on = [torch.from_numpy(part.copy()).to(device) for part in pairs]
        cuts = [*action_starts.tolist(), len(on)]
        self._by_action = [on[i:j] for i, j in itertools.pairwise(cuts)]
        self._reward = torch.from_numpy(np.array(reward)).to(device)

    def __call__(self, beliefs: Tensor) -> Tensor:
        rows = beliefs.flatten(0, -2)
        expected = []
        for parts in self._by_action:
            total = rows.new_zeros(len(rows))
            for part in parts:
                total = total + _best(rows, part)
            expected.append(total)
        values = rows @ self._reward + torch.stack(expected, -1)
        return values.view(*beliefs.shape[:-1], -1)


def _best(rows: Tensor, vectors: Tensor) -> Tensor:
    """The largest product (M,) of rows (M, S) with vectors (V, S), some rows at a time; −inf of none."""
    if not len(vectors):
        return rows.new_full((len(rows),), -torch.inf)
    size = max(MOST_SCORES // len(vectors), 1)
    return torch.cat([(part @ vectors.T).amax(-1) for part in torch.split(rows, size)])


def _table(policy: BeliefTablePolicy, device: torch.device) -> TensorPolicy:
    probs = np.asarray(policy.table)
    if policy.temperature is not None and policy.values is not None:
        probs = softmax_probs(policy.values, policy.temperature)
    elif policy.ties == "first":
        probs = greedy_probs(policy.table, "first")
    table = torch.from_numpy(np.array(probs)).to(device)
    known = torch.from_numpy(np.array(policy.beliefs)).to(device)

    def probs_at(beliefs: Tensor) -> Tensor:
        rows = beliefs.flatten(0, -2)
        size = max(MOST_SCORES // len(known), 1)
        found = [torch.cdist(part, known, p=1.0).argmin(-1) for part in torch.split(rows, size)]
        return table[torch.cat(found)].view(*beliefs.shape[:-1], -1)

    return probs_at

"""Completions: which full contexts a restricted context may stand for, and with which weights.

Three kinds cover the method's estimates of the induced model (NeurIPS 2024, arXiv 2402.12513):

- `SharedSupport`: exact enumeration, beliefs and kernels: each is a distribution over one set.
- `Sampled`: k full contexts drawn for each restricted one (Algorithm 1; serialized, Algorithm 2).
- `InBatch`: the items of the batch that share a restricted context.

`matching.InducedModelMatching` takes one of them, or anything with the same `induced`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from imm_rl import checks, induced
from imm_rl.device import uploaded
from imm_rl.errors import invalid
from imm_rl.sparse_rows import SparseRows

LogProbFn: TypeAlias = Callable[[Any], torch.Tensor]
"""The full model: full contexts in, log Q(y|x) (..., Y) in nats with gradients out."""

ArrayOrTensor: TypeAlias = "npt.NDArray[Any] | torch.Tensor"


class Completions(Protocol):
    """What `InducedModelMatching` needs of its completions."""

    def induced(self, log_prob_fn: LogProbFn, context: Any, *, check: bool = True) -> torch.Tensor:
        """Returns log Q̄(y|x̄), (..., N, Y) in nats, for the N restricted contexts in `context`."""
        ...


@dataclass(frozen=True)
class SharedSupport:
    """One common set of full contexts; each restricted context is a distribution over it.

    For RL the set is the state space and the distribution is the belief. A uniform distribution
    over the hidden values gives the exact induced model; a kernel between contexts gives the kernel
    estimate.

    Attributes:
        support: What `log_prob_fn` is called with, S full contexts; it returns (..., S, Y). May be
            None for a function that knows the support.
        weights_of: Maps `context` to π(x|x̄), (N, S) or (..., N, S), array or tensor, rows sum to
            1; or to `SparseRows`. None: the context is these weights.
    """

    support: Any = None
    weights_of: Callable[[Any], ArrayOrTensor | SparseRows] | None = None

    def induced(  # noqa: D102
        self, log_prob_fn: LogProbFn, context: Any, *, check: bool = True
    ) -> torch.Tensor:
        log_probs = log_prob_fn(self.support)
        weights = context if self.weights_of is None else self.weights_of(context)
        if not isinstance(weights, SparseRows):
            weights = as_tensor("the weights of SharedSupport", weights, log_probs.device)
        return induced.shared_support(log_probs, weights, check=check)


@dataclass(frozen=True)
class Sampled:
    """Full contexts drawn for each restricted context.

    Attributes:
        sampler: Maps `context` to the drawn contexts, a tensor (N, K, ...), and their log-weights
            (N, K), array or tensor (zeros where they are drawn from π(x|x̄) itself). `log_prob_fn`
            is called with the contexts and returns (N, K, Y).
        serialized: Whether `InducedModelMatching.backward` takes them `chunk` at a time (Algorithm
            2), in memory that does not grow with K. The same gradient at the price of a second
            forward pass.
        chunk: How many of the K completions are alive at a time there.
    """

    sampler: Callable[[Any], tuple[torch.Tensor, ArrayOrTensor]]
    serialized: bool = False
    chunk: int = 1

    def __post_init__(self) -> None:
        if self.chunk != 1 and not self.serialized:
            raise invalid("chunk", "be left at 1 unless serialized=True", self.chunk)

    def draw(self, context: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the drawn contexts (N, K, ...) and their log-weights (N, K)."""
        contexts, log_weights = self.sampler(context)
        checks.ranked("the contexts of Sampled", contexts, "(N, K, ...)", 2)
        return contexts, as_tensor("the log-weights of Sampled", log_weights, contexts.device)

    def induced(  # noqa: D102
        self, log_prob_fn: LogProbFn, context: Any, *, check: bool = True
    ) -> torch.Tensor:
        contexts, log_weights = self.draw(context)
        log_probs = log_prob_fn(contexts)
        return induced.sampled(log_probs, log_weights.to(log_probs.device), check=check)


@dataclass(frozen=True)
class InBatch:
    """The items of the batch that share a restricted context complete each other.

    Attributes:
        groups_of: Maps `context`, the batch of M items, to one integer label an item, (M,), array
            or tensor: equal labels share a restricted context (for a bigram: the last token).
            `log_prob_fn` is called with the context and returns (M, Y).
        per_group: False: each item keeps its row (N = M), so that a context that occurs often weighs
            as much in the loss as it has items. True: one row a group (N = G) and less work, for
            labels 0..G−1 without gaps; the restricted model is then asked for the groups in that
            order, and the groups' sizes as item weights give the same loss.
        n_groups_of: Maps `context` to G, for `per_group`: otherwise the host waits for the device
            to see it.
    """

    groups_of: Callable[[Any], ArrayOrTensor]
    per_group: bool = False
    n_groups_of: Callable[[Any], int] | None = None

    def __post_init__(self) -> None:
        if self.n_groups_of is not None and not self.per_group:
            raise invalid("n_groups_of", "be left out unless per_group=True", self.n_groups_of)

    def induced(  # noqa: D102
        self, log_prob_fn: LogProbFn, context: Any, *, check: bool = True
    ) -> torch.Tensor:
        log_probs = log_prob_fn(context)
        labels = as_tensor("the groups of InBatch", self.groups_of(context), log_probs.device)
        if self.per_group:
            count = None if self.n_groups_of is None else self.n_groups_of(context)
            return induced.grouped(log_probs, labels, n_groups=count, check=check)
        groups = torch.unique(labels, return_inverse=True)[1]
        return induced.grouped(log_probs, groups, check=check)[groups]


def as_tensor(name: str, value: object, device: torch.device) -> torch.Tensor:
    """An array or tensor on the device, in its own dtype, without a copy where none is needed."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if not isinstance(value, np.ndarray):
        raise invalid(name, "be a NumPy array or a tensor", type(value).__name__)
    return uploaded(value, device)

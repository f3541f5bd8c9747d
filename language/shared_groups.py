"""The induced model of a batch's contexts where the batch is spread over processes.

    Q̄(y|context) = mean of Q(y|history) over the positions of all processes that have the context

Which context stands where every process knows from the text; predictions lie in the process that made them.
A context whose positions are all in one process is that one's own affair. Of the others, S in number, the
processes exchange the largest log Q(y) and then the sum of Q(y): twice S·V numbers. Each process counts
its own positions' share of the loss, so that the shares add up to the loss of one process, and the gradient
to its gradient; `_Mixtures.backward` says why that needs no message.

Index letters: M positions of the batch, m of them in this process, G contexts of these, S contexts that
more than one process has, S' of them in this one, V words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from imm_rl.completions import LogProbFn
from imm_rl.device import uploaded
from imm_rl.language.processes import Processes


class SharedGroups(NamedTuple):
    """The distinct contexts of a process's positions, and which of them others have too.

    Attributes:
        ids: (G,) int64, contexts; on the host.
        group: (m,) int64 in 0..G−1, which of them each position has.
        sizes: (G,) float32, how many of the process's positions have it.
        totals: (G,) float32, how many of all processes' have it.
        rows: (S',) int64 in 0..G−1, those that others have too.
        slots: (S',) int64 in 0..S−1, their places in what is exchanged.
        n_shared: S, the same for all processes.
    """

    ids: torch.Tensor
    group: torch.Tensor
    sizes: torch.Tensor
    totals: torch.Tensor
    rows: torch.Tensor
    slots: torch.Tensor
    n_shared: int

    @classmethod
    def of(cls, ids: torch.Tensor, processes: Processes, device: torch.device) -> SharedGroups:
        """Of the contexts (M,) of all processes' positions, on the host, in the processes' order."""
        everybodys, group = torch.unique(ids, return_inverse=True)
        table = everybodys.new_zeros(processes.count, len(everybodys))
        for rank in range(processes.count):
            part = group[Processes(rank, processes.count).share(len(ids))]
            table[rank] = torch.bincount(part, minlength=len(everybodys))
        shared = (table > 0).sum(0) > 1
        own = table[processes.rank] > 0
        place = own.cumsum(0) - 1  # in the process's contexts, of those that it has
        slot = shared.cumsum(0) - 1
        both = own & shared
        parts = [
            place[group[processes.share(len(ids))]],
            table[processes.rank][own],
            table.sum(0)[own],
            place[both],
            slot[both],
        ]
        sizes = [len(part) for part in parts]
        on_device = uploaded(torch.cat(parts), device).split(sizes)  # type: ignore[no-untyped-call]
        return cls(
            everybodys[own],
            on_device[0],
            on_device[1].float(),
            on_device[2].float(),
            on_device[3],
            on_device[4],
            int(shared.sum()),
        )


@dataclass(frozen=True)
class InSharedBatch:
    """Completions of `InducedModelMatching`, as `InBatch(per_group=True)`, over several processes.

    With `SharedGroups.sizes` as item weights, the mean of the processes' losses is that of one process.

    Attributes:
        processes: Between which the batch is spread.
    """

    processes: Processes

    def induced(
        self, log_prob_fn: LogProbFn, context: SharedGroups, *, check: bool = True
    ) -> torch.Tensor:
        """(G, V), log Q̄ of the process's contexts, nats; called by all processes at a time."""
        del check  # the groups are made here, and right
        mixtures: torch.Tensor = _Mixtures.apply(  # type: ignore[no-untyped-call]
            log_prob_fn(context), context, self.processes
        )
        return mixtures


class _Mixtures(torch.autograd.Function):
    """`imm_rl.induced.grouped` with the sums of shared groups taken over the processes."""

    @staticmethod
    def forward(
        ctx: Any, log_probs: torch.Tensor, context: SharedGroups, processes: Processes
    ) -> torch.Tensor:
        n_groups, words = len(context.ids), log_probs.shape[1]
        shift = log_probs.new_full((n_groups, words), -torch.inf)
        index = context.group.unsqueeze(-1).expand_as(log_probs)
        shift.scatter_reduce_(0, index, log_probs, "amax")
        exchanged = log_probs.new_full((context.n_shared, words), -torch.inf)
        exchanged.index_copy_(0, context.slots, shift.index_select(0, context.rows))
        processes.largest(exchanged)
        shift.index_copy_(0, context.rows, exchanged.index_select(0, context.slots))
        shift.clamp_min_(torch.finfo(shift.dtype).min)  # −inf minus −inf would be NaN
        weighted = shift.index_select(0, context.group)
        torch.sub(log_probs, weighted, out=weighted).exp_()
        summed = torch.zeros_like(shift).index_add_(0, context.group, weighted)
        exchanged.zero_().index_copy_(0, context.slots, summed.index_select(0, context.rows))
        processes.sum(exchanged)
        summed.index_copy_(0, context.rows, exchanged.index_select(0, context.slots))
        totals = context.totals.to(log_probs.dtype)
        ctx.save_for_backward(
            weighted, context.group, summed, totals / context.sizes.to(log_probs.dtype)
        )
        return summed.log().add_(shift - totals.log().unsqueeze(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient for this process's positions.

        It is that of the sum over processes of what each makes of a group's Q̄. Each makes the same of
        it, weighted with how many of the group's positions it has: the sum is its own part, times all
        positions by its own.
        """
        weighted, group, summed, repeats = ctx.saved_tensors
        # The largest term of a sum is 1, so it is at least that; or 0, and then so is each term.
        per_group = grad * repeats.unsqueeze(-1) / summed.clamp_min(0.5)
        return per_group.index_select(0, group).mul_(weighted), None, None

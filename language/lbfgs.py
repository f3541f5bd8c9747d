"""L-BFGS for many small problems at once: `minimize(objective, start)`, used by logistic regression.

R independent problems advance side by side as one tensor program. Each has its own step size and its own
memory and none waits for another: a problem whose trial step is refused shortens it while its neighbours
go on. Problems that have converged are taken out of the batch.

Index letters: R problems, P parameters of each, M remembered pairs.

Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, algorithms 3.1 (sufficient decrease)
and 7.4 (two-loop recursion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from imm_rl.errors import invalid

MEMORY = 8
SUFFICIENT_DECREASE = 1e-4
_SHORTEST_STEP = 1e-12
"""A problem whose step falls below this share of its direction can go no lower in floating point; it stops
there."""

LOOK_EVERY = 8
"""Trial steps on a GPU between two looks at who has ended: a look makes the host wait for the device. In
between, problems that have ended stay as they are. On the CPU a look costs nothing: each step has one."""


class Objective(Protocol):
    """R functions of P parameters each."""

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Maps (R, P) to the R values, differentiably; row r depends on problem r alone."""
        ...

    def select(self, kept: torch.Tensor) -> Any:
        """The objective of the problems with the indices `kept` alone."""
        ...


class Minimum(NamedTuple):
    """Where `minimize` ended.

    Attributes:
        points: (R, P), the best parameters found.
        values: (R,), the objective there.
        iterations: (R,), accepted steps.
        converged: (R,), whether the largest entry of the gradient is at most `tol`, or no step
            downhill can be told from rounding any more.
    """

    points: torch.Tensor
    values: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


def minimize(
    objective: Objective,
    start: torch.Tensor,
    *,
    max_iter: int = 100,
    tol: float = 1e-4,
    look_every: int | None = None,
) -> Minimum:
    """Minimises R functions from R starting points.

    Args:
        objective: See `Objective`.
        start: (R, P), float32 or float64; its device is where everything runs.
        max_iter: Most accepted steps of each problem.
        tol: A problem has converged where no entry of its gradient is larger.
        look_every: Trial steps between two looks at who has ended; it changes no result. Default: 1 on
            the CPU, `LOOK_EVERY` elsewhere.

    Raises:
        InvalidInputError: The start is no (R, P) float tensor or the objective is not finite there.
    """
    if not (start.ndim == 2 and start.is_floating_point()):
        raise invalid("start", "be a float tensor of shape (R, P)", tuple(start.shape))
    values, gradients = _evaluated(objective, start)
    if not bool(torch.isfinite(values).all() & torch.isfinite(gradients).all()):
        finite = torch.isfinite(values) & torch.isfinite(gradients).all(1)
        bad = int((~finite).nonzero()[0])
        raise invalid(
            "the objective",
            "be finite at the start, with its gradient",
            f"value {float(values[bad])} and gradient {gradients[bad].tolist()[:5]} of problem {bad}",
            "Start elsewhere, or scale what the objective is made of",
        )
    found = Minimum(
        start.detach().clone(),
        values.clone(),
        torch.zeros(len(start), dtype=torch.long, device=start.device),
        torch.zeros(len(start), dtype=torch.bool, device=start.device),
    )
    batch = _Batch.at(start, values, gradients)
    # A step may be refused some times before it is accepted; problems far from their end need the room.
    if look_every is None:
        look_every = 1 if start.device.type == "cpu" else LOOK_EVERY
    for step in range(3 * max_iter + 20):
        ended = batch.ended(max_iter, tol)
        if step % look_every == 0 and bool(ended.any()):
            batch.report(found, tol)
            kept = torch.nonzero(~ended).squeeze(1)
            if len(kept) == 0:
                return found
            # Taking problems out copies what is left: worth it only where much goes.
            if len(kept) <= 0.7 * len(batch.index):
                objective, batch = objective.select(kept), batch.selected(kept)
            ended = batch.ended(max_iter, tol)
        batch.advance(objective, ~ended)
    batch.report(found, tol)
    return found


def _evaluated(objective: Objective, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    points = points.detach().requires_grad_()
    values = objective(points)
    (gradients,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), gradients


@dataclass
class _Batch:
    """The problems that still move: index (B,) says which; all else has B rows.

    Pairs are kept newest last; `curvature` is 1/(sᵀy), and 0 in places not yet filled, where the
    recursion then passes over them.
    """

    index: torch.Tensor
    points: torch.Tensor
    values: torch.Tensor
    gradients: torch.Tensor
    directions: torch.Tensor
    steps: torch.Tensor
    iterations: torch.Tensor
    stuck: torch.Tensor
    moves: torch.Tensor
    changes: torch.Tensor
    curvature: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def at(cls, start: torch.Tensor, values: torch.Tensor, gradients: torch.Tensor) -> _Batch:
        rows, parameters = start.shape
        pairs = start.new_zeros(rows, MEMORY, parameters)
        tiny = torch.finfo(start.dtype).tiny
        # The first step is no longer than 1, whatever the units of the function.
        scale = (1 / gradients.norm(dim=1, keepdim=True).clamp_min(tiny)).clamp_max(1.0)
        return cls(
            index=torch.arange(rows, device=start.device),
            points=start.detach().clone(),
            values=values,
            gradients=gradients,
            directions=-scale * gradients,
            steps=start.new_ones(rows, 1),
            iterations=torch.zeros(rows, dtype=torch.long, device=start.device),
            stuck=torch.zeros(rows, dtype=torch.bool, device=start.device),
            moves=pairs,
            changes=pairs.clone(),
            curvature=start.new_zeros(rows, MEMORY),
            scale=scale,
        )

    def ended(self, max_iter: int, tol: float) -> torch.Tensor:
        flat = self.gradients.abs().amax(1) <= tol
        return flat | self.stuck | (self.iterations >= max_iter)

    def report(self, found: Minimum, tol: float) -> None:
        found.points[self.index] = self.points
        found.values[self.index] = self.values
        found.iterations[self.index] = self.iterations
        found.converged[self.index] = (self.gradients.abs().amax(1) <= tol) | self.stuck

    def selected(self, kept: torch.Tensor) -> _Batch:
        return _Batch(**{name: value[kept] for name, value in vars(self).items()})

    def advance(self, objective: Objective, moving: torch.Tensor) -> None:
        """One evaluation: every problem takes its trial step or shortens it.

        Problems that are not `moving` (B,) have ended and wait to be taken out; they stay as they are.
        """
        slope = (self.gradients * self.directions).sum(1, keepdim=True)
        trial = self.points + self.steps * self.directions
        values, gradients = _evaluated(objective, trial)
        drop = (values - self.values).unsqueeze(1)
        # Near the end, differences of values are rounding alone: what falls by no more than that is taken.
        slack = torch.finfo(values.dtype).eps * self.values.abs().unsqueeze(1)
        taken = drop <= SUFFICIENT_DECREASE * self.steps * slope + slack
        taken &= torch.isfinite(gradients).all(1, keepdim=True) & moving.unsqueeze(1)
        self._remember(
            torch.where(taken, trial - self.points, 0.0),
            torch.where(taken, gradients - self.gradients, 0.0),
        )
        accepted = taken.squeeze(1)
        self.points = torch.where(taken, trial, self.points)
        self.gradients = torch.where(taken, gradients, self.gradients)
        self.values = torch.where(accepted, values, self.values)
        self.iterations = self.iterations + accepted
        # The minimum of the parabola through value, slope and trial value, kept away from both ends.
        curved = 2 * (drop - self.steps * slope)
        shorter = (-self.steps * slope / curved).nan_to_num(0.5, 0.5, 0.5).clamp(0.1, 0.5)
        shorter = torch.where(moving.unsqueeze(1), shorter, 1.0)
        self.steps = torch.where(taken, 1.0, self.steps * shorter)
        self.stuck = self.stuck | (self.steps.squeeze(1) < _SHORTEST_STEP)
        self.directions = torch.where(taken, self._direction(), self.directions)

    def _remember(self, move: torch.Tensor, change: torch.Tensor) -> None:
        """Adds the pairs of accepted steps along which the function curves upwards."""
        product = (move * change).sum(1, keepdim=True)
        length = (change * change).sum(1, keepdim=True)
        # Upwards as an angle: the test must not depend on the units of the parameters.
        both = move.norm(dim=1, keepdim=True) * change.norm(dim=1, keepdim=True)
        kept = product > torch.finfo(move.dtype).eps * both
        self.scale = torch.where(kept, product / length, self.scale)
        inverse = torch.where(kept, 1 / product, 0.0)
        for name, newest in (("moves", move), ("changes", change), ("curvature", inverse)):
            old = getattr(self, name)
            shifted = torch.cat([old[:, 1:], newest.unsqueeze(1) if old.ndim == 3 else newest], 1)
            mask = kept.unsqueeze(2) if old.ndim == 3 else kept
            setattr(self, name, torch.where(mask, shifted, old))

    def _direction(self) -> torch.Tensor:
        """The two-loop recursion; steepest descent where it does not point downhill."""
        left = self.gradients.clone()
        shares = []
        for i in reversed(range(MEMORY)):
            inverse = self.curvature[:, i : i + 1]
            share = inverse * (self.moves[:, i] * left).sum(1, keepdim=True)
            left = left - share * self.changes[:, i]
            shares.append(share)
        left = left * self.scale
        for i, share in zip(range(MEMORY), reversed(shares), strict=True):
            inverse = self.curvature[:, i : i + 1]
            back = inverse * (self.changes[:, i] * left).sum(1, keepdim=True)
            left = left + (share - back) * self.moves[:, i]
        uphill = (left * self.gradients).sum(1, keepdim=True) <= 0
        return -torch.where(uphill, self.scale * self.gradients, left)

"""Watches a solver at work: keeps its bounds over time, and shows them on a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from imm_rl.agents.solvers.base import SolveProgress

if TYPE_CHECKING:
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.cli.solve import Request


class Solved(NamedTuple):
    """A policy and how it came about.

    Attributes:
        method: As it was asked for.
        policy: What the solver gave.
        points: The bounds over time, the last of them the policy's.
        stored: Whether the policy was kept from an earlier solve.
    """

    method: str
    policy: AlphaVectorPolicy
    points: list[SolveProgress]
    stored: bool

    @property
    def label(self) -> str:
        """The method as asked for and, where that left it open, the solver that was picked."""
        solver = self.policy.method
        return self.method if solver == self.method else f"{self.method} ({solver})"


class LiveLine:
    """One line of stderr, written over and over; gone at the end, however that comes.

    Args:
        shows: Whether there is a terminal to show it on.
    """

    def __init__(self, shows: bool) -> None:
        self._shows = shows

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.show("", end="\r")

    def show(self, text: str, end: str = "") -> None:
        """Replaces the line."""
        if self._shows:
            width = max(shutil.get_terminal_size().columns - 1, 1)
            print(f"\r{text[:width]:<{width}}", end=end, file=sys.stderr, flush=True)


def solved(request: Request, method: str, line: LiveLine, *, cache: bool) -> Solved:
    """Solves the request's model by one method.

    Args:
        request: Says what and how.
        method: One of its methods.
        line: Shows the bounds.
        cache: Whether a policy of an earlier solve will do.
    """
    from imm_rl.agents.solve import solve

    points: list[SolveProgress] = []

    def note(progress: SolveProgress) -> None:
        points.append(progress)
        line.show(f"{method}, {progress.seconds:.1f} s: {_state(progress)}")

    line.show(f"{method}: starting")
    limits: dict[str, Any] = {} if request.horizon is None else {"horizon": request.horizon}
    start = time.perf_counter()
    policy = solve(
        request.pair.restricted_model,
        method,
        time_limit=request.time_limit,
        precision=request.precision,
        seed=request.seed,
        cache=cache,
        progress=note,
        **limits,
    )
    taken = time.perf_counter() - start
    stored = not points  # every solver reports at least once
    seconds = taken if policy.seconds is None else policy.seconds
    points.append(
        SolveProgress(seconds, policy.lower_bound, policy.upper_bound, policy.vectors.shape[0])
    )
    return Solved(method, policy, points, stored=stored)


def _state(progress: SolveProgress) -> str:
    low, high = (
        "?" if bound is None else f"{bound:.5g}"
        for bound in (progress.lower_bound, progress.upper_bound)
    )
    return f"value between {low} and {high}, {progress.n_vectors:,} vectors"

"""What a solver is given and what it hands back; `imm_rl.agents.solve` makes a policy of the latter."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.model import FloatArray, TabularPOMDP

if TYPE_CHECKING:
    from imm_rl.agents.solvers.regions import Regions

IntArray = npt.NDArray[np.int64]


class SolveProgress(NamedTuple):
    """How a solve stands; bounds of the optimal value at b0, None where the method gives none."""

    seconds: float
    lower_bound: float | None
    upper_bound: float | None
    n_vectors: int


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """The limits of one solve; the clock starts when this is made.

    Attributes:
        time_limit: Seconds after which a solver stops with what it has.
        precision: Gap between the bounds at b0 to stop at, relative to max(1, |value|).
        seed: Of all of the solver's random choices.
        progress: Called after every round.
        regions: What point-based solvers take the model to fall into; None: `find_regions` tells.
    """

    time_limit: float
    precision: float
    seed: int
    progress: Callable[[SolveProgress], None] | None = None
    regions: Regions | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit is reached."""
        return self.seconds >= self.time_limit

    def passed(self, share: float) -> bool:
        """Whether this share of the time limit is used."""
        return self.seconds >= share * self.time_limit

    @property
    def clock_note(self) -> str:
        """What is said of a solver that the clock stopped."""
        return f"stopped by the time limit of {self.time_limit:g} s"

    def tolerance(self, value: float) -> float:
        """The gap that is accepted at b0 when its value is about this."""
        return self.precision * max(1.0, abs(value))

    def report(self, lower: float | None, upper: float | None, n_vectors: int) -> None:
        """Tells the caller's `progress`, where there is one."""
        if self.progress is not None:
            self.progress(SolveProgress(self.seconds, lower, upper, n_vectors))


class VectorSet(NamedTuple):
    """Alpha vectors over all states.

    Attributes:
        vectors: (V, S), or a CSR array of what each vector adds to base.
        actions: (V,).
        base: (S,) with a CSR array, else None.
    """

    vectors: FloatArray | sp.csr_array
    actions: IntArray
    base: FloatArray | None


class Solution(NamedTuple):
    """Alpha vectors and what is proven of them.

    Attributes:
        vectors: (V, S), see `VectorSet`.
        actions: (V,), the action each vector belongs to.
        lower_bound, upper_bound: Proven bounds of the optimal value at b0; None where not given.
        converged: Whether the precision was reached.
        execution: How the policy is best executed, see `AlphaVectorPolicy`.
        note: Why the solver stopped, where that was short of convergence.
        base: (S,) where vectors are a CSR array.
        settled: False where the clock cut short the FIB iteration that the solver starts from (see
            `fib.informed_vectors`): all else then depends on the machine, even if it converged.
    """

    vectors: FloatArray | sp.csr_array
    actions: IntArray
    lower_bound: float | None
    upper_bound: float | None
    converged: bool
    execution: str
    note: str = ""
    base: FloatArray | None = None
    settled: bool = True


Solver = Callable[[TabularPOMDP, SolveSettings], Solution]

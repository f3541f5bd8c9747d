"""`solve(model, method)`: any solver by name, with its result kept on disk.

Light at import: solvers and NumPy are loaded when something is solved.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.errors import ImmRlError, InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.solvers.base import Solution, SolveProgress, SolveSettings
    from imm_rl.envs.model import TabularPOMDP

DEFAULT_METHOD = "pomdp"
"""Stands for the solver that suits the model; the policy's `method` says which it was."""

_SOLVERS = {
    "fib": "imm_rl.agents.solvers.fib",
    "pbvi": "imm_rl.agents.solvers.pbvi",
    "qmdp": "imm_rl.agents.solvers.qmdp",
}
_CACHE_VERSION = 2
"""Part of every cache key; raise it when a solver's results change."""


def solver_names() -> tuple[str, ...]:
    """Every method that `solve` takes, the default one first."""
    return (DEFAULT_METHOD, *sorted(_SOLVERS))


def solve(
    model: TabularPOMDP,
    method: str = DEFAULT_METHOD,
    *,
    time_limit: float = 10.0,
    precision: float = 1e-3,
    seed: int = 0,
    cache: bool = True,
    progress: Callable[[SolveProgress], None] | None = None,
) -> AlphaVectorPolicy:
    """Solves a POMDP for its infinite discounted horizon.

    The same arguments give the same policy on the same machine, unless the clock stops the solver
    (the policy's `notes` say so): then it is what was ready in time.

    Args:
        model: γ below 1, or γ = 1 where every policy ends in a terminal state.
        method: "pomdp" (the default solver: point-based), "pbvi", "fib" or "qmdp".
        time_limit: Seconds; the solver stops with what it has.
        precision: Gap between the bounds of the start belief's value to stop at, relative to
            max(1, |value|).
        seed: Of the solver's random choices.
        cache: Whether to take the policy from, and leave it in, `$IMM_RL_CACHE` (by default
            `~/.cache/imm-rl`). Entries are keyed by the model's numbers and these settings. A policy
            that the clock stopped is not kept: the next call may have a faster machine.
        progress: Called with a `SolveProgress` after every round of the solver; not when the policy
            comes from the cache.

    Returns:
        A policy with `lower_bound`, `upper_bound` (None where the method proves none), `gap`,
        `converged`, `seconds` and `notes`, which say why it stopped where it did not converge.

    Raises:
        InvalidInputError: No such method, a setting out of range, or an unbounded undiscounted horizon.
    """
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.solvers.base import SolveSettings
    from imm_rl.envs.model import TabularPOMDP

    if not isinstance(model, TabularPOMDP):
        raise invalid(
            "model",
            "be a TabularPOMDP",
            type(model).__name__,
            "Of an environment pair, solve pair.restricted_model",
        )
    name = _resolved(method)
    _check_settings(time_limit, precision, seed)
    limits = (float(time_limit), float(precision), int(seed))
    stored = _cache_path(model, name, limits) if cache else None
    if stored is not None and stored.is_file():
        try:
            return AlphaVectorPolicy.load(stored, model)
        except InvalidInputError:
            pass  # damaged, or of an older format: solved and written anew
    settings = SolveSettings(
        time_limit=float(time_limit), precision=float(precision), seed=int(seed), progress=progress
    )
    solution = _solver(name)(model, settings)
    stopped_by_clock = settings.out_of_time and not solution.converged
    policy = AlphaVectorPolicy(
        solution.vectors,
        solution.actions,
        model=model,
        execution=solution.execution,
        lower_bound=solution.lower_bound,
        upper_bound=solution.upper_bound,
        method=name,
        seconds=settings.seconds,
        converged=solution.converged,
        notes=(solution.note,) if solution.note else (),
    )
    if stored is not None and not stopped_by_clock:
        try:
            stored.parent.mkdir(parents=True, exist_ok=True)
            policy.save(stored)
        except (OSError, ImmRlError) as error:
            policy.notes += (f"not cached: {error}",)  # the policy is as good without it
    return policy


def _resolved(method: object) -> str:
    """The solver that a method stands for; point-based value iteration serves every size so far."""
    if not isinstance(method, str) or method not in solver_names():
        raise unknown_name("solver", method, solver_names())
    return "pbvi" if method == DEFAULT_METHOD else method


def _solver(name: str) -> Callable[[TabularPOMDP, SolveSettings], Solution]:
    function: Callable[[TabularPOMDP, SolveSettings], Solution]
    function = importlib.import_module(_SOLVERS[name]).solve
    return function


def _check_settings(time_limit: object, precision: object, seed: object) -> None:
    for name, value in (("time_limit", time_limit), ("precision", precision)):
        if (
            isinstance(value, bool)
            or not isinstance(value, numbers.Real)
            or not 0.0 < float(value) < math.inf
        ):
            raise invalid(name, "be a number > 0", value)
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or int(seed) < 0:
        raise invalid("seed", "be a whole number ≥ 0", seed)


def _cache_path(model: TabularPOMDP, name: str, limits: tuple[float, float, int]) -> Path:
    given = os.environ.get("IMM_RL_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "imm-rl"
    text = repr((_CACHE_VERSION, model.fingerprint(), name, limits))
    return folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

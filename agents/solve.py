"""`solve(model, method)`: any solver by name, with its result kept on disk.

Light at import: solvers and NumPy are loaded when something is solved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import math
import numbers
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.errors import ImmRlError, InvalidInputError, invalid, unknown_name
from imm_rl.files import cache_folder

if TYPE_CHECKING:
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.solvers.base import Solution, SolveProgress, SolveSettings
    from imm_rl.envs.model import TabularPOMDP

DEFAULT_METHOD = "pomdp"
"""Stands for the solver that suits the model; the policy's `method` says which it was."""

_SOLVERS = {
    "exact": "imm_rl.agents.solvers.exact",
    "fib": "imm_rl.agents.solvers.fib",
    "pbvi": "imm_rl.agents.solvers.pbvi",
    "qmdp": "imm_rl.agents.solvers.qmdp",
    "sarsop": "imm_rl.agents.solvers.sarsop",
}
_POINT_BASED = ("pbvi", "sarsop")

EXACT_SIZE = 32
"""Up to S·A·O of this "pomdp" means `exact`, whose vectors are optimal at every belief; above, `sarsop`,
the best of the others at every size tried (to 102,401 states)."""

_CACHE_VERSION = 4
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
    horizon: int | None = None,
    cache: bool = True,
    progress: Callable[[SolveProgress], None] | None = None,
) -> AlphaVectorPolicy:
    """Solves a POMDP for its infinite discounted horizon, or for a number of steps.

    The same arguments give the same policy on the same machine, unless the clock stops the solver
    (the policy's `notes` say so): then it is what was ready in time.

    A policy with a lower bound is simulated (`imm_rl.agents.acceptance`): a large one is executed by its
    vectors, the quicker way, only if it then earns its lower bound, else by one-step look-ahead, and
    `notes` say so. A small one looks ahead in any case.

    Args:
        model: γ below 1, or γ = 1 where every policy ends in a terminal state; any γ with a horizon.
        method: "pomdp" (the solver that suits the model's size), "sarsop", "pbvi", "exact", "fib" or
            "qmdp".
        time_limit: Seconds; the solver stops with what it has. The simulation comes on top.
        precision: Gap between the bounds of the start belief's value to stop at, relative to
            max(1, |value|).
        seed: Of the solver's random choices.
        horizon: Steps, ≥ 1. The vectors are then those of the first step, with all others to go; the
            policy acts so at every step (a receding horizon), so that its bounds speak of the first.
        cache: Whether to take the policy from, and leave it in, `$IMM_RL_CACHE` (by default
            `~/.cache/imm-rl`). Entries are keyed by the model's numbers and these settings. A policy
            that the clock stopped, or whose first bound it cut short, is not kept: the next call may
            have a faster machine.
        progress: Called with a `SolveProgress` after every round of the solver; not when the policy
            comes from the cache.

    Returns:
        A policy with `lower_bound`, `upper_bound` (None where the method proves none), `gap`,
        `converged`, `seconds` and `notes`, which say why it stopped where it did not converge.

    Raises:
        InvalidInputError: No such method, a setting out of range, or an unbounded undiscounted horizon.
    """
    from imm_rl.agents.acceptance import accepted
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
    name = _resolved(method, model)
    _check_settings(time_limit, precision, seed, horizon)
    steps = None if horizon is None else int(horizon)
    limits = (float(time_limit), float(precision), int(seed), steps)
    stored = _cache_path(model, name, limits) if cache else None
    if stored is not None and stored.is_file():
        try:
            return AlphaVectorPolicy.load(stored, model)
        except InvalidInputError:
            pass  # damaged, or of an older format: solved and written anew
    settings = SolveSettings(
        time_limit=float(time_limit), precision=float(precision), seed=int(seed), progress=progress
    )
    solution = _solved(model, name, settings, horizon)
    # Point-based solvers stop before the limit, to back up what their policy meets.
    by_clock = settings.out_of_time or settings.clock_note in solution.note
    depends_on_machine = (by_clock and not solution.converged) or not solution.settled
    notes: tuple[str, ...] = (solution.note,) if solution.note else ()
    if not solution.settled and settings.clock_note not in solution.note:
        notes += (
            f"FIB did not settle in its share of the time limit of {settings.time_limit:g} s",
        )
    policy = AlphaVectorPolicy(
        solution.vectors,
        solution.actions,
        base=solution.base,
        model=model,
        execution=solution.execution,
        lower_bound=solution.lower_bound,
        upper_bound=solution.upper_bound,
        method=name,
        seconds=settings.seconds,
        converged=solution.converged,
        notes=notes,
    )
    if horizon is None and solution.lower_bound is not None:
        policy = accepted(model, policy, seed=int(seed))
    if stored is not None and not depends_on_machine:
        try:
            stored.parent.mkdir(parents=True, exist_ok=True)
            policy.save(stored)
        except (OSError, ImmRlError) as error:
            policy.notes += (f"not cached: {error}",)  # the policy is as good without it
    return policy


def _resolved(method: object, model: TabularPOMDP) -> str:
    """The solver that a method stands for."""
    if not isinstance(method, str) or method not in solver_names():
        raise unknown_name("solver", method, solver_names())
    if method != DEFAULT_METHOD:
        return method
    size = model.n_states * model.n_actions * model.n_observations
    return "exact" if size <= EXACT_SIZE else "sarsop"


def _solved(
    model: TabularPOMDP, name: str, settings: SolveSettings, horizon: int | None
) -> Solution:
    if horizon is None:
        return _solver(name)(model, settings)
    if name == "exact":
        from imm_rl.agents.solvers.exact import exact_horizon

        return exact_horizon(model, horizon, settings)
    from imm_rl.agents.solvers.horizon import first_layer, layered, layered_regions

    if name in _POINT_BASED:
        settings = dataclasses.replace(settings, regions=layered_regions(model, horizon))
    return first_layer(_solver(name)(layered(model, horizon), settings), model.n_states)


def _solver(name: str) -> Callable[[TabularPOMDP, SolveSettings], Solution]:
    function: Callable[[TabularPOMDP, SolveSettings], Solution]
    function = importlib.import_module(_SOLVERS[name]).solve
    return function


def _check_settings(time_limit: object, precision: object, seed: object, horizon: object) -> None:
    for name, value in (("time_limit", time_limit), ("precision", precision)):
        if (
            isinstance(value, bool)
            or not isinstance(value, numbers.Real)
            or not 0.0 < float(value) < math.inf
        ):
            raise invalid(name, "be a number > 0", value)
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or int(seed) < 0:
        raise invalid("seed", "be a whole number ≥ 0", seed)
    whole = isinstance(horizon, numbers.Integral) and not isinstance(horizon, bool)
    if not (horizon is None or (whole and int(horizon) >= 1)):  # type: ignore[call-overload]
        raise invalid("horizon", "be a whole number of steps ≥ 1, or None", horizon)


def _cache_path(model: TabularPOMDP, name: str, limits: tuple[object, ...]) -> Path:
    text = repr((_CACHE_VERSION, model.fingerprint(), name, limits))
    return cache_folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

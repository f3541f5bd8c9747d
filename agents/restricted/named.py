"""Restricted policies by name, in one place: `IMMReinforce(restricted=...)` and `--restricted` come here.

pomdp, qmdp, ...                          a solver of imm-rl; solutions are cached
pouct, pomcp                              a planner of pomdp_py, distilled into a table of beliefs
external-sarsop, external-pomdp-solve     another program, where it is installed
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imm_rl.agents.solve import solve, solver_names
from imm_rl.errors import unknown_name

if TYPE_CHECKING:
    from imm_rl.envs.pair import EnvPair

PLANNERS = ("pomcp", "pouct")
EXTERNAL = ("external-pomdp-solve", "external-sarsop")


def policy_names() -> tuple[str, ...]:
    """Every name that `named_policy` takes."""
    return (*solver_names(), *PLANNERS, *EXTERNAL)


def check_name(name: str) -> None:
    """Refuses a name before anything is solved.

    Raises:
        InvalidInputError: No such name, or what it needs is not installed.
    """
    if name in PLANNERS:
        from imm_rl.envs.pomdp_py_models import pomdp_py_module

        pomdp_py_module()
    elif name in EXTERNAL:
        from imm_rl.agents.external import PREFIX, find_external

        find_external(name.removeprefix(PREFIX))
    elif name not in solver_names():
        raise unknown_name("restricted policy", name, ["none", *policy_names()])


def named_policy(
    name: str, pair: EnvPair, *, progress: Callable[[int, int], None] | None = None
) -> Any:
    """The restricted policy of a name, for the pair's restricted model.

    Args:
        name: One of `policy_names`.
        pair: The environment.
        progress: Called with (asked, most) while a planner is distilled.

    Raises:
        InvalidInputError: No such name, or what it needs is not installed.
        RunFailedError: Another program failed.
    """
    check_name(name)
    model = pair.restricted_model
    if name in EXTERNAL:
        from imm_rl.agents.external import PREFIX, solve_external

        return solve_external(model, name.removeprefix(PREFIX))
    if name in PLANNERS:
        from imm_rl.agents.restricted.distill import distil
        from imm_rl.agents.restricted.planner import PlannerPolicy

        return distil(PlannerPolicy(model, name), pair, progress=progress)
    return solve(model, name)

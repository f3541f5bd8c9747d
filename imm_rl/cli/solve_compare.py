"""`imm-rl solve --compare`: several solvers on one model, one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imm_rl.cli.console import table
from imm_rl.cli.solve_result import bound, comparable, described, value_cell
from imm_rl.cli.solve_watch import LiveLine, Solved, solved
from imm_rl.errors import ImmRlError

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.cli.solve import Request

HEAD = [
    "method",
    "lower bound",
    "upper bound",
    "gap",
    "seconds",
    "vectors",
    "simulated value",
    "outcome",
]


def run(request: Request, console: Console, *, live: bool) -> None:
    """Solves by each method anew, never from the cache, so that the seconds are this machine's.

    A method that refuses the model has a row that says why.

    Args:
        request: With several methods.
        console: Takes the table.
        live: Whether to show progress.

    Raises:
        ImmRlError: Every method failed.
    """
    from imm_rl.cli import solve_plot

    solutions: list[Solved] = []
    results: list[dict[str, Any]] = []
    errors: list[ImmRlError] = []
    with LiveLine(live) as line:
        for method in request.methods:
            try:
                found = solved(request, method, line, cache=False)
            except ImmRlError as error:
                errors.append(error)
                results.append({"method": method, "error": str(error)})
                continue
            line.show(f"{method}: simulating")
            solutions.append(found)
            results.append(described(request, found) | {"progress": _columns(found)})
        if not solutions:
            raise errors[0]
        if request.plot is not None:
            solve_plot.draw(request.plot, request, solutions)
    result = {
        "env": request.pair.spec,
        "horizon": request.horizon,
        "discount": request.pair.restricted_model.discount,
        "time_limit": request.time_limit,
        "precision": request.precision,
        "seed": request.seed,
        "solvers": results,
        "plot": None if request.plot is None else str(request.plot),
    }
    console.result(result, _report(request, solutions, results))


def _columns(found: Solved) -> dict[str, list[Any]]:
    """The bounds over time, a list a quantity."""
    names = ("seconds", "lower_bound", "upper_bound", "vectors")
    return {
        name: list(column)
        for name, column in zip(names, zip(*found.points, strict=True), strict=True)
    }


def _report(request: Request, solutions: list[Solved], results: list[dict[str, Any]]) -> str:
    rows = [HEAD, *map(_row, results)]
    head = f"{request.pair.spec}, {request.time_limit:g} s a method"
    if request.horizon is not None:
        head += f", horizon {request.horizon:,} steps"
    lines = [head, "", table(rows, left=(0, 7)), ""]
    lines += [*_between(solutions), comparable(request)]
    if request.plot is not None:
        lines.append(f"picture: {request.plot}")
    return "\n".join(lines)


def _row(result: dict[str, Any]) -> list[str]:
    if "error" in result:
        return [result["method"], *[""] * 6, result["error"]]
    same = result["solver"] == result["method"]
    return [
        result["method"] if same else f"{result['method']} ({result['solver']})",  # as in the plot
        *(bound(result[key]) for key in ("lower_bound", "upper_bound", "gap")),
        f"{result['seconds']:.2f}",
        f"{result['vectors']:,}",
        value_cell(result["simulated_value"]),
        outcome(result),
    ]


def outcome(result: dict[str, Any]) -> str:
    """Whether a solver came to its end, and why not."""
    notes = list(result["notes"])
    if result["converged"]:
        # QMDP and FIB have no gap to close; they end where their own equation is solved.
        notes.insert(0, "finished" if result["gap"] is None else "converged")
    return "; ".join(notes) or "stopped before the precision was reached"


def _between(solutions: list[Solved]) -> list[str]:
    """What the methods together prove."""
    lows = [(s.policy.lower_bound, s.method) for s in solutions if s.policy.lower_bound is not None]
    highs = [
        (s.policy.upper_bound, s.method) for s in solutions if s.policy.upper_bound is not None
    ]
    if not lows or not highs:
        return []
    (low, low_method), (high, high_method) = max(lows), min(highs)
    return [
        f"The optimal value lies between {bound(low)} ({low_method}) and {bound(high)} "
        f"({high_method})."
    ]

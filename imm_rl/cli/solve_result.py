"""One method's result: solved, simulated, written down for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imm_rl.cli.console import interval, number, table
from imm_rl.cli.solve_watch import LiveLine, Solved, solved

if TYPE_CHECKING:
    import numpy.typing as npt

    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.cli.console import Console
    from imm_rl.cli.solve import Request
    from imm_rl.envs.model import TabularPOMDP

FEWEST_EPISODES, EPISODES = 200, 1000
"""Of a simulation whose length nobody gave."""

AFFORDED = 5e10
"""Multiplications that such a simulation may take, some seconds, before it gets fewer episodes."""


def run(request: Request, console: Console, *, live: bool) -> None:
    """Solves, simulates, writes the files, prints.

    Args:
        request: With one method.
        console: Takes the result.
        live: Whether to show progress.
    """
    from imm_rl.cli import solve_explain, solve_plot

    with LiveLine(live) as line:
        # A policy from the cache has no bounds over time to plot.
        found = solved(request, request.methods[0], line, cache=request.plot is None)
        if request.out is not None:
            found.policy.save(request.out)
        if request.plot is not None:
            solve_plot.draw(request.plot, request, [found])
        line.show("simulating")
        result = described(request, found)
        explained = solve_explain.explained(request, found.policy) if request.explain else None
    files = {"out": request.out, "plot": request.plot}
    result |= {key: None if file is None else str(file) for key, file in files.items()}
    text = _report(request, found, result)
    if explained is not None:
        result["explain"] = explained
        text += "\n\n" + solve_explain.shown(explained)
    console.result(result, text)


def described(request: Request, found: Solved) -> dict[str, Any]:
    """Everything about a solved policy, for JSON."""
    policy = found.policy
    return {
        "env": request.pair.spec,
        "method": found.method,
        "solver": policy.method,
        "horizon": request.horizon,
        "discount": request.pair.restricted_model.discount,
        "lower_bound": policy.lower_bound,
        "upper_bound": policy.upper_bound,
        "gap": policy.gap,
        "converged": policy.converged,
        "seconds": policy.seconds,
        "stored": found.stored,
        "vectors": policy.vectors.shape[0],
        "execution": policy.execution,
        "notes": list(policy.notes),
        "simulated_value": _simulated_value(request, policy),
        "simulated": _simulated_return(request, policy),
    }


def _simulated_value(request: Request, policy: AlphaVectorPolicy) -> dict[str, Any]:
    """The discounted value in the solver's model, which the bounds are of."""
    from imm_rl.agents.simulation import discounted_returns, horizon_of

    model = request.pair.restricted_model
    steps = request.horizon or horizon_of(model.discount)
    episodes = request.episodes or affordable(model, policy, steps)
    returns = discounted_returns(
        model, policy, episodes=episodes, seed=request.seed, steps=request.horizon
    )
    return {"mean": _mean(returns), "ci95": _ends(returns), "episodes": episodes, "steps": steps}


def _simulated_return(request: Request, policy: AlphaVectorPolicy) -> dict[str, Any]:
    """The undiscounted return of an episode of the environment."""
    from imm_rl.agents.evaluation import restricted_returns
    from imm_rl.agents.streams import generator

    pair = request.pair
    episodes = request.episodes or affordable(pair.restricted_model, policy, pair.max_steps)
    rng = generator(request.seed, "evaluation")
    returns = restricted_returns(pair, policy, episodes=episodes, n_steps=pair.max_steps, rng=rng)
    return {
        "mean_return": _mean(returns),
        "ci95": _ends(returns),
        "episodes": episodes,
        "steps": pair.max_steps,
    }


def affordable(model: TabularPOMDP, policy: AlphaVectorPolicy, steps: int) -> int:
    """Episodes of so many steps that are simulated in some seconds; a function of the sizes alone."""
    products = policy.vectors.size  # stored entries of a CSR set
    if policy.execution == "lookahead":
        products *= model.n_actions * model.n_observations
    fitting = int(AFFORDED / (max(products, 1) * steps))
    return min(max(fitting, FEWEST_EPISODES), EPISODES)


def _mean(returns: npt.ArrayLike) -> float:
    from imm_rl.statistics import mean_ci95

    return mean_ci95(returns)[0]


def _ends(returns: npt.ArrayLike) -> list[float]:
    from imm_rl.statistics import mean_ci95

    return list(mean_ci95(returns)[1:])


def comparable(request: Request) -> str:
    """What the simulated value may be compared with."""
    pair = request.pair
    weight = f"discounted by γ = {pair.restricted_model.discount:g}"
    if request.horizon is not None:
        text = (
            f"The bounds are of the first {request.horizon:,} steps, {weight}. The vectors are those of "
            "the first step; the simulation acts by them at every step, so it may earn less."
        )
    else:
        text = (
            f"Bounds and simulated value are of one kind: {weight}, from the start belief, without "
            f"the cut after {pair.max_steps} steps."
        )
    if pair.restricted_model is not pair.model:
        text += " They are of the model that the solver is given, which is not the environment's."
    return text


def bound(value: float | None) -> str:
    """A bound or gap as tables show it."""
    return "not proven" if value is None else f"{value:.6g}"


def value_cell(simulated: dict[str, Any]) -> str:
    """Mean and interval of a simulated value."""
    return f"{number(simulated['mean'])} {interval(simulated['ci95'])}".rstrip()


def _report(request: Request, found: Solved, result: dict[str, Any]) -> str:
    value, earned = result["simulated_value"], result["simulated"]
    kept = ", kept from an earlier solve" if found.stored else ""
    rows = [
        ["environment", result["env"]],
        ["solver", f"{result['solver']}, {result['seconds'] or 0.0:.2f} s{kept}"],
        ["value, lower bound", bound(result["lower_bound"])],
        ["value, upper bound", bound(result["upper_bound"])],
        ["gap", bound(result["gap"])],
        ["vectors", f"{result['vectors']:,}"],
        ["simulated value", f"{value_cell(value)}, {value['episodes']:,} episodes, discounted"],
        [
            "simulated return",
            f"{number(earned['mean_return'])} {interval(earned['ci95'])}, "
            f"{earned['episodes']:,} episodes of {earned['steps']} steps, undiscounted",
        ],
    ]
    if request.horizon is not None:
        rows.insert(1, ["horizon", f"{request.horizon:,} steps"])
    lines = [table(rows, left=(0, 1)), comparable(request)]
    if not result["converged"]:
        text = "stopped before the precision was reached"
        gap = result["gap"]
        lines.append(text if gap is None else f"{text}; the gap is {bound(gap)}")
    lines += [f"note: {note}" for note in result["notes"]]
    if request.out is not None:
        lines.append(f"policy: {request.out}")
    if request.plot is not None:
        lines.append(f"picture: {request.plot}")
    return "\n".join(lines)

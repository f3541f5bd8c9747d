"""`imm-rl solve`: solves the restricted model of an environment and says how good the policy is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_env, add_json, add_quiet
from imm_rl.errors import InvalidInputError, invalid

if TYPE_CHECKING:
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.solvers.base import SolveProgress
    from imm_rl.envs.pair import EnvPair

EPISODES = 1000
"""Of the simulation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Solves the POMDP of an environment. Values are discounted, at the start belief; the\n"
        "simulated return is the undiscounted sum of rewards of an episode."
    )
    parser.epilog = (
        "example:\n"
        "  imm-rl solve --env tiger --method pbvi --out tiger.npz\n"
        "  imm-rl train --env tiger --restricted tiger.npz"
    )
    add_env(parser)
    parser.add_argument(
        "--method", metavar="NAME", default="pomdp", help="pomdp (default), pbvi, fib or qmdp"
    )
    parser.add_argument(
        "--time-limit", metavar="S", default="10", help="stop after so many seconds (default: 10)"
    )
    parser.add_argument(
        "--precision",
        metavar="X",
        default="1e-3",
        help="gap between the bounds to stop at, relative to the value (default: 1e-3)",
    )
    parser.add_argument(
        "--seed", metavar="K", default="0", help="of solver and simulation (default: 0)"
    )
    parser.add_argument("--out", metavar="FILE", help="where to keep the policy, an .npz")
    add_json(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Solves, simulates, prints, saves."""
    from imm_rl.agents.solve import solve, solver_names
    from imm_rl.cli import values
    from imm_rl.cli.console import Console
    from imm_rl.cli.train_config import checked_pair
    from imm_rl.errors import unknown_name

    console = Console(json_only=args.json, quiet=args.quiet)
    if args.env is None:
        raise InvalidInputError(
            "--env is missing. Try --env tiger; `imm-rl envs` lists all of them."
        )
    if args.method not in solver_names():
        raise unknown_name("method", args.method, solver_names())
    time_limit = values.positive("--time-limit", args.time_limit)
    precision = values.positive("--precision", args.precision)
    seed = values.whole("--seed", args.seed)
    out = None if args.out is None else _checked_out(args.out)
    pair = checked_pair(values.text("--env", args.env))
    status = _Status(console.quiet or args.json)
    policy = solve(
        pair.restricted_model,
        args.method,
        time_limit=time_limit,
        precision=precision,
        seed=seed,
        progress=status,
    )
    status.clear()
    if out is not None:
        policy.save(out)
    result = _result(args.method, pair, policy, seed, args.out)
    console.result(result, _report(result))
    return 0


def _checked_out(out: str) -> Path:
    """The file to write, refused before the solver starts where it cannot be written."""
    from imm_rl.runs import check_writable

    path = Path(out)
    if path.suffix != ".npz" or path.is_dir():
        raise invalid("--out", "be the name of an .npz file", out)
    if not path.parent.is_dir():
        raise invalid("--out", "lie in a folder that exists", out)
    check_writable(path.parent, "a policy")
    return path


class _Status:
    """Shows the bounds while the solver runs, where somebody can see them."""

    def __init__(self, silent: bool) -> None:
        self._shows = not silent and sys.stderr.isatty()

    def __call__(self, progress: SolveProgress) -> None:
        low, high = (
            "?" if bound is None else f"{bound:.5g}"
            for bound in (progress.lower_bound, progress.upper_bound)
        )
        self._show(
            f"{progress.seconds:.1f} s: value between {low} and {high}, {progress.n_vectors} vectors"
        )

    def clear(self) -> None:
        """Takes the line away."""
        self._show("", end="\r")

    def _show(self, text: str, end: str = "") -> None:
        if self._shows:
            print(f"\r{text:<79}", end=end, file=sys.stderr, flush=True)


def _result(
    method: str, pair: EnvPair, policy: AlphaVectorPolicy, seed: int, out: str | None
) -> dict[str, Any]:
    from imm_rl.agents.evaluation import restricted_returns
    from imm_rl.agents.streams import generator
    from imm_rl.statistics import mean_ci95

    rng = generator(seed, "evaluation")
    returns = restricted_returns(pair, policy, episodes=EPISODES, n_steps=pair.max_steps, rng=rng)
    mean, low, high = mean_ci95(returns)
    return {
        "env": pair.spec,
        "method": method,
        "solver": policy.method,
        "lower_bound": policy.lower_bound,
        "upper_bound": policy.upper_bound,
        "gap": policy.gap,
        "converged": policy.converged,
        "seconds": policy.seconds,
        "vectors": len(policy.vectors),
        "notes": list(policy.notes),
        "simulated": {
            "mean_return": mean,
            "ci95": [low, high],
            "episodes": EPISODES,
            "steps": pair.max_steps,
        },
        "out": out,
    }


def _report(result: dict[str, Any]) -> str:
    from imm_rl.cli.console import interval, number, table

    low, high, gap = (
        "not proven" if result[key] is None else f"{result[key]:.6g}"
        for key in ("lower_bound", "upper_bound", "gap")
    )
    simulated = result["simulated"]
    rows = [
        ["environment", result["env"]],
        ["solver", f"{result['solver']}, {result['seconds'] or 0.0:.2f} s"],
        ["value, lower bound", low],
        ["value, upper bound", high],
        ["gap", gap],
        ["vectors", f"{result['vectors']:,}"],
        [
            "simulated return",
            f"{number(simulated['mean_return'])} {interval(simulated['ci95'])}, "
            f"{simulated['episodes']:,} episodes of {simulated['steps']} steps, undiscounted",
        ],
    ]
    lines = [table(rows, left=(0, 1))]
    if not result["converged"]:
        lines.append(f"stopped before the precision was reached; the gap is {gap}")
    lines += [f"note: {note}" for note in result["notes"]]
    if result["out"]:
        lines.append(f"policy: {result['out']}")
    return "\n".join(lines)

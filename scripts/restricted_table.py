"""What IMM gains by which restricted policy: steps to thresholds and final returns, problem by problem.

    python scripts/restricted_table.py --out docs/restricted.md
    python scripts/restricted_table.py --problems tiger,4x3 --methods none,qmdp --seeds 0-4 --steps 2000

Default settings and λ; all rows of a problem share seeds and random numbers. A threshold is a share of the
way from the return of acting at random to the optimum of whoever sees the state; both, and the returns of
the agents, are expected undiscounted returns of an episode, computed exactly. A seed that never gets to a
threshold counts as its whole training, and its row is marked ≥. Intervals: 95 %, percentile bootstrap over
seeds, of medians and of means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gain import Arm, Curves, curves, interval, steps_cell

import imm_rl
from imm_rl.agents.evaluation import exact_returns, oracle_return, restricted_returns
from imm_rl.agents.solve import solver_names
from imm_rl.agents.streams import generator
from imm_rl.cli.console import number
from imm_rl.cli.solve_result import affordable
from imm_rl.cli.values import count, positive
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.envs import registry
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name
from imm_rl.files import write_text
from imm_rl.statistics import mean_ci95

PROBLEMS, METHODS = "hallway,tiger-grid,tag", "none,qmdp,fib,pbvi,sarsop"
STEPS = 50_000
SHARES = "0.5,0.9"


class Problem(NamedTuple):
    """A problem and the two returns that thresholds lie between."""

    name: str
    pair: imm_rl.EnvPair
    random: float
    optimum: float

    def threshold(self, share: float) -> float:
        """The return at a share of the way."""
        return self.random + share * (self.optimum - self.random)


def main() -> None:
    """Trains everything; writes the tables as they grow."""
    args = _arguments()
    try:
        run(args)
    except ImmRlError as error:
        sys.exit(f"restricted_table: error: {error}")


def run(args: argparse.Namespace) -> None:
    """Problem by problem, restricted policy by restricted policy."""
    seeds = parse_seeds("--seeds", args.seeds)
    names = _names("problem", args.problems, registry.names())
    methods = _names("method", args.methods, ("none", *solver_names()))
    shares = [_share(text) for text in args.shares.split(",")]
    steps = count("--steps", args.steps)
    every = count("--every", args.every)
    if every > steps:
        raise InvalidInputError(f"--every must be at most --steps, {steps}; received {every}.")
    time_limit = positive("--time-limit", args.time_limit)
    text = _introduction(args)
    for name in names:
        problem = _problem(name)
        text += _head(problem, shares)
        plain: Curves | None = None
        for method in methods:
            policy = None
            if method != "none":
                policy = imm_rl.agents.solve(
                    problem.pair.restricted_model, method, time_limit=time_limit
                )
            found = curves(problem.pair, policy, None, seeds, steps, every=every)
            plain = found if method == "none" else plain
            text.append(_row(problem, method, policy, found, plain, shares))
            print(f"{name}: {text[-1]}", flush=True)
            if args.out:
                write_text(args.out, "\n".join(text) + "\n")
    if not args.out:
        print("\n" + "\n".join(text))


def _problem(name: str) -> Problem:
    pair = imm_rl.make(name)
    model = pair.model
    uniform = np.full((1, model.n_states, model.n_actions), 1.0 / model.n_actions)
    return Problem(
        name,
        pair,
        float(exact_returns(model, uniform, pair.max_steps)[0]),
        oracle_return(model, pair.max_steps),
    )


def _row(
    problem: Problem,
    method: str,
    policy: Any,
    found: Curves,
    plain: Curves | None,
    shares: Sequence[float],
) -> str:
    cells = [method, "–" if policy is None else _earned(problem.pair, policy)]
    for share in shares:
        arm = found.arm(problem.threshold(share))
        low, high = interval(arm.needed, np.median)
        cell = f"{steps_cell(arm)} [{low:,.0f}, {high:,.0f}] ({arm.reached.sum()})"
        if plain is not None and plain is not found:
            cell += _times_fewer(plain.arm(problem.threshold(share)), arm)
        cells.append(cell)
    low, high = interval(found.final, np.mean)
    cells.append(_with_ends(found.final.mean(), low, high))
    if plain is None or plain is found:
        cells.append("–")
    else:
        difference = found.final - plain.final
        cells.append(_with_ends(difference.mean(), *interval(difference, np.mean)))
    return f"| {' | '.join(cells)} |"


def _times_fewer(plain: Arm, arm: Arm) -> str:
    """The ratio of medians; a median that is the whole training is only known to be no less."""
    known, plain_known = (np.mean(a.reached) > 0.5 for a in (arm, plain))
    if not known:
        return ""
    ratio = np.median(plain.needed) / np.median(arm.needed)
    return f", × {'' if plain_known else '≥ '}{ratio:.1f}"


def _earned(pair: imm_rl.EnvPair, policy: Any) -> str:
    """What the restricted policy earns itself."""
    episodes = affordable(pair.restricted_model, policy, pair.max_steps)
    returns = restricted_returns(
        pair,
        policy,
        episodes=episodes,
        n_steps=pair.max_steps,
        rng=generator(0, "evaluation"),
    )
    mean, low, high = mean_ci95(returns)
    return _with_ends(mean, low, high)


def _with_ends(mean: float, low: float, high: float) -> str:
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def _introduction(args: argparse.Namespace) -> list[str]:
    words = [
        f"--{name} {getattr(args, name)}" for name in ("problems", "methods", "seeds", "steps")
    ]
    return [
        "# Gain of IMM by restricted policy",
        "",
        f"Made by `python scripts/restricted_table.py {' '.join(words)}`. Median steps of the environment "
        "to a share of the way from acting at random to the optimum of whoever sees the state (in round "
        "brackets the seeds that got there, then how many times fewer than without IMM), and the expected "
        "return at the end; 95 % bootstrap intervals over seeds. The restricted policy's own return is "
        "what it earns on its beliefs, without seeing the state.",
    ]


def _head(problem: Problem, shares: Sequence[float]) -> list[str]:
    columns = ["restricted policy", "its own return"]
    columns += [f"steps to {share:.0%} ({number(problem.threshold(share))})" for share in shares]
    columns += ["return at the end", "difference to none"]
    return [
        "",
        f"## {problem.name}",
        "",
        f"An episode has {problem.pair.max_steps} steps. At random {number(problem.random)}, optimum "
        f"{number(problem.optimum)}.",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
    ]


def _names(kind: str, text: str, known: Sequence[str]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name.partition("(")[0] not in known:
            raise unknown_name(kind, name, known)
    return names


def _share(text: str) -> float:
    share = positive("--shares", text)
    if share > 1.0:
        raise InvalidInputError(f"--shares must be in (0, 1]; received {share:g}.")
    return share


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", default=PROBLEMS, help="default: %(default)s")
    parser.add_argument("--methods", default=METHODS, help="default: %(default)s")
    parser.add_argument("--seeds", default="0-19", help="default: %(default)s")
    parser.add_argument("--steps", default=STEPS, help="environment steps (default: %(default)s)")
    parser.add_argument("--every", default=100, help="steps between looks (default: %(default)s)")
    parser.add_argument("--shares", default=SHARES, help="thresholds (default: %(default)s)")
    parser.add_argument(
        "--time-limit", default=30, help="seconds of each solver (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="FILE.md", help="default: the terminal alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()

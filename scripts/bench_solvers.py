"""Bounds, times, memory and simulated values of the solvers on the field's problems, as one table.

    python scripts/bench_solvers.py --models ../models --out docs/solvers.md
    python scripts/bench_solvers.py --problems tiger,hallway --scale 0.5
    python scripts/bench_solvers.py --reference values.md        # adds verdicts, see solver_reference.py

Each problem is solved in a process of its own, so that its peak memory is known and a failure costs its
row alone; the table is written anew after every row. Problems that are files are looked for in --models;
those whose file is not there are left out, and named. Set OMP_NUM_THREADS=1 for figures of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import solver_reference
from solver_reference import Reference, gap_verdict, lower_bound_verdict, normalised

from imm_rl.cli.values import count, positive
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name
from imm_rl.files import write_text


class Problem(NamedTuple):
    """What is solved and for how long.

    Attributes:
        title: The row's name.
        source: A file of --models, or a spec of `imm_rl.make`.
        pbvi, sarsop: Time limits in seconds.
    """

    title: str
    source: str
    pbvi: float = 10.0
    sarsop: float = 20.0


PROBLEMS = (
    Problem("tiger.95", "tiger.95.POMDP"),
    Problem("1d", "1d.POMDP"),
    Problem("4x3.95", "4x3.95.POMDP"),
    Problem("4x4.95", "4x4.95.POMDP"),
    Problem("cheese.95", "cheese.95.POMDP"),
    Problem("mini-hall2", "mini-hall2.POMDP"),
    Problem("shuttle.95", "shuttle.95.POMDP"),
    Problem("network", "network.POMDP"),
    Problem("paint.95", "paint.95.POMDP"),
    Problem("saci-s12-a6-z5", "saci-s12-a6-z5.95.POMDP"),
    Problem("web-mall", "web-mall.POMDP"),
    Problem("milos-aaai97", "milos-aaai97.POMDP"),
    Problem("tiger-grid", "tiger-grid.POMDP", 31.5),
    Problem("hallway", "hallway.POMDP", 31.5),
    Problem("hallway2", "hallway2.POMDP", 46.5),
    Problem("TagAvoid", "TagAvoid.POMDP", 82.5),
    Problem("RockSample[4,4]", "RockSample_4_4.POMDP"),
    Problem("RockSample[5,5]", "rocksample(5,5)", 18.0),
    Problem("RockSample[5,7]", "rocksample(5,7)", 86.0),
    Problem("RockSample[7,8]", "rocksample(7,8)", 120.0, 90.0),
    Problem("crying-baby", "crying-baby"),
)
HEAD = (
    "problem",
    "S/A/O",
    "γ",
    "QMDP ub",
    "FIB ub",
    "sarsop lb/ub (s)",
    "pbvi lb/ub (s)",
    "simulated value",
    "consistent",
    "MB",
)
STANDARD_ERRORS = 3.0
"""How far a simulated value may lie outside the bounds: of twenty rows none does so by chance."""

SPARE_SECONDS = 900.0
"""For reading, QMDP, FIB and simulation, before a problem's process is ended."""


def main() -> None:
    """Reads the arguments; solves in this process where it is a child."""
    args = _arguments()
    try:
        if args.child is None:
            run(args)
        else:
            problem = _limited(_chosen(args.child)[0], args)
            solve_one(problem, args, lambda row: print(json.dumps(row), flush=True))
    except ImmRlError as error:
        sys.exit(f"bench_solvers: error: {error}")


def run(args: argparse.Namespace) -> None:
    """Solves problem by problem, each in a child, and writes the table as it grows."""
    references = None if args.reference is None else solver_reference.read(args.reference)
    problems = [_limited(p, args) for p in _chosen(args.problems)]
    absent = [p.title for p in problems if not _is_there(p, args.models)]
    head = [
        *HEAD,
        *([] if references is None else ["sarsop gap / reference", "pbvi lb against it"]),
    ]
    lines = [_row(head), "|" + "---|" * len(head)]
    print("\n".join(lines), flush=True)
    for problem in problems:
        if problem.title not in absent:
            lines.append(_row(cells(problem, _in_child(problem, args), references)))
            print(lines[-1], flush=True)
            if args.out:
                write_text(args.out, _page(args, lines, absent))
    if absent:
        print(f"\nleft out, no file in {args.models}: {', '.join(absent)}")


def solve_one(problem: Problem, args: argparse.Namespace, tell: Callable[[Any], None]) -> None:
    """Solves one problem by every method; tells what is known after each step.

    Args:
        problem: With its time limits.
        args: The arguments.
        tell: Called with one dictionary, again and again, each time with more in it.
    """
    import imm_rl

    is_file = problem.source.endswith(".POMDP")
    pair = imm_rl.make(str(args.models / problem.source) if is_file else problem.source)
    model = pair.restricted_model
    row: dict[str, Any] = {
        "sizes": [model.n_states, model.n_actions, model.n_observations],
        "discount": model.discount,
    }
    policies = {}
    size = 1.0  # of the value, as far as it is known: precisions are relative to it
    limits = {"qmdp": problem.pbvi, "fib": problem.pbvi}
    for method in ("qmdp", "fib", "pbvi", "sarsop"):
        try:
            policy = imm_rl.agents.solve(
                model,
                method,
                time_limit=limits.get(method) or getattr(problem, method),
                precision=args.gap / size,
                seed=args.seed,
                cache=False,
            )
        except Exception as error:  # whatever it is, the other methods go on
            print(f"{problem.title}, {method}: {type(error).__name__}: {error}", file=sys.stderr)
            row[method] = {"error": str(error)}
            continue
        policies[method] = policy
        size = max(
            1.0, *(abs(b) for b in (policy.lower_bound, policy.upper_bound) if b is not None)
        )
        row[method] = {
            "lower": policy.lower_bound,
            "upper": policy.upper_bound,
            "seconds": policy.seconds,
            "vectors": policy.vectors.shape[0],
            "converged": policy.converged,
            "notes": policy.notes,
        }
        row["megabytes"] = _peak_megabytes()
        tell(row)
    proven = [p for p in policies.values() if p.lower_bound is not None]
    if proven:
        best = max(proven, key=lambda p: p.lower_bound)
        row["simulated"] = _simulated(model, best, args)
        row["megabytes"] = _peak_megabytes()
        tell(row)


def _simulated(model: Any, policy: Any, args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from imm_rl.agents.simulation import discounted_returns, horizon_of
    from imm_rl.cli.solve_result import affordable
    from imm_rl.statistics import mean_ci95

    steps = horizon_of(model.discount)
    episodes = args.episodes or affordable(model, policy, steps)
    returns = discounted_returns(model, policy, episodes=episodes, seed=args.seed)
    mean, low, high = mean_ci95(returns)
    # What rewards after the last step could still add.
    rest = model.discount**steps * float(np.abs(model.reward).max()) / (1.0 - model.discount)
    error = float(returns.std(ddof=1)) / len(returns) ** 0.5
    return {
        "mean": mean,
        "half": (high - low) / 2.0,
        "slack": STANDARD_ERRORS * error + rest,
        "episodes": episodes,
        "method": policy.method,
    }


def _in_child(problem: Problem, args: argparse.Namespace) -> dict[str, Any]:
    """A problem's row; what is there of it where its process fails."""
    words = [sys.executable, __file__, "--child", problem.title, "--models", str(args.models)]
    words += ["--limit", f"{problem.title}={problem.pbvi},{problem.sarsop}"]
    words += ["--seed", str(args.seed), "--gap", str(args.gap)]
    words += [] if args.episodes is None else ["--episodes", str(args.episodes)]
    allowed = 3.0 * problem.pbvi + problem.sarsop + SPARE_SECONDS
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=allowed, check=False)
        output, failure = done.stdout, f"exit code {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        output, failure = error.stdout or b"", f"ended after {allowed:.0f} s"
    lines = output.decode().splitlines()
    # A line that was cut off in the middle is not the last whole one.
    row = next((json.loads(line) for line in reversed(lines) if line.endswith("}")), {})
    return {**row, "failure": failure}


def cells(
    problem: Problem, row: dict[str, Any], references: dict[str, Reference] | None
) -> list[str]:
    """The table's cells of one problem."""
    failure = f" (failed: {row['failure']})" if row["failure"] else ""
    found = [
        problem.title + failure,
        "/".join(map(str, row.get("sizes", ["–"]))),
        f"{row['discount']:g}" if "discount" in row else "–",
        _number(row.get("qmdp", {}).get("upper")),
        _number(row.get("fib", {}).get("upper")),
        _bounds(row.get("sarsop", {})),
        _bounds(row.get("pbvi", {})),
        _simulation(row.get("simulated")),
        consistent(row),
        f"{row['megabytes']:,.0f}" if "megabytes" in row else "–",
    ]
    if references is not None:
        known = references.get(normalised(problem.title), Reference(None, None))
        sarsop, pbvi = row.get("sarsop", {}), row.get("pbvi", {})
        found.append(gap_verdict(_gap(sarsop), known.gap))
        found.append(lower_bound_verdict(pbvi.get("lower"), known.lower_bound))
    return found


def consistent(row: dict[str, Any]) -> str:
    """Whether no lower bound exceeds an upper one, and the simulated value lies between them."""
    solved = [row[m] for m in ("qmdp", "fib", "pbvi", "sarsop") if "seconds" in row.get(m, {})]
    lows = [s["lower"] for s in solved if s["lower"] is not None]
    highs = [s["upper"] for s in solved if s["upper"] is not None]
    if not lows or not highs:
        return "–"
    low, high = max(lows), min(highs)
    if low > high + 1e-6 * max(1.0, abs(high)):
        return "**bounds cross**"
    if "simulated" not in row:
        return "–"
    mean, slack = row["simulated"]["mean"], row["simulated"]["slack"]
    if mean + slack < low:
        return "**earns less**"
    return "yes" if mean - slack <= high else "**earns more**"


def _gap(solved: dict[str, Any]) -> float | None:
    low, high = solved.get("lower"), solved.get("upper")
    return None if low is None or high is None else high - low


def _bounds(solved: dict[str, Any]) -> str:
    if "seconds" not in solved:
        return "failed" if "error" in solved else "–"
    low, high = _number(solved["lower"]), _number(solved["upper"])
    return f"{low}/{high} ({solved['seconds']:.1f})"


def _simulation(simulated: dict[str, Any] | None) -> str:
    if simulated is None:
        return "–"
    digits = max(0, min(4, 1 - _exponent(simulated["half"])))
    return f"{simulated['mean']:.{digits}f} ± {simulated['half']:.{digits}f}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _number(value: float | None) -> str:
    """Six figures, but no more than four decimals."""
    if value is None:
        return "–"
    return f"{value:.{max(1, min(4, 5 - _exponent(value)))}f}"


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _page(args: argparse.Namespace, lines: Sequence[str], absent: Sequence[str]) -> str:
    words = []  # of the command, without where files lie on this machine
    if args.problems:
        words += ["--problems", f"'{args.problems}'"]
    if args.scale != 1.0:
        words += ["--scale", f"{args.scale:g}"]
    for limit in args.limit:
        words += ["--limit", f"'{limit}'"]
    if args.reference:
        words += ["--reference", "FILE.md"]
    text = [
        "# Solvers on the field's problems",
        "",
        f"Made by `{' '.join(['python scripts/bench_solvers.py', *words, '--out', str(args.out)])}` on "
        f"{os.cpu_count()} cores ({platform.machine()}), OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}, seed {args.seed}.",
        "",
        "Values are discounted, at the start belief, in the problem's own form that goes on for ever. "
        f"Solvers stop at a gap of {args.gap:g} or by the time limit, and their seconds are in brackets. "
        "The simulated value (± 95 % interval) is that of the policy with the higher lower bound. "
        f"Consistent: no bounds cross, and the simulated value lies between them within "
        f"{STANDARD_ERRORS:g} standard errors. MB: peak memory of the process that did all of the row.",
        "",
        *lines,
    ]
    if absent:
        text += ["", f"Left out, their files not being there: {', '.join(absent)}."]
    return "\n".join(text) + "\n"


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _is_there(problem: Problem, models: Path) -> bool:
    return not problem.source.endswith(".POMDP") or (models / problem.source).is_file()


def _chosen(text: str | None) -> list[Problem]:
    """Problems by title, however it is written; all of them where none is named."""
    if text is None:
        return list(PROBLEMS)
    by_name = {normalised(p.title): p for p in PROBLEMS}
    # Titles such as RockSample[4,4] have commas of their own.
    wanted = [normalised(name) for name in _split(text)]
    for name in wanted:
        if name not in by_name:
            raise unknown_name("problem", name, by_name)
    return [by_name[name] for name in wanted]


def _split(text: str) -> list[str]:
    parts: list[str] = []
    for part in text.split(","):
        if parts and parts[-1].count("[") > parts[-1].count("]"):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _limited(problem: Problem, args: argparse.Namespace) -> Problem:
    """The problem with the time limits that the arguments say; --scale is for those not given."""
    scaled = problem._replace(pbvi=args.scale * problem.pbvi, sarsop=args.scale * problem.sarsop)
    for text in args.limit:
        name, equals, seconds = text.rpartition("=")
        parts = seconds.split(",")
        if not equals or len(parts) > 2:
            raise InvalidInputError(f"--limit must be PROBLEM=PBVI[,SARSOP]; received {text!r}.")
        if _chosen(name)[0] is problem:
            limits = [positive("--limit", part) for part in parts]
            scaled = problem._replace(pbvi=limits[0], sarsop=limits[-1])
    return scaled


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="problems: " + ", ".join(p.title for p in PROBLEMS),
    )
    parser.add_argument("--problems", metavar="NAMES", help="of those below (default: all)")
    parser.add_argument(
        "--models",
        metavar="DIR",
        type=Path,
        default=Path("../shared/data/pomdp"),
        help="folder of .POMDP files (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        metavar="PROBLEM=PBVI[,SARSOP]",
        action="append",
        default=[],
        help="time limits in seconds; may be given again for another problem",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor of the time limits not given"
    )
    parser.add_argument("--gap", type=float, default=1e-3, help="absolute gap to stop at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", help="of each simulation (default: 200 to 1000, by size)")
    parser.add_argument("--reference", metavar="FILE.md", help="values to compare with")
    parser.add_argument("--out", metavar="FILE.md", help="default: the terminal alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.episodes = None if args.episodes is None else count("--episodes", args.episodes)
    return args


if __name__ == "__main__":
    main()

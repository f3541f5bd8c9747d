"""`imm-rl solve`: solves the model that an environment's solver is given, and says how good the policy is.

Here are the options and their checks, all of which come before anything is solved; what is done with
them is in `solve_result` (one method), `solve_compare`, `solve_plot` and `solve_explain`.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.cli.options import add_env, add_json, add_quiet
from imm_rl.errors import InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.envs.pair import EnvPair

COMPARED = "qmdp,fib,pbvi,sarsop"
"""What `--compare` alone stands for: the methods that serve models of every size."""

PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, checked.

    Attributes:
        pair: The environment.
        methods: One, or those to compare.
        horizon: Steps, None for without end.
        episodes: Of each simulation, None for as many as are cheap.
        out, plot: Files to write.
        explain: Whether to show choices.
    """

    pair: EnvPair
    methods: tuple[str, ...]
    time_limit: float
    precision: float
    seed: int
    horizon: int | None
    episodes: int | None
    out: Path | None
    plot: Path | None
    explain: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imm_rl.agents.solve import DEFAULT_METHOD, solver_names  # light

    names = ", ".join(name for name in solver_names() if name != DEFAULT_METHOD)
    parser.description = (
        "Solves the POMDP of an environment: the best that can be done without seeing the state.\n"
        "Bounds and the simulated value are discounted, at the start belief; the simulated return\n"
        "is the undiscounted sum of rewards of an episode."
    )
    parser.epilog = (
        "examples:\n"
        "  imm-rl solve --env tiger --out tiger.npz\n"
        "  imm-rl train --env tiger --restricted tiger.npz\n"
        "  imm-rl solve --env hallway.POMDP --time-limit 30 --explain\n"
        "  imm-rl solve --env tiger-grid --compare fib,pbvi --plot bounds.png\n"
        "  imm-rl solve --env tiger --method exact --horizon 10"
    )
    add_env(parser)
    how = parser.add_argument_group("how it is solved")
    how.add_argument(
        "--method",
        metavar="NAME",
        help=f"{DEFAULT_METHOD} (default: picks what suits the model, and says which), {names}",
    )
    how.add_argument(
        "--compare",
        metavar="NAMES",
        nargs="?",
        const=COMPARED,
        help=f"solve by several methods and print one table (alone: {COMPARED})",
    )
    how.add_argument(
        "--time-limit",
        metavar="S",
        default="10",
        help="stop each method after so many seconds (default: 10)",
    )
    how.add_argument(
        "--precision",
        metavar="X",
        default="1e-3",
        help="gap between the bounds to stop at, relative to the value (default: 1e-3)",
    )
    how.add_argument(
        "--horizon", metavar="H", help="the best policy for H steps (default: without end)"
    )
    how.add_argument(
        "--seed", metavar="K", default="0", help="of solver and simulation (default: 0)"
    )
    shown = parser.add_argument_group("what is shown and kept")
    shown.add_argument(
        "--episodes",
        metavar="N",
        help="of each simulation (default: 1000; where they take long fewer, down to 200)",
    )
    shown.add_argument(
        "--explain",
        action="store_true",
        help="show the action chosen at a few beliefs, and what the other actions are worth",
    )
    shown.add_argument(
        "--plot", metavar="FILE", help="picture of the bounds over time: .png, .svg or .pdf"
    )
    shown.add_argument(
        "--out", metavar="FILE", help="where to keep the policy: .npz, .policy, .policyx or .alpha"
    )
    add_json(shown)
    add_quiet(shown)


def run(args: argparse.Namespace) -> int:
    """Solves by one method, or by several."""
    from imm_rl.cli import solve_compare, solve_result
    from imm_rl.cli.console import Console

    console = Console(json_only=args.json, quiet=args.quiet)
    request = checked(args)
    part = solve_result if args.compare is None else solve_compare
    part.run(request, console, live=_is_live(console))
    return 0


def checked(args: argparse.Namespace) -> Request:
    """What the options say.

    Raises:
        InvalidInputError: One is wrong, or two contradict each other.
    """
    from imm_rl.cli import values
    from imm_rl.cli.environments import tabular_pair

    if args.env is None:
        raise InvalidInputError(
            "--env is missing. Try --env tiger; `imm-rl envs` lists all of them."
        )
    if args.compare is not None:
        _refuse_conflicts(args)
    return Request(
        methods=_methods(args.method, args.compare),
        time_limit=values.positive("--time-limit", args.time_limit),
        precision=values.positive("--precision", args.precision),
        seed=values.seed("--seed", args.seed),
        horizon=None if args.horizon is None else values.count("--horizon", args.horizon),
        episodes=None if args.episodes is None else _episodes(args.episodes),
        out=None if args.out is None else _checked_out(args.out),
        plot=None if args.plot is None else _checked_plot(args.plot),
        explain=args.explain,
        # Last: a file may be large.
        pair=tabular_pair(values.text("--env", args.env), "imm-rl solve"),
    )


def _refuse_conflicts(args: argparse.Namespace) -> None:
    if args.method is not None:
        raise InvalidInputError("--compare names its methods itself. Give up --method.")
    if args.out is not None:
        raise InvalidInputError(
            "--compare keeps no policy. Give up --out, or solve once more with --method NAME --out."
        )
    if args.explain:
        raise InvalidInputError(
            "--explain shows the policy of one method. Give up --compare, or solve once more with "
            "--method NAME --explain."
        )


def _methods(method: str | None, compare: str | None) -> tuple[str, ...]:
    from imm_rl.agents.solve import DEFAULT_METHOD, solver_names

    if compare is None:
        names = [DEFAULT_METHOD if method is None else method]
    else:
        names = [name.strip() for name in compare.split(",")]
    for name in names:
        if name not in solver_names():
            raise unknown_name("method", name, solver_names())
    if compare is not None:
        if len(set(names)) != len(names):
            raise invalid("--compare", "name each method once", compare)
        if len(names) == 1:
            raise invalid("--compare", "name at least two methods", compare, "For one: --method")
    return tuple(names)


def _episodes(text: str) -> int:
    """At least two: one alone has no interval."""
    from imm_rl.cli import values

    count = values.count("--episodes", text)
    if count < 2:
        raise invalid("--episodes", "be at least 2", count)
    return count


def _checked_out(out: str) -> Path:
    """The file of the policy."""
    from imm_rl.agents.restricted.policy_files import SUFFIXES

    return checked_file("--out", out, SUFFIXES, "a policy")


def _checked_plot(plot: str) -> Path:
    return checked_file("--plot", plot, PICTURES, "a picture")


def checked_file(option: str, text: str, suffixes: tuple[str, ...], what: str) -> Path:
    """A file to write, refused before the solver starts where it cannot be written."""
    from imm_rl.runs import check_file

    path = Path(text)
    if path.suffix.lower() not in suffixes or os.path.isdir(path):
        ends = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise invalid(option, f"be a file name that ends in {ends}", text)
    if not os.path.isdir(path.parent):
        raise invalid(option, "lie in a folder that exists", text)
    check_file(path, what)
    return path


def _is_live(console: Console) -> bool:
    """Whether somebody sits at a terminal and wants to see progress."""
    import sys

    return not (console.quiet or console.json_only) and sys.stderr.isatty()

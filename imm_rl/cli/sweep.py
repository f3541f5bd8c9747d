"""`imm-rl sweep FILE.yaml`: many trainings, on the cores of this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.cli.options import add_json, add_quiet
from imm_rl.errors import InvalidInputError, RunFailedError, unknown_name
from imm_rl.files import user_path

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.cli.sweep_plan import SweepPlan

BACKENDS = ("local", "ray")
EXAMPLE = """\
a sweep file:
  name: tiger-weights
  env: tiger
  seeds: 0-4
  grid:
    lambda: [0.1, 0.5, 1]
    restricted: [fib, pomdp]

examples:
  imm-rl sweep tiger.yaml --dry-run
  imm-rl sweep tiger.yaml
  imm-rl sweep tiger.yaml --backend ray --address auto
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Trains every point of a YAML file: each combination of `grid`, each entry of `list`. Any key of\n"
        "imm-rl train's configuration can be varied. Started again, it does what is missing."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("file", metavar="FILE", help="YAML file, see below")
    parser.add_argument(
        "--out", metavar="DIR", help="the sweep's folder (default: runs/sweeps/<name>)"
    )
    parser.add_argument("--backend", metavar="NAME", default="local", help="local (default) or ray")
    parser.add_argument(
        "--workers", metavar="N", help="trainings side by side (default: one a core)"
    )
    parser.add_argument(
        "--address",
        metavar="TEXT",
        help="of a running Ray cluster, such as auto (default: one of this machine, for this sweep)",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        default="1",
        help="how often a failed job is tried again (default: 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the points, train nothing")
    add_json(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Checks every point, then runs what is missing."""
    from imm_rl.cli import values
    from imm_rl.cli.console import Console
    from imm_rl.cli.sweep_plan import check_folder, read_sweep
    from imm_rl.runs import check_writable

    console = Console(json_only=args.json, quiet=args.quiet)
    if args.backend not in BACKENDS:
        raise unknown_name("backend", args.backend, BACKENDS)
    if args.address is not None and args.backend != "ray":
        raise InvalidInputError(
            "--address is of a Ray cluster. Add --backend ray, or leave it out."
        )
    if args.address is not None and args.workers is not None:
        raise InvalidInputError(
            "--workers and --address exclude each other: a running cluster has its own number of CPUs."
        )
    retries = values.whole("--retries", args.retries)
    n_workers = os.cpu_count() or 1
    if args.workers is not None:
        n_workers = values.processes("--workers", args.workers)
    plan = read_sweep(args.file)
    out = Path("runs") / "sweeps" / plan.name if args.out is None else user_path(args.out)
    folder = out.absolute()
    check_writable(folder, "a sweep")
    there = check_folder(folder, plan)
    if args.dry_run:
        console.say(_listed(plan))
        console.say("dry run: all of this is in order, and nothing was trained")
        return 0
    again = f"imm-rl sweep {shlex.quote(args.file)} --out {shlex.quote(str(folder))}"
    try:
        if not there:
            _make(folder, plan, shlex.join(args.command_line))
        return _run(args, plan, folder, n_workers, retries, again, console)
    except KeyboardInterrupt:  # before the first job was out, or once more
        return _stopped(again, console)


def _make(folder: Path, plan: SweepPlan, command: str) -> None:
    from imm_rl.cli.sweep_plan import SWEEP
    from imm_rl.cli.train_plan import versions
    from imm_rl.files import write_text
    from imm_rl.runs import make_folder

    make_folder(folder, "a sweep")
    write_text(folder / "command.txt", f"{command}\n")
    write_text(folder / "versions.json", versions())
    write_text(folder / SWEEP, plan.to_yaml())  # last: it says whose the folder is


def _run(
    args: argparse.Namespace,
    plan: SweepPlan,
    folder: Path,
    n_workers: int,
    retries: int,
    again: str,
    console: Console,
) -> int:
    from imm_rl.cli.sweep_results import RESULTS, report
    from imm_rl.cli.sweep_run import Outcome, run_sweep
    from imm_rl.cli.sweep_workers import workers

    console.say(f"sweep folder: {folder}")
    jobs = plan.jobs()
    missing = [job for job in jobs if not all(plan.points[n].folder(folder).finished for n in job)]
    console.note(
        f"{len(plan.points)} points in {len(jobs)} jobs, {len(missing)} of them to do, "
        f"backend {args.backend}"
    )
    ended = 0

    def told(job: tuple[int, ...], error: str) -> None:
        nonlocal ended
        ended += 1
        names = plan.points[job[0]].label + (f" and {len(job) - 1} more" if len(job) > 1 else "")
        console.note(f"{ended}/{len(missing)}  {names}{f': failed: {error}' if error else ''}")

    outcome = Outcome()
    if missing:
        with workers(args.backend, str(folder), n_workers, args.address) as made:
            at_once = 2 * n_workers if args.address is None else 256
            outcome = run_sweep(
                plan, folder, missing, made, at_once=at_once, retries=retries, told=told
            )
    if outcome.stopped:
        return _stopped(again, console)
    result = {"folder": str(folder), "results": str(folder / RESULTS), "points": len(plan.points)}
    console.result({**result, "failed": sorted(outcome.failed)}, report(plan, folder))
    console.say(f"results: {folder / RESULTS}")
    if outcome.failed:
        named = "; ".join(
            f"point {n} ({plan.points[n].label}): {error}"
            for n, error in sorted(outcome.failed.items())[:5]
        )
        more = "" if len(outcome.failed) <= 5 else f"; and {len(outcome.failed) - 5} more"
        raise RunFailedError(
            f"{len(outcome.failed)} of {len(plan.points)} points failed: {named}{more}. "
            f"Try them again: {again}"
        )
    return 0


def _stopped(again: str, console: Console) -> int:
    console.say(f"stopped; go on with: {again}")
    return 130


def _listed(plan: SweepPlan) -> str:
    jobs = plan.jobs()
    lines = [f"{len(plan.points)} points in {len(jobs)} jobs:"]
    for i, job in enumerate(jobs):
        together = " (as one)" if len(job) > 1 else ""
        lines.append(f"job {i}{together}: " + "; ".join(plan.points[n].label for n in job))
    return "\n".join(lines)

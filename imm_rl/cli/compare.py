"""`imm-rl compare`: several methods, the same seeds and random numbers, and what may be said of them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_config, add_json, add_quiet
from imm_rl.errors import InvalidInputError
from imm_rl.files import user_path

if TYPE_CHECKING:
    from imm_rl.cli.compare_plan import ComparisonPlan
    from imm_rl.cli.compare_statistics import Trained
    from imm_rl.cli.console import Console
    from imm_rl.cli.divergence import Divergence

EPILOG = """\
methods:
{methods}

examples:
  imm-rl compare --env grid --seeds 0-29
  imm-rl compare --env tiger --methods none,imm,noising,naive-kl --seeds 0-9
  imm-rl compare --env cheese --methods "none,imm(lambda=0.25),imm(lambda=target-kl:0.05)"
  imm-rl compare --env cheese --agent ppo --methods none,imm --seeds 0-4
  imm-rl compare runs/tiger/reinforce-pomdp-1 runs/tiger/reinforce-none-1
  imm-rl compare --resume runs/grid/compare-1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    from imm_rl.agents.methods import METHODS

    width = max(map(len, METHODS))
    listed = "\n".join(f"  {name:<{width}}  {method.text}" for name, method in METHODS.items())
    parser.description = (
        "Trains several methods with the same seeds and random numbers, or takes finished runs, and\n"
        "compares them: steps to a threshold, areas, final returns, intervals, p-values. Leaves a report\n"
        "(comparison.md), tables (CSV), a picture, and a run folder for each method. A method that\n"
        "diverges is left out of the statistics and named; the exit code is then 1."
    )
    parser.epilog = EPILOG.format(methods=listed)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="finished runs, in place of training"
    )
    judged = parser.add_argument_group("what is compared")
    judged.add_argument(
        "--methods",
        metavar="A,B",
        help="each perhaps with options of its own, such as imm(lambda=0.5) (default: all that the agent "
        "serves)",
    )
    judged.add_argument(
        "--reference",
        metavar="NAME",
        help="what the others are held against (default: none, or the first)",
    )
    judged.add_argument(
        "--threshold",
        metavar="X",
        help="steps are counted to this return: a number, or a share of the optimum (default: 90%%)",
    )
    add_config(parser)
    running = parser.add_argument_group("running")
    running.add_argument(
        "--fast", action="store_true", help="small runs of seconds, to try things out"
    )
    running.add_argument("--dry-run", action="store_true", help="check everything, train nothing")
    running.add_argument("--resume", metavar="DIR", help="go on with a comparison that was stopped")
    add_json(running)
    add_quiet(running)


def run(args: argparse.Namespace) -> int:
    """Trains what is to be trained, then compares."""
    from imm_rl.cli.console import Console
    from imm_rl.cli.train_config import keys
    from imm_rl.runs import check_writable

    console = Console(json_only=args.json, quiet=args.quiet)
    options = {key: getattr(args, key) for key in keys() if getattr(args, key, None) is not None}
    _refuse_conflicts(args, options)
    command = shlex.join(args.command_line)
    if args.runs:
        return _of_runs(args, console, command)
    if args.resume is not None:
        from imm_rl.cli.compare_plan import read_plan

        plan, folder = read_plan(args.resume), Path(args.resume)
        command = (folder / "command.txt").read_text(encoding="utf-8").strip()
    else:
        from imm_rl.cli.compare_plan import make_plan

        plan = make_plan(options, args.methods, args.reference, args.threshold, fast=args.fast)
        if args.dry_run:
            check_writable(plan.configs[0].logdir)
            console.say(_said(plan))
            console.say("dry run: all of this is in order, and nothing was trained")
            return 0
        folder = _new_folder(plan, command)
    return _trained(plan, folder, command, console)


def _refuse_conflicts(args: argparse.Namespace, options: dict[str, Any]) -> None:
    given = [f"--{key.replace('_', '-')}" for key in options]
    given += [
        f"--{n}" for n in ("methods", "reference", "threshold") if getattr(args, n) is not None
    ]
    given += [f"--{n.replace('_', '-')}" for n in ("fast", "dry_run") if getattr(args, n)]
    if "--method" in given:
        raise InvalidInputError("--method names one method; a comparison takes --methods A,B.")
    if args.runs and args.resume is not None:
        raise InvalidInputError(
            "--resume goes on with a comparison, and runs are named. Give up one."
        )
    if args.resume is not None and given:
        raise InvalidInputError(
            f"--resume goes on with the comparison's own plan and cannot be combined with "
            f"{', '.join(given)}. Leave it out, or start a new comparison."
        )
    ours = ("--reference", "--threshold", "--logdir")
    foreign = [name for name in given if name not in ours]
    if args.runs and foreign:
        raise InvalidInputError(
            f"finished runs are compared as they are, and {', '.join(foreign)} would train. Give up one."
        )


def _new_folder(plan: ComparisonPlan, command: str) -> Path:
    from imm_rl.cli.compare_plan import PLAN
    from imm_rl.cli.train_plan import short, versions
    from imm_rl.runs import RunFolder

    config = plan.configs[0]
    files = {PLAN: plan.to_yaml(), "command.txt": f"{command}\n", "versions.json": versions()}
    return RunFolder.create(config.logdir, short(config.env), "compare", files).path


def _said(plan: ComparisonPlan) -> str:
    from imm_rl.cli.console import ranges
    from imm_rl.cli.train_plan import described

    config = plan.configs[0]
    seeds = ranges(config.seeds)
    width = max(len(arm.label) for arm in plan.arms)
    lines = [
        f"environment: {config.env}, {described(plan.pair)}",
        f"trainings: {len(plan.arms)} methods, {len(config.seeds)} seeds ({seeds}), "
        f"{config.steps:,} steps each",
        f"threshold {plan.threshold.text}, reference {plan.reference}",
    ]
    lines += [
        f"  {arm.label:<{width}}  {c.agent}, restricted policy {c.restricted}, λ {c.imm_lambda}"
        for arm, c in zip(plan.arms, plan.configs, strict=True)
    ]
    return "\n".join(lines)


def _trained(plan: ComparisonPlan, folder: Path, command: str, console: Console) -> int:
    from imm_rl.cli.compare_statistics import Trained
    from imm_rl.cli.compare_training import Arms, resume_command
    from imm_rl.errors import RunFailedError

    console.say(f"comparison: {folder}")
    console.note(_said(plan))
    arms = Arms(plan, folder, command, console)
    try:
        done = arms.train()
    except KeyboardInterrupt:
        done = False
    except RunFailedError as error:
        raise RunFailedError(
            f"{error} The others are kept; go on with: {resume_command(folder)}"
        ) from error
    if not done:
        console.say(f"stopped; go on with: {resume_command(folder)}")
        return 130
    labels = {found.label for found in arms.diverged}
    found = [
        Trained.of(arm.label, run)
        for arm, run in zip(plan.arms, arms.folders, strict=True)
        if arm.label not in labels
    ]
    if found:
        _finish(found, plan.reference, plan.threshold, folder, command, console, arms.diverged)
    if arms.diverged:
        raise RunFailedError(_remedy(arms.diverged, len(plan.arms), folder))
    return 0


def _remedy(diverged: Sequence[Divergence], methods: int, folder: Path) -> str:
    """What diverged, in a line, and what to type."""
    said = "; ".join(f"{found.label} {found.told}, {found.error.rstrip('.')}" for found in diverged)
    kept = ""
    if len(diverged) < methods:
        kept = (
            ", or train it alone with the same seeds and hold it against those that are done: imm-rl "
            f"compare {shlex.quote(str(folder))} RUN"
        )
    return (
        f"{len(diverged)} of {methods} methods diverged and are in no statistics: {said}. --resume does "
        "not try them again, as they would meet the same numbers. Give such a method other options, as in "
        f"imm(learning_rate=0.001), in a new comparison{kept}."
    )


def _of_runs(args: argparse.Namespace, console: Console, command: str) -> int:
    """Compares finished runs; the result goes to a folder of its own."""
    from imm_rl.cli import values
    from imm_rl.cli.compare_plan import SHARE_DEFAULT, Threshold
    from imm_rl.cli.compare_statistics import Trained, compared
    from imm_rl.cli.divergence import Divergence
    from imm_rl.cli.run_curves import labels, read
    from imm_rl.cli.train_plan import short, versions
    from imm_rl.errors import unknown_name
    from imm_rl.runs import RunFolder

    runs, language = [], []
    for path in args.runs:
        for run in (run for run in read(path) if run.config):
            diverged = Divergence.read(run.path.name, run.path)
            if run.is_language_model:
                language.append(run)
            elif diverged is not None and run.path != Path(path):
                console.note(f"left out: {run.path}, which {diverged.told}")
            else:
                runs.append(run)
    if language and len(runs) < 2:
        listed = shlex.join(str(run.path) for run in language)
        raise InvalidInputError(
            f"imm-rl compare is for runs of agents, and these are of language models. Try: imm-rl lm "
            f"evaluate {listed}"
        )
    for run in language:
        console.note(f"left out: {run.path}: {run.why_empty}")
    if len(runs) < 2:
        named = {0: "none is", 1: "one is"}[len(runs)]
        raise InvalidInputError(f"a comparison takes at least two runs, and {named} named.")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InvalidInputError("a run is named twice.")
    names = labels(runs)
    reference = names[0] if args.reference is None else args.reference
    if reference not in names:
        raise unknown_name("reference", reference, names)
    threshold = Threshold.parse(SHARE_DEFAULT if args.threshold is None else args.threshold)
    arms = [Trained.of(name, RunFolder(run.path)) for name, run in zip(names, runs, strict=True)]
    compared(arms, reference, threshold)  # refuses what cannot be compared before a folder is made
    files = {"command.txt": f"{command}\n", "versions.json": versions()}
    env = short(arms[0].summary["env"])
    logdir = user_path("runs" if args.logdir is None else values.text("logdir", args.logdir))
    folder = RunFolder.create(logdir, env, "compared-runs", files).path
    _finish(arms, reference, threshold, folder, command, console)
    return 0


def _finish(
    arms: list[Trained],
    reference: str,
    threshold: Any,
    folder: Path,
    command: str,
    console: Console,
    diverged: Sequence[Divergence] = (),
) -> None:
    from imm_rl.cli.compare_report import PICTURE, REPORT, terminal, write
    from imm_rl.cli.compare_statistics import compared

    result = compared(arms, reference, threshold, diverged)
    write(folder, result, arms, command)
    console.result(result, terminal(result))
    console.say(f"\nreport: {folder / REPORT}\npicture: {folder / PICTURE}")

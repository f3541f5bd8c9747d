"""`imm-rl reproduce`: every figure and table of the paper that is built, one command each.

Each family of experiments is a module with a `FAMILY`; here is what they have in common.
"""

from __future__ import annotations

import argparse
import shlex

from imm_rl.cli import (
    reproduce_figure_1,
    reproduce_grid,
    reproduce_language,
    reproduce_table_2,
    values,
)
from imm_rl.cli.parser import Parser
from imm_rl.cli.reproduce_job import Job, StoppedError
from imm_rl.errors import InvalidInputError, invalid

FAMILIES = (
    reproduce_figure_1.FAMILY,
    reproduce_grid.FAMILY,
    reproduce_language.FAMILY,
    reproduce_table_2.FAMILY,
)
EXPERIMENTS = {name: text for family in FAMILIES for name, text in family.experiments.items()}
OPTIONS = {name: taken for family in FAMILIES for name, taken in family.options.items()}
COMMON = ("help", "out", "device", "quiet")
"""Options of every experiment."""

EXAMPLES = {
    "figure-1": ("--out figures", "--out figures --part search"),
    "figure-2": ("--out figures", "--out figures --published means.csv"),
    "lambda-search": ("--out figures --runs 10",),
    "table-1": (
        "--out figures/pydoc",
        "--out figures/text --corpus path/of/text --methods none,noising,batch --seeds 0-4 --jobs 2",
    ),
    "table-bigram": ("--out figures/pydoc",),
    "table-2": (
        "--out figures/glue --device cuda",
        "--out figures/glue --model path/of/bert --glue path/of/GLUE --tasks mrpc,rte --jobs 2",
    ),
}


def _help(parser: argparse.ArgumentParser, name: str | None) -> str:
    """The help of an experiment; without a name, which there are and what all of them take."""
    shown = [*COMMON, *(OPTIONS[name] if name else ["experiment"])]
    actions = [action for action in parser._actions if action.dest in shown]
    examples = [
        f"  imm-rl reproduce {experiment} {words}"
        for experiment, lines in EXAMPLES.items()
        for words in (lines if name else lines[:1])
        if name in (None, experiment)
    ]
    formatter = parser.formatter_class(prog=f"imm-rl reproduce{f' {name}' if name else ''}")
    formatter.add_usage(None, actions, [])
    if name:
        formatter.add_text(f"{EXPERIMENTS[name][0].upper()}{EXPERIMENTS[name][1:]}.")
    else:
        width = max(map(len, EXPERIMENTS))
        listed = "\n".join(f"  {key:<{width}}  {text}" for key, text in EXPERIMENTS.items())
        formatter.add_text(f"{parser.description}\n\nexperiments:\n{listed}")
    formatter.start_section("options")
    formatter.add_arguments([action for action in actions if action.option_strings])
    formatter.end_section()
    own = "" if name else "\n\nEach has options of its own: imm-rl reproduce figure-1 --help"
    formatter.add_text("\n".join(["examples:", *examples]) + own)
    return formatter.format_help()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options: those of all experiments, of several, and each family's own."""
    if isinstance(parser, Parser):
        parser.help_text = lambda args: _help(parser, getattr(args, "experiment", None))
    parser.add_argument("experiment", choices=list(EXPERIMENTS), metavar="EXPERIMENT")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for CSV, PNG and note")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    defaults = ", ".join(
        f"{name} {taken['runs']}" for name, taken in OPTIONS.items() if "runs" in taken
    )
    parser.add_argument("--runs", metavar="N", help=f"trainings of each point (default {defaults})")
    parser.add_argument(
        "--seed",
        metavar="K",
        help="seed of the first training; all others follow from it (default 0)",
    )
    for family in FAMILIES:
        family.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Checks, computes, writes the files, prints where they are."""
    _settle(args)
    for name, read in (("runs", values.count), ("jobs", values.processes), ("seed", values.seed)):
        if getattr(args, name) is not None:
            setattr(args, name, read(f"--{name}", getattr(args, name)))
    if args.runs is not None and args.runs < 2:
        raise invalid("--runs", "be at least 2, for a spread over runs", args.runs)

    family = next(f for f in FAMILIES if args.experiment in f.experiments)
    try:
        from imm_rl.device import torch_device

        files = family.run(Job(args, torch_device(args.device).type))
    except StoppedError as stopped:
        print(stopped)
        return 130
    except KeyboardInterrupt:  # before the trainings, or once more while they save their states
        if not family.goes_on:
            raise
        print(f"stopped; go on with: {shlex.join(args.command_line)}")
        return 130
    print("\n".join(f"wrote {file}" for file in files))
    return 0


def _settle(args: argparse.Namespace) -> None:
    """Gives the experiment's options their defaults, and refuses those of other experiments.

    Raises:
        InvalidInputError: An option was given that the experiment does not take.
    """
    taken = OPTIONS[args.experiment]
    for name in dict.fromkeys(option for options in OPTIONS.values() for option in options):
        given = getattr(args, name) is not None
        if name in taken:
            setattr(args, name, getattr(args, name) if given else taken[name])
        elif given:
            owners = " and ".join(e for e, options in OPTIONS.items() if name in options)
            option = f"--{name.replace('_', '-')}"
            raise InvalidInputError(
                f"{option} belongs to {owners}; {args.experiment} does not take it."
            )

"""Options of commands that train, `imm-rl train` and `imm-rl lm train`, about how they run."""

from __future__ import annotations

import argparse

from imm_rl.cli.options import add_json, add_quiet
from imm_rl.errors import InvalidInputError

_WITH_RESUME = ("resume", "json", "quiet", "command_line")


def add_running(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--fast`, `--dry-run`, `--print-config`, `--resume`, `--json`, `--quiet`."""
    run = parser.add_argument_group("running")
    run.add_argument(
        "--config", metavar="FILE", help="YAML file; keys are option names with _ for -"
    )
    run.add_argument(
        "--fast", action="store_true", help="a small run of seconds, to try things out"
    )
    run.add_argument("--dry-run", action="store_true", help="check everything, train nothing")
    run.add_argument(
        "--print-config", action="store_true", help="print the whole configuration as YAML"
    )
    run.add_argument("--resume", metavar="DIR", help="go on with a run that was stopped")
    add_json(run)
    add_quiet(run)


def refuse_conflicts(args: argparse.Namespace) -> None:
    """Refuses options that say no to each other.

    Raises:
        InvalidInputError: Two of them do.
    """
    if args.resume is not None:
        others = [
            k for k, v in vars(args).items() if k not in _WITH_RESUME and v not in (None, False)
        ]
        if others:
            listed = ", ".join(f"--{k.replace('_', '-')}" for k in others)
            raise InvalidInputError(
                f"--resume goes on with the run's own configuration and cannot be combined with "
                f"{listed}. Leave it out, or start a new run."
            )
    if args.print_config and args.dry_run:
        raise InvalidInputError(
            "--print-config and --dry-run exclude each other. Give one of them."
        )
    if args.json and (args.print_config or args.dry_run):
        other = "--print-config" if args.print_config else "--dry-run"
        raise InvalidInputError(f"--json prints a run's summary, and {other} runs nothing.")

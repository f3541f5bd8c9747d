"""Options of commands that train, `imm-rl train` and `imm-rl lm train`, about how they run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imm_rl import launch
from imm_rl.cli.options import add_json, add_quiet
from imm_rl.cli.streams import check_stdout
from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.formats import read_yaml
from imm_rl.out_of_memory import is_out_of_memory, message

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.runs import RunFolder

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


def given(args: argparse.Namespace, keys: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the user set: key -> text of the options that were given, key -> value of the `--config` file.

    Args:
        args: The options, None where they were not given.
        keys: Of a configuration.
    """
    values = {key: getattr(args, key) for key in keys}
    flags = {key: value for key, value in values.items() if value is not None}
    return flags, {} if args.config is None else read_yaml(args.config)


def carried_out(
    folder: RunFolder,
    console: Console,
    command: str,
    train: Callable[[], dict[str, Any] | None],
    report: Callable[[dict[str, Any]], str],
) -> int:
    """Trains in a folder, tells what came of it, and how to go on where it was stopped.

    Args:
        folder: The run's.
        console: For the result.
        command: What resumes a run, before its folder.
        train: Returns the summary, or None where it was stopped with the state saved.
        report: A summary as a person reads it.

    Returns:
        The exit code.

    Raises:
        RunFailedError: The training failed, or ran out of memory; what it had saved is kept.
    """
    resume = f"{command} {shlex.quote(str(folder.path))}"
    console.say(f"run folder: {folder.path}")
    try:
        summary = train()
    except KeyboardInterrupt:
        summary = None
    except RunFailedError as error:
        raise RunFailedError(f"{error} The run's files are in {folder.path}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        kept = f"The last checkpoint is kept; go on with: {resume}"
        started = " ".join(launch.start_words())
        name = command.removeprefix(started).removesuffix("--resume").strip()
        who = f"process {launch.rank()} of {launch.launched()}: " if launch.launched() > 1 else ""
        raise RunFailedError(who + message(error, name, kept)) from error
    if summary is None:
        console.say(f"stopped; go on with: {resume}")
        return 130
    console.result(summary, report(summary))
    console.say(f"run folder: {folder.path}")
    check_stdout(f"The run is complete: {folder.path}")
    return 0


def told_again(folder: RunFolder, console: Console, report: Callable[[dict[str, Any]], str]) -> int:
    """What came of a run that is finished; returns the exit code."""
    summary = folder.summary()
    console.note(f"the run {folder.path} is finished")
    console.result(summary, report(summary))
    console.say(f"run folder: {folder.path}")
    return 0


def refuse_conflicts(args: argparse.Namespace, prolonging: str = "") -> None:
    """Refuses options that say no to each other.

    Args:
        args: The options.
        prolonging: The option that may stand beside `--resume`, since it makes a training longer.

    Raises:
        InvalidInputError: Two of them do.
    """
    if args.resume is not None:
        others = [
            key
            for key, value in vars(args).items()
            if key not in (*_WITH_RESUME, prolonging) and value not in (None, False)
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

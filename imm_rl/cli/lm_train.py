"""`imm-rl lm train`: from a text to a trained language model, its curves and its summary."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imm_rl import launch
from imm_rl.cli.lm_config import add_options, keys, resolve, resolve_again
from imm_rl.cli.running import add_running, carried_out, given, refuse_conflicts, told_again
from imm_rl.errors import InvalidInputError
from imm_rl.runs import RunFolder, check_writable

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.cli.lm_config import LMConfig
    from imm_rl.language.processes import Processes

EPILOG = """\
examples:
  imm-rl lm train
  imm-rl lm train --method none --seeds 0-2
  imm-rl lm train --corpus path/of/text --method sampled --k 10 --lambda 0.5
  imm-rl lm train --corpus ptb --preset paper --method sampled --device cuda
  imm-rl lm train --resume runs/lm/pydoc/lstm-batch-1
  imm-rl lm train --resume runs/lm/pydoc/lstm-batch-1 --epochs 60    (goes on beyond its 40)
  torchrun --nproc-per-node 2 -m imm_rl.cli lm train    (two GPUs, or processes; docs/several-gpus.md)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Trains a language model whose induced n-gram model is matched to a Kneser-Ney n-gram model of\n"
        "the same text, and leaves curves, checkpoints, the model and a summary in a folder of its own.\n"
        "Values are taken from: defaults < --preset < --config < --fast < options."
    )
    parser.epilog = EPILOG
    add_options(parser)
    add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, or does what was asked for instead."""
    refuse_conflicts(args, prolonging="epochs")

    from imm_rl.cli import other_method
    from imm_rl.cli.console import Console, Silent
    from imm_rl.cli.lm_folder import check_corpus, new_folder, run_corpus, with_fitting_warmup
    from imm_rl.language.processes import Processes, own_device, started

    first = launch.rank() == 0
    console = Console(json_only=args.json, quiet=args.quiet) if first else Silent()
    if args.resume is not None:
        return _resume(RunFolder.open(args.resume), console, args.epochs, args.command_line)
    flags, file = given(args, keys())
    file, changed = other_method.of_language_model(flags, file, args.config or "")
    config = resolve(flags, file, source=args.config or "", fast=args.fast)
    own_device(config.device)
    Processes(count=launch.launched()).check_streams(config.settings.batch_size)
    if args.print_config or args.dry_run:
        return _shown(config, console, changed, as_yaml=args.print_config) if first else 0
    if changed:
        console.note(changed)
    processes = started(config.device)
    folder = RunFolder(config.logdir)  # the others are told which one below it
    if processes.first:
        check_writable(config.logdir)
        corpus = run_corpus(config)
        config, shortened = with_fitting_warmup(config, corpus)
        check_corpus(config, corpus)
        if shortened:
            console.note(shortened)
        folder = new_folder(config, corpus, shlex.join(args.command_line))
    # A drawn seed is another one in each process, and so might be what they read.
    config, folder = processes.told((config, folder))
    return _train(config, folder, console, processes)


def _shown(config: LMConfig, console: Console, changed: str, *, as_yaml: bool) -> int:
    """Says what would run, and trains nothing."""
    from imm_rl.cli.lm_folder import check_corpus, plan, run_corpus, with_fitting_warmup

    if as_yaml:
        print(config.to_yaml(), end="")
        return 0
    check_writable(config.logdir)
    corpus = run_corpus(config)
    config, shortened = with_fitting_warmup(config, corpus)
    check_corpus(config, corpus)
    for note in filter(None, (changed, shortened)):
        console.note(note)
    console.say(plan(config, corpus))
    console.say("dry run: all of this is in order, and nothing was trained")
    return 0


def _resume(folder: RunFolder, console: Console, epochs: str | None, command: Sequence[str]) -> int:
    from imm_rl.cli import lm_prolonging
    from imm_rl.cli.lm_summary import report
    from imm_rl.language.processes import started

    found = folder.config()
    if "corpus" not in found:
        raise InvalidInputError(
            f"{folder.path} is no run of a language model. Resume it with: "
            f"imm-rl train --resume {shlex.quote(str(folder.path))}"
        )
    if folder.finished and epochs is None:
        return told_again(folder, console, report)
    config = resolve_again(found, str(folder.path / "config.yaml"))
    if epochs is None:
        return _train(config, folder, console, started(config.device))
    longer = lm_prolonging.prolonged(config, folder, epochs)
    processes = started(config.device)
    if processes.first:
        lm_prolonging.reopen(folder, config, longer, shlex.join(command))
    processes.told(None)  # the others look into the folder after that alone
    return _train(longer, folder, console, processes)


def _train(config: LMConfig, folder: RunFolder, console: Console, processes: Processes) -> int:
    """Trains in the folder, from its checkpoints if there are any; returns the exit code."""
    from imm_rl.cli.lm_run import trained
    from imm_rl.cli.lm_summary import report

    code = carried_out(
        folder,
        console,
        f"{' '.join(launch.start_words())} lm train --resume",
        lambda: trained(config, folder, console, processes=processes),
        report if processes.first else lambda _: "",
    )
    processes.part()
    return code

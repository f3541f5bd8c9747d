"""`imm-rl train`: from an environment to a trained agent, its curves and its summary."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_config
from imm_rl.cli.running import add_running, carried_out, given, refuse_conflicts, told_again
from imm_rl.runs import RunFolder, check_writable

if TYPE_CHECKING:
    from imm_rl.cli.console import Console
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

EPILOG = """\
schedules of λ:
  0.25, ratio:0.2, linear:1->0@0.5, cosine:1->0@0.5, exp:1,half=0.1, paper, paper:400,
  target-kl:0.05, aligned:1

examples:
  imm-rl train --env tiger
  imm-rl train --env grid --preset paper --seeds 0-9
  imm-rl train --env model.POMDP --restricted qmdp --lambda linear:2->0@0.5 --steps 2e4
  imm-rl train --env tiger --agent ppo
  imm-rl train --env CartPole-v1 --observe 2,3
  imm-rl train --env CartPole-v1 --observe 2,3 --restricted runs/CartPole-v1-observe-2-3/ppo-view-1
  imm-rl train --resume runs/tiger/reinforce-pomdp-1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Trains an agent that sees the state, helped by a policy that sees less, and leaves curves,\n"
        "checkpoints, the trained policy and a summary in a folder of its own.\n"
        "Values are taken from: defaults < --preset < the environment's < --config < --fast < options;\n"
        "--dry-run prints those that a training would have."
    )
    parser.epilog = EPILOG
    add_config(parser)
    add_running(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, or does what was asked for instead."""
    refuse_conflicts(args)

    from imm_rl.cli import other_method
    from imm_rl.cli.console import Console
    from imm_rl.cli.train_config import keys, resolve
    from imm_rl.cli.train_plan import plan
    from imm_rl.cli.train_run import checked_policy, new_folder

    console = Console(json_only=args.json, quiet=args.quiet)
    if args.resume is not None:
        return _resume(RunFolder.open(args.resume), console)
    flags, file = given(args, keys())
    file, changed = other_method.of_agent(flags, file, args.config or "")
    config, pair = resolve(flags, file, source=args.config or "", fast=args.fast)
    policy = checked_policy(config, pair)
    if args.print_config:
        print(config.to_yaml(), end="")
        return 0
    if changed:
        console.note(changed)
    if args.dry_run:
        check_writable(config.logdir)
        console.say(plan(config, pair))
        console.say("dry run: all of this is in order, and nothing was trained")
        return 0
    folder = new_folder(config, pair, shlex.join(args.command_line))
    return _train(config, pair, folder, console, policy)


def _resume(folder: RunFolder, console: Console) -> int:
    from imm_rl.cli.summary import report
    from imm_rl.cli.train_config import resolve

    folder.refuse_language_model("imm-rl lm train --resume")
    if folder.finished:
        return told_again(folder, console, lambda summary: report(summary, folder))
    config, pair = resolve({}, folder.config(), source=str(folder.path / "config.yaml"))
    return _train(config, pair, folder, console)


def _train(
    config: TrainConfig,
    pair: EnvPair | FeaturePair,
    folder: RunFolder,
    console: Console,
    policy: Any | None = None,
) -> int:
    """Trains in the folder, from its checkpoint if there is one; returns the exit code."""
    from imm_rl.cli.summary import falls_short, report
    from imm_rl.cli.train_run import trained

    code = carried_out(
        folder,
        console,
        "imm-rl train --resume",
        lambda: trained(config, pair, folder, console, policy),
        lambda summary: report(summary, folder),
    )
    remark = falls_short(folder.summary()) if code == 0 and not console.quiet else ""
    if remark:
        print(remark, file=sys.stderr)
    return code

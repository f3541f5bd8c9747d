"""Options that sub-commands share, and those of `imm-rl train` that are keys of its configuration."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from imm_rl.agents.defaults import DEFAULT_LAMBDA


def add_config(parser: argparse.ArgumentParser) -> None:
    """Every option of a training; values stay texts, checked by `train_config.resolve`."""
    what = parser.add_argument_group("what is trained")
    add_env(what)
    what.add_argument(
        "--observe", help=argparse.SUPPRESS
    )  # refused: Gymnasium environments to come
    what.add_argument(
        "--restricted",
        metavar="POLICY",
        help="none, pomdp, sarsop, pbvi, exact, fib, qmdp, pouct, pomcp, external-sarsop, "
        "external-pomdp-solve, a policy file or module:factory (default: pomdp)",
    )
    what.add_argument(
        "--temperature",
        metavar="T",
        help="act by a softmax of the restricted policy's action values (default: the best action)",
    )
    what.add_argument("--agent", metavar="NAME", help="reinforce (default)")
    what.add_argument(
        "--lambda",
        metavar="SCHEDULE",
        help=f"weight of matching; forms below (default: {DEFAULT_LAMBDA['default']})",
    )
    what.add_argument(
        "--steps", metavar="N", help="environment steps of each seed (default: the environment's)"
    )
    what.add_argument("--seeds", metavar="K", help="such as 3, 0-9 or 3,4 (default: one, drawn)")
    what.add_argument("--device", metavar="NAME", help="auto (default), cpu or cuda")
    what.add_argument("--logdir", metavar="DIR", help="where run folders go (default: runs)")
    what.add_argument("--preset", metavar="NAME", help="settings to start from: default, paper")
    settings = parser.add_argument_group("settings of the agent")
    add_settings(settings)


def add_settings(group: Any) -> None:
    """One option for each field of `ReinforceSettings`; its help is the field's."""
    from imm_rl.agents.settings import ReinforceSettings  # free of torch

    for field in dataclasses.fields(ReinforceSettings):
        text = str(field.metadata["help"])
        if field.default is not None:
            value = field.default
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
            text += f" (default: {shown})"
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar=_METAVARS[str(field.type).partition(" ")[0].partition("[")[0]],
            help=text.replace("%", "%%"),
        )


_METAVARS = {"int": "N", "float": "X", "bool": "true|false", "str": "NAME", "tuple": "N,N"}


def add_env(group: Any, extra: str = "") -> None:
    """`--env`."""
    group.add_argument(
        "--env",
        metavar="SPEC",
        help="name, name(option=value), PATH.POMDP or module:factory; see imm-rl envs" + extra,
    )


def add_json(group: Any) -> None:
    """`--json`."""
    group.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def add_quiet(group: Any) -> None:
    """`--quiet`."""
    group.add_argument("--quiet", action="store_true", help="no notes and no progress")

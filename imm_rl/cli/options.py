"""Options that sub-commands share, and those of `imm-rl train` that are keys of its configuration."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from imm_rl.agents.defaults import DEFAULT_LAMBDA
from imm_rl.agents.methods import METHODS
from imm_rl.agents.sb3_settings import SETTINGS


def add_config(parser: argparse.ArgumentParser) -> None:
    """Every option of a training; values stay texts, checked by `train_config.resolve`."""
    what = parser.add_argument_group("what is trained")
    add_env(what)
    what.add_argument(
        "--observe",
        metavar="N,N",
        help="Gymnasium environments: the entries of an observation that the restricted view sees",
    )
    what.add_argument(
        "--restricted",
        metavar="POLICY",
        help="tabular: none, pomdp, sarsop, pbvi, exact, fib, qmdp, pouct, pomcp, external-sarsop, "
        "external-pomdp-solve, a policy file or module:factory (default: pomdp); "
        "others: none, a run folder, a model.zip or module:factory (default: none)",
    )
    what.add_argument(
        "--method",
        metavar="NAME",
        help=f"what the restricted policy is used for: {', '.join(METHODS)} "
        "(default: imm, or none without a restricted policy)",
    )
    what.add_argument(
        "--view",
        metavar="NAME",
        help="what the agent sees: full, or restricted, to train the restricted policy itself "
        "(default: restricted with --observe and without --restricted, else full)",
    )
    what.add_argument(
        "--temperature",
        metavar="T",
        help="act by a softmax of the restricted policy's action values (default: the best action)",
    )
    what.add_argument(
        "--agent",
        metavar="NAME",
        help="reinforce, ppo, a2c (default: reinforce where tabular, else ppo)",
    )
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
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each setting of any agent, in groups by who has it; its help is the field's."""
    fields: dict[str, dict[str, dataclasses.Field[Any]]] = {}  # by setting and agent
    for agent, kind in SETTINGS.items():
        for field in dataclasses.fields(kind):
            fields.setdefault(field.name, {})[agent] = field
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, having in fields.items():
        groups.setdefault(tuple(having), []).append(name)
    for agents, names in sorted(groups.items(), key=lambda item: -len(item[0])):
        whose = "every agent" if len(agents) == len(SETTINGS) else " and ".join(agents)
        group = parser.add_argument_group(f"settings of {whose}")
        for name in names:
            first = fields[name][agents[0]]
            group.add_argument(
                f"--{name.replace('_', '-')}",
                metavar=_METAVARS[str(first.type).partition(" ")[0].partition("[")[0]],
                help=_setting_help(fields[name]).replace("%", "%%"),
            )


def _setting_help(by_agent: dict[str, dataclasses.Field[Any]]) -> str:
    """The field's text and its default, or the agents' where they differ."""
    sharing: dict[str, list[str]] = {}  # agents by default
    for agent, field in by_agent.items():
        _, _, told = str(field.metadata["help"]).partition("; default: ")
        sharing.setdefault(told or _default(field), []).append(agent)
    first = str(next(iter(by_agent.values())).metadata["help"]).partition("; default: ")[0]
    if len(sharing) == 1:
        return f"{first} (default: {next(iter(sharing))})"
    each = [f"{' and '.join(agents)} {value}" for value, agents in sharing.items()]
    return f"{first} (default: {'; '.join(each)})"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


_METAVARS = {"int": "N", "float": "X", "bool": "true|false", "str": "NAME", "tuple": "N,N"}


def add_env(group: Any, extra: str = "") -> None:
    """`--env`."""
    group.add_argument(
        "--env",
        metavar="SPEC",
        help="name, name(option=value), PATH.POMDP, a Gymnasium id or module:factory; see imm-rl envs"
        + extra,
    )


def add_json(group: Any) -> None:
    """`--json`."""
    group.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def add_quiet(group: Any) -> None:
    """`--quiet`."""
    group.add_argument("--quiet", action="store_true", help="no notes and no progress")

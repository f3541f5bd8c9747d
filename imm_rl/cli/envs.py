"""`imm-rl envs`: which environments there are, how large they are, what they can be told."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_json

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Lists the registered environments, or shows one in full. Environments of your own:\n"
        "--env PATH.POMDP (a file in Cassandra's format) or --env module:factory; any id of Gymnasium."
    )
    parser.epilog = "examples:\n  imm-rl envs\n  imm-rl envs grid\n  imm-rl envs 'grid(size=7)'"
    parser.add_argument("spec", nargs="?", metavar="SPEC", help="show this one in full")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table or the one."""
    from imm_rl.cli.console import Console
    from imm_rl.cli.environments import checked_pair
    from imm_rl.envs import registry
    from imm_rl.envs.pair import EnvPair

    console = Console(json_only=args.json)
    if args.spec is not None:
        pair = checked_pair(args.spec)
        if not isinstance(pair, EnvPair):
            console.result(_spaces(pair), _spaces_in_full(pair))
            return 0
        found = _described(pair)
        console.result(found, _in_full(found, pair))
        return 0
    listed = {name: _described(registry.tabular(registry.make(name))) for name in registry.names()}
    console.result(listed, _table(listed))
    return 0


def _spaces(pair: FeaturePair) -> dict[str, Any]:
    """Of a Gymnasium environment, which has no model to tell more of."""
    seen = pair.features
    return {
        "name": pair.name,
        "spec": pair.spec,
        "observations": str(pair.observation_space),
        "actions": str(pair.action_space),
        "restricted_view": None if seen is None else str(seen.space),
        "max_steps": pair.max_steps,
    }


def _spaces_in_full(pair: FeaturePair) -> str:
    from imm_rl.cli.console import table

    found = _spaces(pair)
    rows = [
        ["observations", found["observations"]],
        ["actions", found["actions"]],
        ["restricted view", found["restricted_view"] or "none; --observe gives one"],
        ["steps of an episode", "no limit" if pair.max_steps is None else f"{pair.max_steps}"],
    ]
    return "\n".join([pair.spec or pair.name, "", table(rows, left=(0, 1))])


def _described(pair: EnvPair) -> dict[str, Any]:
    from imm_rl.envs import registry

    target, _ = registry.parse(pair.spec)
    return {
        "name": pair.name,
        "spec": pair.spec,
        "states": pair.model.n_states,
        "actions": pair.model.n_actions,
        "observations": pair.model.n_observations,
        "discount": pair.model.discount,
        "max_steps": pair.max_steps,
        "source": pair.source,
        "options": registry.options(target) if target in registry.names() else {},
    }


def _table(listed: dict[str, dict[str, Any]]) -> str:
    from imm_rl.cli.console import table

    rows = [["name", "states", "actions", "observations", "γ", "steps", "source"]]
    rows += [[name, *(str(e[key]) for key in _SIZES), e["source"]] for name, e in listed.items()]
    head, *lines = table(rows, left=(0, 6)).splitlines()
    shown = [head]
    for line, entry in zip(lines, listed.values(), strict=True):
        shown += [line, f"  options: {_options(entry)}"]
    return "\n".join([*shown, "", "one in full: imm-rl envs NAME"])


_SIZES = ("states", "actions", "observations", "discount", "max_steps")


def _options(entry: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in entry["options"].items()) or "none"


def _in_full(entry: dict[str, Any], pair: EnvPair) -> str:
    from imm_rl.agents.evaluation import oracle_return
    from imm_rl.cli.console import number, table

    model = pair.model
    rows = [
        ["states", _named(model.state_names)],
        ["actions", _named(model.action_names)],
        ["observations", _named(model.observation_names)],
        ["discount γ", f"{model.discount:g}"],
        ["steps of an episode", f"{pair.max_steps}"],
        ["terminal states", f"{int(model.terminal.sum())}"],
        [
            "the solver's model",
            "the same" if model is pair.restricted_model else "another one",
        ],
        ["optimal return", f"{number(oracle_return(model, pair.max_steps))} (sees the state)"],
        ["source", entry["source"] or "not given"],
    ]
    rows += [[f"option {key}", f"default {value!r}"] for key, value in entry["options"].items()]
    return "\n".join([entry["spec"], "", table(rows, left=(0, 1))])


def _named(names: tuple[str, ...], most: int = 12) -> str:
    """The number of names and, of few, the names themselves."""
    if len(names) > most or all(name == str(i) for i, name in enumerate(names)):
        return f"{len(names):,}"
    return textwrap.shorten(f"{len(names)}: {', '.join(names)}", 100)

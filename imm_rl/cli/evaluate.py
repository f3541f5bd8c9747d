"""`imm-rl evaluate`: what a run, a trained policy or a restricted policy earns in fresh episodes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_env, add_json
from imm_rl.errors import InvalidInputError

if TYPE_CHECKING:
    from imm_rl.agents.state_policy import StatePolicy
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.pair import EnvPair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Plays a policy in fresh episodes and prints its mean return, with actions sampled and with\n"
        "its most likely actions. The same seed means the same random numbers for every policy."
    )
    parser.epilog = (
        "examples:\n"
        "  imm-rl evaluate\n"
        "  imm-rl evaluate runs/tiger/reinforce-pomdp-1 --episodes 10_000\n"
        "  imm-rl evaluate tiger.npz --env tiger"
    )
    parser.add_argument(
        "policy",
        nargs="?",
        metavar="RUN|POLICY",
        help="a run folder, a model.zip or a restricted policy's .npz, .policy, .policyx or .alpha "
        "(default: the latest run)",
    )
    add_env(parser, " (default: the one it was trained on)")
    parser.add_argument(
        "--episodes", metavar="N", default="1000", help="of each policy (default: 1000)"
    )
    parser.add_argument("--seed", metavar="K", default="0", help="of the episodes (default: 0)")
    parser.add_argument(
        "--logdir", metavar="DIR", help="where the latest run is looked for (default: runs)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates and prints."""
    from imm_rl.cli import values
    from imm_rl.cli.console import Console
    from imm_rl.cli.restricted import is_file
    from imm_rl.runs import RunFolder

    console = Console(json_only=args.json)
    episodes = values.count("--episodes", args.episodes)
    seed = values.whole("--seed", args.seed)
    if args.policy is not None and args.logdir is not None:
        raise InvalidInputError(
            f"--logdir is for finding the latest run, and {args.policy} is named. Give up one."
        )
    path = args.policy or str(RunFolder.latest(args.logdir or "runs").path)
    if not Path(path).exists():
        raise InvalidInputError(f"there is no run or policy {path}.")
    evaluate = _restricted if is_file(path) else _trained
    result = evaluate(path, args.env, episodes, seed)
    console.result(result, _report(result))
    return 0


def _trained(path: str, env: str | None, episodes: int, seed: int) -> dict[str, Any]:
    """Of a run folder or a model.zip."""
    import numpy as np

    from imm_rl.agents.evaluation import Evaluator
    from imm_rl.cli.train_config import checked_pair

    policies = _policies(Path(path))
    spec = env or policies[0].about.get("env")
    if not isinstance(spec, str):
        raise InvalidInputError(f"{path} does not say which environment it is for. Give --env.")
    pair = checked_pair(spec)
    for policy in policies:
        _check_sizes(path, policy.n_states, policy.n_actions, pair)
    n_steps = _episode_steps(Path(path), pair)
    probs = np.stack([policy.table for policy in policies])
    most_likely = np.eye(pair.model.n_actions)[probs.argmax(axis=-1)]
    returns = []
    for tables in (probs, most_likely):
        evaluator = Evaluator(pair, [seed], len(policies), episodes=episodes, n_steps=n_steps)
        returns.append(evaluator.returns(tables))
    seeds = [policy.about.get("seed") for policy in policies]
    return _result(path, pair, returns[0], returns[1], n_steps, seed) | {"trained_seeds": seeds}


def _restricted(path: str, env: str | None, episodes: int, seed: int) -> dict[str, Any]:
    """Of a restricted policy's file."""
    from imm_rl.agents.evaluation import restricted_returns
    from imm_rl.agents.streams import generator
    from imm_rl.cli.restricted import from_file
    from imm_rl.cli.train_config import checked_pair

    if env is None:
        raise InvalidInputError(f"{path} does not say which environment it is for. Give --env.")
    pair = checked_pair(env)
    policy = from_file(path, pair)
    n_steps = pair.max_steps
    sampled, greedy = (
        restricted_returns(
            pair, p, episodes=episodes, n_steps=n_steps, rng=generator(seed, "evaluation")
        )[None, :]
        for p in (policy, policy.with_(temperature=None, ties="first"))
    )
    return _result(path, pair, sampled, greedy, n_steps, seed)


def _policies(path: Path) -> list[StatePolicy]:
    """The trained policies of a run's seeds, in order, or the one in a zip."""
    from imm_rl.agents.state_policy import StatePolicy
    from imm_rl.runs import CONFIG, MODEL

    if path.is_file():
        return [StatePolicy.load(path)]
    files = [path / MODEL] if (path / MODEL).is_file() else list(path.glob(f"seed_*/{MODEL}"))
    if not files:
        if not (path / CONFIG).is_file():
            raise InvalidInputError(f"{path} is no run folder: it has no {CONFIG}.")
        raise InvalidInputError(
            f"the run {path} is not finished and has no policy yet. Go on with it: "
            f"imm-rl train --resume {path}"
        )
    return [StatePolicy.load(file) for file in sorted(files, key=_seed_of)]


def _seed_of(file: Path) -> int:
    match = re.fullmatch(r"seed_(\d+)", file.parent.name)
    return int(match[1]) if match else 0


def _episode_steps(path: Path, pair: EnvPair) -> int:
    """Steps of an episode: what the run was evaluated with, else the environment's."""
    from imm_rl.formats import read_yaml
    from imm_rl.runs import CONFIG

    for folder in (path, path.parent, path.parent.parent):
        if (folder / CONFIG).is_file() and (folder / "versions.json").is_file():
            return int(read_yaml(folder / CONFIG).get("eval_steps") or pair.max_steps)
    return pair.max_steps


def _check_sizes(path: str, n_states: int, n_actions: int, pair: EnvPair) -> None:
    model = pair.model
    if (n_states, n_actions) != (model.n_states, model.n_actions):
        raise InvalidInputError(
            f"the policy of {path} is for {n_states} states and {n_actions} actions; {pair.name} has "
            f"{model.n_states} states and {model.n_actions} actions."
        )


def _result(
    path: str, pair: EnvPair, sampled: FloatArray, greedy: FloatArray, n_steps: int, seed: int
) -> dict[str, Any]:
    """Of returns (K, B) of K policies; intervals as in a run's summary."""
    from imm_rl.agents.evaluation import oracle_return
    from imm_rl.cli.summary import evaluation, mean_return

    return {
        "policy": path,
        "env": pair.spec,
        "episode_steps": n_steps,
        "seed": seed,
        "eval": evaluation(sampled),
        "eval_deterministic": mean_return(greedy),
        "oracle": {"mean_return": oracle_return(pair.model, n_steps)},
    }


def _report(result: dict[str, Any]) -> str:
    from imm_rl.cli.summary import comparison

    several = len(result["eval"]["per_seed"])
    which = f"{several} trained policies, " if several > 1 else ""
    return "\n".join(
        [
            f"{result['policy']} in {result['env']}: {which}{result['eval']['episodes']:,} episodes of "
            f"{result['episode_steps']} steps, seed {result['seed']}",
            "",
            comparison(
                {
                    "sampled actions": result["eval"],
                    "most likely actions": result["eval_deterministic"],
                },
                result["oracle"]["mean_return"],
            ),
        ]
    )

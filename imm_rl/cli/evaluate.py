"""`imm-rl evaluate`: what a run, a trained policy or a restricted policy earns in fresh episodes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_env, add_json
from imm_rl.errors import InvalidInputError

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
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
        "  imm-rl evaluate tiger.npz --env tiger\n"
        "  imm-rl evaluate my_ppo.zip --env CartPole-v1"
    )
    parser.add_argument(
        "policy",
        nargs="?",
        metavar="RUN|POLICY",
        help="a run folder, a model.zip, another zip of stable-baselines3, or a restricted policy's "
        ".npz, .policy, .policyx or .alpha (default: the latest finished run)",
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
    from imm_rl.cli.newest import policy_path
    from imm_rl.cli.restricted import is_file

    console = Console(json_only=args.json)
    episodes = values.count("--episodes", args.episodes)
    seed = values.seed("--seed", args.seed)
    path = policy_path(args.policy, args.logdir, "imm-rl evaluate", "imm-rl lm evaluate")
    evaluate = _restricted if is_file(path) else _trained
    result = evaluate(path, args.env, episodes, seed)
    console.result(result, _report(result))
    return 0


def _trained(path: str, env: str | None, episodes: int, seed: int) -> dict[str, Any]:
    """Of a run folder or a model.zip, whichever agent left it."""
    from imm_rl.cli import evaluate_sb3

    files = model_files(Path(path))
    if evaluate_sb3.is_sb3(files[0]):
        return evaluate_sb3.evaluated(path, files, env, episodes, seed)
    return _reinforce(path, files, env, episodes, seed)


def _reinforce(
    path: str, files: list[Path], env: str | None, episodes: int, seed: int
) -> dict[str, Any]:
    """Of tables of action probabilities, all seeds at once."""
    import numpy as np

    from imm_rl.agents.evaluation import Evaluator
    from imm_rl.agents.state_policy import StatePolicy
    from imm_rl.cli.environments import tabular_pair

    policies = [StatePolicy.load(file) for file in files]
    spec = env or policies[0].about.get("env")
    if not isinstance(spec, str):
        raise unknown_env(path)
    pair = tabular_pair(spec, "a policy of agent reinforce")
    for policy in policies:
        check_sizes(path, policy.n_states, policy.n_actions, pair)
    n_steps = _episode_steps(Path(path), pair)
    probs = np.stack([policy.table for policy in policies])
    most_likely = np.eye(pair.model.n_actions)[probs.argmax(axis=-1)]
    returns = []
    for tables in (probs, most_likely):
        evaluator = Evaluator(pair, [seed], len(policies), episodes=episodes, n_steps=n_steps)
        returns.append(evaluator.returns(tables))
    seeds = [policy.about.get("seed") for policy in policies]
    found = result_of(path, pair, returns[0], returns[1], n_steps, seed)
    return {**found, "trained_seeds": seeds, "note": _note(policies[0].about, Path(path))}


def _note(about: dict[str, Any], path: Path) -> str:
    """What the numbers leave out; empty where nothing."""
    from imm_rl.schedules import parse

    if run_config(path).get("method") != "interpolate" or not parse(about["imm_lambda"])(1.0):
        return ""
    return (
        f"trained with method interpolate and λ {about['imm_lambda']}: this is the agent alone, without "
        "the restricted policy's share that the run's own summary has"
    )


def _restricted(path: str, env: str | None, episodes: int, seed: int) -> dict[str, Any]:
    """Of a restricted policy's file."""
    from imm_rl.agents.evaluation import restricted_returns
    from imm_rl.agents.streams import generator
    from imm_rl.cli.environments import tabular_pair
    from imm_rl.cli.restricted import from_file

    if env is None:
        raise unknown_env(path)
    pair = tabular_pair(env, "a policy on beliefs")
    policy = from_file(path, pair)
    n_steps = pair.max_steps
    sampled, greedy = (
        restricted_returns(
            pair, p, episodes=episodes, n_steps=n_steps, rng=generator(seed, "evaluation")
        )[None, :]
        for p in (policy, policy.with_(temperature=None, ties="first"))
    )
    return result_of(path, pair, sampled, greedy, n_steps, seed)


def unknown_env(path: str) -> InvalidInputError:
    """The error for a policy that does not say where it acts, and --env does not either."""
    return InvalidInputError(f"{path} does not say which environment it is for. Give --env.")


def model_files(path: Path) -> list[Path]:
    """The trained policies of a run's seeds, in order, or the zip itself."""
    from imm_rl.runs import CONFIG, MODEL

    if path.is_file():
        return [path]
    files = [path / MODEL] if (path / MODEL).is_file() else list(path.glob(f"seed_*/{MODEL}"))
    if not files:
        if not (path / CONFIG).is_file():
            raise InvalidInputError(f"{path} is no run folder: it has no {CONFIG}.")
        raise InvalidInputError(
            f"the run {path} is not finished and has no policy yet. Go on with it: "
            f"imm-rl train --resume {path}"
        )
    return sorted(files, key=_seed_of)


def _seed_of(file: Path) -> int:
    match = re.fullmatch(r"seed_(\d+)", file.parent.name)
    return int(match[1]) if match else 0


def run_config(path: Path) -> dict[str, Any]:
    """The configuration of the run that a folder or file lies in; empty where it lies in none."""
    from imm_rl.runs import RunFolder

    run = RunFolder.around(path)
    return {} if run is None else run.config()


def _episode_steps(path: Path, pair: EnvPair) -> int:
    """Steps of an episode: what the run was evaluated with, else the environment's."""
    return int(run_config(path).get("eval_steps") or pair.max_steps)


def check_sizes(path: str, n_states: int, n_actions: int, pair: EnvPair) -> None:
    """Refuses a policy of other states or actions than the pair has."""
    model = pair.model
    if (n_states, n_actions) != (model.n_states, model.n_actions):
        raise InvalidInputError(
            f"the policy of {path} is for {n_states} states and {n_actions} actions; {pair.name} has "
            f"{model.n_states} states and {model.n_actions} actions."
        )


def result_of(
    path: str,
    pair: EnvPair | FeaturePair,
    sampled: FloatArray,
    greedy: FloatArray,
    n_steps: int | None,
    seed: int,
) -> dict[str, Any]:
    """Of returns (K, B) of K policies; intervals as in a run's summary."""
    from imm_rl.agents.evaluation import oracle_return
    from imm_rl.cli.summary import evaluation, mean_return
    from imm_rl.envs.pair import EnvPair

    oracle = None
    if isinstance(pair, EnvPair) and n_steps is not None:
        oracle = {"mean_return": oracle_return(pair.model, n_steps)}
    return {
        "policy": path,
        "env": pair.spec,
        "episode_steps": n_steps,
        "seed": seed,
        "eval": evaluation(sampled),
        "eval_deterministic": mean_return(greedy),
        "oracle": oracle,
    }


def _report(result: dict[str, Any]) -> str:
    from imm_rl.cli.summary import comparison, optimum

    steps = result["episode_steps"]
    length = "" if steps is None else f" of at most {steps} steps"
    if result["oracle"] is not None:
        length = f" of {steps} steps"
    several = len(result["eval"]["per_seed"])
    which = f"{several} trained policies, " if several > 1 else ""
    return "\n".join(
        [
            f"{result['policy']} in {result['env']}: {which}{result['eval']['episodes']:,} episodes"
            f"{length}, seed {result['seed']}",
            "",
            comparison(
                {
                    "sampled actions": result["eval"],
                    "most likely actions": result["eval_deterministic"],
                },
                optimum(result),
            ),
            *filter(None, [result.get("note")]),
        ]
    )

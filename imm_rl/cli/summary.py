"""`summary.json`: what came out of a training, as programs read it and as a person reads it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.cli.console import interval, number, ranges, table
from imm_rl.statistics import mean_ci95

if TYPE_CHECKING:
    from imm_rl.agents.reinforce import IMMReinforce
    from imm_rl.agents.restricted.base import RestrictedPolicy
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.pair import EnvPair
    from imm_rl.runs import RunFolder

MOST_EPISODES = 1000
"""Of the restricted policy's evaluation."""


@dataclass(frozen=True)
class Yardsticks:
    """What the trained agent is held against.

    Attributes:
        oracle: Expected return of the best who sees the state.
        restricted: Mean return and interval of the restricted policy, None without one.
    """

    oracle: float
    restricted: tuple[float, float, float] | None


@dataclass(frozen=True)
class FinalEvaluation:
    """Undiscounted returns (K, B) of K seeds in B episodes each, on the same random numbers."""

    sampled: FloatArray
    deterministic: FloatArray


def measure_yardsticks(
    config: TrainConfig, pair: EnvPair, policy: RestrictedPolicy | None
) -> Yardsticks:
    """The optimum by backward induction, the restricted policy by playing it."""
    from imm_rl.agents.evaluation import oracle_return, restricted_returns
    from imm_rl.agents.streams import generator

    n_steps = config.settings.eval_steps or pair.max_steps
    oracle = oracle_return(pair.model, n_steps)
    if policy is None:
        return Yardsticks(oracle, None)
    returns = restricted_returns(
        pair,
        policy,
        episodes=min(MOST_EPISODES, config.settings.eval_episodes * len(config.seeds)),
        n_steps=n_steps,
        rng=generator(config.seeds[0], "restricted"),
    )
    return Yardsticks(oracle, mean_ci95(returns))


def evaluate_finally(agent: IMMReinforce) -> FinalEvaluation:
    """Plays the trained policies, sampled and with their most likely actions, in equal episodes."""
    (probs,) = agent.action_probs()  # (K, S, A)
    before = agent.evaluator.state()
    sampled = agent.evaluator.returns(probs)
    agent.evaluator.restore(before)
    most_likely = np.eye(probs.shape[-1])[probs.argmax(axis=-1)]
    return FinalEvaluation(sampled, agent.evaluator.returns(most_likely))


def summarize(
    config: TrainConfig,
    agent: IMMReinforce,
    final: FinalEvaluation,
    yardsticks: Yardsticks,
    wall_seconds: float,
    of: Sequence[int] | None = None,
) -> dict[str, Any]:
    """The content of `summary.json`, of all seeds or of those at the positions `of`.

    Intervals are over seeds; of a single seed, over the episodes of its final evaluation (its curve has
    none). `episodes` counts those of all seeds. `steps_per_second` counts the steps of all seeds, which
    train side by side.
    """
    index = list(range(len(config.seeds)) if of is None else of)
    restricted = yardsticks.restricted
    curve = [mean_ci95(record.returns[index]) for record in agent.records]
    return {
        "env": config.env,
        "agent": config.agent,
        "restricted": config.restricted,
        "imm_lambda": config.imm_lambda,
        "seeds": [config.seeds[i] for i in index],
        "env_steps": agent.env_steps,
        "wall_seconds": wall_seconds,
        "steps_per_second": agent.env_steps * len(config.seeds) / max(wall_seconds, 1e-9),
        "eval": evaluation(final.sampled[index]),
        "eval_deterministic": mean_return(final.deterministic[index]),
        "curve": {
            "env_steps": [record.env_steps for record in agent.records],
            "mean_return": [mean for mean, _, _ in curve],
            "ci95_low": [low for _, low, _ in curve],
            "ci95_high": [high for _, _, high in curve],
        },
        "restricted_eval": None
        if restricted is None
        else {"mean_return": restricted[0], "ci95": list(restricted[1:])},
        "oracle": {"mean_return": yardsticks.oracle},
    }


def report(summary: dict[str, Any], folder: RunFolder) -> str:
    """The same for a person: a table, the time, and where to look."""
    seeds, path = summary["seeds"], shlex.quote(str(folder.path))
    return "\n".join(
        [
            "",
            f"{summary['env']}: {summary['agent']}, restricted policy {summary['restricted']}, "
            f"λ {summary['imm_lambda']}, {summary['env_steps']:,} steps, "
            f"{'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}",
            "",
            comparison(
                {
                    "trained, sampled actions": summary["eval"],
                    "trained, most likely actions": summary["eval_deterministic"],
                    f"restricted policy ({summary['restricted']})": summary["restricted_eval"],
                },
                summary["oracle"]["mean_return"],
            ),
            f"intervals over {_over(summary)}",
            "",
            f"trained in {summary['wall_seconds']:.1f} s, "
            f"{summary['steps_per_second']:,.0f} steps a second",
            f"curves: tensorboard --logdir {path}",
        ]
    )


def _over(summary: Mapping[str, Any]) -> str:
    """What the intervals of the trained policies are taken over."""
    runs = len(summary["seeds"])
    if runs > 1:
        return f"the {runs} seeds; the restricted policy's over its episodes"
    return f"{summary['eval']['episodes']:,} episodes"


def comparison(found: Mapping[str, Mapping[str, Any] | None], optimum: float) -> str:
    """A table of mean returns, their intervals, and how far they are from the optimum."""
    relative = optimum > 0.0  # a share of an optimum that costs would mean nothing
    head = "of the optimum" if relative else "below the optimum"
    rows = [["", "mean return", "95 % interval", head]]
    for name, values in found.items():
        if values is not None:
            mean = values["mean_return"]
            distance = f"{mean / optimum:.0%}" if relative else number(optimum - mean)
            rows.append([name, number(mean), interval(values["ci95"]), distance])
    rows.append(["optimum (sees the state)", number(optimum), "", ""])
    return table(rows)


def evaluation(returns: FloatArray) -> dict[str, Any]:
    """Mean, interval and number of returns (K, B) of K policies in B episodes, and each one's mean."""
    return {
        **mean_return(returns),
        "episodes": int(returns.size),
        "per_seed": returns.mean(axis=1).tolist(),
    }


def mean_return(returns: FloatArray) -> dict[str, Any]:
    """Mean and interval of returns (K, B): over the policies, or over the episodes of a single one."""
    mean, low, high = mean_ci95(returns.mean(axis=1) if len(returns) > 1 else returns[0])
    return {"mean_return": mean, "ci95": [low, high]}

"""`summary.json`: what came out of a training, as programs read it and as a person reads it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.cli.console import interval, number, ranges, table
from imm_rl.cli.names import env_name, policy_name
from imm_rl.statistics import mean_ci95

if TYPE_CHECKING:
    from imm_rl.agents.reinforce import IMMReinforce
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.model import FloatArray
    from imm_rl.envs.pair import EnvPair
    from imm_rl.runs import RunFolder

LEAST_EPISODES, MOST_EPISODES = 100, 1000
"""Of the restricted policy's evaluation."""


@dataclass(frozen=True)
class Yardsticks:
    """What the trained agent is held against.

    Attributes:
        oracle: Expected return of the best who sees the state; None where nobody knows.
        restricted: Mean return and interval of the restricted policy, None without one.
    """

    oracle: float | None
    restricted: tuple[float, float, float] | None


@dataclass(frozen=True)
class FinalEvaluation:
    """Returns (K, B) of K seeds in B episodes each, on the same random numbers.

    Undiscounted and discounted sums of rewards, with actions drawn and with the likeliest actions.
    """

    sampled: FloatArray
    deterministic: FloatArray
    sampled_discounted: FloatArray
    deterministic_discounted: FloatArray

    def part(self, seeds: slice) -> FinalEvaluation:
        """That of some of the seeds."""
        names = [field.name for field in dataclasses.fields(self)]
        return FinalEvaluation(*(getattr(self, name)[seeds] for name in names))

    @classmethod
    def together(cls, parts: Sequence[FinalEvaluation]) -> FinalEvaluation:
        """The seeds of all parts, in order."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Curve:
    """Evaluations while training: steps of each seed (P,), mean returns (P, K)."""

    env_steps: list[int]
    returns: FloatArray

    @classmethod
    def of(cls, env_steps: list[int], returns: Sequence[Any]) -> Curve:
        """From one entry an evaluation, of K returns each."""
        return cls(env_steps, np.array(returns).reshape(len(env_steps), -1))


@dataclass(frozen=True)
class Result:
    """What K seeds came to: steps of each, seconds of all, curves and final evaluation."""

    env_steps: int
    wall_seconds: float
    curve: Curve
    final: FinalEvaluation


def measure_yardsticks(
    config: TrainConfig, pair: EnvPair | FeaturePair, policy: Any | None
) -> Yardsticks:
    """The optimum by backward induction, the restricted policy by playing it."""
    from imm_rl.agents.evaluation import oracle_return, restricted_returns
    from imm_rl.agents.restricted.asking import is_view_policy
    from imm_rl.agents.streams import generator
    from imm_rl.envs.pair import EnvPair

    episodes = config.settings.eval_episodes * len(config.seeds)
    episodes = min(max(episodes, LEAST_EPISODES), MOST_EPISODES)
    seed = config.seeds[0]
    if not isinstance(pair, EnvPair):
        oracle = None
    else:
        n_steps: int = getattr(config.settings, "eval_steps", None) or pair.max_steps
        oracle = oracle_return(pair.model, n_steps)
    if policy is None:
        return Yardsticks(oracle, None)
    if not isinstance(pair, EnvPair) or is_view_policy(policy):
        from imm_rl.agents.restricted.playing import view_policy_returns

        seed = int(generator(seed, "restricted").integers(1 << 31))
        returns = view_policy_returns(pair, policy, episodes=episodes, seed=seed)
    else:
        returns = restricted_returns(
            pair, policy, episodes=episodes, n_steps=n_steps, rng=generator(seed, "restricted")
        )
    return Yardsticks(oracle, mean_ci95(returns))


def evaluate_finally(agent: IMMReinforce) -> FinalEvaluation:
    """Plays the trained policies, sampled and with their most likely actions, in equal episodes."""
    before = agent.evaluator.state()
    sampled = agent.play()
    agent.evaluator.restore(before)
    likeliest = agent.play(greedy=True)
    return FinalEvaluation(
        sampled.returns, likeliest.returns, sampled.discounted, likeliest.discounted
    )


def summarize(
    config: TrainConfig, result: Result, yardsticks: Yardsticks, of: Sequence[int] | None = None
) -> dict[str, Any]:
    """The content of `summary.json`, of all seeds or of those at the positions `of`.

    Intervals are over seeds; of a single seed, over the episodes of its final evaluation (its curve has
    none). `episodes` counts those of all seeds. `steps_per_second` counts the steps of all seeds that the
    result is of.
    """
    n_seeds = len(result.final.sampled)
    index = list(range(n_seeds) if of is None else of)
    restricted, seconds = yardsticks.restricted, result.wall_seconds
    curve = [mean_ci95(returns[index]) for returns in result.curve.returns]
    return {
        "env": config.env,
        "agent": config.agent,
        "restricted": config.restricted,
        "method": config.method,
        "imm_lambda": config.imm_lambda,
        "seeds": [config.seeds[i] for i in index],
        "env_steps": result.env_steps,
        "wall_seconds": seconds,
        "steps_per_second": result.env_steps * n_seeds / max(seconds, 1e-9),
        "eval": evaluation(result.final.sampled[index]),
        "eval_deterministic": by_seed(result.final.deterministic[index]),
        "eval_discounted": by_seed(result.final.sampled_discounted[index]),
        "eval_discounted_deterministic": by_seed(result.final.deterministic_discounted[index]),
        "curve": {
            "env_steps": result.curve.env_steps,
            "mean_return": [mean for mean, _, _ in curve],
            "ci95_low": [low for _, low, _ in curve],
            "ci95_high": [high for _, _, high in curve],
        },
        "restricted_eval": None
        if restricted is None
        else {"mean_return": restricted[0], "ci95": list(restricted[1:])},
        "oracle": None if yardsticks.oracle is None else {"mean_return": yardsticks.oracle},
    }


def report(summary: dict[str, Any], folder: RunFolder) -> str:
    """The same for a person: a table, the time, and where to look."""
    seeds, path = summary["seeds"], shlex.quote(str(folder.path))
    method = summary.get("method", "imm")  # summaries of before there were others
    used = "" if method in ("none", "imm") else f"method {method}, "
    restricted = policy_name(summary["restricted"])
    return "\n".join(
        [
            "",
            f"{env_name(summary['env'])}: {summary['agent']}, restricted policy {restricted}, "
            f"{used}λ {summary['imm_lambda']}, {summary['env_steps']:,} steps, "
            f"{'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}",
            "",
            comparison(
                {
                    "trained, sampled actions": summary["eval"],
                    "trained, most likely actions": summary["eval_deterministic"],
                    f"restricted policy ({restricted})": summary["restricted_eval"],
                },
                optimum(summary),
            ),
            f"intervals over {_over(summary)}",
            "",
            f"trained in {summary['wall_seconds']:.1f} s, "
            f"{summary['steps_per_second']:,.0f} steps a second",
            f"curves: tensorboard --logdir {path}",
        ]
    )


def falls_short(summary: Mapping[str, Any]) -> str:
    """A line on a trained agent that ends clearly below its restricted policy or its own beginning.

    Clearly: with drawn and with most likely actions, its whole interval is below theirs. A single seed has
    no interval at its beginning.

    Args:
        summary: Of a run.

    Returns:
        The line, or "" where there is nothing to say.
    """
    best = max(summary["eval"], summary["eval_deterministic"], key=lambda v: v["mean_return"])
    high = max(v["ci95"][1] for v in (summary["eval"], summary["eval_deterministic"]))
    curve, others = summary["curve"], {}
    if summary["restricted_eval"] is not None:
        others["its restricted policy"] = summary["restricted_eval"]
    if curve["mean_return"]:
        ends = [curve["ci95_low"][0], curve["ci95_high"][0]]
        start = {"mean_return": curve["mean_return"][0], "ci95": ends}
        others[f"where it was after {curve['env_steps'][0]:,} steps"] = start
    for name, other in others.items():
        low = other["ci95"][0]
        if low is not None and high < low:
            mine, theirs = (
                f"{number(v['mean_return'])} {interval(v['ci95'])}".strip() for v in (best, other)
            )
            return (
                f"note: the trained agent ends clearly below {name}: {mine} against {theirs}. Try a "
                "smaller --learning-rate, or more --steps."
            )
    return ""


def _over(summary: Mapping[str, Any]) -> str:
    """What the intervals of the trained policies are taken over."""
    runs = len(summary["seeds"])
    if runs > 1:
        return f"the {runs} seeds; the restricted policy's over its episodes"
    return f"{summary['eval']['episodes']:,} episodes"


def optimum(found: Mapping[str, Any]) -> float | None:
    """The optimum that a summary tells, None where it knows none."""
    oracle = found["oracle"]
    return None if oracle is None else float(oracle["mean_return"])


def comparison(found: Mapping[str, Mapping[str, Any] | None], optimum: float | None) -> str:
    """A table of mean returns, their intervals and, where it is known, how far the optimum is."""
    relative = optimum is not None and optimum > 0.0  # a share of one that costs would mean nothing
    head = "of the optimum" if relative else "below the optimum"
    rows = [["", "mean return", "95 % interval", head]]
    for name, values in found.items():
        if values is not None:
            mean, distance = values["mean_return"], ""
            if optimum is not None:
                distance = f"{mean / optimum:.0%}" if relative else number(optimum - mean)
            rows.append([name, number(mean), interval(values["ci95"]), distance])
    if optimum is None:
        return table([row[:3] for row in rows])
    rows.append(["optimum (sees the state)", number(optimum), "", ""])
    return table(rows)


def evaluation(returns: FloatArray) -> dict[str, Any]:
    """Mean, interval and number of returns (K, B) of K policies in B episodes, and each one's mean."""
    found = by_seed(returns)
    per_seed = found.pop("per_seed")
    return {**found, "episodes": int(returns.size), "per_seed": per_seed}


def by_seed(returns: FloatArray) -> dict[str, Any]:
    """Mean and interval of returns (K, B), and the mean of each of the K."""
    return {**mean_return(returns), "per_seed": returns.mean(axis=1).tolist()}


def mean_return(returns: FloatArray) -> dict[str, Any]:
    """Mean and interval of returns (K, B): over the policies, or over the episodes of a single one."""
    mean, low, high = mean_ci95(returns.mean(axis=1) if len(returns) > 1 else returns[0])
    return {"mean_return": mean, "ci95": [low, high]}

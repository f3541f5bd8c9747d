"""The paper's RL experiments on the torus grid, as data: Figure 2 and the search for λ.

Source: Muneeb and Ohannessian, "Induced Model Matching", NeurIPS 2024, section on reinforcement
learning. Called by `imm-rl reproduce`; numbers only, pictures and files are made there.

A training of 500 epochs passes through every shorter one, so one training a seed and λ gives all the
sizes of a curve that share that λ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.agents.solve import solve
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.schedules import PaperRatio

EPOCHS = (10, 20, 50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400, 450, 500)
CURVES = ("none", "imm_argmax", "imm_softmax_0.5", "imm_softmax_1.0")
SEARCH_EPOCHS = (50, 200, 400)
SEARCH_RATIOS = tuple(i / 10 for i in range(10))
RUNS = 30


class Point(NamedTuple):
    """One point of a curve: the runs' mean returns, summed up.

    Attributes:
        curve: A name of `CURVES`.
        epochs: Length of the training, 50 observations each.
        lambda_ratio: λ/(1+λ).
        mean, sd, p10, p90: Over runs, of each run's mean undiscounted return over 10 rollouts of 22
            steps; sd with divisor runs − 1.
        runs: How many.
    """

    curve: str
    epochs: int
    lambda_ratio: float
    mean: float
    sd: float
    p10: float
    p90: float
    runs: int


Progress = Callable[[int, int], None]
"""Called with (training epochs done, training epochs in all)."""


def ratio_rule(epochs: int) -> float:
    """The paper's λ/(1+λ) for a training of this many epochs: 0.2 below 200 epochs, then 0.1."""
    weight = PaperRatio(epochs)(0.0)
    return round(weight / (1.0 + weight), 1)


def restricted_policies(pair: EnvPair) -> dict[str, AlphaVectorPolicy | None]:
    """The restricted policy of each curve: fast-informed-bound utilities, hard or at a temperature.

    The paper's argmax takes the first of equal utilities (UP over DOWN in the best column).
    """
    base = solve(pair.restricted_model, "fib").with_(execution="vectors", ties="first")
    return {
        "none": None,
        "imm_argmax": base,
        "imm_softmax_0.5": base.with_(temperature=0.5),
        "imm_softmax_1.0": base.with_(temperature=1.0),
    }


def figure_2(
    pair: EnvPair,
    *,
    epochs: Sequence[int] = EPOCHS,
    seeds: Iterable[int] = range(RUNS),
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Point]:
    """Return against training length, without IMM and with three restricted policies."""
    seeds = list(seeds)
    plan = [
        (curve, policy, ratio, [e for e in epochs if policy is None or ratio_rule(e) == ratio])
        for curve, policy in restricted_policies(pair).items()
        for ratio in ([0.0] if policy is None else sorted({ratio_rule(e) for e in epochs}))
    ]
    total, done, points = sum(max(sizes) for *_, sizes in plan), 0, []
    for curve, policy, ratio, sizes in plan:
        returns = _train(pair, policy, ratio, sizes, seeds, device, _shifted(progress, done, total))
        points += [_point(curve, e, ratio, returns[e]) for e in sizes]
        done += max(sizes)
    order = {name: i for i, name in enumerate(CURVES)}
    return sorted(points, key=lambda p: (order[p.curve], p.epochs))


def lambda_search(
    pair: EnvPair,
    *,
    ratios: Sequence[float] = SEARCH_RATIOS,
    epochs: Sequence[int] = SEARCH_EPOCHS,
    seeds: Iterable[int] = range(RUNS),
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Point]:
    """Return against λ/(1+λ) for a few training lengths, with the argmax policy."""
    policy, seeds = restricted_policies(pair)["imm_argmax"], list(seeds)
    total, points = len(ratios) * max(epochs), []
    for i, ratio in enumerate(ratios):
        shifted = _shifted(progress, i * max(epochs), total)
        returns = _train(pair, policy, ratio, epochs, seeds, device, shifted)
        points += [_point("imm_argmax", e, ratio, returns[e]) for e in epochs]
    return sorted(points, key=lambda p: (p.epochs, p.lambda_ratio))


def _train(
    pair: EnvPair,
    policy: AlphaVectorPolicy | None,
    ratio: float,
    sizes: Sequence[int],
    seeds: list[int],
    device: str,
    progress: Progress,
) -> dict[int, FloatArray]:
    """Mean returns of every seed's run after each of `sizes` epochs."""
    settings = ReinforceSettings.preset("paper")
    agent = IMMReinforce(
        pair,
        policy,
        0.0 if policy is None else f"ratio:{ratio}",
        seeds=seeds,
        settings=settings,
        device=device,
    )
    steps = agent.batch_steps
    agent.learn(
        max(sizes) * steps,
        callback=lambda agent, _: progress(agent.env_steps // steps, max(sizes)),
        evaluate_at=[e * steps for e in sizes],
    )
    return {r.env_steps // steps: r.returns for r in agent.records}


def _shifted(progress: Progress | None, start: int, total: int) -> Progress:
    return (lambda done, _: progress(start + done, total)) if progress else (lambda *_: None)


def _point(curve: str, epochs: int, ratio: float, returns: FloatArray) -> Point:
    p10, p90 = np.percentile(returns, [10, 90])
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    mean = float(returns.mean())
    return Point(curve, epochs, ratio, mean, spread, float(p10), float(p90), len(returns))

"""What the tables of gain share: training with exact returns along the way, and intervals over seeds.

Returns are expected undiscounted returns of an episode, computed exactly (backward induction), so that
no evaluation noise enters. A seed that never gets to a threshold counts as its whole training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import imm_rl
from imm_rl.agents.evaluation import exact_returns
from imm_rl.agents.settings import ReinforceSettings

RESAMPLES = 10_000


class Curves(NamedTuple):
    """Exact returns of K seeds at P moments of a training.

    Attributes:
        steps: (P,) environment steps.
        returns: (P, K).
    """

    steps: np.ndarray
    returns: np.ndarray

    @property
    def final(self) -> np.ndarray:
        """Returns (K,) at the end."""
        return self.returns[-1]

    def arm(self, threshold: float) -> Arm:
        """When the seeds got to a return."""
        there = self.returns >= threshold
        reached = there.any(axis=0)
        needed = np.where(reached, self.steps[there.argmax(axis=0)], self.steps[-1])
        return Arm(needed, reached, self.final)


class Arm(NamedTuple):
    """What one way of training a problem gave: K seeds."""

    needed: np.ndarray  # (K,) environment steps to the threshold, or the whole training
    reached: np.ndarray  # (K,) bool
    final: np.ndarray  # (K,) exact return at the end


def curves(
    pair: imm_rl.EnvPair,
    restricted: Any,
    weight: object,
    seeds: Sequence[int],
    length: int,
    *,
    every: int = 50,
    changes: dict[str, object] | None = None,
) -> Curves:
    """Trains all seeds at once, looking every so many environment steps.

    Args:
        pair: The problem.
        restricted: The restricted policy, or None to train without.
        weight: λ, None for the default.
        seeds: K.
        length: Environment steps.
        every: Environment steps between two looks.
        changes: Settings that are not the default ones.
    """
    agent = imm_rl.IMMReinforce(
        pair,
        restricted,
        weight,
        seeds=seeds,
        settings=ReinforceSettings().replaced(eval_episodes=1, **(changes or {})),
    )
    steps, returns = [], []

    def note(agent: imm_rl.IMMReinforce, record: object) -> None:
        if record is not None:
            steps.append(agent.env_steps)
            returns.append(exact_returns(pair.model, agent.action_probs()[0], pair.max_steps))

    agent.learn(length, note, evaluate_at=range(every, length + 1, every))
    return Curves(np.array(steps), np.array(returns))


def steps_cell(arm: Arm) -> str:
    """Median steps, with ≥ where a seed never got there."""
    return f"{'' if arm.reached.all() else '≥ '}{np.median(arm.needed):,.0f}"


def headings(algorithm: str) -> list[str]:
    """The first two lines of a table of gains."""
    return [
        f"| problem | optimum | steps to 90 %, {algorithm} | steps to 90 %, with IMM | gain "
        f"| final, {algorithm} | final, with IMM | difference of the finals |",
        "|---|---|---|---|---|---|---|---|",
    ]


def compared(name: str, optimum: float, plain: Arm, helped: Arm) -> tuple[str, float, bool]:
    """A row of the table, the ratio of median steps, and whether IMM ends no worse."""
    cells = []
    for arm in (plain, helped):
        low, high = interval(arm.needed, np.median)
        cells.append(f"{steps_cell(arm)} [{low:,.0f}, {high:,.0f}] ({arm.reached.sum()})")
    difference = helped.final - plain.final
    low, high = interval(difference, np.mean)
    ratio = float(np.median(plain.needed) / np.median(helped.needed))
    text = (
        f"| {name} | {optimum:.2f} | {cells[0]} | {cells[1]} | {ratio:.1f} "
        f"| {plain.final.mean():.2f} | {helped.final.mean():.2f} "
        f"| {difference.mean():+.2f} [{low:+.2f}, {high:+.2f}] |"
    )
    return text, ratio, bool(high >= 0.0)


def interval(values: np.ndarray, statistic: Callable[..., Any]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of (K,) values."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    return tuple(np.percentile(statistic(values[drawn], axis=1), [2.5, 97.5]))

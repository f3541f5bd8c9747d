"""Which weight suits which size on the cube: accuracy against λ/(1+λ), and a rule read from it.

The rule of a method is ratio(n) = clip(a − b·log n, 0, 0.95), with the a and b that make the mean accuracy
over n largest, accuracies between the ratios and the sizes searched being interpolated. That mean is what
Figure 1 compares methods by, so each is at its own best; and where accuracy hardly depends on the ratio
the place of its maximum, which is chance there, has no say (least squares on the best ratios would follow
it). The constants `RULES` are what a search found on runs that Figure 1 does not use.

Index letters: S sizes, G ratios, R runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from imm_rl.language.cube_trials import Cube, Progress, Trial, shifted
from imm_rl.resampling import FloatArray
from imm_rl.threads import one_thread

METHODS = ("noising", "interpolation", "imm")
SIZES = (2, 5, 10, 20, 35, 50)
_LOW = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
RATIOS = (*_LOW, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95)
LARGEST = RATIOS[-1]

INTERCEPTS: FloatArray = np.round(np.arange(0.0, 1.501, 0.05), 2)
SLOPES: FloatArray = np.round(np.arange(0.0, 0.501, 0.01), 2)
"""The a and b that are tried."""


class Rule(NamedTuple):
    """λ/(1+λ) by the number of rows: clip(intercept − slope · log n, 0, 0.95)."""

    intercept: float
    slope: float

    def ratio(self, rows: int) -> float:
        """The ratio for so many rows."""
        return min(max(self.intercept - self.slope * math.log(rows), 0.0), LARGEST)


CHOSEN_ON = 1
"""The seed of the runs that `RULES` were found on: nothing else is to be judged by these."""

# Found by `ratio_search(300, CHOSEN_ON)`.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "none": Rule(0.0, 0.0),
        "noising": Rule(0.75, 0.24),
        "interpolation": Rule(0.95, 0.21),
        "imm": Rule(0.65, 0.07),
    }
)


class Searched(NamedTuple):
    """The accuracy of a method at a size and a ratio: mean over runs and its standard error."""

    method: str
    rows: int
    ratio: float
    mean: float
    error: float
    runs: int


class Found(NamedTuple):
    """The best rule of a method on these runs, beside the one in `RULES`.

    Attributes:
        method: A name of `METHODS`.
        rule: The best of all (a, b) tried.
        constant: The one in `RULES`.
        loss: Mean accuracy over n that `constant` gives away against `rule`.
        error: Standard error of `loss`, runs being paired.
    """

    method: str
    rule: Rule
    constant: Rule
    loss: float
    error: float

    @property
    def agrees(self) -> bool:
        """Whether the constants lose no more than chance explains: 2 standard errors."""
        return self.loss <= 2 * self.error


class Search(NamedTuple):
    """What `ratio_search` returns."""

    points: list[Searched]
    found: list[Found]

    def best(self, method: str, rows: int) -> Searched:
        """The best point of a size."""
        mine = [p for p in self.points if (p.method, p.rows) == (method, rows)]
        return max(mine, key=lambda p: p.mean)


@one_thread()
def ratio_search(
    runs: int = 300,
    seed: int = CHOSEN_ON,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    ratios: Sequence[float] = RATIOS,
) -> Search:
    """Accuracy of each method at every size and ratio, and the rules that follow.

    Args:
        runs: R, at least 2.
        seed: Of the points; another than Figure 1's.
        device: Where to compute.
        progress: Called with (trainings done, trainings in all).
        sizes: Increasing.
        ratios: Increasing, in [0, 1).
    """
    data = Cube.drawn(runs, max(sizes), seed, device)
    trials = [Trial(run, n, ratio) for n in sizes for ratio in ratios for run in range(runs)]
    points: list[Searched] = []
    found: list[Found] = []
    for i, method in enumerate(METHODS):
        told = shifted(progress, i * len(trials), len(METHODS) * len(trials))
        accuracies = data.accuracies(method, trials, progress=told)
        made = accuracies.cpu().numpy().reshape(len(sizes), len(ratios), runs)
        errors = made.std(2, ddof=1) / math.sqrt(runs)
        points += [
            Searched(method, n, ratio, float(made[s, g].mean()), float(errors[s, g]), runs)
            for s, n in enumerate(sizes)
            for g, ratio in enumerate(ratios)
        ]
        found.append(_compared(method, sizes, ratios, made))
    return Search(points, found)


def fitted_rule(sizes: Sequence[int], ratios: Sequence[float], means: FloatArray) -> Rule:
    """The rule with the largest mean accuracy over n; the first of equals.

    Args:
        sizes: (S,), increasing.
        ratios: (G,), increasing.
        means: (S, G), mean accuracy.
    """
    shares, logs = _shares(sizes), np.log(np.asarray(sizes, dtype=np.float64))
    tried = np.clip(INTERCEPTS[:, None, None] - SLOPES[:, None] * logs, 0.0, LARGEST)
    scores = sum(shares[s] * np.interp(tried[..., s], ratios, means[s]) for s in range(len(sizes)))
    a, b = np.unravel_index(int(np.argmax(scores)), tried.shape[:2])
    return Rule(float(INTERCEPTS[a]), float(SLOPES[b]))


def _compared(
    method: str, sizes: Sequence[int], ratios: Sequence[float], made: FloatArray
) -> Found:
    """The best rule for accuracies (S, G, R), and what the constant one loses against it."""
    rule, constant = fitted_rule(sizes, ratios, made.mean(2)), RULES[method]
    weights = _weights(rule, sizes, ratios) - _weights(constant, sizes, ratios)
    losses = np.tensordot(weights, made, 2)
    error = losses.std(ddof=1) / math.sqrt(len(losses))
    return Found(method, rule, constant, float(losses.mean()), float(error))


def _weights(rule: Rule, sizes: Sequence[int], ratios: Sequence[float]) -> FloatArray:
    """Of each size and ratio in the interpolated mean over n at a rule's ratios, (S, G)."""
    wanted = [rule.ratio(n) for n in sizes]
    corners = np.eye(len(ratios))
    at = np.stack([np.interp(wanted, ratios, corner) for corner in corners], 1)
    weights: FloatArray = _shares(sizes)[:, None] * at
    return weights


def _shares(sizes: Sequence[int]) -> FloatArray:
    """Of each size in the mean over all n from the first to the last, interpolated between, (S,)."""
    every = np.arange(sizes[0], sizes[-1] + 1)
    total = np.array([np.interp(every, sizes, corner).sum() for corner in np.eye(len(sizes))])
    shares: FloatArray = total / total.sum()
    return shares

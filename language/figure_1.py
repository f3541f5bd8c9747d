"""The paper's logistic regression on the cube, as data: Figure 1 and what belongs to it.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on logistic regression. Numbers
only; `imm-rl reproduce figure-1` makes files and pictures of them. Every method is at the ratio that its
own rule gives (`figure_1_search.RULES`) unless said otherwise. Runs are paired: all methods train on the
same points. Accuracies are shares in [0, 1].

Index letters: S sizes, R runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from imm_rl.language import cube
from imm_rl.language.cube_trials import METHODS, Cube, Progress, Trial, shifted
from imm_rl.language.figure_1_search import RULES
from imm_rl.resampling import FloatArray
from imm_rl.statistics import mean_ci95
from imm_rl.threads import one_thread

RUNS = 300
SIZES = tuple(range(2, 51))
QUALITY_SIZES = (2, *range(5, 51, 5))
INDUCED_SIZES = (5, 10, 20, 50)
INDUCED_RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

FIXED_RATIO = 0.6
"""λ = 1.5."""

FIXED_RUNS: Mapping[int, int] = MappingProxyType(
    {10: 300, 30: 300, 100: 300, 300: 100, 1000: 50, 3000: 20, 10_000: 10}
)
"""At most so many runs at each size: many rows take long, and the runs then differ little."""

FIXED_TEST_POINTS = 2**17
"""Differences of a hundredth of a point are looked for."""


class Point(NamedTuple):
    """One point of a curve.

    Attributes:
        curve: A method, or the quality of IMM's restricted model.
        rows: n.
        ratio: λ/(1+λ).
        mean, p10, p90: Of the runs' accuracies.
        gain, gain_low, gain_high: Mean of the runs' differences to plain logistic regression, and its
            95 % interval.
        runs: How many.
    """

    curve: str
    rows: int
    ratio: float
    mean: float
    p10: float
    p90: float
    gain: float
    gain_low: float
    gain_high: float
    runs: int


class Lead(NamedTuple):
    """IMM's accuracy minus another method's, averaged over the sizes; 95 % interval over runs."""

    other: str
    mean: float
    low: float
    high: float


class Figure(NamedTuple):
    """What `figure_1` returns."""

    points: list[Point]
    leads: list[Lead]


class Fixed(NamedTuple):
    """A method at λ = 1.5: mean accuracy and mean difference to plain, with 95 % intervals."""

    method: str
    rows: int
    mean: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    runs: int


class Induced(NamedTuple):
    """IMM's induced model at the restricted task, means over runs with 95 % intervals.

    Attributes:
        rows, ratio, runs: As of `Point`.
        loss, loss_low, loss_high: Cross-entropy in nats.
        accuracy, accuracy_low, accuracy_high: In [0, 1].
    """

    rows: int
    ratio: float
    loss: float
    loss_low: float
    loss_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    runs: int


@one_thread()
def figure_1(
    runs: int = RUNS,
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Figure:
    """Accuracy against the number of rows for plain training, noising, interpolation and IMM.

    Args:
        runs: R, at least 2.
        sizes: Numbers of rows.
        seed: Of the points.
        device: Where to compute.
        progress: Called with (trainings done, trainings in all).
    """
    data = Cube.drawn(runs, max(sizes), seed, device)
    curves = [(method, method, "high") for method in METHODS]
    made = _curves(data, curves, sizes, runs, progress)
    leads = [
        Lead(other, *mean_ci95((made["imm"] - made[other]).mean(0)))
        for other in METHODS
        if other != "imm"
    ]
    return Figure(_points(made, dict(zip(METHODS, METHODS, strict=True)), sizes), leads)


@one_thread()
def qualities(
    runs: int = RUNS,
    sizes: Sequence[int] = QUALITY_SIZES,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Point]:
    """Accuracy of IMM with each restricted model of `cube.QUALITIES`, and without ("none").

    All are at the ratio that the rule gives, which was made with the best of them.
    """
    data = Cube.drawn(runs, max(sizes), seed, device)
    curves = [("none", "none", "high"), *((quality, "imm", quality) for quality in cube.QUALITIES)]
    made = _curves(data, curves, sizes, runs, progress)
    return _points(made, {curve: method for curve, method, _ in curves}, sizes)


@one_thread()
def fixed_lambda(
    runs: int = RUNS,
    sizes: Mapping[int, int] = FIXED_RUNS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Fixed]:
    """Plain, noising and IMM at λ = 1.5, whatever the number of rows.

    Args:
        runs: Most runs at a size, at least 2.
        sizes: Numbers of rows, each with the most runs for it.
        seed: Of the points.
        device: Where to compute.
        progress: Called with (trainings done, trainings in all).
    """
    methods = ("none", "noising", "imm")
    data = Cube.drawn(runs, max(sizes), seed, device, test_points=FIXED_TEST_POINTS)
    of = {rows: min(runs, most) for rows, most in sizes.items()}
    trials = [Trial(run, rows, FIXED_RATIO) for rows in of for run in range(of[rows])]
    ends = np.cumsum(list(of.values()))[:-1]
    points: list[Fixed] = []
    plain: dict[int, FloatArray] = {}
    for i, method in enumerate(methods):
        told = shifted(progress, i * len(trials), len(methods) * len(trials))
        made = data.accuracies(method, trials, progress=told).cpu().numpy()
        for rows, mine in zip(of, np.split(made, ends), strict=True):
            gain = mean_ci95(mine - plain.setdefault(rows, mine))  # "none" comes first
            points.append(Fixed(method, rows, *mean_ci95(mine), *gain, len(mine)))
    return points


@one_thread()
def induced_scores(
    runs: int = 100,
    sizes: Sequence[int] = INDUCED_SIZES,
    ratios: Sequence[float] = INDUCED_RATIOS,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Induced]:
    """How well IMM's induced model does the restricted model's task, by size and ratio.

    The restricted model itself scores `cube.restricted_score()`, which nothing exceeds.
    """
    data = Cube.drawn(runs, max(sizes), seed, device)
    trials = [Trial(run, n, ratio) for n in sizes for ratio in ratios for run in range(runs)]
    scores = np.empty((2, len(trials)))
    for block, fitted in data.trained("imm", trials, progress=progress):
        scores[:, block.cpu().numpy()] = torch.stack(cube.induced_score(fitted)).cpu().numpy()
    made = scores.reshape(2, len(sizes), len(ratios), runs)
    return [
        Induced(n, ratio, *mean_ci95(made[0, s, g]), *mean_ci95(made[1, s, g]), runs)
        for s, n in enumerate(sizes)
        for g, ratio in enumerate(ratios)
    ]


def _curves(
    data: Cube,
    curves: Sequence[tuple[str, str, str]],
    sizes: Sequence[int],
    runs: int,
    progress: Progress | None,
) -> dict[str, FloatArray]:
    """Accuracies (S, R) of each curve, given as (name, method, quality)."""
    made, each = {}, len(sizes) * runs
    for i, (curve, method, quality) in enumerate(curves):
        trials = [Trial(run, n, RULES[method].ratio(n)) for n in sizes for run in range(runs)]
        told = shifted(progress, i * each, len(curves) * each)
        found = data.accuracies(method, trials, quality, told)
        made[curve] = found.cpu().numpy().reshape(len(sizes), runs)
    return made


def _points(
    made: Mapping[str, FloatArray], methods: Mapping[str, str], sizes: Sequence[int]
) -> list[Point]:
    """One point a curve and size; `made` holds "none"."""
    points = []
    for curve, accuracies in made.items():
        for n, mine, plain in zip(sizes, accuracies, made["none"], strict=True):
            p10, p90 = np.percentile(mine, [10, 90])
            ratio, gain = RULES[methods[curve]].ratio(n), mean_ci95(mine - plain)
            mean = float(mine.mean())
            points.append(Point(curve, n, ratio, mean, float(p10), float(p90), *gain, len(mine)))
    return points

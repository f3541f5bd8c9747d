"""How often the 95 % intervals of this project hold what they should, on simulated data.

    python scripts/coverage.py --samples 1000 --seeds 2,5,10,20,30 --out docs/coverage.md

Three distributions of a seed's return: normal; skewed, 10 − gamma(1.5, 2), most seeds near the top; and
bimodal, a quarter of the seeds stuck near 0 and the others near 10. Steps to a threshold are drawn from
the same and censored at their 70 % quantile. Also how often permutation tests find a difference at the
5 % level where there is none, and P(A > B) of arms that differ (`APART`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from imm_rl.curve_statistics import CensoredSteps, area_under_curve, bands
from imm_rl.differences import difference, paired_difference, probability_of_improvement
from imm_rl.files import write_text
from imm_rl.statistics import iqm, iqm_ci95, mean_ci95

LARGE = 2_000_000
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _normal(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=size)


def _skewed(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return 10.0 - rng.gamma(1.5, 2.0, size=size)


def _shifted(by: float, spread: float = 1.0) -> Draw:
    return lambda rng, size: rng.normal(by, spread, size)


def _stuck(share: float) -> Draw:
    """Some seeds near 0, the others near 10."""
    return lambda rng, size: np.where(
        rng.random(size) < share, rng.normal(0.0, 1.0, size), rng.normal(10.0, 0.7, size)
    )


APART: dict[str, tuple[Draw, Draw]] = {
    "normal, means 0.8 deviations apart": (_shifted(0.8), _shifted(0.0)),
    "normal, means 2.5 deviations apart": (_shifted(2.5), _shifted(0.0)),
    "normal, deviations 3 and 0.3": (_shifted(1.0, 3.0), _shifted(0.0, 0.3)),
    "stuck near 0, else near 10: 10 % and 50 % of the seeds": (_stuck(0.1), _stuck(0.5)),
    "10 % stuck near 0, else near 10; the other arm always near 5": (_stuck(0.1), _shifted(5.0)),
}
"""Pairs of arms that differ, by what they are."""

DISTRIBUTIONS: dict[str, Draw] = {"normal": _normal, "skewed": _skewed, "bimodal": _stuck(0.25)}
COLUMNS = (
    *("mean", "IQM", "area under curve", "band", "paired difference", "difference"),
    *("median steps", "P(A > B)"),
)
TESTS = ("paired", "unpaired")
PROSE = (
    "A mean of few seeds is held less often where the returns are skewed or a quarter of the seeds is "
    "stuck: their long tail, or all that are stuck, is often not in the sample at all, and no interval "
    "that knows nothing of it can reach that far. The interquartile mean suffers less. Bands are the "
    "intervals of means.",
    "P(A > B) has Wilson's interval with as many trials as there are seeds, whose variance is the "
    "largest that can be. Where the two distributions are nearly the same it holds more often than it "
    "need; it holds least where one arm never varies and the other succeeds in 9 of 10 seeds, where it "
    "is the interval of a plain share. A bootstrap has no width where all pairs are ordered alike.",
    "Medians of steps of fewer than 5 seeds have no interval (-).",
)


def coverage(draw: Draw, seeds: int, samples: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of samples, by interval, whose interval holds the true value; p-values too (`TESTS`).

    NaN where so few seeds have no such interval.
    """
    large = np.sort(draw(rng, (LARGE,)))
    mean, middle = float(large.mean()), float(iqm(large))
    median, end = np.quantile(large, (0.5, 0.7))
    held = dict.fromkeys((*COLUMNS, *TESTS), 0.0)
    for _ in range(samples):
        a, b = draw(rng, (seeds,)), draw(rng, (seeds,))
        shared = draw(rng, (seeds,))
        curve = np.stack([a - mean, a])  # its area is a − mean/2
        area = mean_ci95(area_under_curve([0, 1], curve))
        _, low, high = bands(curve)
        paired, apart = paired_difference(a + shared, b + shared), difference(a, b)
        found = {
            "mean": (*mean_ci95(a)[1:], mean),
            "IQM": (*iqm_ci95(a)[1:], middle),
            "area under curve": (*area[1:], mean / 2.0),
            "band": (low[1], high[1], mean),
            "paired difference": (paired.low, paired.high, 0.0),
            "difference": (apart.low, apart.high, 0.0),
            "median steps": (*CensoredSteps(np.minimum(a, end), a < end).ci95, median),
            "P(A > B)": (*probability_of_improvement(a, b)[1:], 0.5),
        }
        for name, (lowest, highest, truth) in found.items():
            held[name] += math.nan if math.isnan(lowest) else lowest <= truth <= highest
        held["paired"] += paired.p_value <= 0.05
        held["unpaired"] += apart.p_value <= 0.05
    return {name: count / samples for name, count in held.items()}


def improvement(a: Draw, b: Draw, seeds: int, samples: int, rng: np.random.Generator) -> float:
    """The share of samples in which the interval of P(A > B) holds it."""
    mine, theirs = a(rng, (LARGE,)), np.sort(b(rng, (LARGE,)))
    truth = float(np.searchsorted(theirs, mine).mean()) / LARGE  # no two values are equal
    held = 0
    for _ in range(samples):
        _, low, high = probability_of_improvement(a(rng, (seeds,)), b(rng, (seeds,)))
        held += low <= truth <= high
    return held / samples


def apart(counts: Sequence[int], samples: int) -> Iterator[str]:
    """Lines of the table of P(A > B) for arms that differ."""
    yield f"| arms | {' | '.join(f'{n} seeds' for n in counts)} |"
    yield "|---" * (1 + len(counts)) + "|"
    for place, (name, (a, b)) in enumerate(APART.items()):
        found = [improvement(a, b, n, samples, np.random.default_rng([n, place])) for n in counts]
        yield f"| {name} | {' | '.join(f'{share:.1%}' for share in found)} |"


def main() -> None:
    """Simulates and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", default="10,20,30", help="numbers of seeds")
    parser.add_argument("--out", metavar="FILE", help="Markdown file; default: the terminal alone")
    args = parser.parse_args()
    lines = [
        f"| returns | seeds | {' | '.join(COLUMNS)} | {' | '.join(f'{t}: p ≤ 0.05' for t in TESTS)} |",
        "|---" * (2 + len(COLUMNS) + len(TESTS)) + "|",
    ]
    print("\n".join(lines))
    counts = [int(text) for text in args.seeds.split(",")]
    for name, draw in DISTRIBUTIONS.items():
        for seeds in counts:
            rng = np.random.default_rng([seeds, len(name)])
            found = coverage(draw, seeds, args.samples, rng)
            shares = [found[key] for key in (*COLUMNS, *TESTS)]
            cells = ["-" if math.isnan(share) else f"{share:.1%}" for share in shares]
            lines.append(f"| {name} | {seeds} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += ["", "P(A > B) of arms that differ:", ""]
    for line in apart(counts, args.samples):
        lines.append(line)
        print(line, flush=True)
    for text in PROSE:
        lines += ["", text]
    error = np.sqrt(0.95 * 0.05 / args.samples)
    lines += [
        "",
        f"{args.samples:,} samples a row; a share of 95 % has a standard error of {error:.1%}.",
    ]
    if args.out:
        told = f"--samples {args.samples} --seeds {args.seeds} --out {args.out}"
        command = f"python scripts/coverage.py {told}"
        title = "# How often 95 % intervals hold what they should\n"
        write_text(Path(args.out), f"{title}\nMade by `{command}`.\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

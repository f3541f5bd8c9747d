"""What IMM gains with restricted policies from solved to wholly wrong, and where it hurts.

    python scripts/quality.py --seeds 100-119 --out docs/quality.md --picture docs/gallery/quality.png

A restricted policy is made worse in four ways: by a coarser solver (qmdp, fib in place of the default), by
a temperature, by mixing with the uniform policy ("uniform 50 %"), and by mixing with the same policy whose
actions are swapped ("wrong 50 %": action a is taken for a + 1). Gain: median environment steps to 90 % of
the optimum without IMM, divided by those with it; returns are exact. Quality: what the restricted policy
earns itself, between the uniform policy (0) and the optimum of who sees the state (1).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gain import curves
from gain_table import threshold

import imm_rl
from imm_rl.agents.defaults import training_steps
from imm_rl.agents.evaluation import exact_returns, oracle_return, restricted_returns
from imm_rl.agents.restricted.named import named_policy
from imm_rl.cli.curve_picture import COLOURS, MARKERS, save
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.curve_statistics import CensoredSteps, steps_to
from imm_rl.files import write_text

EPISODES = 2000
KINDS = ("solver", "temperature", "uniform", "wrong")


class Damaged:
    """A restricted policy mixed with another answer: the uniform one, or its own with actions swapped."""

    def __init__(self, policy: Any, share: float, kind: str) -> None:
        self._policy, self._share, self._kind = policy, share, kind
        self.n_states, self.n_actions = policy.n_states, policy.n_actions
        self.name = f"{policy.name}, {kind} {share:.0%}"

    def probs(self, beliefs: np.ndarray) -> np.ndarray:
        """Action probabilities (N, A) at beliefs (N, S)."""
        own = self._policy.probs(beliefs)
        other = np.full_like(own, 1.0 / self.n_actions)
        if self._kind == "wrong":
            other = np.roll(own, 1, axis=1)
        return (1.0 - self._share) * own + self._share * other


class Row(NamedTuple):
    """One restricted policy: its quality in [0, 1] or below, and the gain with its interval."""

    problem: str
    kind: str
    name: str
    quality: float
    ratio: float
    low: float
    high: float
    reached: int
    difference: float


def policies(pair: imm_rl.EnvPair) -> list[tuple[str, str, Any]]:
    """Kind, name and restricted policy, each kind from good to bad."""
    best = named_policy("pomdp", pair)
    spread = float(np.ptp(pair.model.reward))
    found: list[tuple[str, str, Any]] = [
        ("solver", name, named_policy(name, pair)) for name in ("pomdp", "fib", "qmdp")
    ]
    for factor in (0.1, 0.3, 1.0, 3.0):
        softened = best.with_(temperature=factor * spread)
        found.append(("temperature", f"temperature {factor * spread:.3g}", softened))
    for kind in ("uniform", "wrong"):
        for share in (0.25, 0.5, 0.75, 1.0):
            found.append((kind, f"{kind} {share:.0%}", Damaged(best, share, kind)))
    return found


def measured(problem: str, seeds: Sequence[int]) -> list[Row]:
    """Trains without and with every restricted policy."""
    pair = imm_rl.make(problem)
    level, length = threshold(pair), training_steps(pair.name)
    optimum = oracle_return(pair.model, pair.max_steps)
    even = np.full((1, pair.model.n_states, pair.model.n_actions), 1.0 / pair.model.n_actions)
    uniform = float(exact_returns(pair.model, even, pair.max_steps)[0])
    every = max(length // 200, 50)
    plain = curves(pair, None, None, seeds, length, every=every)
    without: CensoredSteps = steps_to(plain.steps, plain.returns, level)
    rows = []
    for kind, name, policy in policies(pair):
        rng = np.random.default_rng(0)
        earned = restricted_returns(
            pair, policy, episodes=EPISODES, n_steps=pair.max_steps, rng=rng
        ).mean()
        helped = curves(pair, policy, None, seeds, length, every=every)
        steps = steps_to(helped.steps, helped.returns, level)
        ratio, low, high = steps.ratio_to(without)
        rows.append(
            Row(
                pair.name,
                kind,
                name,
                float((earned - uniform) / (optimum - uniform)),
                ratio,
                low,
                high,
                int(steps.reached.sum()),
                float((helped.final - plain.final).mean()),
            )
        )
        print(rows[-1], flush=True)
    return rows


def table(rows: Sequence[Row], n_seeds: int) -> list[str]:
    """Markdown."""
    lines = [
        "| problem | restricted policy | quality | times as fast | reached | final, difference |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = (_shown(value) for value in (r.low, r.high))
        lines.append(
            f"| {r.problem} | {r.name} | {r.quality:.2f} | {_shown(r.ratio)} [{low}, {high}] "
            f"| {r.reached}/{n_seeds} | {r.difference:+.3g} |"
        )
    return lines


def _shown(value: float) -> str:
    return "∞" if math.isinf(value) else "-" if math.isnan(value) else f"{value:.2f}"


def picture(path: Path, rows: Sequence[Row]) -> None:
    """Gain against quality, a panel a problem; below 1 IMM hurts."""
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(r.problem for r in rows))
    drawn = Figure(figsize=(2.4 * len(problems) + 0.6, 3.3), layout="constrained")
    panels = drawn.subplots(1, len(problems), sharey=True, squeeze=False)[0]
    finite = [v for r in rows for v in (r.ratio, r.low, r.high) if math.isfinite(v) and v > 0.0]
    bottom, top = 0.7 * min(finite), 1.4 * max(finite)
    for axes, problem in zip(panels, problems, strict=True):
        axes.axhspan(bottom, 1.0, color="#D55E00", alpha=0.10, linewidth=0)
        axes.axhline(1.0, color="#555555", linewidth=0.9)
        for i, kind in enumerate(KINDS):
            mine = [r for r in rows if (r.problem, r.kind) == (problem, kind)]
            x = [r.quality for r in mine]
            y = [min(max(r.ratio if r.ratio == r.ratio else bottom, bottom), top) for r in mine]
            ends = [(np.clip(r.low, bottom, top), np.clip(r.high, bottom, top)) for r in mine]
            bars = [[max(v - e[0], 0.0) for v, e in zip(y, ends, strict=True)]]
            bars += [[max(e[1] - v, 0.0) for v, e in zip(y, ends, strict=True)]]
            axes.errorbar(
                x,
                y,
                yerr=np.nan_to_num(bars),
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=5,
                linewidth=0.9,
                elinewidth=0.7,
                label=kind,
            )
        axes.set_yscale("log")
        axes.set_ylim(bottom, top)
        axes.set_yticks([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if bottom <= t <= top])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set_title(problem, fontsize=10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel("times as fast to 90 %\n(shaded: IMM hurts)", fontsize=9)
    drawn.supxlabel("quality of the restricted policy (0: uniform, 1: optimum)", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(
        handles, labels, loc="outside upper center", ncols=len(KINDS), frameon=False, fontsize=9
    )
    save(drawn, path)


def main() -> None:
    """Measures on every problem, writes table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", default="grid,cheese,4x3")
    parser.add_argument("--seeds", default="100-119")
    parser.add_argument("--out", metavar="FILE", required=True)
    parser.add_argument("--picture", metavar="FILE", type=Path, required=True)
    args = parser.parse_args()
    seeds = parse_seeds("--seeds", args.seeds)
    rows = [row for name in args.problems.split(",") for row in measured(name, seeds)]
    lines = [
        "# Gain against the quality of the restricted policy",
        "",
        f"Made by `python scripts/quality.py {' '.join(sys.argv[1:])}`.",
        "",
        *table(rows, len(seeds)),
    ]
    write_text(args.out, "\n".join(lines) + "\n")
    picture(args.picture, rows)


if __name__ == "__main__":
    main()

"""Environment steps to 90 % of the optimum, with and without IMM, on every tabular problem.

    python scripts/gain_table.py --seeds 0-29 --out docs/gain.md

Default settings and λ; the two arms share seeds and random numbers. "90 %" is optimum − 0.1·|optimum|
of the expected undiscounted return of an episode, which is computed exactly (backward induction), so
that no evaluation noise enters. A seed that never gets there counts as its whole training and is
marked ≥. Intervals: 95 %, percentile bootstrap over seeds, of medians and of means.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gain import Arm, compared, curves, headings

import imm_rl
from imm_rl.agents.defaults import training_steps
from imm_rl.agents.evaluation import oracle_return
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.files import write_text

PROBLEMS = ("grid", "tiger", "cheese", "4x3", "crying-baby")


def learning(name: str, weight: object, seeds: Sequence[int], changes: dict[str, object]) -> Arm:
    """Trains one problem with a weight λ: "none", "default", or any schedule."""
    pair = imm_rl.make(name)
    found = curves(
        pair,
        None if weight == "none" else "pomdp",
        None if weight in ("none", "default") else weight,
        seeds,
        training_steps(name),
        changes=changes,
    )
    return found.arm(threshold(pair))


def threshold(pair: imm_rl.EnvPair) -> float:
    """90 % of the optimum: optimum − 0.1·|optimum|, which serves negative returns too."""
    optimum = oracle_return(pair.model, pair.max_steps)
    return optimum - 0.1 * abs(optimum)


def row(name: str, seeds: Sequence[int], changes: dict[str, object]) -> tuple[str, float, bool]:
    """The table's row, the ratio of median steps, and whether IMM ends no worse."""
    pair = imm_rl.make(name)
    optimum = oracle_return(pair.model, pair.max_steps)
    plain, helped = (learning(name, weight, seeds, changes) for weight in ("none", "default"))
    return compared(name, optimum, plain, helped)


def main() -> None:
    """Trains everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-29")
    parser.add_argument("--learning-rate", type=float, help="default: the settings'")
    parser.add_argument("--out", metavar="FILE", help="Markdown file; default: the terminal alone")
    args = parser.parse_args()
    rates = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    lines = headings("REINFORCE")
    print("\n".join(lines))
    ratios, fine = [], True
    for name in PROBLEMS:
        text, ratio, no_worse = row(name, parse_seeds("--seeds", args.seeds), rates)
        ratios.append(ratio)
        fine = fine and no_worse
        lines.append(text)
        print(text, flush=True)
    lines += [
        "",
        f"Median gain {np.median(ratios):.1f}; IMM ends "
        f"{'nowhere' if fine else 'somewhere'} worse. Medians over seeds with 95 % bootstrap "
        "intervals; in brackets, the seeds that got there.",
    ]
    print(lines[-1])
    if args.out:
        rate = f" --learning-rate {args.learning_rate:g}" if rates else ""
        command = f"python scripts/gain_table.py --seeds {args.seeds}{rate} --out {args.out}"
        title = "# Environment steps to 90 % of the optimum\n"
        write_text(Path(args.out), f"{title}\nMade by `{command}`.\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

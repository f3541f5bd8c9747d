"""What the defaults were chosen from: contexts, their weights, schedules of λ, step sizes, baselines.

    python scripts/choose_defaults.py --seeds 0-19 --out docs/defaults-table.md

Every cell has the median over seeds of the environment steps to 90 % of the optimum (as in
`gain_table.py`), with ≥ where a seed did not get there within its training, and in brackets how far
below the optimum the seeds' mean return ends, in % of its size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gain_table import PROBLEMS, Arm, learning, steps_cell

import imm_rl
from imm_rl.agents.defaults import DEFAULT_LAMBDA
from imm_rl.agents.evaluation import oracle_return
from imm_rl.cli.values import seeds as parse_seeds
from imm_rl.files import write_text

Variant = tuple[str, str, dict[str, object]]

SECTIONS: dict[str, list[Variant]] = {
    "Where to match, and with what weight": [
        (
            f"contexts {contexts}, weight {weight}",
            "default",
            {"contexts": contexts, "context_weight": weight},
        )
        for contexts in ("agent", "restricted")
        for weight in ("uniform", "certainty", "informed")
    ],
    "Schedules of λ": [
        (f"λ = {weight}", weight, {})
        for weight in (
            "none",
            "0.1",
            "0.3",
            "1",
            "linear:1->0@0.5",
            "linear:3->0@0.5",
            "cosine:1->0@0.5",
            "exp:1,half=0.1",
            "aligned:1",
            "target-kl:0.05",
        )
    ],
    "Step size and baseline": [
        (f"{arm}, baseline {baseline}, learning rate {rate:g}", weight, settings)
        for baseline in ("none", "value")
        for rate in (0.01, 0.03, 0.1)
        for arm, weight in (("REINFORCE", "none"), ("IMM", "default"))
        for settings in [
            {"baseline": baseline, "bootstrap": baseline == "value", "learning_rate": rate}
        ]
    ],
}


def cell(name: str, arm: Arm) -> str:
    """Steps to 90 % of the optimum, and how far below it the arm ends."""
    pair = imm_rl.make(name)
    optimum = oracle_return(pair.model, pair.max_steps)
    return f"{steps_cell(arm)} ({100 * (optimum - arm.final.mean()) / abs(optimum):.1f})"


def main() -> None:
    """Trains everything and writes one table a section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-19")
    parser.add_argument("--out", metavar="FILE", help="Markdown file; default: the terminal alone")
    args = parser.parse_args()
    seeds = parse_seeds("--seeds", args.seeds)
    lines = [
        "# What the defaults were chosen from",
        "",
        f"Made by `python scripts/choose_defaults.py --seeds {args.seeds} --out {args.out}`; "
        f"λ is {DEFAULT_LAMBDA['default']} where nothing else is said.",
        "Environment steps to 90 % of the optimum, median over seeds (≥: a seed never got there); in "
        "brackets, how far below the optimum the mean return ends, in %.",
    ]
    for title, variants in SECTIONS.items():
        lines += ["", f"## {title}", "", f"| | {' | '.join(PROBLEMS)} |", "|---" * 6 + "|"]
        print("\n".join(lines[-4:]))
        for label, weight, changes in variants:
            cells = [cell(name, learning(name, weight, seeds, changes)) for name in PROBLEMS]
            lines.append(f"| {label} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if args.out:
        write_text(Path(args.out), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

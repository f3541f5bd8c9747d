"""`imm-rl reproduce figure-1`: the paper's logistic regression on the cube (`imm_rl.language.figure_1`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imm_rl.cli.reproduce_job import Family, Job
from imm_rl.errors import invalid
from imm_rl.files import write_text

PARTS = ("figure", "search", "fixed-lambda", "qualities", "induced")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of this family."""
    group = parser.add_argument_group("figure-1")
    group.add_argument(
        "--part",
        choices=[*PARTS, "all"],
        help="the figure alone, the search for λ, the table at λ = 1.5, restricted models "
        "of three qualities, or the induced model's scores (default all)",
    )


def run(job: Job) -> Sequence[Path]:
    """Computes the parts asked for one after another, writes each, then the note on all of them."""
    from imm_rl.cli import figure_1_report as report
    from imm_rl.language.figure_1_search import CHOSEN_ON

    args = job.args
    if args.seed == CHOSEN_ON:
        remedy = (
            "The built-in weights were chosen on its runs, and nothing is to be judged by those"
        )
        raise invalid("--seed", f"not be {CHOSEN_ON}", args.seed, remedy)
    out = job.folder()
    files, sections, seconds = [], [], {}
    for part in PARTS if args.part == "all" else (args.part,):
        start = time.perf_counter()
        data = _computed(part, job)
        seconds[part] = time.perf_counter() - start
        files += report.write_part(out, part, data)
        section = report.SECTIONS[part](data)
        sections.append(section)
        if not args.quiet:
            print(section.summary)
    name = "figure-1" if args.part in ("all", "figure") else f"figure-1-{args.part}"
    write_text(out / f"{name}.md", report.note(_about(job, seconds), sections))
    return [*files, out / f"{name}.md"]


def _computed(part: str, job: Job) -> Any:
    from imm_rl.language import figure_1, figure_1_search

    runs, seed, device = job.args.runs, job.args.seed, job.device
    progress = job.progress(f"figure-1 {part}", "training")
    if part == "figure":
        return figure_1.figure_1(runs, seed=seed, device=device, progress=progress)
    if part == "search":
        # Neither the figure's runs nor those that the built-in rules were chosen on.
        return figure_1_search.ratio_search(runs, seed=seed + 2, device=device, progress=progress)
    if part == "fixed-lambda":
        return figure_1.fixed_lambda(runs, seed=seed, device=device, progress=progress)
    if part == "qualities":
        return figure_1.qualities(runs, seed=seed, device=device, progress=progress)
    # A mean over the restricted model's inputs varies less than a share of test points.
    return figure_1.induced_scores(min(runs, 100), seed=seed, device=device, progress=progress)


def _about(job: Job, seconds: dict[str, float]) -> str:
    """The command, the seeds, how long each part took."""
    args = job.args
    command = f"imm-rl reproduce figure-1 --out {args.out} --runs {args.runs} --seed {args.seed}"
    if args.part != "all":
        command += f" --part {args.part}"
    times = ", ".join(f"{part} {spent:.1f} s" for part, spent in seconds.items())
    searched = f"{args.seed + 2} for the search" if "search" in seconds else ""
    others = str(args.seed) if set(seconds) - {"search"} else ""
    seeds = ", ".join(filter(None, (others, searched)))
    where = "one thread of the CPU" if job.device == "cpu" else job.device
    return f"`{command}`: points of seed {seeds}; on {where}: {times}."


FAMILY = Family(
    experiments={"figure-1": "logistic regression: accuracy against the number of rows"},
    options={"figure-1": {"runs": 300, "seed": 0, "part": "all"}},
    add_arguments=add_arguments,
    run=run,
)

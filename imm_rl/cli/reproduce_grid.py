"""`imm-rl reproduce figure-2` and `lambda-search`: the paper's grid (`imm_rl.agents.paper`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from imm_rl.cli.reproduce_job import Family, Job
from imm_rl.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of this family."""
    group = parser.add_argument_group("figure-2")
    group.add_argument(
        "--published",
        metavar="CSV",
        help="published means, with columns curve, epochs, mean, sd, runs, to be set beside ours",
    )


def run(job: Job) -> Sequence[Path]:
    """Computes, writes three files, says what came out."""
    from imm_rl.cli import paper_report as report

    args = job.args
    published = {} if args.published is None else report.read_published(args.published)
    out = job.folder()

    from imm_rl.agents import paper
    from imm_rl.envs.registry import make, tabular

    pair, seeds = tabular(make("grid")), range(args.seed, args.seed + args.runs)
    start = time.perf_counter()
    compute = paper.figure_2 if args.experiment == "figure-2" else paper.lambda_search
    progress = job.progress(args.experiment, "epoch")
    points = compute(pair, seeds=seeds, device=job.device, progress=progress)
    seconds = time.perf_counter() - start
    about = (
        f"`imm-rl reproduce {args.experiment} --out {args.out} --runs {args.runs} --seed {args.seed}`: "
        f"seeds {seeds[0]}–{seeds[-1]}, {seconds:.1f} s on {job.device}."
    )
    files = [out / f"{args.experiment}.{suffix}" for suffix in ("csv", "png", "md")]
    columns = list(paper.Point._fields)
    if args.experiment == "figure-2":
        report.write_csv(files[0], points, columns)
        report.figure_2_picture(files[1], points, published)
        note = report.figure_2_note(points, published, about)
    else:
        report.write_csv(files[0], points, columns[1:])
        report.search_picture(files[1], points)
        note = report.search_note(points, about)
    write_text(files[2], note)
    if not args.quiet:
        # The table of the search is short; that of the figure belongs in the note.
        print("\n".join(note.splitlines()[2 : 5 if args.experiment == "figure-2" else None]))
    return files


FAMILY = Family(
    experiments={
        "figure-2": "return against training length, with and without IMM (60 points)",
        "lambda-search": "return against λ/(1+λ) at 50, 200 and 400 epochs (30 points)",
    },
    options={
        "figure-2": {"runs": 30, "seed": 0, "published": None},
        "lambda-search": {"runs": 30, "seed": 0},
    },
    add_arguments=add_arguments,
    run=run,
)

"""`imm-rl reproduce`: every figure and table of the paper that is built, one command each."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_text

EXPERIMENTS = {
    "figure-2": "return against training length, with and without IMM (60 points)",
    "lambda-search": "return against λ/(1+λ) at 50, 200 and 400 epochs (30 points)",
}
PUBLISHED = Path("../shared/data/paper_rl_curves.csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    listed = "; ".join(f"{name}: {text}" for name, text in EXPERIMENTS.items())
    parser.add_argument("experiment", choices=list(EXPERIMENTS), help=listed)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for CSV, PNG and note")
    parser.add_argument("--runs", type=int, default=30, help="trainings of each point (default 30)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first training; the others follow"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    parser.add_argument(
        "--published",
        metavar="CSV",
        help="published means for figure-2, with columns curve, epochs, mean, sd, runs "
        f"(default: {PUBLISHED}, where there is one)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Computes, writes three files, prints where they are."""
    if args.runs < 2:
        raise invalid("--runs", "be at least 2, for a spread over runs", args.runs)
    if args.seed < 0:
        raise invalid("--seed", "be ≥ 0", args.seed)
    if args.published and args.experiment != "figure-2":
        raise InvalidInputError(
            "--published belongs to figure-2; there is no published search to compare with."
        )

    from imm_rl.agents.arguments import torch_device
    from imm_rl.cli import paper_report as report

    device = torch_device(args.device).type
    published = {}
    if args.experiment == "figure-2" and (args.published or PUBLISHED.is_file()):
        published = report.read_published(args.published or PUBLISHED)
    out = _made(args.out)

    from imm_rl.agents import paper
    from imm_rl.envs.registry import make, tabular

    pair, seeds = tabular(make("grid")), range(args.seed, args.seed + args.runs)
    start = time.perf_counter()
    progress = None if args.quiet else _Progress(args.experiment)
    compute = paper.figure_2 if args.experiment == "figure-2" else paper.lambda_search
    points = compute(pair, seeds=seeds, device=device, progress=progress)
    seconds = time.perf_counter() - start
    about = (
        f"`imm-rl reproduce {args.experiment} --out {args.out} --runs {args.runs} --seed {args.seed}`: "
        f"seeds {seeds[0]}–{seeds[-1]}, {seconds:.1f} s on {device}."
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
    print("\n".join(f"wrote {file}" for file in files))
    return 0


def _made(out: str) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder {folder}: {error.strerror}.") from None
    return folder


class _Progress:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, title: str) -> None:
        self._title, self._tenth = title, -1
        self._bar: Any = None
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self._terminal:
            from tqdm import tqdm

            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._title, unit="epoch")
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.close()
        elif 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            print(f"{self._title}: {10 * self._tenth} % of {total} epochs", file=sys.stderr)

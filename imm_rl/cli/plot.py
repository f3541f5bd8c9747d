"""`imm-rl plot`: learning curves of any runs as a picture fit for a paper."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.options import add_json, add_quiet
from imm_rl.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from imm_rl.cli.curve_picture import Line
    from imm_rl.cli.run_curves import Aligned, RunCurves

STATISTICS = ("mean", "iqm")

METRICS = {
    "eval/mean_reward": "return of an evaluation episode",
    "rollout/ep_rew_mean": "return of a training episode",
    "imm/kl": "KL(P̂‖Q̄) (nats)",
    "imm/naive_kl": "mean KL(P̂‖Q) (nats)",
    "imm/loss": "matching loss (nats)",
    "imm/lambda": "λ",
    "imm/agreement": "share of contexts that agree",
    "time/fps": "environment steps a second",
}
"""What an axis calls a column; others go by the column's name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Draws the learning curves of runs: the mean over seeds and a 95 % band, the interval that tables\n"
        "have: of fewer than 20 seeds Student's t, else the bootstrap. A wide band leaves the picture. A\n"
        "run is a folder that imm-rl train made, a folder of such folders (a comparison, a sweep), or\n"
        "monitor files of stable_baselines3."
    )
    parser.epilog = (
        "examples:\n"
        "  imm-rl plot                 (the latest run, comparison or sweep with something to draw)\n"
        "  imm-rl plot runs/sweeps/tiger-weights\n"
        "  imm-rl plot runs/tiger/reinforce-pomdp-1 runs/tiger/reinforce-none-1 --out tiger.pdf\n"
        "  imm-rl plot runs/grid/compare-1 --metric imm/kl\n"
        "  imm-rl plot my_logs/0.monitor.csv --smooth 50"
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="what to draw (default: the latest run, comparison or sweep below runs that has something)",
    )
    parser.add_argument(
        "--metric",
        metavar="TAG",
        help="a column of progress.csv, such as rollout/ep_rew_mean or imm/kl (default: eval/mean_reward)",
    )
    parser.add_argument(
        "--statistic",
        metavar="NAME",
        default="mean",
        help="over seeds: mean (default) or iqm, whose band is the bootstrap's from 4 seeds on",
    )
    parser.add_argument("--labels", metavar="A,B", help="names of the runs, in order")
    parser.add_argument("--title", metavar="TEXT", help="above the picture")
    parser.add_argument(
        "--smooth",
        metavar="N",
        default="20",
        help="of monitor files: episodes that a point is the mean of (default: 20)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        default="curves.png",
        help=".png, .pdf or .svg (default: curves.png)",
    )
    add_json(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Reads, draws and says what was drawn."""
    from imm_rl.cli import run_curves, values
    from imm_rl.cli.console import Console
    from imm_rl.cli.curve_picture import check_out, figure, looks, save
    from imm_rl.cli.latest import latest
    from imm_rl.runs import RunFolder

    console = Console(json_only=args.json, quiet=args.quiet)
    if args.statistic not in STATISTICS:
        raise unknown_name("statistic", args.statistic, STATISTICS)
    out, window = check_out(args.out), values.count("--smooth", args.smooth)
    metric = args.metric or run_curves.DEFAULT_METRIC
    paths = args.runs
    if not paths:
        chosen = latest("runs", run_curves.has_any)
        console.note(chosen.told)
        paths = [str(chosen.path)]
    for path in paths:
        if (found := RunFolder.around(path)) is not None:
            found.refuse_language_model("tensorboard --logdir")
    runs = [run for path in paths for run in run_curves.read(path, metric, window)]
    language = [run for run in runs if run.is_language_model]
    for left in language:
        console.note(f"left out: {left.path}: {left.why_empty}")
    runs = [run for run in runs if not run.is_language_model] or language
    names = _labels(args.labels, runs)
    # Before any is left out: with another metric a run keeps its colour.
    given = looks([run.config.get("method") for run in runs])
    drawn = [
        (name, run, look) for name, run, look in zip(names, runs, given, strict=True) if run.curves
    ]
    for name, left in zip(names, runs, strict=True):
        if not left.curves:
            console.note(f"left out: {name}, {left.path}: {left.why_empty}")
    if not drawn:
        raise InvalidInputError(
            "there is nothing to draw: "
            + "; ".join(f"{left.path}: {left.why_empty}" for left in runs)
            + "."
        )
    curves = [(name, run_curves.aligned(run.curves)) for name, run, _ in drawn]
    lines = [
        _line(name, curve, args.statistic, look)
        for (name, curve), (*_, look) in zip(curves, drawn, strict=True)
    ]
    for note in _notes(curves, [run for _, run, _ in drawn]):
        console.note(note)
    if not args.quiet:
        _warn_of_problems([run for _, run, _ in drawn])
    title = _title(args.statistic, curves) if args.title is None else args.title
    save(figure(lines, y_label=METRICS.get(metric, metric), title=title), out)
    result = _result(out, metric, args.statistic, [run for _, run, _ in drawn], lines)
    console.result(result, _report(result))
    return 0


def _labels(given: str | None, runs: Sequence[RunCurves]) -> list[str]:
    from imm_rl.cli.run_curves import labels

    if given is None:
        return labels(runs) if len(runs) > 1 else [runs[0].path.name]
    names = [name.strip() for name in given.split(",")]
    if len(names) != len(runs) or not all(names):
        found = ", ".join(str(run.path) for run in runs)
        raise InvalidInputError(
            f"--labels has {len(names)} names, and there are {len(runs)} runs to draw: {found}."
        )
    return names


def _warn_of_problems(runs: Sequence[RunCurves]) -> None:
    """A line where the runs are of several environments; monitor files do not say theirs."""
    from imm_rl.cli.names import env_name

    told = dict.fromkeys(str(run.config["env"]) for run in runs if "env" in run.config)
    files = {text: os.path.realpath(text) if os.path.isfile(text) else text for text in told}
    same = {file: text for text, file in files.items()}  # one file under two names is one problem
    if len(same) > 1:
        names = ", ".join(env_name(text) for text in same.values())
        print(
            f"imm-rl plot: warning: the runs are of {len(same)} problems ({names}), whose returns do not "
            "compare, on one axis.",
            file=sys.stderr,
        )


def _line(name: str, found: Aligned, statistic: str, look: int) -> Line:
    from imm_rl.cli.curve_picture import Line
    from imm_rl.curve_statistics import bands

    return Line(name, found.env_steps, *bands(found.values, interquartile=statistic == "iqm"), look)


def _notes(curves: Sequence[tuple[str, Aligned]], runs: Sequence[RunCurves]) -> list[str]:
    from imm_rl.cli.divergence import Divergence

    notes = []
    for (name, found), run in zip(curves, runs, strict=True):
        gone = Divergence.read(name, run.path)
        if gone is not None:
            notes.append(f"{name}: its line ends early, as it {gone.told}")
        if found.values.shape[1] == 1:
            notes.append(f"{name}: a single seed, so there is no band")
        if found.cut > 0.0:
            notes.append(
                f"{name}: its line ends at {found.env_steps[-1]:,.0f} steps, where its shortest seed does; "
                f"the longest went on for {found.cut:,.0f}"
            )
    return notes


def _title(statistic: str, curves: Sequence[tuple[str, Aligned]]) -> str:
    """What line and band are; nothing where every run has a single seed."""
    numbers = sorted({found.values.shape[1] for _, found in curves})
    if numbers == [1]:
        return ""
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    middle = {"mean": "mean", "iqm": "interquartile mean"}[statistic]
    return f"{middle} over {seeds} seeds, with a 95 % band"


def _result(
    out: Path,
    metric: str,
    statistic: str,
    drawn: Sequence[RunCurves],
    lines: Sequence[Line],
) -> dict[str, Any]:
    return {
        "out": str(out),
        "metric": metric,
        "statistic": statistic,
        "runs": [
            {
                "label": line.label,
                "path": str(run.path),
                "seeds": len(run.curves),
                "env_steps": int(line.steps[-1]),
                "final": float(line.centre[-1]),
                "ci95": [float(line.low[-1]), float(line.high[-1])],
            }
            for run, line in zip(drawn, lines, strict=True)
        ],
    }


def _report(result: dict[str, Any]) -> str:
    from imm_rl.cli.console import interval, number, table

    rows = [["", "seeds", "steps", f"last {result['metric']}", "95 % interval"]]
    rows += [
        [
            r["label"],
            str(r["seeds"]),
            f"{r['env_steps']:,}",
            number(r["final"]),
            interval(r["ci95"]),
        ]
        for r in result["runs"]
    ]
    return f"{table(rows)}\n\npicture: {result['out']}"

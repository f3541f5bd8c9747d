"""Writes what `imm-rl reproduce` computed: a CSV, a PNG like the paper's, and a Markdown note."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically, write_text

if TYPE_CHECKING:
    from imm_rl.agents.paper import Point

LABELS = {
    "none": "REINFORCE",
    "imm_argmax": "with IMM, argmax policy",
    "imm_softmax_0.5": "with IMM, softmax policy, temperature 0.5",
    "imm_softmax_1.0": "with IMM, softmax policy, temperature 1.0",
}
# Okabe and Ito's colours, told apart by colour-blind readers; markers and dashes for print.
STYLES = {
    "none": ("#000000", "o", "-"),
    "imm_argmax": ("#0072B2", "s", "-"),
    "imm_softmax_0.5": ("#D55E00", "^", "--"),
    "imm_softmax_1.0": ("#009E73", "D", ":"),
}
Y_LABEL = "return of 22 steps, undiscounted\n(bars: 10th to 90th percentile of the runs)"
Key = tuple[str, int]


class Published(NamedTuple):
    """A published point: mean and standard deviation over so many runs."""

    mean: float
    sd: float
    runs: int


def write_csv(path: Path, points: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> None:
    """One row a point."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for point in points:
        values = [getattr(point, column) for column in columns]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    write_text(path, text.getvalue())


def read_published(path: str | Path) -> dict[Key, Published]:
    """The published points by (curve, epochs), from a CSV with our columns.

    Raises:
        InvalidInputError: No such file, a missing column, a value that is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return {
                (row["curve"], int(row["epochs"])): Published(
                    float(row["mean"]), float(row["sd"]), int(row["runs"])
                )
                for row in csv.DictReader(file)
            }
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}.") from None
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{path} must be a CSV with columns curve, epochs, mean, sd, runs; wrong: {error}."
        ) from None


def standard_errors(point: Point, published: Published) -> float:
    """(ours − published) in standard errors of the difference of the two means."""
    variance = point.sd**2 / point.runs + published.sd**2 / published.runs
    return (point.mean - published.mean) / math.sqrt(variance)


def figure_2_note(points: Sequence[Point], published: dict[Key, Published], about: str) -> str:
    """The Markdown note of Figure 2: ours beside the published, point by point."""
    lines = ["# Figure 2: return against training length on the torus grid", "", about, ""]
    pairs = [
        (p, published[(p.curve, p.epochs)]) for p in points if (p.curve, p.epochs) in published
    ]
    if not pairs:
        lines += [
            "No published numbers were given (`--published FILE.csv` with columns curve, epochs, "
            "mean, sd, runs), so ours stand alone.",
            "",
            "| curve | epochs | λ/(1+λ) | mean | sd | p10 | p90 |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {p.curve} | {p.epochs} | {p.lambda_ratio:g} | {p.mean:.2f} | {p.sd:.2f} "
            f"| {p.p10:.2f} | {p.p90:.2f} |"
            for p in points
        ]
        return "\n".join(lines) + "\n"
    scores = [standard_errors(p, q) for p, q in pairs]
    within = sum(abs(z) <= 3.0 for z in scores)
    lines += [
        f"{within} of {len(pairs)} means lie within 3 standard errors of the published ones; "
        f"the largest difference is {max(map(abs, scores)):.1f} standard errors.",
        "",
        "| curve | epochs | λ/(1+λ) | ours: mean ± sd | published: mean ± sd | difference in s.e. |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.curve} | {p.epochs} | {p.lambda_ratio:g} | {p.mean:.2f} ± {p.sd:.2f} "
        f"| {q.mean:.2f} ± {q.sd:.2f} | {z:+.1f} |"
        for (p, q), z in zip(pairs, scores, strict=True)
    ]
    return "\n".join(lines) + "\n"


def search_note(points: Sequence[Point], about: str) -> str:
    """The Markdown note of the search: the best ratio of each training length beside the rule's."""
    from imm_rl.agents.paper import ratio_rule

    lines = ["# Search for λ: return against λ/(1+λ)", "", about, ""]
    lines += [
        "| epochs | best λ/(1+λ) | mean | within 1 s.e. of the best | the paper's rule | its mean |",
        "|---|---|---|---|---|---|",
    ]
    for epochs in sorted({p.epochs for p in points}):
        row = [p for p in points if p.epochs == epochs]
        best = max(row, key=lambda p: p.mean)
        error = best.sd / math.sqrt(best.runs)
        near = ", ".join(f"{p.lambda_ratio:g}" for p in row if p.mean >= best.mean - error)
        rule = ratio_rule(epochs)
        ruled = [f"{p.mean:.2f}" for p in row if abs(p.lambda_ratio - rule) < 1e-9]
        lines.append(
            f"| {epochs} | {best.lambda_ratio:g} | {best.mean:.2f} | {near} | {rule:g} "
            f"| {ruled[0] if ruled else 'not searched'} |"
        )
    return "\n".join(lines) + "\n"


def figure_2_picture(path: Path, points: Sequence[Point], published: dict[Key, Published]) -> None:
    """Mean return against epochs, bars from the 10th to the 90th percentile of the runs.

    A published mean is the hollow mark of its curve, which stands around ours where they agree.
    """
    figure, axes = _axes()
    hollow = {"linestyle": "none", "markerfacecolor": "none", "markersize": 8, "zorder": 5}
    for shift, (curve, (colour, marker, dash)) in enumerate(STYLES.items()):
        mine = [p for p in points if p.curve == curve]
        if not mine:
            continue
        # Bars of four curves at one abscissa would hide each other: set them side by side.
        x = [p.epochs + (shift - 1.5) * 2.5 for p in mine]
        _bars(axes, x, mine, label=LABELS[curve], color=colour, marker=marker, linestyle=dash)
        theirs = [published.get((curve, p.epochs)) for p in mine]
        marks = [(at, q.mean) for at, q in zip(x, theirs, strict=True) if q is not None]
        if marks:
            at, means = zip(*marks, strict=True)
            axes.plot(at, means, marker=marker, color=colour, **hollow)
    if published:
        axes.plot([], [], marker="o", color="0.35", label="hollow: the published means", **hollow)
    axes.set_xlabel("training epochs (50 environment steps each)")
    _save(figure, axes, path)


def search_picture(path: Path, points: Sequence[Point]) -> None:
    """Mean return against λ/(1+λ), one line a training length."""
    figure, axes = _axes()
    sizes = sorted({p.epochs for p in points})
    for shift, (epochs, style) in enumerate(zip(sizes, STYLES.values(), strict=False)):
        mine = [p for p in points if p.epochs == epochs]
        x = [p.lambda_ratio + (shift - 1) * 0.008 for p in mine]
        colour, marker, dash = style
        _bars(axes, x, mine, label=f"{epochs} epochs", color=colour, marker=marker, linestyle=dash)
    axes.set_xlabel("weight of the matching term, λ/(1+λ)")
    _save(figure, axes, path)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    return figure, figure.subplots()


def _bars(axes: Any, x: Sequence[float], points: Sequence[Point], **style: Any) -> None:
    below = [p.mean - p.p10 for p in points]
    above = [p.p90 - p.mean for p in points]
    # The mean of a skewed sample may lie outside its 10–90 % range, where a bar has no length.
    bars = [[max(v, 0.0) for v in below], [max(v, 0.0) for v in above]]
    means = [p.mean for p in points]
    axes.errorbar(
        x, means, yerr=bars, capsize=2, elinewidth=0.8, markersize=4, linewidth=1.4, **style
    )


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.set_ylabel(Y_LABEL)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=160))

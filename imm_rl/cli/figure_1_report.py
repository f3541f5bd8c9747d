"""Writes what `imm-rl reproduce figure-1` computed: a CSV and a picture of each part, and a Markdown note.

1 point is a hundredth of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from imm_rl.cli import figure_1_pictures as pictures
from imm_rl.cli.console import markdown_row
from imm_rl.cli.paper_report import write_csv
from imm_rl.language import cube, figure_1_search
from imm_rl.language.cube_trials import METHODS
from imm_rl.language.figure_1 import Figure, Fixed, Induced, Point
from imm_rl.language.figure_1_search import Search, Searched

SHOWN = (2, 3, 5, 10, 20, 35, 50)
"""Sizes in the note's tables; the CSV has all."""

DIFFERENCES = """\
## What differs from the paper

The paper reports this experiment in words and pictures, without numbers to compare with.

- The paper averages the model over rows whose x1 is near, as they are. Here the completions of a row keep \
its own x1 and borrow x2 and x3 from the others, weighted by a Gaussian kernel in x1; above 200 rows, 50 \
completions of each row are drawn with these weights.
- Each method has the weight of its own rule, the best for it on runs of another seed. Noising's and \
interpolation's fall to 0 sooner than IMM's.
- Squared coefficients are penalised by 1e-4, so that separable data have a solution.
- Tests are on 16,384 Sobol points (131,072 in the table at λ = 1.5) that all trainings share.
"""


class Section(NamedTuple):
    """A part of the note: its title, the sentences that matter, tables and picture."""

    title: str
    summary: str
    lines: list[str]


def write_part(out: Path, part: str, data: Any) -> list[Path]:
    """Writes a part's CSV and picture; what was written."""
    stem = "figure-1" if part == "figure" else f"figure-1-{part}"
    rows = data.points if part in ("figure", "search") else data
    files = [out / f"{stem}.csv"]
    write_csv(files[0], rows, list(type(rows[0])._fields))
    if part in pictures.PICTURES:
        files.append(out / f"{stem}.png")
        pictures.PICTURES[part](files[1], data)
    return files


def note(about: str, sections: Iterable[Section]) -> str:
    """The whole note."""
    text = [
        "# Figure 1: logistic regression on the cube, with a model that sees x1 alone",
        "",
        about,
    ]
    for section in sections:
        text += ["", f"## {section.title}", "", section.summary, "", *section.lines]
    return "\n".join([*text, "", DIFFERENCES])


def _figure(data: Figure) -> Section:
    at = {(p.curve, p.rows): p for p in data.points}
    sizes = sorted({p.rows for p in data.points})
    leads = ", ".join(f"{_interval(*lead[1:])} above {lead.other}" for lead in data.leads)
    means = [at["imm", n].gain for n in sizes]
    best = {n: max((at[method, n] for method in METHODS), key=_mean).curve for n in sizes}
    others = [
        f"{method} at n = {_listed(n for n in sizes if best[n] == method)}"
        for method in METHODS
        if method != "imm" and method in best.values()
    ]
    summary = (
        f"Averaged over n = {sizes[0]}…{sizes[-1]}, IMM's test accuracy is {leads} (points, with 95 % "
        f"intervals over {data.points[0].runs} paired runs). It is above plain training (none) at "
        f"{sum(gain > 0 for gain in means)} of {len(sizes)} sizes, with the whole 95 % interval at "
        f"{sum(at['imm', n].gain_low > 0 for n in sizes)}. It is the best of the four at "
        f"{list(best.values()).count('imm')} sizes{f'; else {_listed(others)}' if others else ''}. "
        "Published: IMM is best, most at small n."
    )
    shown = [n for n in sizes if n in SHOWN]
    rows = [
        [
            str(n),
            *(f"{100 * at[m, n].mean:.2f} ({at[m, n].ratio:.2f})" for m in METHODS),
            _gain(at["imm", n]),
        ]
        for n in shown
    ]
    lines = _table(["n", *METHODS, "IMM − none, points"], rows)
    lines += ["", "Accuracy in %, in brackets λ/(1+λ); intervals are 95 %, over runs.", ""]
    lines += [_image("Accuracy against n", "figure-1.png")]
    return Section("Accuracy against the number of rows", summary, lines)


def _search(data: Search) -> Section:
    agree = _listed(found.method for found in data.found if found.agrees)
    summary = (
        "The rule ratio(n) = clip(a − b·ln n, 0, 0.95) of each method, fitted to the largest mean accuracy "
        f"over n; the built-in constants agree for {agree or 'none'} (they lose at most 2 "
        "standard errors). Published: a rule that falls with n."
    )
    rows = [
        [
            f.method,
            *(f"{rule.intercept:.2f} − {rule.slope:.2f}·ln n" for rule in (f.rule, f.constant)),
            f"{100 * f.loss:.3f} ± {100 * f.error:.3f}",
            "yes" if f.agrees else "no",
        ]
        for f in data.found
    ]
    lines = _table(["method", "of this search", "built in", "loss, points", "agrees"], rows)
    sizes = sorted({p.rows for p in data.points})
    best = [
        [m, *(_near(data, m, n) for n in sizes), str(data.points[0].runs)]
        for m in figure_1_search.METHODS
    ]
    lines += ["", "Best ratio at each n, and in brackets those within a standard error of it:", ""]
    lines += _table(["method", *(f"n = {n}" for n in sizes), "runs"], best)
    lines += ["", _image("Accuracy against λ/(1+λ)", "figure-1-search.png")]
    return Section("The weight of each method", summary, lines)


def _near(data: Search, method: str, rows: int) -> str:
    best = data.best(method, rows)
    mine: list[Searched] = [p for p in data.points if (p.method, p.rows) == (method, rows)]
    near = [p.ratio for p in mine if p.mean >= best.mean - best.error]
    return f"{best.ratio:g} ({min(near):g}–{max(near):g})"


def _fixed(data: list[Fixed]) -> Section:
    at = {(p.method, p.rows): p for p in data}
    sizes = sorted({p.rows for p in data})
    last = sizes[-1]
    summary = (
        f"At n = {last:,} and λ = 1.5 IMM differs from plain training by {_gain(at['imm', last])} points, "
        f"noising by {_gain(at['noising', last])}: noising keeps a bias, IMM does not. Published: IMM's "
        "lead over noising stays or grows with n."
    )
    rows = [
        [
            f"{n:,}",
            *(f"{100 * at[m, n].mean:.2f}" for m in ("none", "noising", "imm")),
            *(_gain(at[m, n]) for m in ("noising", "imm")),
            f"{100 * (at['imm', n].mean - at['noising', n].mean):.2f}",
            str(at["imm", n].runs),
        ]
        for n in sizes
    ]
    head = ["n", "none", "noising", "imm", "noising − none", "IMM − none", "IMM − noising", "runs"]
    return Section(
        "The same weight at every size, λ = 1.5",
        summary,
        [*_table(head, rows), "", "Accuracy in %, differences in points with 95 % intervals."],
    )


def _qualities(data: list[Point]) -> Section:
    at = {(p.curve, p.rows): p for p in data}
    sizes = sorted({p.rows for p in data})
    gains = ", ".join(
        f"{quality} {100 * sum(at[quality, n].gain for n in sizes) / len(sizes):+.2f}"
        for quality in cube.QUALITIES
    )
    below = [f"{q} at n = {n}" for q in cube.QUALITIES for n in sizes if at[q, n].gain_high < 0]
    summary = (
        f"Mean gain over plain training in points, over {len(sizes)} sizes: {gains}; "
        f"measurably below plain training: {', '.join(below) or 'nowhere'}. Published: restricted models "
        "of high, medium and low quality all help. High is exact; medium and low know only which of 4 and "
        "of 2 equal parts x1 is in. All have the weight of the rule that was made with the exact one."
    )
    rows = [
        [str(n), f"{100 * at['none', n].mean:.2f}", *(_gain(at[q, n]) for q in cube.QUALITIES)]
        for n in sizes
    ]
    lines = _table(["n", "none, %", *(f"{q}: gain, points" for q in cube.QUALITIES)], rows)
    lines += ["", _image("Restricted models of three qualities", "figure-1-qualities.png")]
    return Section("Restricted models of other quality", summary, lines)


def _induced(data: list[Induced]) -> Section:
    loss, share = cube.restricted_score()
    sizes, ratios = sorted({p.rows for p in data}), sorted({p.ratio for p in data})
    at = {(p.rows, p.ratio): p for p in data}
    lowest = {n: min((at[n, r].loss, r) for r in ratios)[1] for n in sizes}
    above = [n for n in sizes if any(at[n, r].loss >= at[n, 0.0].loss for r in ratios if r > 0)]
    summary = (
        "The induced model predicts y from x1; the restricted model itself, the best possible, has "
        f"cross-entropy {loss:.4f} nats and accuracy {100 * share:.2f} %. The mean cross-entropy is lowest "
        f"at λ/(1+λ) = {_listed(f'{ratio:g} (n = {n})' for n, ratio in lowest.items())}; it is below that "
        f"without IMM at every ratio{f', except for n = {_listed(above)}' if above else ''}. Published: "
        "the score improves as the ratio grows."
    )
    rows = [
        [f"{r:g}", *(f"{at[n, r].loss:.3f} ({100 * at[n, r].accuracy:.1f} %)" for n in sizes)]
        for r in ratios
    ]
    lines = _table(["λ/(1+λ)", *(f"n = {n}" for n in sizes)], rows)
    lines += [
        "",
        f"Means over {data[0].runs} runs: cross-entropy in nats, in brackets accuracy.",
        "",
    ]
    lines += [_image("The induced model at the restricted task", "figure-1-induced.png")]
    return Section("The induced model at the restricted model's own task", summary, lines)


SECTIONS: Mapping[str, Callable[[Any], Section]] = MappingProxyType(
    {
        "figure": _figure,
        "search": _search,
        "fixed-lambda": _fixed,
        "qualities": _qualities,
        "induced": _induced,
    }
)


def _mean(point: Point) -> float:
    return point.mean


def _gain(point: Point | Fixed) -> str:
    return _interval(point.gain, point.gain_low, point.gain_high)


def _interval(mean: float, low: float, high: float) -> str:
    """Of a difference of shares, in points."""
    return f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _image(text: str, name: str) -> str:
    return f"![{text}]({name})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [markdown_row(cells) for cells in (head, ["---"] * len(head), *rows)]

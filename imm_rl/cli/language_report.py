"""Tables, picture and note of `imm-rl reproduce table-1` and `table-bigram`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from imm_rl.cli.console import interval, markdown_row, number
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically
from imm_rl.statistics import finite_mean_ci95

if TYPE_CHECKING:
    from imm_rl.language.lm_settings import LMSettings

LABELS = {
    "none": "none",
    "noising": "noising",
    "batch": "IMM, in-batch",
    "sampled": "IMM, sampled",
    "serialized": "IMM, serialized",
}
# Okabe and Ito's colours, told apart by colour-blind readers; dashes for print.
STYLES = {
    "none": ("#000000", "-"),
    "noising": ("#D55E00", "--"),
    "batch": ("#0072B2", "-"),
    "sampled": ("#009E73", "-."),
    "serialized": ("#CC79A7", ":"),
}
WHAT = {
    "valid_perplexity": "validation",
    "test_perplexity": "test",
    "induced_valid_perplexity": "of the induced model, validation",
}
MEASURES = ("valid_perplexity", "test_perplexity", "induced_valid_perplexity")


CHOICE = {
    "laptop": {
        "lstm": "The weights λ of the laptop preset were chosen on pydoc's validation text with 30 epochs "
        "of seed 100, among 0.25, 0.5 and 1 for batch and 0.1, 0.25, 0.5 and 1 for noising; sampled has "
        "batch's.",
        "transformer": "The weights λ of the laptop preset were chosen on pydoc's validation text with 25 "
        "epochs of seed 100, among 0.5, 1 and 2 for batch and for noising; sampled has batch's.",
    },
    "paper": {"lstm": "The weight λ is the paper's, halved since its main gradient is doubled."},
    "gpu": {"transformer": "The weight λ of the gpu preset was not chosen on any text."},
}
"""Where the λ of `lm_presets.LAMBDAS` come from, by preset and model."""


class Row(NamedTuple):
    """One training."""

    method: str
    imm_lambda: str
    seed: int
    summary: dict[str, Any]

    def value(self, name: str) -> float:
        """A measure of its summary; NaN where it has none."""
        found = self.summary[name]["mean"]
        return math.nan if found is None else float(found)


def refuse_other_orders(rows: Sequence[Row], order: int) -> None:
    """Refuses rows whose induced models are of another order than the table's: they are not comparable.

    Raises:
        InvalidInputError: One is.
    """
    for row in rows:
        found = row.summary.get("ngram_order")
        if found != order:
            raise InvalidInputError(
                f"the training {row.method}, seed {row.seed}, was measured with order {found}, and the "
                f"table is of order {order}. Give --out another folder."
            )


def to_text(rows: Sequence[Row]) -> str:
    """One CSV row a training."""
    columns = ["method", "lambda", "seed", *MEASURES, "wall_seconds", "words_per_second"]
    lines = [",".join(columns)]
    for row in rows:
        seconds = row.summary["wall_seconds"]
        values = [*(row.value(name) for name in MEASURES), seconds, row.summary["words"] / seconds]
        shown = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        lines.append(",".join([row.method, row.imm_lambda, str(row.seed), *shown]))
    return "\n".join(lines) + "\n"


def note(
    rows: Sequence[Row], about: str, settings: LMSettings, preset: str, *, bigram: bool
) -> str:
    """The Markdown note: a table by method, differences to noising, what the paper reports."""
    order, first = rows[0].summary.get("ngram_order"), rows[0].summary
    title = "Table: the n-gram task itself" if bigram else "Table 1: perplexity by method"
    setting = (
        f"{settings.model} {settings.layers} × {settings.hidden_size}, dropout {settings.dropout:g}, "
        f"batch {settings.batch_size} × {settings.unroll}, {settings.epochs} epochs, {settings.optimizer} "
        f"{settings.learning_rate:g}"
    )
    lines = [f"# {title}", "", about, "", f"Settings: {setting}.", ""]
    measures = MEASURES[2:] if bigram else MEASURES[:2]
    heads = {
        "valid_perplexity": "validation",
        "test_perplexity": "test",
        "induced_valid_perplexity": f"induced model of order {order}, validation",
    }
    head = ["method", "λ", *(heads[m] for m in measures), "seeds"]
    lines += [markdown_row(head), markdown_row(["---"] * len(head))]
    methods = list(dict.fromkeys(row.method for row in rows))
    for method in methods:
        mine = [row for row in rows if row.method == method]
        cells = [LABELS[method], mine[0].imm_lambda if method != "none" else ""]
        for name in measures:
            mean, *ends = finite_mean_ci95([row.value(name) for row in mine])
            cells.append(f"{number(mean)} {interval(ends)}".strip())
        lines.append(markdown_row([*cells, ", ".join(str(row.seed) for row in mine)]))
    if bigram:
        value = number(first["ngram_valid_perplexity"])
        lines.append(markdown_row([f"Kneser-Ney of order {order}", "", value, ""]))
    else:
        pair = [number(first[f"ngram_{part}_perplexity"]) for part in ("valid", "test")]
        lines.append(markdown_row([f"Kneser-Ney of order {order}", "", *pair, ""]))
    lines += [
        "",
        "Mean over seeds and its 95 % interval (Student's t); - where a run diverged.",
        "",
    ]
    for name in measures:
        lines += _differences(rows, methods, name)
    lines += [_published(CHOICE[preset][settings.model], bigram=bigram), ""]
    notes = [f"- {LABELS[r.method]}, {n}" for r in rows for n in r.summary["notes"]]
    return "\n".join([*lines, *notes]).rstrip() + "\n"


def _differences(rows: Sequence[Row], methods: Sequence[str], name: str) -> list[str]:
    """Every method minus noising (or none), seed by seed."""
    base = "noising" if "noising" in methods else "none"
    if base not in methods:
        return []
    of = {(row.method, row.seed): row.value(name) for row in rows}
    seeds = sorted({row.seed for row in rows})
    lines = []
    for method in methods:
        if method != base:
            found = [of[method, seed] - of[base, seed] for seed in seeds]
            mean, *ends = finite_mean_ci95(found)
            each = ", ".join(f"{value:+.2f}" for value in found)
            shown = "-" if math.isnan(mean) else f"{mean:+.2f} {interval(ends)}"
            lines.append(f"- {LABELS[method]} − {LABELS[base]}: {shown} (by seed: {each})")
    if not lines:
        return []
    return [f"Differences of perplexity, {WHAT[name]}, same seeds:", "", *lines, ""]


def _published(choice: str, *, bigram: bool) -> str:
    if bigram:
        return (
            "The paper reports, on Penn Treebank, that the Kneser-Ney bigram beats the LSTM's induced "
            "bigram, and that IMM narrows the gap."
        )
    return (
        "The paper reports, on Penn Treebank with an LSTM of 2 × 1500, a validation perplexity of 81.6 "
        "with dropout alone and of about 76 with IMM. Other corpora and sizes are not to be compared "
        "with it. "
        f"{choice} Every best epoch was chosen on the validation text, so differences on the "
        "test text are the sounder ones."
    )


def picture(path: Path, rows: Sequence[Row], *, bigram: bool) -> None:
    """Validation perplexity against epochs, or the induced models' perplexities beside Kneser-Ney's."""
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(row.method for row in rows))
    if bigram:
        _dots(axes, rows, methods)
    else:
        _curves(axes, rows, methods)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=160))


def _curves(axes: Any, rows: Sequence[Row], methods: Sequence[str]) -> None:
    for method in methods:
        mine = [next(iter(r.summary["curves"].values())) for r in rows if r.method == method]
        colour, dash = STYLES[method]
        # fmin passes over NaN, as of an epoch that diverged and was gone back from.
        found = np.array([c["valid_perplexity"] for c in mine], dtype=np.float64)
        curves = np.fmin.accumulate(found, axis=1)
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.mean(0), dash, color=colour, label=LABELS[method])
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)
    axes.axhline(
        rows[0].summary["ngram_valid_perplexity"], color="0.5", lw=1, ls=":", label="Kneser-Ney"
    )
    points = [p for r in rows for c in r.summary["curves"].values() for p in c["valid_perplexity"]]
    lowest = min((p for p in points if p is not None), default=None)
    if lowest is not None:
        axes.set_ylim(0.95 * lowest, 2.0 * lowest)
    axes.set_xlabel("epochs")
    axes.set_ylabel("best validation perplexity so far (bands: all seeds)")


def _dots(axes: Any, rows: Sequence[Row], methods: Sequence[str]) -> None:
    for at, method in enumerate(methods):
        values = [r.value("induced_valid_perplexity") for r in rows if r.method == method]
        axes.plot([at] * len(values), values, "o", color=STYLES[method][0])
        axes.plot([at - 0.2, at + 0.2], [_mean(values)] * 2, "-", color=STYLES[method][0])
    axes.axhline(
        rows[0].summary["ngram_valid_perplexity"], color="0.5", lw=1, ls=":", label="Kneser-Ney"
    )
    axes.set_xticks(range(len(methods)), [LABELS[method] for method in methods])
    axes.set_ylabel("perplexity of the induced model, validation")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan

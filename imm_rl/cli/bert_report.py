"""Table, picture and note of `imm-rl reproduce table-2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from imm_rl.cli.console import markdown_row
from imm_rl.files import write_atomically
from imm_rl.language.glue import METRICS, TASKS
from imm_rl.language.glue_settings import METHODS
from imm_rl.statistics import mean_ci95

if TYPE_CHECKING:
    from imm_rl.language.glue_settings import GlueSettings

TITLES = {"cola": "CoLA", "mrpc": "MRPC", "qnli": "QNLI", "rte": "RTE"}
# Okabe and Ito's colours, told apart by colour-blind readers; marks for print.
STYLES = {"plain": ("#000000", "o"), "mlm": ("#D55E00", "s"), "imm": ("#0072B2", "^")}


POSSIBLE = {"accuracy": (0.0, 100.0), "f1": (0.0, 100.0), "matthews": (-100.0, 100.0)}
"""Scores that a metric can have, · 100."""


class Row(NamedTuple):
    """One training."""

    task: str
    method: str
    seed: int
    summary: dict[str, Any]

    @property
    def percent(self) -> float:
        """Its score · 100, as GLUE's tables have it."""
        return 100.0 * float(self.summary["score"])


def to_text(rows: Sequence[Row]) -> str:
    """One CSV row a training; scores as they are, not in percent."""
    lines = ["task,metric,method,lambda,seed,score,updates,train_seconds"]
    for row in rows:
        found = row.summary
        cells = [row.task, found["metric"], row.method, str(found.get("lambda", "")), str(row.seed)]
        cells += [f"{found['score']:.6g}", str(found["updates"]), f"{found['train_seconds']:.4g}"]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def note(rows: Sequence[Row], about: str, settings: GlueSettings) -> str:
    """The Markdown note: means by task and column, each restart, differences, cost, the published order.

    Cells with a restart whose classifier learned nothing, or without any spread, get a remark.
    """
    tasks = list(dict.fromkeys(row.task for row in rows))
    seeds = sorted({row.seed for row in rows})
    lines = ["# Table 2: BERT on GLUE", "", about, "", f"{_settings(settings)}", ""]
    lines += [markdown_row(["task", "metric · 100", *METHODS.values(), "order as published"])]
    lines += [markdown_row(["---"] * (len(METHODS) + 3))]
    for task in tasks:
        found = [_values(rows, task, method) for method in METHODS]
        means = [float(np.mean(values)) for values in found]
        rising = means[0] < means[1] < means[2]
        cells = [TITLES[task], METRICS[TASKS[task].metric], *(_mean(values) for values in found)]
        lines.append(markdown_row([*cells, "yes" if rising else "no"]))
    restarts = f"{len(seeds)} restart{'s' * (len(seeds) > 1)} (seeds {', '.join(map(str, seeds))})"
    lines += [
        "",
        f"Mean over {restarts} and its 95 % interval (Student's t, of 20 and more the bootstrap), on the "
        "development examples after the last epoch. Restarts of one seed share the drawn head and the "
        "order of examples.",
        "",
        "By restart:",
        "",
    ]
    for task in tasks:
        for method, title in METHODS.items():
            each = ", ".join(f"{value:.1f}" for value in _values(rows, task, method))
            lines.append(f"- {TITLES[task]}, {title}: {each}")
    remarks = [text for task in tasks for text in _remarks(rows, task)]
    if remarks:
        lines += ["", "Scores that say little:", "", *(f"- {text}" for text in remarks)]
    lines += ["", "Differences, same seeds:", ""]
    for task in tasks:
        for upper, lower in (("mlm", "plain"), ("imm", "mlm")):
            found_of = {m: _values(rows, task, m) for m in (upper, lower)}
            each_by = np.subtract(found_of[upper], found_of[lower])
            lines.append(
                f"- {TITLES[task]}, {METHODS[upper]} − {METHODS[lower]}: {_mean(each_by, sign='+')}"
            )
    lines += ["", _cost(rows), "", _published()]
    return "\n".join(lines) + "\n"


def picture(path: Path, rows: Sequence[Row]) -> None:
    """Every restart as a mark, the mean of each column as a line, one panel a task.

    Axes hold scores that can be: intervals of few restarts reach beyond these, and are cut there.
    """
    from matplotlib.figure import Figure  # late, and without pyplot: no display is needed

    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(1.5 + 2.2 * len(tasks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        least, most = POSSIBLE[TASKS[task].metric]
        for at, method in enumerate(METHODS):
            values = _values(rows, task, method)
            colour, mark = STYLES[method]
            axes.plot([at] * len(values), values, mark, color=colour, alpha=0.6, clip_on=False)
            mean, low, high = mean_ci95(values)
            axes.plot([at - 0.25, at + 0.25], [mean, mean], "-", color=colour)
            if len(values) > 1:
                ends = np.clip([low, high], least, most)
                axes.plot([at + 0.3, at + 0.3], ends, "-", color=colour, lw=1)
        axes.set_title(f"{TITLES[task]}, {METRICS[TASKS[task].metric]} · 100", fontsize=9)
        axes.set_xticks(range(len(METHODS)), list(METHODS.values()), fontsize=7)
        axes.set_xlim(-0.6, len(METHODS) - 0.4)
        axes.set_ylim(*np.clip(axes.get_ylim(), least, most))
        axes.grid(alpha=0.3)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=160))


def _values(rows: Sequence[Row], task: str, method: str) -> list[float]:
    """By restart, ascending seeds."""
    mine = [row for row in rows if (row.task, row.method) == (task, method)]
    return [row.percent for row in sorted(mine, key=lambda row: row.seed)]


def _remarks(rows: Sequence[Row], task: str) -> list[str]:
    """A sentence for each column in which restarts answer with one class, or all have one score."""
    names = {number: label for label, number in TASKS[task].labels.items()}
    remarks = []
    for method, title in METHODS.items():
        mine = [row for row in rows if (row.task, row.method) == (task, method)]
        answers = [sorted(set(row.summary["dev_predictions"])) for row in mine]
        always = [names[found[0]] for found in answers if len(found) == 1]
        counted = {label: always.count(label) for label in sorted(set(always))}
        said = [
            f"{count} of {len(mine)} restart{'s' * (len(mine) > 1)} "
            f"answer{'s' * (count == 1)} `{label}` always"
            for label, count in counted.items()
        ]
        if len(mine) > 1 and len({row.summary["score"] for row in mine}) == 1:
            said.append("all restarts have the same score, so the interval has no width")
        if said:
            remarks.append(f"{TITLES[task]}, {title}: {'; '.join(said)}")
    return remarks


def _mean(values: Any, sign: str = "") -> str:
    mean, low, high = mean_ci95(values)
    shown = f"{mean:{sign}.1f}"
    return shown if not np.isfinite(low) else f"{shown} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _settings(settings: GlueSettings) -> str:
    plural = "s" * (settings.epochs > 1)
    return (
        f"Settings: {settings.epochs} epoch{plural}, batch {settings.batch_size}, "
        f"AdamW {settings.learning_rate:g} "
        f"(warm-up {settings.warmup:g}, weight decay {settings.weight_decay:g}), at most "
        f"{settings.max_length} word pieces, {settings.precision}; masked-LM weight "
        f"{settings.mlm_weight:g}, "
        f"{100 * settings.mlm_probability:g} % masked; λ {settings.imm_lambda}, k = {settings.k}, at most "
        f"{settings.matched} matched positions a batch, context {settings.context}."
    )


def _cost(rows: Sequence[Row]) -> str:
    """Seconds of training by column; trainings that were stopped and resumed do not count."""
    seconds = {
        method: np.array(
            [
                row.summary["train_seconds"] / row.summary["updates"]
                for row in rows
                if row.method == method and not row.summary["resumed_at"]
            ]
        )
        for method in METHODS
    }
    if any(not len(values) for values in seconds.values()):
        return "Cost: some columns were stopped and resumed throughout; no times."
    base = float(np.mean(seconds["plain"]))
    shown = ", ".join(
        f"{METHODS[method]} {1000 * mean:.0f} ms ({mean / base:.1f} ×)"
        for method, mean in ((name, float(np.mean(values))) for name, values in seconds.items())
    )
    return f"Cost of an update, mean: {shown}."


def _published() -> str:
    return (
        "The paper reports, of BERT-base on the whole of each task with k = 5, that fine-tuning < + MLM < "
        "+ MLM + IMM in each of CoLA, MRPC, QNLI and RTE. Other models and data are not to be compared "
        "with it by value."
    )

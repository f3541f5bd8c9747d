"""What a comparison leaves: CSV files, a picture, a Markdown report, and a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imm_rl.cli.compare_statistics import EVALUATIONS, Trained
from imm_rl.cli.console import interval, markdown_row, number, ranges, table
from imm_rl.cli.curve_picture import Line, figure, looks, save
from imm_rl.cli.divergence import Divergence
from imm_rl.cli.run_curves import COMPARISON
from imm_rl.cli.train_plan import short
from imm_rl.curve_statistics import bands
from imm_rl.files import write_text
from imm_rl.formats import to_json

REPORT, RESULT, TABLE, CURVES, PICTURE = (
    *("comparison.md", COMPARISON, "comparison.csv", "curves.csv"),
    "curves.png",
)

HOW = """\
How to read it. A number is over seeds, one value a seed; in brackets a 95 % interval (bootstrap \
over seeds with expanded percentiles; of means of fewer than 20 seeds Student's t, the picture's bands \
too; of P(better) Wilson's). Medians of fewer than 5 seeds have none. Steps: the first \
evaluation at or above the threshold; a seed that never gets there is censored at the end of its \
training, the median is that of Kaplan and Meier, and > says that not more than half of the seeds \
got there. Shown: steps of the restricted policy that bc imitates first, which are not counted. \
Times as fast: the reference's median by this one's. Area: mean return over the training. IQM: the \
mean without the best and the worst quarter of the seeds. Difference: final return minus the \
reference's{pairing}; p: permutation test of that one difference{holm}. P(better): the \
probability that a training of this method ends above one of the reference. Evaluations have random \
numbers of their own, the same for all methods."""


HOLM = """\
, as if it were the only one; p (Holm): adjusted for the number of methods that are held against the \
reference (Holm 1979), which is the one to read where any of them might have come out ahead by chance"""


def write(folder: Path, result: Mapping[str, Any], arms: Sequence[Trained], command: str) -> None:
    """Writes every file into the comparison's folder, `comparison.json` last.

    Args:
        folder: Where to.
        result: See `compare_statistics.compared`.
        arms: What it was computed from.
        command: What makes it again.
    """
    lines = [
        Line(arm.label, arm.env_steps, *bands(arm.returns), look)
        for arm, look in zip(arms, looks([a.summary.get("method") for a in arms]), strict=True)
    ]
    levels = [(f"threshold\n({result['threshold']['text']})", result["threshold"]["return"])]
    if result["optimum"] is not None:
        levels.append(("optimum", result["optimum"]))
    title = f"{short(result['env'])}: mean over {len(result['seeds'])} seeds, with a 95 % band"
    drawn = figure(
        lines,
        y_label="return of an evaluation episode",
        title=title,
        levels=levels,
        missing=[f"{arm['label']} ({told(arm)})" for arm in result["diverged"]],
    )
    save(drawn, folder / PICTURE)
    write_text(folder / CURVES, _curves_csv(lines))
    write_text(folder / TABLE, _table_csv(result))
    write_text(folder / REPORT, markdown(result, command))
    write_text(folder / RESULT, to_json(result))


def _curves_csv(lines: Sequence[Line]) -> str:
    rows = ["method,env_steps,mean_return,ci95_low,ci95_high"]
    for line in lines:
        for values in zip(line.steps, line.centre, line.low, line.high, strict=True):
            rows.append(",".join([_quoted(line.label), *(repr(float(v)) for v in values)]))
    return "\n".join(rows) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def _table_csv(result: Mapping[str, Any]) -> str:
    """One row an arm; every number of the result under a name such as final_difference_low."""
    flat = [_flat(arm) for arm in result["arms"]]
    flat += [
        {"label": d["label"], "run": d["run"], "diverged_at": d["env_steps"], "error": d["error"]}
        for d in result["diverged"]
    ]
    names = list(dict.fromkeys(name for row in flat for name in row))
    lines = [",".join(names)]
    lines += [",".join(_quoted(str(row.get(name, ""))) for name in names) for row in flat]
    return "\n".join(lines) + "\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key == "seeds":
            found[name] = ranges(value)
        elif key == "ci95":
            found[f"{prefix}low"], found[f"{prefix}high"] = value
        elif isinstance(value, Mapping):
            found |= _flat(value, "" if key == "against_reference" else f"{name}_")
        elif key != "per_seed" and value is not None:
            found[name] = value
    return found


def markdown(result: Mapping[str, Any], command: str) -> str:
    """The report."""
    level = result["threshold"]
    said = f"{level['text']} " if level["of"] != "as given" else ""
    head = [
        f"# {short(result['env'])}: {len(result['arms']) + len(result['diverged'])} methods, "
        f"{len(result['seeds'])} seeds",
        "",
        f"Made by `{command}`.",
        "",
        f"Threshold: a return of {number(level['return'])} ({said}{level['of']}). "
        f"Reference: {_reference(result)}.",
        "",
        *(f"**{line}**\n" for line in _left_out(result)),
        f"![Return against environment steps, a line a method]({PICTURE})",
        "",
    ]
    main = [*markdown_table(main_rows(result)), ""]
    finals = [
        "## Final evaluation",
        "",
        *markdown_table(_final_rows(result)),
        "",
        "Sampled: actions drawn; greedy: the likeliest action. Discounted with the model's γ.",
        "",
    ]
    pairing = ", seed by seed (the same random numbers)" if result["paired"] else ", seeds differ"
    return (
        "\n".join(
            [
                *head,
                *main,
                *finals,
                HOW.format(pairing=pairing, holm=HOLM if _several(result) else ""),
            ]
        )
        + "\n"
    )


def terminal(result: Mapping[str, Any]) -> str:
    """The same tables for a terminal."""
    level = result["threshold"]
    lines = [
        "",
        f"{short(result['env'])}: {len(result['seeds'])} seeds; threshold {number(level['return'])} "
        f"({level['text']}, {level['of']}); reference {_reference(result)}",
        "",
        table(main_rows(result)),
        "",
        table(_final_rows(result)),
    ]
    lines += ["", *_left_out(result)] if result["diverged"] else []
    if result["restricted"] is not None:
        earns = result["restricted"]
        lines.append(
            f"the restricted policy earns {number(earns['mean_return'])} {interval(earns['ci95'])}".rstrip()
        )
    return "\n".join(lines)


def told(arm: Mapping[str, Any]) -> str:
    """When an arm of `diverged` did."""
    return Divergence(arm["label"], Path(arm["run"]), arm["env_steps"], arm["error"]).told


def _reference(result: Mapping[str, Any]) -> str:
    name = str(result["reference"])
    if name in (arm["label"] for arm in result["diverged"]):
        return f"{name}, which diverged, so that nothing is held against it"
    return name


def _left_out(result: Mapping[str, Any]) -> list[str]:
    """A line for each arm that diverged."""
    return [
        f"{arm['label']} {told(arm)} and is in no statistics: {arm['error']}"
        for arm in result["diverged"]
    ]


def _several(result: Mapping[str, Any]) -> bool:
    """Whether more than one method is held against the reference."""
    return sum(arm["against_reference"] is not None for arm in result["arms"]) > 1


def main_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """The table of steps, areas, finals and differences, the first row a head.

    Holm's p-values have a column where several methods are held against the reference; of one alone they
    are the p-values themselves.
    """
    several = _several(result)
    rows = [
        [
            "method",
            "steps to threshold",
            "reached",
            "times as fast",
            "area",
            "final IQM",
            "difference",
            "p",
            *(["p (Holm)"] if several else []),
            "P(better)",
        ]
    ]
    reached = next(
        (
            a["steps_to_threshold"]["reached"]
            for a in result["arms"]
            if a["label"] == result["reference"]
        ),
        0,
    )
    for arm in result["arms"]:
        steps, against = arm["steps_to_threshold"], arm["against_reference"]
        row = [
            arm["label"],
            _with_interval(steps["median"], steps["ci95"], _steps, arm["env_steps"])
            + (f" + {steps['shown_before']:,.0f} shown" if steps["shown_before"] else ""),
            f"{steps['reached']}/{len(arm['seeds'])}",
        ]
        area, iqm = arm["area_under_curve"], arm["final_iqm"]
        middle = [
            f"{number(area['mean'])} {interval(area['ci95'])}".rstrip(),
            f"{number(iqm['iqm'])} {interval(iqm['ci95'])}".rstrip(),
        ]
        if against is None:
            rows.append([*row, "", *middle, *[""] * (len(rows[0]) - 6)])
            continue
        ratio, ends = against["steps_ratio"], against["final_difference"]
        better = against["probability_of_improvement"]
        rows.append(
            [
                *row,
                _ratio(ratio, reached),
                *middle,
                f"{_signed(ends['mean'])} {interval(ends['ci95'])}".rstrip(),
                _p(ends["p_value"]),
                *([_p(ends["p_holm"])] if several else []),
                _share(better["p"], better["ci95"]),
            ]
        )
    rows += [[arm["label"], told(arm), *[""] * (len(rows[0]) - 2)] for arm in result["diverged"]]
    return rows


def _final_rows(result: Mapping[str, Any]) -> list[list[str]]:
    names = ("sampled", "greedy", "sampled, discounted", "greedy, discounted")
    rows = [["method", *names]]
    for arm in result["arms"]:
        cells = []
        for key in EVALUATIONS:
            found = arm.get(key)
            cells.append(
                "-"
                if found is None
                else f"{number(found['mean'])} {interval(found['ci95'])}".rstrip()
            )
        rows.append([arm["label"], *cells])
    rows += [[arm["label"], "diverged", *[""] * (len(names) - 1)] for arm in result["diverged"]]
    return rows


def _signed(value: float) -> str:
    return number(value) if value < 0.0 else f"+{number(abs(value))}"


def _steps(value: float, most: int) -> str:
    return f"> {most:,}" if math.isinf(value) else f"{value:,.0f}"


def _with_interval(value: float, ends: Sequence[float], shown: Any, most: int) -> str:
    text = str(shown(value, most))
    if any(math.isnan(end) for end in ends):
        return text
    return f"{text} [{shown(ends[0], most)}, {shown(ends[1], most)}]"


def _ratio(found: Mapping[str, Any], reached: int) -> str:
    """How many times as fast; reached: seeds of the reference that got there."""
    value, (low, high) = found["ratio"], found["ci95"]
    if math.isnan(value) or (math.isinf(value) and math.isnan(low) and reached):
        return "-"  # too few seeds say how far off the reference is
    if math.isinf(value):
        return f"> {low:.1f}" if math.isfinite(low) and low > 0.0 else "reference never"
    if value == 0.0:
        return "never"
    if math.isnan(low):
        return f"{value:.1f}"
    return f"{value:.1f} [{low:.1f}, {'∞' if math.isinf(high) else f'{high:.1f}'}]"


def _share(value: float, ends: Sequence[float | None]) -> str:
    low, high = ends
    if low is None or high is None or math.isnan(low):  # of a single seed; None: read from JSON
        return f"{value:.2f}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first row its head."""
    lines = [markdown_row(row) for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]

"""`imm-rl reproduce figure-1`: files and note of a small run, its parts, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.cli import figure_1_report as report
from imm_rl.cli import reproduce
from imm_rl.cli.reproduce_figure_1 import PARTS
from imm_rl.language import figure_1, figure_1_search
from imm_rl.language.figure_1 import Figure, Induced, Lead, Point

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few sizes and ratios in place of all."""

    def shrink(module: Any, name: str, **fewer: Any) -> None:
        full = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda runs, seed, **given: full(runs, seed=seed, **given, **fewer)
        )

    shrink(figure_1, "figure_1", sizes=(2, 5, 10))
    shrink(figure_1, "fixed_lambda", sizes={5: 3, 20: 2})
    shrink(figure_1, "qualities", sizes=(2, 5))
    shrink(figure_1, "induced_scores", sizes=(5, 10), ratios=(0.0, 0.3, 0.6))
    shrink(figure_1_search, "ratio_search", sizes=(2, 6), ratios=(0.0, 0.3, 0.6))
    monkeypatch.chdir(tmp_path)


def rows(name: str) -> list[dict[str, str]]:
    with (Path("made") / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_reproduce_figure_1_writes_every_part(imm_rl_command: Callable[..., Any]) -> None:
    outcome = imm_rl_command("reproduce", "figure-1", "--out", "made", "--runs", 3)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in Path("made").iterdir()} == {
        *(
            "figure-1.csv",
            "figure-1.png",
            "figure-1.md",
            "figure-1-search.csv",
            "figure-1-search.png",
        ),
        *("figure-1-fixed-lambda.csv", "figure-1-qualities.csv", "figure-1-qualities.png"),
        *("figure-1-induced.csv", "figure-1-induced.png"),
    }
    assert all(path.read_bytes().startswith(PNG) for path in Path("made").glob("*.png"))
    assert list(rows("figure-1.csv")[0]) == list(Point._fields)
    counted = {name: len(rows(f"figure-1{name}.csv")) for name in ("", "-search", "-induced")}
    assert counted == {"": 4 * 3, "-search": 3 * 2 * 3, "-induced": 2 * 3}
    assert [row["runs"] for row in rows("figure-1-fixed-lambda.csv")] == ["3", "2"] * 3
    note = Path("made/figure-1.md").read_text(encoding="utf-8")
    assert "`imm-rl reproduce figure-1 --out made --runs 3 --seed 0`" in note
    assert "points of seed 0, 2 for the search" in note
    assert note.count("\n## ") == len(PARTS) + 1
    assert "What differs from the paper" in note
    assert all(f"({path.name})" in note for path in Path("made").glob("*.png"))
    assert "wrote made/figure-1.md" in outcome.out
    assert "IMM's test accuracy is" in outcome.out
    assert "figure-1 search: 100 % of 54 trainings" in outcome.err


@pytest.mark.parametrize("part", PARTS)
def test_reproduce_figure_1_makes_a_part_alone(
    part: str, imm_rl_command: Callable[..., Any]
) -> None:
    outcome = imm_rl_command(
        *("reproduce", "figure-1", "--out", "made", "--runs", 2, "--seed", 7),
        *("--part", part, "--quiet"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    stem = "figure-1" if part == "figure" else f"figure-1-{part}"
    made = {path.name for path in Path("made").iterdir()}
    assert made - {f"{stem}.png"} == {f"{stem}.csv", f"{stem}.md"}
    assert (f"{stem}.png" in made) == (part != "fixed-lambda")
    note = Path(f"made/{stem}.md").read_text(encoding="utf-8")
    assert f"--seed 7 --part {part}`" in note
    assert ("points of seed 9 for the search;" if part == "search" else "points of seed 7;") in note


def test_reproduce_figure_1_has_equal_numbers_for_equal_seeds(
    imm_rl_command: Callable[..., Any],
) -> None:
    command = ("reproduce", "figure-1", "--out", "made", "--runs", 2, "--part", "figure", "--quiet")
    imm_rl_command(*command)
    first = rows("figure-1.csv")
    imm_rl_command(*command)
    assert rows("figure-1.csv") == first
    imm_rl_command(*command, "--seed", 3)
    assert rows("figure-1.csv") != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure-1", "--out", "x", "--seed", "1"], "--seed must not be 1"),
        (["figure-1", "--out", "x", "--part", "serach"], "Did you mean 'search'?"),
        (["figure-1", "--out", "x", "--runs", "1"], "--runs must be at least 2"),
        (["figure-1", "--out", "x", "--published", "a.csv"], "--published belongs to figure-2;"),
        (["figure-2", "--out", "x", "--part", "search"], "--part belongs to figure-1;"),
        (["figure-1", "--out", "file/x"], "cannot write figures and tables to file/x"),
    ],
)
def test_reproduce_figure_1_refuses(
    words: list[str], message: str, imm_rl_command: Callable[..., Any]
) -> None:
    Path("file").write_text("")
    outcome = imm_rl_command("reproduce", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not Path("x").exists()


def test_reproduce_families_declare_each_experiment_once() -> None:
    names = [name for family in reproduce.FAMILIES for name in family.experiments]
    assert len(names) == len(set(names))
    assert all(set(family.experiments) == set(family.options) for family in reproduce.FAMILIES)


def point(curve: str, rows: int, mean: float, low: float) -> Point:
    return Point(curve, rows, 0.5, mean, mean, mean, mean - 0.5, low, 1.0, 9)


def test_note_counts_the_sizes_at_which_imm_is_ahead() -> None:
    points = [
        *(point("none", n, 0.5, 0.0) for n in (2, 3, 4)),
        *(point("noising", n, 0.4, 0.0) for n in (2, 3, 4)),
        *(point("interpolation", n, mean, 0.0) for n, mean in ((2, 0.9), (3, 0.9), (4, 0.1))),
        *(
            point("imm", n, mean, low)
            for n, mean, low in ((2, 0.6, 0.1), (3, 0.6, -0.1), (4, 0.4, 0))
        ),
    ]
    section = report.SECTIONS["figure"](Figure(points, [Lead("noising", 0.01, -0.002, 0.03)]))
    assert "+1.00 [-0.20, +3.00] above noising" in section.summary
    assert (
        "above plain training (none) at 2 of 3 sizes, with the whole 95 % interval at 1"
        in section.summary
    )
    assert (
        "best of the four at 0 sizes; else none at n = 4, interpolation at n = 2, 3"
        in section.summary
    )


def test_note_says_where_the_induced_model_is_best_and_where_no_better() -> None:
    losses = {5: (0.9, 0.7, 0.8), 50: (0.6, 0.59, 0.61)}
    data = [
        Induced(n, ratio, loss, loss, loss, 0.6, 0.6, 0.6, 4)
        for n, values in losses.items()
        for ratio, loss in zip((0.0, 0.3, 0.6), values, strict=True)
    ]
    summary = report.SECTIONS["induced"](data).summary
    assert "lowest at λ/(1+λ) = 0.3 (n = 5), 0.3 (n = 50)" in summary
    assert "at every ratio, except for n = 50" in summary

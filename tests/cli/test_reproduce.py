"""`imm-rl reproduce`: files, note and picture of a small run, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from imm_rl.agents import paper
from imm_rl.agents.paper import Point
from imm_rl.cli import main
from imm_rl.cli import paper_report as report
from imm_rl.errors import InvalidInputError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two sizes of one and two epochs in place of fifteen up to 500."""
    full_figure, full_search = paper.figure_2, paper.lambda_search
    monkeypatch.setattr(paper, "figure_2", lambda pair, **o: full_figure(pair, epochs=(1, 2), **o))
    monkeypatch.setattr(
        paper, "lambda_search", lambda pair, **o: full_search(pair, epochs=(1, 2), **o)
    )
    monkeypatch.chdir(tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_reproduce_figure_2_writes_csv_png_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "figure-2", "--out", "made", "--runs", "2", "--device", "cpu"]) == 0
    made = rows(Path("made/figure-2.csv"))
    assert list(made[0]) == ["curve", "epochs", "lambda_ratio", "mean", "sd", "p10", "p90", "runs"]
    assert len(made) == 8
    assert Path("made/figure-2.png").read_bytes().startswith(b"\x89PNG")
    note = Path("made/figure-2.md").read_text()
    assert "No published numbers were given" in note
    assert "imm-rl reproduce figure-2 --out made --runs 2 --seed 0" in note
    output = capsys.readouterr()
    assert "wrote made/figure-2.csv" in output.out
    assert "\x1b" not in output.out + output.err


def test_reproduce_sets_ours_beside_the_published(capsys: pytest.CaptureFixture[str]) -> None:
    Path("published.csv").write_text(
        "curve,epochs,mean,sd,runs\nnone,1,1.5,0.5,30\nnone,2,90,0.5,30\n"
    )
    command = [
        "reproduce",
        "figure-2",
        "--out",
        "made",
        "--runs",
        "2",
        "--published",
        "published.csv",
    ]
    assert main([*command, "--quiet"]) == 0
    note = Path("made/figure-2.md").read_text()
    assert "1 of 2 means lie within 3 standard errors" in note
    assert "| 90.00 ± 0.50 |" in note


def test_published_means_have_the_colours_of_their_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four curves lie close together: a mark of no colour could be of any of them."""
    points = [
        Point(curve, epochs, 0.2, mean=at + epochs, sd=1.0, p10=at, p90=at + 9.0, runs=30)
        for at, curve in enumerate(report.STYLES)
        for epochs in (1, 2)
    ]
    published = {(p.curve, p.epochs): report.Published(p.mean + 0.5, 1.0, 30) for p in points}
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))

    report.figure_2_picture(Path("x.png"), points, published)

    (axes,) = drawn[0].axes
    assert "bars: 10th to 90th percentile" in axes.get_ylabel()
    for at, (curve, (colour, marker, _)) in enumerate(report.STYLES.items()):
        (hollow,) = (
            line
            for line in axes.lines
            if line.get_markerfacecolor() == "none" and line.get_color() == colour
        )
        assert hollow.get_marker() == marker, curve
        assert list(hollow.get_ydata()) == [at + 1.5, at + 2.5]
    assert "hollow: the published means" in [t.get_text() for t in axes.get_legend().get_texts()]


def test_reproduce_lambda_search_writes_csv_png_and_note() -> None:
    assert main(["reproduce", "lambda-search", "--out", "made", "--runs", "2", "--quiet"]) == 0
    made = rows(Path("made/lambda-search.csv"))
    assert list(made[0]) == ["epochs", "lambda_ratio", "mean", "sd", "p10", "p90", "runs"]
    assert [float(r["lambda_ratio"]) for r in made[:10]] == pytest.approx(
        [i / 10 for i in range(10)]
    )
    assert "the paper's rule" in Path("made/lambda-search.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure-3", "--out", "x"], "figure-2"),
        (["figure-2"], "--out"),
        (["figure-2", "--out", "x", "--runs", "1"], "--runs must be at least 2"),
        (["figure-2", "--out", "x", "--runs", "many"], "--runs"),
        (["figure-2", "--out", "x", "--seed", "-1"], "--seed must be a whole number ≥ 0"),
        (
            ["figure-2", "--out", "x", "--seed", "4294967296"],
            "--seed must be at most 4,294,967,295",
        ),
        (["figure-2", "--out", "x", "--runs", "1e20"], "--runs must be at most 2,147,483,647"),
        (["figure-2", "--out", "x", "--published", "absent.csv"], "cannot read absent.csv"),
        (
            ["lambda-search", "--out", "x", "--published", "a.csv"],
            "--published belongs to figure-2",
        ),
        (["figure-2", "--out", "x", "--device", "cudda"], "Did you mean 'cuda'?"),
        (["figure-2", "--out", "file/x"], "cannot write figures and tables to file/x"),
    ],
)
def test_reproduce_refuses(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert main(["reproduce", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not Path("x").exists()


def test_read_published_refuses_a_file_without_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("curve,epochs\nnone,1\n")
    with pytest.raises(InvalidInputError, match="columns curve, epochs, mean, sd, runs"):
        report.read_published(path)


def test_standard_errors_are_of_the_difference_of_two_means() -> None:
    ours = Point("none", 10, 0.0, 2.0, 3.0, 0.0, 0.0, 9)  # standard error 1
    # sqrt(1² + (4/√16)²) = √2
    assert report.standard_errors(ours, report.Published(1.0, 4.0, 16)) == pytest.approx(1 / 2**0.5)

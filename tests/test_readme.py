"""The README's commands and snippet are what the project does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_the_two_commands_that_ci_runs_word_for_word() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in (
        "pip install -c constraints.txt -e . && imm-rl train --env tiger --restricted pomdp",
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ):
        assert f"\n{command}\n" in README
        assert f"grep -m1 -F '{command}' README.md" in ci


def snippet(word: str) -> str:
    """The one Python block of the README that holds a word."""
    (found,) = (
        text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if word in text
    )
    return str(found)


def test_readme_callback_snippet_runs() -> None:
    text = snippet("IMMCallback")
    assert "learn(100_000," in text
    exec(compile(text.replace("100_000", "10"), "README.md", "exec"), {})


def test_readme_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet("IMMReinforce"), "README.md", "exec"), {})
    returns = [float(x) for x in re.findall(r"-?\d+\.\d*", capsys.readouterr().out)]
    assert len(returns) == 10
    assert min(returns) >= 450.0  # 90 % of tiger's optimum on every seed


def test_readme_logistic_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet("IMMLogisticRegression"), "README.md", "exec"), {})
    plain, matched = (float(line) for line in capsys.readouterr().out.split())
    assert 0.5 < plain < matched < 1.0


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_no_placeholder_left(page: Path) -> None:
    assert re.findall(r".*@@.*", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"scripts/([\w/-]+\.py)|\b(bench_\w+\.py)", text))
    missing = {a or b for a, b in named if not (ROOT / "scripts" / (a or b)).is_file()}
    assert missing == set()

"""The Python of docs/language.md runs and prints what a reader would expect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "language.md"


def test_language_page_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    corpus, bigram, perplexities = capsys.readouterr().out.splitlines()
    assert corpus.startswith("pydoc: ")
    assert bigram.startswith("bigram: ")
    first, second = (float(value) for value in re.findall(r"\d+\.\d", perplexities))
    assert second < first


def test_language_page_names_every_method_and_setting_it_should() -> None:
    from imm_rl.language.lm_presets import PRESETS
    from imm_rl.language.lm_settings import METHODS

    text = PAGE.read_text(encoding="utf-8")
    for name in (*METHODS, *PRESETS):
        assert f"`{name}`" in text

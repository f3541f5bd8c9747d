"""What `imm_rl.language` offers, and what it costs to look at it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imm_rl import language


@pytest.mark.parametrize("name", language.__all__)
def test_every_name_is_there(name: str) -> None:
    assert name in dir(language)
    assert getattr(language, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'KneserNay'"):
        _ = language.KneserNay


def test_ngrams_and_corpora_need_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from imm_rl.language import KneserNey, load_corpus; "
        "sys.exit(','.join(m for m in ('torch', 'sklearn') if m in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

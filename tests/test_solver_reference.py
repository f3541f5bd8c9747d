"""The reference reader and verdicts of `scripts/bench_solvers.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from imm_rl.errors import InvalidInputError

SCRIPTS = Path(__file__).parents[1] / "scripts"

TABLE = """
| other | a |
|---|---|
| tiger | 3 |

| problem | S/A/O | C++ SARSOP lb / ub (s) | batched Perseus lb (s) |
|---|---|---|---|
| maze.95 | 2/3/2 | 0.979/1.219 (15), 0.990 (40); [P] 1.000/1.206 (1 h) | 0.937 (10), 1.002 (21) |
| Tag | 9/5/3 | −6.32/−1.52 (20), −6.24 (41) | −6.27 (27), −6.18 (55) |
| Rock[4,4] | 9/5/3 | aborts (trap 5) | 17.9245 (0.7–2.3) |
| baby (feed −5, start full) | 2/2/2 | −16.3 [P] | – |

Text | with 1/2 | bars
"""


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setitem(sys.modules, "solver_reference", None)  # put back as it was afterwards
    del sys.modules["solver_reference"]
    import solver_reference

    return solver_reference


def test_reference_reads_gaps_and_last_lower_bounds(reference: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "values.md"
    path.write_text(TABLE, encoding="utf-8")

    found = reference.read(path)

    assert list(found) == ["maze95", "tag", "rock44", "baby"]
    assert found["maze95"] == (pytest.approx(0.24), 1.002)
    assert found["tag"] == (pytest.approx(4.80), -6.18)
    assert found["rock44"] == (None, 17.9245)
    assert found["baby"] == (None, None)
    assert reference.normalised("Rock[4,4]") == "rock44"


@pytest.mark.parametrize("text", ["", "| problem | a |\n|---|---|\n| tiger | 1 |\n"])
def test_reference_refuses_a_file_without_the_table(
    reference: ModuleType, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "values.md"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidInputError, match="has no table"):
        reference.read(path)
    with pytest.raises(InvalidInputError, match="cannot read"):
        reference.read(tmp_path / "none.md")


def test_verdicts_say_how_far_off_and_whether_it_will_do(reference: ModuleType) -> None:
    assert reference.lower_bound_verdict(0.992, 1.0) == "-0.8% ok"
    assert reference.lower_bound_verdict(0.98, 1.0) == "-2.0% **short**"
    assert reference.lower_bound_verdict(-6.0, -6.2) == "+3.2% ok"
    assert reference.lower_bound_verdict(-6.3, -6.2) == "-1.6% **short**"
    assert reference.gap_verdict(0.26, 0.2) == "1.30 ok"
    assert reference.gap_verdict(0.28, 0.2) == "1.40 **wide**"
    assert reference.gap_verdict(0.001, 0.0) == "1.00 ok"  # both reached the precision
    assert reference.gap_verdict(None, 0.2) == reference.lower_bound_verdict(1.0, None) == "–"

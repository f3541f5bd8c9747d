"""Two processes under transformers' Trainer, each with a half of every batch, for real over gloo."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROGRAM = HERE.parent / "programs" / "bert_processes.py"

sys.path.insert(0, str(HERE))  # the tests' folders are no packages
from launching import ended, start  # noqa: E402

sys.path.remove(str(HERE))


def trained(small_bert: Path, folder: Path, size: int, count: int, *weights: str) -> list[Any]:
    done = ended(start([PROGRAM, small_bert, folder, size, *weights], count), 120.0)
    assert [code for code, _, _ in done] == [0] * count, done[0][2][-2000:]
    return [json.loads(out.splitlines()[-1]) for _, out, _ in done]


@pytest.mark.slow
def test_two_processes_train_as_one_and_with_the_term_stay_one_model(
    small_bert: Path, tmp_path: Path
) -> None:
    ((alone,),) = trained(small_bert, tmp_path, 8, 1, "0")
    first, second = trained(small_bert, tmp_path, 4, 2, "0", "0.5")
    for plain, _ in (first, second):  # nothing is drawn
        assert plain["classifier"] == pytest.approx(alone["classifier"], abs=1e-6)
        assert plain["squares"] == pytest.approx(alone["squares"], rel=1e-6)
    (_, mine), (_, other) = first, second
    assert mine["classifier"] == other["classifier"]
    assert mine["squares"] == other["squares"]
    assert set(mine["measured"]) == {"classification", "mlm", "imm"}
    assert mine["measured"] != other["measured"]
    assert mine["classifier"] != first[0]["classifier"]

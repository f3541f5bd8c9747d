"""What a summary says of a training that went wrong without failing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.cli.summary import falls_short

Values = dict[str, Any]


def _values(mean: float, low: float | None, high: float | None) -> Values:
    return {"mean_return": mean, "ci95": [low, high]}


GOOD: Values = {
    "eval": _values(90.0, 85.0, 95.0),
    "eval_deterministic": _values(95.0, 90.0, 99.0),
    "restricted_eval": _values(50.0, 40.0, 60.0),
    "curve": {
        "env_steps": [200, 400],
        "mean_return": [10.0, 80.0],
        "ci95_low": [0.0, 70.0],
        "ci95_high": [20.0, 90.0],
    },
}


def _with(**changes: Any) -> Values:
    return {**copy.deepcopy(GOOD), **changes}


LOW = {"eval": _values(-9.0, -12.0, -5.0), "eval_deterministic": _values(-7.0, -11.0, -1.0)}


@pytest.mark.parametrize(
    "summary",
    [
        GOOD,
        _with(eval=_values(30.0, 20.0, 39.0)),  # its most likely actions are better
        _with(
            **LOW,
            restricted_eval=_values(0.0, -3.0, 3.0),
            curve=GOOD["curve"] | {"ci95_low": [-2.0]},
        ),
        _with(**LOW, restricted_eval=None, curve=GOOD["curve"] | {"ci95_low": [None, None]}),
        _with(**LOW, restricted_eval=None, curve={k: [] for k in GOOD["curve"]}),
    ],
)
def test_nothing_is_said_where_intervals_overlap_or_are_missing(summary: Values) -> None:
    assert falls_short(summary) == ""


def test_an_agent_below_its_restricted_policy_is_told_with_both_intervals() -> None:
    assert falls_short(_with(**LOW)) == (
        "note: the trained agent ends clearly below its restricted policy: -7.000 [-11.00, -1.000] against "
        "50.00 [40.00, 60.00]. Try a smaller --learning-rate, or more --steps."
    )


def test_an_agent_below_its_own_beginning_is_told() -> None:
    said = falls_short(_with(**LOW, restricted_eval=None))
    assert "clearly below where it was after 200 steps: -7.000" in said
    assert "against 10.00 [0.000, 20.00]" in said


def test_train_says_on_stderr_that_its_agent_ended_below_its_restricted_policy(
    imm_rl_command: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    words = ["train", "--env", "tiger", "--seeds", "0", "--logdir", tmp_path, *tiny]
    lost = imm_rl_command(*words, "--learning-rate", "1e9")
    quiet = imm_rl_command(*words, "--learning-rate", "1e9", "--quiet")
    usual = imm_rl_command(*words)
    assert (lost.code, quiet.code, usual.code) == (0, 0, 0)
    assert lost.err.startswith("note: the trained agent ends clearly below its restricted policy: ")
    assert quiet.err == usual.err == ""

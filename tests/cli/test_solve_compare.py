from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imm_rl.agents.solve import solve, solver_names
from imm_rl.cli.solve import COMPARED
from imm_rl.cli.solve_compare import outcome
from imm_rl.errors import InvalidInputError

Command = Callable[..., Any]

SOLVE = sys.modules["imm_rl.agents.solve"]  # its name in the package is the function's
WORDS = ["solve", "--env", "tiger", "--compare", "qmdp,fib,pbvi"]
QUICK = [*WORDS[:-1], "qmdp,fib,exact"]  # where no number of pbvi is read


def test_compare_prints_one_row_a_method(imm_rl_command: Command) -> None:
    outcome = imm_rl_command(*WORDS)

    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0] == "tiger, 10 s a method"
    assert " ".join(lines[2].split()) == (
        "method lower bound upper bound gap seconds vectors simulated value outcome"
    )
    rows = [line.split() for line in lines[3:6]]
    assert [row[0] for row in rows] == ["qmdp", "fib", "pbvi"]
    assert [row[-1] for row in rows[:2]] == ["finished", "finished"]
    assert rows[0][1:4] == ["not", "proven", "189"]  # QMDP of Tiger: −1 + 0.95 · 200
    assert "The optimal value lies between 19.3" in outcome.out
    assert lines[-1].startswith("Bounds and simulated value are of one kind")


def test_compare_gives_everything_as_json(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command(*WORDS, "--json").out)

    assert [entry["method"] for entry in found["solvers"]] == ["qmdp", "fib", "pbvi"]
    pbvi = found["solvers"][2]
    assert pbvi["lower_bound"] <= 19.3714 <= pbvi["upper_bound"]
    assert pbvi["simulated_value"]["ci95"][0] < 19.3714 < pbvi["simulated_value"]["ci95"][1]
    progress = pbvi["progress"]
    assert progress["seconds"] == sorted(progress["seconds"])
    assert len(progress["seconds"]) == len(progress["vectors"]) > 1
    assert progress["lower_bound"][-1] == pbvi["lower_bound"]
    assert progress["upper_bound"][-1] == pbvi["upper_bound"]
    assert set(found["solvers"][0]["progress"]["lower_bound"]) == {None}


def test_compare_never_takes_a_policy_from_the_cache(
    imm_rl_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(*args: Any, **options: Any) -> Any:
        asked.append(options["cache"])
        return solve(*args, **options)

    monkeypatch.setattr(SOLVE, "solve", watched)

    imm_rl_command(*QUICK)

    assert asked == [False, False, False]


def test_compare_names_the_solver_that_was_picked(imm_rl_command: Command) -> None:
    out = imm_rl_command("solve", "--env", "tiger", "--compare", "qmdp, pomdp").out

    assert "\npomdp (" in out


def test_compare_alone_names_methods_that_there_are() -> None:
    assert set(COMPARED.split(",")) <= set(solver_names())


def test_compare_goes_on_after_a_method_that_fails(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(model: Any, method: str, **options: Any) -> Any:
        if method == "qmdp":
            raise InvalidInputError("not this model.")
        return solve(model, method, **options)

    monkeypatch.setattr(SOLVE, "solve", failing)

    shown = imm_rl_command(*QUICK)
    found = json.loads(imm_rl_command(*QUICK, "--json").out)

    assert shown.code == 0
    assert shown.out.splitlines()[3].split(maxsplit=1) == ["qmdp", "not this model."]
    assert found["solvers"][0] == {"method": "qmdp", "error": "not this model."}
    assert found["solvers"][1]["upper_bound"] == pytest.approx(87.1795, abs=1e-3)


def test_compare_fails_where_every_method_does(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise InvalidInputError("not this model.")

    monkeypatch.setattr(SOLVE, "solve", failing)

    outcome = imm_rl_command(*WORDS)

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "imm-rl solve: error: not this model.\n"


@pytest.mark.parametrize(
    ("converged", "gap", "notes", "text"),
    [
        (True, 0.001, [], "converged"),
        (True, None, [], "finished"),
        (True, 0.001, ["by look-ahead"], "converged; by look-ahead"),
        (False, 0.5, ["out of time"], "out of time"),
        (False, 0.5, [], "stopped before the precision was reached"),
    ],
)
def test_outcome_says_whether_and_why(
    converged: bool, gap: float | None, notes: list[str], text: str
) -> None:
    assert outcome({"converged": converged, "gap": gap, "notes": notes}) == text

"""`imm-rl compare`: the runs it makes, what it says of them, stopping and going on, mistakes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.methods import METHODS
from imm_rl.cli import compare_training
from imm_rl.cli.compare_plan import Threshold, make_plan, read_plan
from imm_rl.cli.compare_report import main_rows, markdown
from imm_rl.cli.compare_statistics import Trained, compared
from imm_rl.errors import InvalidInputError

Command = Callable[..., Any]
FINALS = {"imm": [5, 7, 5, 7], "bc": [2, 3, 3, 2], "jsrl": [4, 2, 4, 3]}


@pytest.fixture
def small(tiny: list[str], tmp_path: Path) -> list[str]:
    return ["--env", "tiger", "--seeds", "0-2", "--logdir", str(tmp_path / "runs"), *tiny]


def _arm(label: str, returns: list[list[float]], finals: list[float], **more: Any) -> Trained:
    values = np.array(returns, dtype=float).T
    summary = {
        "env": "tiger",
        "agent": "reinforce",
        "restricted": "pomdp",
        "imm_lambda": "1",
        "method": label,
        "seeds": list(range(values.shape[1])),
        "env_steps": 100 * len(values),
        "wall_seconds": 1.0,
        "oracle": {"mean_return": 10.0},
        "restricted_eval": None,
        **more,
    }
    steps = 100.0 * np.arange(1, len(values) + 1)
    return Trained(label, f"runs/{label}", summary, steps, values, {"eval": np.array(finals)})


def test_compare_trains_every_method_and_reports(
    small: list[str], imm_rl_command: Command, tmp_path: Path
) -> None:
    outcome = imm_rl_command("compare", *small, "--bc-updates", "5", "--bc-episodes", "2", "--json")

    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    folder = tmp_path / "runs" / "tiger" / "compare-1"
    assert [arm["label"] for arm in result["arms"]] == list(METHODS)
    assert result == json.loads((folder / "comparison.json").read_text())
    assert (result["reference"], result["seeds"], result["paired"]) == ("none", [0, 1, 2], True)
    assert result["threshold"]["return"] == pytest.approx(0.9 * result["optimum"])
    for arm in result["arms"]:
        summary = json.loads((folder / arm["label"] / "summary.json").read_text())
        assert arm["eval"]["mean"] == pytest.approx(summary["eval"]["mean_return"])
        assert summary["method"] == arm["label"]
        assert (arm["against_reference"] is None) == (arm["label"] == "none")
    for name in ("comparison.md", "curves.png", "curves.csv", "command.txt", "versions.json"):
        assert (folder / name).stat().st_size > 0
    with open(folder / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(METHODS)
    iqm = result["arms"][1]["final_iqm"]
    assert float(rows[1]["final_iqm_iqm"]) == iqm["iqm"]
    assert float(rows[1]["final_iqm_low"]) == iqm["ci95"][0]
    with open(folder / "curves.csv", newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 3 * len(METHODS)
    report = (folder / "comparison.md").read_text()
    for heading in ("# tiger: 7 methods, 3 seeds", "## Final evaluation", "How to read it."):
        assert heading in report


def test_compare_of_two_seeds_is_certain_of_nothing() -> None:
    """Both seeds of imm end above both of none: two seeds say little, and every interval is wide."""
    none = _arm("none", [[0, 1], [0, 2]], [1, 2])
    imm = _arm("imm", [[5, 9], [6, 9.5]], [5, 9.5])

    result = compared([none, imm], "none", Threshold.parse("90%"))
    head, _, row = main_rows(result)

    cells = dict(zip(head, row, strict=True))
    assert cells["P(better)"] == "1.00 [0.34, 1.00]"
    assert cells["p"] == "0.500"
    assert cells["steps to threshold"] == "200"  # a median of two has no interval
    low, high = result["arms"][1]["against_reference"]["final_difference"]["ci95"]
    assert low < 0.0 < high
    assert cells["times as fast"] == "reference never"
    half = compared([_arm("none", [[0, 1], [0, 9]], [1, 2]), imm], "none", Threshold.parse("90%"))
    assert main_rows(half)[2][3] == "-"  # one of two seeds of the reference got there


def test_compare_of_a_single_seed_shows_no_interval() -> None:
    result = compared(
        [_arm("none", [[0, 1]], [1]), _arm("imm", [[5, 9]], [9])], "none", Threshold.parse("90%")
    )

    assert main_rows(result)[2][-1] == "1.00"


def test_compare_trains_as_train_does(
    small: list[str], imm_rl_command: Command, tmp_path: Path
) -> None:
    imm_rl_command("compare", *small, "--methods", "none,imm(lambda=0.5)", "--quiet", "--json")
    train = imm_rl_command("train", *small, "--lambda", "0.5", "--quiet", "--json")

    folder = tmp_path / "runs" / "tiger" / "compare-1" / "imm-lambda-0.5"
    ours, theirs = json.loads((folder / "summary.json").read_text()), json.loads(train.out)
    for summary in (ours, theirs):
        for key in ("wall_seconds", "steps_per_second"):
            del summary[key]
    # The number of points is compare's own.
    assert ours["eval"] == theirs["eval"]
    assert ours["restricted_eval"] == theirs["restricted_eval"]


def test_compare_goes_on_where_it_was_stopped(
    small: list[str],
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["compare", *small, "--methods", "none,imm,bc"]
    assert imm_rl_command(*words).code == 0
    whole = tmp_path / "runs" / "tiger" / "compare-1"

    original = compare_training.trained
    calls: list[str] = []

    def stopping(config: Any, *args: Any) -> Any:
        calls.append(config.method)
        return None if config.method == "imm" else original(config, *args)

    monkeypatch.setattr(compare_training, "trained", stopping)
    outcome = imm_rl_command(*words)
    folder = tmp_path / "runs" / "tiger" / "compare-2"
    assert outcome.code == 130
    assert f"go on with: imm-rl compare --resume {folder}" in outcome.out
    assert calls == ["none", "imm"]
    monkeypatch.setattr(compare_training, "trained", original)
    done = (folder / "none" / "summary.json").stat().st_mtime_ns

    again = imm_rl_command("compare", "--resume", folder, "--json")

    assert again.code == 0, again.err
    assert (folder / "none" / "summary.json").stat().st_mtime_ns == done
    found, expected = (json.loads((f / "comparison.json").read_text()) for f in (folder, whole))
    for result in (found, expected):
        for arm in result["arms"]:
            del arm["run"], arm["wall_seconds"]
    assert found == expected


def test_compare_takes_finished_runs(
    small: list[str], imm_rl_command: Command, tmp_path: Path
) -> None:
    imm_rl_command("train", *small, "--quiet")
    imm_rl_command("train", *small, "--quiet", "--restricted", "none")
    runs = [tmp_path / "runs" / "tiger" / f"reinforce-{name}-1" for name in ("none", "pomdp")]

    outcome = imm_rl_command(
        "compare", *runs, "--threshold", "1", "--logdir", tmp_path / "out", "--json"
    )

    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert [arm["method"] for arm in result["arms"]] == ["none", "imm"]
    assert result["threshold"]["return"] == 1.0
    assert (tmp_path / "out" / "tiger" / "compared-runs-1" / "comparison.md").is_file()


def test_comparison_of_curves_made_by_hand() -> None:
    none = _arm("none", [[0, 2, 9], [0, 9, 9], [1, 1, 1], [0, 0, 9]], [9, 9, 1, 9])
    quick = _arm("imm", [[9, 9, 9], [9, 9, 9], [0, 9, 9], [9, 9, 9]], [9, 10, 10, 10])

    result = compared([none, quick], "none", Threshold.parse("90%"))

    base, arm = result["arms"]
    assert base["steps_to_threshold"]["median"] == 300.0
    assert base["steps_to_threshold"]["reached"] == 3
    assert arm["steps_to_threshold"]["median"] == 100.0
    against = arm["against_reference"]
    assert against["steps_ratio"]["ratio"] == 3.0
    assert against["final_difference"]["mean"] == pytest.approx((0 + 1 + 9 + 1) / 4)
    # Of 2⁴ signs, 0 may have either: two-sided, 2·2/16.
    assert against["final_difference"]["p_value"] == pytest.approx(0.25)
    wins = [(a > b) + 0.5 * (a == b) for a in (9, 10, 10, 10) for b in (9, 9, 1, 9)]
    assert against["probability_of_improvement"]["p"] == pytest.approx(np.mean(wins))
    assert base["area_under_curve"]["mean"] == pytest.approx(
        np.mean([(1 + 5.5) / 2, (4.5 + 9) / 2, 1.0, 4.5 / 2])
    )


def test_p_values_are_adjusted_for_the_methods_held_against_the_reference() -> None:
    none = _arm("none", [[0, 2], [0, 2], [0, 2], [0, 2]], [2, 3, 2, 3])
    arms = [_arm(name, [[0, 5]] * 4, finals) for name, finals in FINALS.items()]

    result = compared([none, *arms], "none", Threshold.parse("90%"))

    found = [arm["against_reference"]["final_difference"] for arm in result["arms"][1:]]
    assert [each["p_value"] for each in found] == pytest.approx([0.125, 1.0, 0.5])
    assert [each["p_holm"] for each in found] == pytest.approx([0.375, 1.0, 1.0])
    head, *rows = main_rows(result)
    at = head.index("p (Holm)")
    assert [row[at - 1 : at + 1] for row in rows] == [
        ["", ""],
        ["0.125", "0.375"],
        ["1.000", "1.000"],
        ["0.500", "1.000"],
    ]
    alone = main_rows(compared([none, arms[0]], "none", Threshold.parse("90%")))
    assert "p (Holm)" not in alone[0]
    reports = [
        markdown(compared([none, *a], "none", Threshold.parse("9")), "x") for a in (arms, arms[:1])
    ]
    assert ["Holm 1979" in report for report in reports] == [True, False]
    assert {len(row) for row in alone} == {len(alone[0])}


def test_comparison_of_other_seeds_is_not_paired() -> None:
    one = _arm("none", [[0, 1], [0, 2], [0, 3]], [1, 2, 3])
    other = _arm("imm", [[0, 3], [0, 4], [0, 5]], [3, 4, 5], seeds=[5, 6, 7])

    result = compared([one, other], "none", Threshold.parse("2"))

    assert result["paired"] is False
    assert result["arms"][1]["against_reference"]["final_difference"]["p_value"] == pytest.approx(
        0.2
    )


def test_comparison_without_an_optimum_takes_the_best_final() -> None:
    one = _arm("none", [[0, -4], [0, -4]], [-4, -4], oracle=None)
    other = _arm("imm", [[0, -2], [0, -2]], [-2, -2], oracle=None)

    result = compared([one, other], "none", Threshold.parse("90%"))

    assert result["threshold"]["return"] == pytest.approx(-2.2)
    assert "optimum is not known" in result["threshold"]["of"]
    assert math.isinf(
        compared([one, other], "none", Threshold.parse("5"))["arms"][0]["steps_to_threshold"][
            "median"
        ]
    )


def test_comparison_refuses_other_lengths() -> None:
    one = _arm("none", [[0.0], [1.0]], [0, 1])
    other = _arm("imm", [[0.0, 1.0], [1.0, 1.0]], [0, 1])

    with pytest.raises(InvalidInputError, match="trained for 200 steps and none for 100"):
        compared([one, other], "none", Threshold.parse("90%"))


def test_plan_keeps_paths_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = imm_rl.make("tiger")
    pair.model.save(tmp_path / "t.POMDP")
    imm_rl.agents.solve(pair.model, "qmdp").save(tmp_path / "q.npz")
    monkeypatch.chdir(tmp_path)
    plan = make_plan({"env": "t.POMDP", "restricted": "q.npz"}, "none,imm", None, None)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "comparison.yaml").write_text(plan.to_yaml())
    monkeypatch.chdir("/")

    again = read_plan(tmp_path / "c")

    assert again.configs == plan.configs


def test_comparison_refuses_other_environments() -> None:
    one = _arm("none", [[0.0], [1.0]], [0, 1])
    other = _arm("imm", [[0.0], [1.0]], [0, 1], env="grid")

    with pytest.raises(InvalidInputError, match="cannot be compared"):
        compared([one, other], "none", Threshold.parse("90%"))


def test_plan_shares_what_is_not_an_arms_own() -> None:
    plan = make_plan(
        {"env": "tiger", "restricted": "fib", "lambda": "0.3", "steps": "100"},
        "none,imm,noising(restricted=qmdp),bc",
        None,
        None,
    )

    assert [c.restricted for c in plan.configs] == ["none", "fib", "qmdp", "fib"]
    assert [c.imm_lambda for c in plan.configs] == ["0", "0.3", "0.3", "0"]
    assert {c.seeds for c in plan.configs} == {tuple(range(10))}
    assert {c.steps for c in plan.configs} == {100}
    assert plan.reference == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no environment is given"),
        (["--env", "tigr"], "Did you mean 'tiger'?"),
        (["--env", "tiger", "--methods", "imm"], "at least two"),
        (["--env", "tiger", "--seeds", "3"], "seeds must be at least two"),
        (["--env", "tiger", "--method", "imm"], "a comparison takes --methods"),
        (["--env", "tiger", "--restricted", "fob"], "Did you mean 'fib'?"),
        (["--env", "tiger", "--reference", "bcc"], "Did you mean 'bc'?"),
        (["--env", "tiger", "--threshold", "x%"], "threshold must be"),
        (["--env", "tiger", "--threshold", "high"], "threshold must be"),
        (
            ["--env", "tiger", "--methods", "none,imm(lambda=x)"],
            "method imm(lambda=x): a λ schedule",
        ),
        (["--env", "tiger", "--agent", "ppo", "--methods", "none,jsrl"], "served by reinforce"),
        (
            ["--env", "tiger", "--lambda", "target-kl:0.1"],
            "adapts to what a matching term measures",
        ),
        (["--env", "tiger", "--methods", "none,imm(agent=ppo)"], "must be the same to be compared"),
        (
            ["--env", "tiger", "--methods", "none,imm(preset=paper)"],
            "must be the same to be compared",
        ),
        (["nowhere", "else"], "there is no run nowhere"),
        (["x", "--env", "tiger"], "--env would train"),
        (["--resume", "nowhere"], "there is no folder nowhere"),
        (["--resume", ".", "--fast"], "cannot be combined with --fast"),
        (["--resume", "."], "is no comparison: it has no comparison.yaml"),
    ],
)
def test_compare_answers_a_mistake_with_one_line(
    words: list[str],
    message: str,
    imm_rl_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    outcome = imm_rl_command("compare", *words)

    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_compare_says_what_it_would_do(imm_rl_command: Command, tmp_path: Path) -> None:
    outcome = imm_rl_command("compare", "--env", "tiger", "--dry-run", "--logdir", tmp_path / "r")

    assert outcome.code == 0
    assert "7 methods, 10 seeds (0-9)" in outcome.out
    assert not (tmp_path / "r").exists()


def test_compare_trains_ppo_with_and_without(
    tiny_ppo: list[str], imm_rl_command: Command, tmp_path: Path
) -> None:
    outcome = imm_rl_command(
        *("compare", "--env", "tiger(max_steps=10)", "--agent", "ppo", "--seeds", "0,1", *tiny_ppo),
        *("--logdir", tmp_path, "--json"),
    )

    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert [arm["label"] for arm in result["arms"]] == ["none", "imm", "noising", "naive-kl"]
    assert len({tuple(arm["eval_discounted"]["per_seed"]) for arm in result["arms"]}) > 2
    assert {arm["agent"] for arm in result["arms"]} == {"ppo"}
    discounted = result["arms"][0]["eval_discounted"]["mean"]
    assert discounted != result["arms"][0]["eval"]["mean"]


def test_compare_of_hidden_features_sees_all_in_every_arm(imm_rl_command: Command) -> None:
    words = ["--env", "CartPole-v1", "--observe", "2,3", "--restricted", "rules:push"]
    plan = make_plan(
        {"env": "CartPole-v1", "observe": "2,3", "agent": "ppo"}, "none,none(gamma=0.9)", None, None
    )

    assert [config.view for config in plan.configs] == ["full", "full"]
    outcome = imm_rl_command("compare", *words, "--methods", "none,imm")
    assert outcome.code == 2
    assert "rules" in outcome.err

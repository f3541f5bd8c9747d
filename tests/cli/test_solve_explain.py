from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.cli.solve_explain import shown

Command = Callable[..., Any]

WORDS = ["solve", "--env", "tiger", "--method", "qmdp", "--explain"]


def test_explain_gives_states_action_and_values_at_the_start(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command(*WORDS, "--json").out)["explain"]

    start = found[0]
    assert start["belief"] == "the start"
    assert start["states"] == {"tiger-left": 0.5, "tiger-right": 0.5}
    assert start["further_states"] == 0
    assert start["actions"] == ["listen"]
    # Q_MDP: V = 200 in both states; listen −1 + 190, open (10 − 100)/2 + 190.
    assert start["value"] == pytest.approx(189.0)
    assert start["action_values"] == pytest.approx(
        {"listen": 189.0, "open-left": 145.0, "open-right": 145.0}
    )


def test_explain_shows_each_action_where_it_is_taken_in_play(imm_rl_command: Command) -> None:
    found = json.loads(imm_rl_command(*WORDS, "--json").out)["explain"]

    # After two more growls from one side than from the other: 0.85² / (0.85² + 0.15²).
    certain = 0.7225 / 0.745
    met = {entry["actions"][0]: entry for entry in found[1:]}
    assert set(met) == {"open-left", "open-right"}
    assert met["open-right"]["states"]["tiger-left"] == pytest.approx(certain)
    assert list(met["open-right"]["states"]) == ["tiger-left", "tiger-right"]  # likeliest first
    assert met["open-left"]["states"]["tiger-right"] == pytest.approx(certain)
    assert met["open-right"]["belief"].startswith("met in ")


def test_explain_shows_the_same_for_a_person(imm_rl_command: Command) -> None:
    out = imm_rl_command(*WORDS).out

    block = out.partition("belief: the start\n")[2].splitlines()
    assert block[0] == "  tiger-left: 0.500, tiger-right: 0.500"
    assert block[1].split() == ["action", "value", "difference"]
    assert block[2].split() == ["->", "listen", "189"]
    assert block[3].split() == ["open-left", "145", "-44"]
    assert out.startswith("environment ")


def test_explain_shows_the_uniform_belief_where_the_start_is_another(
    imm_rl_command: Command,
) -> None:
    words = ["solve", "--env", "4x3", "--method", "fib", "--explain", "--json"]

    found = json.loads(imm_rl_command(*words).out)["explain"]

    assert found[1]["belief"] == "every state equally likely"
    assert list(found[1]["states"].values()) == pytest.approx([1 / 11] * 6)
    assert found[1]["further_states"] == 5


def test_explain_says_that_actions_are_tied() -> None:
    values = {"left": 1.0, "right": 1.0, "stay": float("-inf")}
    entry = {
        "belief": "the start",
        "states": {"a": 0.9, "7": 0.06},
        "further_states": 3,
        "actions": ["left", "right"],
        "value": 1.0,
        "action_values": values,
    }

    lines = shown([entry]).splitlines()

    assert (
        lines[1] == "  a: 0.900, state 7: 0.060, 3 more: 0.040  (tied: each is taken equally often)"
    )
    assert [line.split()[0] for line in lines[3:5]] == ["->", "->"]
    assert lines[5].split() == ["stay", "no", "vector"]


def test_explain_looks_ahead_for_actions_that_have_no_vector(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always_listening(model: Any, method: str, **options: Any) -> AlphaVectorPolicy:
        return AlphaVectorPolicy([[-20.0, -20.0]], [0], model=model, execution="vectors")

    monkeypatch.setattr(sys.modules["imm_rl.agents.solve"], "solve", always_listening)

    found = json.loads(imm_rl_command(*WORDS, "--json").out)["explain"]
    within = json.loads(imm_rl_command(*WORDS, "--horizon", "3", "--json").out)["explain"]

    # −1 + 0.95 · −20 and (10 − 100)/2 + 0.95 · −20.
    values = {"listen": -20.0, "open-left": -64.0, "open-right": -64.0}
    assert found[0]["actions"] == ["listen"]
    assert found[0]["action_values"] == pytest.approx(values)
    assert within[0]["action_values"] == {"listen": -20.0, "open-left": None, "open-right": None}

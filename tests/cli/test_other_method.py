"""A `--print-config` file of one method under another `--method`, of agents and of language models."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from imm_rl.agents.methods import METHODS
from imm_rl.language.lm_settings import METHODS as LM_METHODS

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def printed(imm_rl_command: Command) -> Callable[..., dict[str, Any]]:
    def run(*words: object) -> dict[str, Any]:
        outcome = imm_rl_command(*words, "--print-config")
        assert outcome.code == 0, outcome.err
        return dict(yaml.safe_load(outcome.out))

    return run


def _write(config: dict[str, Any], **changes: Any) -> None:
    Path("c.yaml").write_text(yaml.safe_dump({**config, **changes}))


AGENT = ("train", "--env", "tiger", "--seeds", "3")
MODEL = ("lm", "train", "--seeds", "3")


@pytest.mark.parametrize(("was", "now"), list(itertools.permutations(METHODS, 2)))
def test_a_file_of_one_method_gives_another_its_own_defaults(
    was: str, now: str, printed: Callable[..., dict[str, Any]]
) -> None:
    _write(printed(*AGENT, "--method", was))

    found = printed("train", "--config", "c.yaml", "--method", now)

    assert found == printed(*AGENT, "--method", now)


@pytest.mark.parametrize(("was", "now"), list(itertools.permutations(LM_METHODS, 2)))
@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_language_model_s_file_of_one_method_gives_another_its_own_defaults(
    was: str, now: str, model: str, printed: Callable[..., dict[str, Any]]
) -> None:
    _write(printed(*MODEL, "--method", was, "--model", model))

    found = printed("lm", "train", "--config", "c.yaml", "--method", now)

    assert found == printed(*MODEL, "--method", now, "--model", model)


def test_defaults_are_those_of_the_file_s_agent_environment_and_preset(
    printed: Callable[..., dict[str, Any]],
) -> None:
    words = ("train", "--env", "tiger", "--agent", "ppo", "--seeds", "3")
    _write(printed(*words))  # whose λ is ppo's for tiger
    assert printed("train", "--config", "c.yaml", "--method", "none") == printed(
        *words, "--method", "none"
    )
    words = (*AGENT, "--preset", "paper")
    _write(printed(*words))
    assert printed("train", "--config", "c.yaml", "--method", "noising") == printed(
        *words, "--method", "noising"
    )
    words = (*MODEL, "--preset", "paper")
    _write(printed(*words, "--method", "sampled"))
    assert printed("lm", "train", "--config", "c.yaml", "--method", "none") == printed(
        *words, "--method", "none"
    )


def test_what_somebody_chose_holds_under_another_method(
    printed: Callable[..., dict[str, Any]],
) -> None:
    file = printed(*AGENT, "--method", "noising")
    _write(file, **{"lambda": 0.3, "restricted": "fib", "gamma": 0.9})
    found = printed("train", "--config", "c.yaml", "--method", "imm")
    assert (found["lambda"], found["restricted"], found["gamma"]) == ("0.3", "fib", 0.9)
    _write(file, **{"lambda": 0.3})
    assert (
        printed("train", "--config", "c.yaml", "--method", "imm", "--lambda", "2")["lambda"] == "2"
    )

    _write(printed(*MODEL, "--method", "sampled"), **{"lambda": 0.3, "k": 7})
    found = printed("lm", "train", "--config", "c.yaml", "--method", "serialized")
    assert (found["lambda"], found["k"]) == ("0.3", 7)


def test_a_file_keeps_its_own_under_the_method_that_it_has(
    printed: Callable[..., dict[str, Any]],
) -> None:
    file = printed(*AGENT, "--method", "noising")
    _write(file)
    assert printed("train", "--config", "c.yaml", "--method", "noising") == file
    _write(file, **{"lambda": "linear:1->0@0.5"})
    assert printed("train", "--config", "c.yaml")["lambda"] == "linear:1->0@0.5"


@pytest.mark.parametrize(
    ("was", "changes", "now", "message"),
    [
        (
            "imm",
            {"restricted": "fib"},
            "none",
            "c.yaml has restricted fib, of which the method 'none' has no use. Delete it there, give "
            "--restricted none, or use --method imm.",
        ),
        (
            "imm",
            {"lambda": 0.3},
            "none",
            "c.yaml has lambda 0.3, of which the method 'none' has no use",
        ),
        ("imm", {"lambda": 0.3}, "bc", "Delete it there, give --lambda 0, or use --method imm"),
        ("imm", {"temperature": 0.5}, "none", "c.yaml has temperature 0.5"),
        ("imm", {"contexts": "restricted"}, "none", "c.yaml has contexts restricted"),
        ("bc", {"bc_updates": 5}, "imm", "c.yaml has bc_updates 5, of which the method 'imm'"),
        ("imm", {"lambda": "target-kl:0.1"}, "jsrl", "λ target-kl:0.1 adapts to"),
        ("imm", {"lambda": "linaer:1"}, "noising", "a λ schedule must be"),
        ("imm", {"bc_updates": "many"}, "none", "c.yaml has bc_updates many"),
        ("imm", {"preset": "papr"}, "none", "Did you mean 'paper'?"),
        ("imm", {"agent": "reinforc"}, "none", "Did you mean 'reinforce'?"),
        ("imm", {"env": "tigr"}, "none", "Did you mean 'tiger'?"),
        ("imm", {}, "bcc", "Did you mean 'bc'?"),
    ],
)
def test_what_the_new_method_would_ignore_is_refused_by_name(
    was: str,
    changes: dict[str, Any],
    now: str,
    message: str,
    printed: Callable[..., dict[str, Any]],
    imm_rl_command: Command,
) -> None:
    _write(printed(*AGENT, "--method", was), **changes)

    outcome = imm_rl_command("train", "--config", "c.yaml", "--method", now, "--dry-run")

    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("was", "changes", "now", "message"),
    [
        ("sampled", {"k": 3}, "batch", "c.yaml has k 3, of which the method 'batch' has no use"),
        ("batch", {"start": "epoch:1"}, "none", "Delete it there, or use --method batch."),
        (
            "batch",
            {"lambda": 0.3},
            "none",
            "Delete it there, give --lambda 0, or use --method batch",
        ),
        ("batch", {"preset": "papr"}, "none", "Did you mean 'paper'?"),
        ("batch", {"model": "lstn"}, "none", "Did you mean 'lstm'?"),
        ("batch", {"start": "soon"}, "none", "c.yaml has start soon"),
    ],
)
def test_what_a_language_model_s_new_method_would_ignore_is_refused_by_name(
    was: str,
    changes: dict[str, Any],
    now: str,
    message: str,
    printed: Callable[..., dict[str, Any]],
    imm_rl_command: Command,
) -> None:
    _write(printed(*MODEL, "--method", was), **changes)

    outcome = imm_rl_command("lm", "train", "--config", "c.yaml", "--method", now, "--dry-run")

    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_what_was_set_aside_is_told(
    printed: Callable[..., dict[str, Any]], imm_rl_command: Command
) -> None:
    _write(printed(*AGENT, "--method", "noising"))
    said = imm_rl_command("train", "--config", "c.yaml", "--method", "imm", "--dry-run").out
    assert (
        "c.yaml is of method 'noising'; for --method imm its defaults are set aside: "
        "lambda linear:1->0@0.1\n"
    ) in said
    assert "set aside" not in imm_rl_command("train", "--config", "c.yaml", "--dry-run").out

    _write(printed(*MODEL, "--method", "sampled"))
    said = imm_rl_command("lm", "train", "--config", "c.yaml", "--method", "none", "--dry-run").out
    assert "for --method none its defaults are set aside: " in said
    assert "k 10" in said

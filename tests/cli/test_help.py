"""Help texts: as wide as the terminal, up to 100 columns; of `reproduce`, one for each experiment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from imm_rl.cli import COMMANDS, reproduce
from imm_rl.cli.parser import Parser

Command = Callable[..., Any]


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["", "lm", *COMMANDS])
def test_help_is_as_wide_as_the_terminal(
    name: str, columns: int, imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = imm_rl_command(*name.split(), "--help").out.splitlines()
    # What is to be copied whole stays in one line, and so does a list of choices.
    kept = re.compile(r"  [^ -]|.*\{.*\}")
    wide = [line for line in lines if len(line) > min(columns, 100) and not kept.match(line)]
    assert wide == []


def test_help_on_a_wide_terminal_has_its_lines_as_they_are_written(
    imm_rl_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    wide = imm_rl_command("compare", "--help").out
    monkeypatch.setenv("COLUMNS", "64")
    narrow = imm_rl_command("compare", "--help").out
    prose = "Trains several methods with the same seeds and random numbers, or takes finished runs, and\n"
    assert prose in wide
    assert "Trains several methods with the same seeds and random numbers,\nor takes" in narrow
    assert (
        "\n  imm-rl compare --env tiger --methods none,imm,noising,naive-kl --seeds 0-9\n" in narrow
    )


@pytest.mark.parametrize("name", reproduce.EXPERIMENTS)
@pytest.mark.parametrize("order", ["{name} --help", "--out x {name} -h"])
def test_an_experiment_has_a_help_of_its_own(
    name: str, order: str, imm_rl_command: Command
) -> None:
    outcome = imm_rl_command("reproduce", *order.format(name=name).split())
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: imm-rl reproduce {name} [-h]")
    options, _, examples = outcome.out.partition("options:\n")[2].partition("examples:\n")
    listed = re.findall(r"^  (?:-h, )?--([a-z-]+)", options, flags=re.M)
    own = [*reproduce.COMMON, *reproduce.OPTIONS[name]]
    assert sorted(listed) == sorted(option.replace("_", "-") for option in own)
    assert examples.splitlines()[0].startswith(f"  imm-rl reproduce {name} --out ")


def test_the_help_without_an_experiment_names_them_all(imm_rl_command: Command) -> None:
    out = imm_rl_command("reproduce", "--help").out
    for name, text in reproduce.EXPERIMENTS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", out, flags=re.M)
    assert "--mlm-weight" not in out
    assert "imm-rl reproduce figure-1 --help" in out


def test_every_example_of_an_experiment_is_a_command_that_it_takes() -> None:
    parser = Parser(prog="imm-rl reproduce")
    reproduce.add_arguments(parser)
    assert list(reproduce.EXAMPLES) == list(reproduce.EXPERIMENTS)
    for name, examples in reproduce.EXAMPLES.items():
        for words in examples:
            args = parser.parsed([name, *shlex.split(words)])
            reproduce._settle(args)  # refuses options of other experiments
            assert args.experiment == name

"""The command line as a function: `imm_rl_command("train", "--env", "tiger")` in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from imm_rl.cli import main


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def imm_rl_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def tiny() -> list[str]:
    """Options of a training of a tenth of a second."""
    return [
        *("--n-envs", "2", "--n-steps", "10", "--steps", "120"),
        *("--eval-points", "3", "--eval-episodes", "5", "--eval-steps", "10"),
    ]


@pytest.fixture
def tiny_ppo() -> list[str]:
    """The same of PPO, six updates, on a tabular or another environment."""
    return [
        *("--n-envs", "2", "--n-steps", "10", "--steps", "120", "--hidden-sizes", "8"),
        *("--batch-size", "10", "--n-epochs", "2", "--eval-points", "3", "--eval-episodes", "4"),
    ]

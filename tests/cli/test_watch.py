from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.cli import watch_text

Command = Callable[..., Any]

LISTENS = AlphaVectorPolicy([[0.0, 0.0]], [0], n_actions=3, method="listens")
"""A policy on tiger's belief that never opens a door."""


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy of tiger that opens the right door, sure or by half, and one that listens."""
    monkeypatch.chdir(tmp_path)
    opens = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    StatePolicy(opens, {"env": "tiger", "seed": 0}).save("tiger.zip")
    StatePolicy(np.full((2, 3), [0.5, 0.125, 0.375]), {"env": "tiger"}).save("half.zip")
    StatePolicy(np.full((121, 4), 0.25), {"env": "grid"}).save("grid.zip")
    LISTENS.save("listens.npz")
    return tmp_path


@pytest.fixture
def run_folder(at_home: Path, imm_rl_command: Command, tiny: list[str]) -> Path:
    """A run of two seeds on tiger."""
    outcome = imm_rl_command("train", "--env", "tiger", "--seeds", "3,4", "--quiet", *tiny)
    assert outcome.code == 0, outcome.err
    return Path("runs/tiger/reinforce-pomdp-1")


def shown(command: Command, *words: object) -> str:
    outcome = command("watch", *words)
    assert outcome.code == 0, outcome.err
    return str(outcome.out)


def test_watch_shows_both_views_the_belief_and_what_each_would_do(
    imm_rl_command: Command, at_home: Path
) -> None:
    out = shown(imm_rl_command, "tiger.zip", "--restricted", "listens.npz", "--steps", "1")

    frames = out.split("\n\ntiger ")
    assert frames[0] == (
        "tiger.zip in tiger, seeing the full view; beside it restricted policy listens.npz"
    )
    # With seed 0 the tiger is behind the left door first.
    assert frames[1].splitlines() == [
        "  step 0   return 0.000",
        "",
        "full view        restricted view",
        "|T|   o   |$|    |?|   o   |?|",
        "",
        "observation: nothing yet   state: tiger-left",
        "believed: tiger-left 0.50, tiger-right 0.50",
        "",
        "  next action  agent                     restricted (listens.npz)",
        "  listen       0.00                      1.00 ████████████",
        "  open-left    0.00                      0.00",
        "► open-right   1.00 ████████████         0.00",
    ]
    assert frames[2].splitlines()[0] == "  step 1   reward 10.00   return 10.00   cut here"
    assert "next action" not in frames[2]


def test_watch_shows_a_restricted_policy_alone_on_its_own_belief(
    imm_rl_command: Command, at_home: Path
) -> None:
    out = shown(imm_rl_command, "listens.npz", "--env", "tiger", "--steps", "1", "--seed", "2")

    assert "seeing the restricted view; beside it no restricted policy" in out
    assert "► listen       1.00 ████████████" in out
    assert "action: listen   observation: tiger-" in out
    assert "0.85, tiger-" in out


def test_watch_draws_the_belief_on_a_map(imm_rl_command: Command, at_home: Path) -> None:
    out = shown(imm_rl_command, "grid.zip", "--steps", "1")

    first = out.split("step 0")[1]
    rows = first.split("belief\n")[1].split("\n\n")[0].splitlines()
    assert len(rows) == 11
    columns = {row.split()[-1] for row in rows}
    assert len(columns) == 1  # the observation tells the column, and nothing of the row
    assert sorted(columns.pop()) == ["·"] * 10 + ["█"]


def test_watch_of_the_same_seed_is_the_same_and_episodes_go_on_from_it(
    imm_rl_command: Command, at_home: Path
) -> None:
    one, again, other = (
        shown(imm_rl_command, "half.zip", "--steps", "9", "--seed", seed) for seed in (5, 5, 6)
    )
    two = shown(imm_rl_command, "half.zip", "--steps", "9", "--seed", "5", "--episodes", "2")

    assert one == again != other
    first = two.split("   episode 2 of 2")[0].replace("   episode 1 of 2", "")
    assert first.startswith(one.rstrip("\n"))


def test_watch_deterministic_takes_the_likeliest_action(
    imm_rl_command: Command, at_home: Path
) -> None:
    words = ["half.zip", "--steps", "12"]
    drawn = shown(imm_rl_command, *words)
    likeliest = shown(imm_rl_command, *words, "--deterministic")

    assert likeliest.count("► listen") == 12
    assert 0 < drawn.count("► listen") < 12


def test_watch_takes_the_latest_finished_run_and_its_restricted_policy(
    imm_rl_command: Command, run_folder: Path
) -> None:
    unfinished = run_folder.with_name("reinforce-pomdp-2")
    shutil.copytree(run_folder, unfinished)
    (unfinished / "summary.json").unlink()

    os.utime(unfinished / "config.yaml", (2_000_000_000, 2_000_000_000))

    outcome = imm_rl_command("watch", "--steps", "1")
    assert outcome.err.startswith(f"passed over {unfinished}, which is newer: it is not finished")
    out = outcome.out
    assert out.splitlines()[0] == (
        f"{run_folder}, seed_3 of 2 in tiger, seeing the full view; beside it restricted policy pomdp"
    )
    assert "restricted (pomdp)" in out
    (unfinished / "seed_3" / "model.zip").unlink()
    (unfinished / "seed_4" / "model.zip").unlink()
    outcome = imm_rl_command("watch", unfinished)
    assert outcome.code == 2
    assert "is not finished and has no policy yet" in outcome.err


def test_watch_of_one_seed_of_a_run_finds_what_the_run_was_matched_to(
    imm_rl_command: Command, run_folder: Path
) -> None:
    for policy in (run_folder / "seed_4", run_folder / "seed_4" / "model.zip"):
        assert "restricted policy pomdp" in shown(imm_rl_command, policy, "--steps", "1")
    beside = shown(imm_rl_command, run_folder, "--restricted", "none", "--steps", "1")
    assert "beside it no restricted policy" in beside
    alone = shown(imm_rl_command, run_folder / "restricted.npz", "--steps", "1")
    assert "in tiger, seeing the restricted view" in alone


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("live", "term"), [(True, "xterm"), (False, "xterm"), (True, "dumb")])
def test_watch_redraws_in_place_only_on_a_terminal_that_can(
    monkeypatch: pytest.MonkeyPatch, at_home: Path, live: bool, term: str
) -> None:
    from imm_rl.cli.watch_policies import find

    waits: list[float] = []
    screen = _Terminal()
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("time.sleep", waits.append)
    watched = find("tiger.zip", None, None)
    moments = watched.moments(seed=0, episodes=1, steps=3, deterministic=False, pictures=False)
    watch_text.show(watched, moments, 1, 8.0, live=live)

    redraws = live and term != "dumb"
    text = screen.getvalue()
    assert waits == ([0.125] * 4 if redraws else [])
    assert text.count("\x1b[H") == (4 if redraws else 0)
    assert text.endswith("\x1b[?25h\n") == redraws  # the cursor is shown again
    assert "step 3" in text


def test_watch_bar_is_as_long_as_the_share() -> None:
    assert watch_text.bar(0.0) == ""
    assert watch_text.bar(1.0) == "█" * 12
    assert watch_text.bar(0.5) == "█" * 6
    assert watch_text.bar(1 / 96) == "▏"


def test_watch_names_the_likeliest_actions_and_the_one_that_is_done() -> None:
    answers = [np.array([0.0, 0.3, 0.1, 0.6]), np.array([0.0, 0.0, 1.0, 0.0])]

    assert watch_text.shown_actions(answers, 0, 3) == [0, 2, 3]
    assert watch_text.shown_actions(answers, 0, 9) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nosuch", "there is no run or policy nosuch"),
        (".", "is no run folder: it has no config.yaml"),
        ("--logdir .", "there is no finished run below ."),
        ("tiger.zip --logdir runs", "Give up one"),
        ("listens.npz", "does not say which environment it is for. Give --env"),
        ("listens.npz --env grid", "the policy is for 2 states and 3 actions"),
        ("tiger.zip --env grid", "is for 2 states and 3 actions; grid has 121"),
        ("tiger.zip --restricted nosuch", "unknown restricted policy 'nosuch'"),
        ("tiger.zip --seed -1", "--seed must be a whole number ≥ 0"),
        ("tiger.zip --episodes 0", "--episodes must be a whole number ≥ 1"),
        ("tiger.zip --steps 51", "--steps must be at most 50"),
        ("tiger.zip --fps 0", "--fps must be a number > 0"),
        ("tiger.zip --fps 2 --no-live", "--fps is of a film or a live picture"),
        ("tiger.zip --no-live --out x.gif", "Give up one"),
        ("tiger.zip --out x.avi", "ends in .gif, .mp4 or .png; received 'x.avi'"),
        ("tiger.zip --out nosuch/x.gif", "--out must lie in a folder that exists"),
        ("tiger.zip --out x.gif --fps 100", "at most 50 in a .gif"),
        ("tiger.zip --out x.png --fps 2", "stands still"),
        ("grid.zip --map", "Say where: --out FILE.png"),
        ("grid.zip --map --out x.gif", "ends in .png, .svg or .pdf"),
        ("grid.zip --map --out x.png --episodes 2", "has no --episodes"),
        ("tiger.zip --map --out x.png", "those of tiger have none"),
        ("grid.zip --map --out x.png --env grid(discount=1)", "discount must be below 1"),
    ],
)
def test_watch_refuses_in_one_line_and_writes_nothing(
    imm_rl_command: Command, at_home: Path, words: str, message: str
) -> None:
    before = sorted(at_home.iterdir())

    outcome = imm_rl_command("watch", *words.split())

    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert sorted(at_home.iterdir()) == before


def test_watch_map_refuses_a_policy_that_does_not_see_the_state(
    imm_rl_command: Command, at_home: Path
) -> None:
    model = imm_rl.make("4x3").restricted_model
    AlphaVectorPolicy(np.zeros((1, model.n_states)), [0], n_actions=4, method="x").save("4x3.npz")

    outcome = imm_rl_command("watch", "4x3.npz", "--env", "4x3", "--map", "--out", "x.png")

    assert outcome.code == 2
    assert "this policy does not see the state" in outcome.err
    assert not Path("x.png").exists()

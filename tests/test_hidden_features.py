"""The pure parts of `scripts/hidden_features.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl.agents.neighbours import Nearest
from imm_rl.errors import InvalidInputError

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setitem(sys.modules, "hidden_features_report", None)
    del sys.modules["hidden_features_report"]
    import hidden_features_report

    return hidden_features_report


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, results: ModuleType) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setitem(sys.modules, "hidden_features", None)  # put back as it was afterwards
    del sys.modules["hidden_features"]
    import hidden_features

    return hidden_features


def test_hidden_features_reads_arms(script: ModuleType) -> None:
    assert script.parse_arm("none") is None
    assert script.parse_arm("imm") == {}
    assert script.parse_arm("imm k=8 batch_size=64 imm_lambda=linear:1->0@0.3") == {
        "completions": Nearest(k=8),
        "batch_size": 64,
        "imm_lambda": "linear:1->0@0.3",
    }
    assert script.parse_arm("imm bandwidth=0.2") == {"completions": Nearest(bandwidth=0.2)}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must be 'none' or 'imm"),
        ("ppo", "must be 'none' or 'imm"),
        ("none k=1", "must be 'none' or 'imm"),
        ("imm bandwith=1", "bandwidth"),
        ("imm k=few", "k in arm 'imm k=few' must be a number; received 'few'"),
        ("imm k", "must be a number; received ''"),
        ("imm imm_lambda=linear:1->0", "λ schedule"),
        ("imm k=0", "k of completions"),
    ],
)
def test_hidden_features_refuses_wrong_arms(script: ModuleType, text: str, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        script.parse_arm(text)


def test_hidden_features_rules_act_by_the_part_that_they_see(script: ModuleType) -> None:
    assert script.with_the_velocity(np.array([[-0.1], [0.0], [0.1]])).tolist() == [0, 2, 2]
    # 0.1 + 0.5 · 0.3 > 0; 0.1 − 0.5 · 0.3 < 0: it falls back by itself
    assert script.under_the_pole(np.array([[0.1, 0.3], [0.1, -0.3]])).tolist() == [1, 0]
    # hanging: 5 − (1.5 − 5) = 8.5 is missing; turning at the top: 1.5 too much
    found = script.to_the_energy(np.array([[-1.0, 0.1], [-1.0, 3.0], [1.0, 0.3]]))
    assert found[:, 0] == pytest.approx([0.1 * (10 - 0.01 / 6), 2.0, -0.3 * 0.09 / 6])


@pytest.mark.parametrize("name", ["MountainCar-v0", "CartPole-v1", "Acrobot-v1", "Pendulum-v1"])
def test_hidden_features_rules_fit_their_environment(script: ModuleType, name: str) -> None:
    problem = script.PROBLEMS[name]
    pair = imm_rl.make(name, observe=problem.observe)
    policy = script.as_view_policy(problem.rule, pair.features.space, pair.action_space)

    earned = script.view_policy_returns(pair, policy, episodes=1, seed=3)

    assert len(problem.observe) < pair.observation_space.shape[0]
    # Doing nothing earns −200, 8 to 10, −500 and about −1200.
    assert earned[0] > {"M": -135.0, "C": 300.0, "A": -300.0, "P": -1000.0}[name[0]]


def test_hidden_features_keeps_trainings_and_makes_arms_of_them(
    results: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "all.csv"
    for arm, seed, final in (("imm", 0, -120.0), ("none", 0, -200.0), ("imm", 1, -140.0)):
        results.append(
            path,
            [
                ("MountainCar-v0", arm, seed, 9, 0, 10, np.float64(-200.0), "", 1.5),
                ("MountainCar-v0", arm, seed, 9, 8, 100, np.float64(final), np.float64(-110), 1.5),
            ],
        )
    rows = results.read(path)
    arms = results.arms_of(rows, "MountainCar-v0", 9)

    assert list(arms) == ["none", "imm"]
    assert results.arms_of(rows, "MountainCar-v0", 10) == {}
    assert results.arms_of(rows, "CartPole-v1", 9) == {}
    assert arms["imm"].steps.tolist() == [0, 8]
    assert arms["imm"].mean.tolist() == [[-200.0, -120.0], [-200.0, -140.0]]
    assert arms["imm"].deterministic.tolist() == [-110.0, -110.0]
    assert arms["imm"].needed(-130.0).tolist() == [8, np.inf]
    none, imm = results.table("MountainCar-v0", -130.0, arms)
    assert none == "| MountainCar-v0 | none | 1 | 0/1 | > 8 | -200.0 | -200.0 | -110.0 | -200.0 |"
    # Student's t of two: −165 ± 12.706 · 7.071 / √2, −130 ± 12.706 · 14.142 / √2
    start = (
        "| MountainCar-v0 | imm | 2 | 1/2 | > 8 | -165.0 [-228.5, -101.5] | -130.0 [-257.1, -2.9] |"
    )
    assert imm.startswith(start)


def test_hidden_features_looks_leave_the_random_numbers_alone(script: ModuleType) -> None:
    from stable_baselines3 import PPO

    policy = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu").policy
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    first = script.returns("CartPole-v1", policy, [3, 1, 4, 1], deterministic=False)
    assert torch.equal(torch.rand(3), expected)
    again = script.returns("CartPole-v1", policy, [3, 1, 4, 1], deterministic=False)

    assert first.tolist() == again.tolist()
    assert len(set(first.tolist())) > 1
    assert ((first >= 8.0) & (first <= 500.0)).all()

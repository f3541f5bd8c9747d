"""Values at the start belief that are known: by hand, or published and measured elsewhere."""

from __future__ import annotations

import pytest

from imm_rl.agents.simulation import discounted_returns
from imm_rl.agents.solve import solve
from imm_rl.envs import make


@pytest.mark.parametrize(
    ("spec", "bound", "tolerance"),
    [
        ("shuttle", 32.890, 1e-3),
        ("network", 480.3, 0.05),
        ("tag", 0.8264, 1e-4),
        ("rocksample(4,4)", 22.410, 1e-3),
        ("rocksample(5,5)", 24.154, 1e-3),
        ("rocksample(5,7)", 30.61, 5e-3),
    ],
)
def test_qmdp_bound_is_the_known_one(spec: str, bound: float, tolerance: float) -> None:
    policy = solve(make(spec).model, "qmdp", precision=1e-6, cache=False)
    assert policy.upper_bound == pytest.approx(bound, abs=tolerance)


def test_rocksample_with_one_rock_is_worth_what_it_is_by_hand() -> None:
    """On the rock, a check is sure: good (1/2): sample, then leave; bad: leave at once.

    γ·(10 + γ·10)/2 + γ·10/2 = 14.0125; leaving at once is worth 10, sampling unchecked 9.5.
    """
    model = make("rocksample(1, 1, rock_positions=[[0, 0]])").model
    policy = solve(model, "pbvi", precision=1e-9, cache=False)
    assert policy.lower_bound == pytest.approx(14.0125, abs=1e-6)
    assert model.action_names[policy.action(model.initial)] == "ac0"


def test_light_dark_pays_for_going_to_the_light_first() -> None:
    """Not knowing where it is, a good policy sets out for the light, QMDP for the goal."""
    model = make("light-dark").model
    seeing = solve(model, "pbvi", time_limit=1.5, cache=False)
    never_seeing = solve(model, "qmdp", cache=False)
    actions = [model.action_names[p.action(model.initial)] for p in (seeing, never_seeing)]
    assert actions == ["right", "left"]
    earned, less = (
        discounted_returns(model, p, episodes=1_000, seed=0).mean() for p in (seeing, never_seeing)
    )
    assert earned > less + 0.8


@pytest.mark.slow
def test_rocksample_5_5_is_worth_what_smith_published() -> None:
    """19.24: Smith's rocks, and his sensor, whose half efficiency is at distance 4 there."""
    policy = solve(make("rocksample(5,5)").model, "pbvi", time_limit=25, cache=False)
    assert policy.lower_bound == pytest.approx(19.237, rel=0.01)

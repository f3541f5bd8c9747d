from __future__ import annotations

import sys

import numpy as np
import pytest

from imm_rl.agents.reinforce import IMMReinforce
from imm_rl.agents.restricted import distill, named
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.solve import solver_names
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError


def test_policy_names_are_those_of_solvers_planners_and_programs() -> None:
    names = named.policy_names()

    assert set(solver_names()) < set(names)
    assert {"pouct", "pomcp", "external-sarsop", "external-pomdp-solve"} < set(names)
    assert len(set(names)) == len(names)


def test_a_name_that_there_is_not_is_refused_with_all_that_there_are() -> None:
    pair = make("tiger")

    with pytest.raises(InvalidInputError) as caught:
        IMMReinforce(pair, restricted="pouc")

    text = str(caught.value)
    assert text.startswith("unknown restricted policy 'pouc'. Did you mean 'pouct'? Known: ")
    for name in ("none", *named.policy_names()):
        assert name in text


def test_a_name_whose_needs_are_missing_is_refused_before_anything_is_solved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pomdp_py", None)
    monkeypatch.setenv("PATH", "")

    for name in named.PLANNERS:
        with pytest.raises(InvalidInputError, match=r"pip install 'imm-rl\[pomdp-py\]'"):
            named.check_name(name)
    for name in named.EXTERNAL:
        with pytest.raises(InvalidInputError, match="not on the PATH"):
            named.check_name(name)
    for name in solver_names():
        named.check_name(name)


@pytest.mark.parametrize("name", named.PLANNERS)
def test_a_planner_is_named_as_a_table_of_what_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pomdp_py", reason="pomdp-py has no wheel here")
    from imm_rl.agents.restricted.planner import PlannerPolicy

    defaults = PlannerPolicy.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "simulations", 40)
    monkeypatch.setattr(distill, "DECISIONS", 8)
    pair = make("tiger")

    agent = IMMReinforce(pair, restricted=name)

    policy = agent.restricted
    assert isinstance(policy, BeliefTablePolicy)
    assert (policy.name, len(policy.beliefs)) == (name, 8)
    direct = PlannerPolicy(pair.model, name)
    np.testing.assert_array_equal(policy.table, direct.probs(policy.beliefs))

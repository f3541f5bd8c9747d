from __future__ import annotations

import pickle
import random
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.restricted.planner import PlannerPolicy, probs_of
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError

pytest.importorskip("pomdp_py", reason="pomdp-py has no wheel here")

MODEL = make("tiger").model
BELIEFS = np.array([[0.5, 0.5], [0.999, 0.001], [0.001, 0.999], [0.85, 0.15]])


def planner(kind: str = "pouct", **given: Any) -> PlannerPolicy:
    return PlannerPolicy(MODEL, kind, **{"simulations": 300, "depth": 5, **given})


@pytest.mark.parametrize("kind", ["pouct", "pomcp"])
def test_planner_policy_listens_unless_it_is_sure(kind: str) -> None:
    # One step alone: listening costs 1, the right door pays 10, the wrong one costs 100.
    policy = planner(kind, depth=1, simulations=1000, exploration=110.0)

    probs = policy.probs(BELIEFS)

    assert isinstance(policy, RestrictedPolicy)
    assert (policy.name, policy.n_states, policy.n_actions) == (kind, 2, 3)
    listen, left, right = np.eye(3)
    np.testing.assert_array_equal(probs, [listen, right, left, listen])


@pytest.mark.parametrize("kind", ["pouct", "pomcp"])
def test_answers_depend_on_belief_and_seed_alone(kind: str) -> None:
    one, other = planner(kind), planner(kind)
    random.seed(1)
    forwards = one.action_values(BELIEFS)
    random.seed(2)
    backwards = other.action_values(BELIEFS[::-1])[::-1]

    np.testing.assert_array_equal(forwards, backwards)
    assert not np.array_equal(planner(kind, seed=1).action_values(BELIEFS), forwards)


def test_global_generators_are_left_as_they_were() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002  the global generator is what is meant
    wanted = (random.random(), np.random.rand())  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002

    planner().probs(BELIEFS)

    assert (random.random(), np.random.rand()) == wanted  # noqa: NPY002


def test_equal_beliefs_are_searched_once() -> None:
    policy = planner()

    first = policy.probs(np.tile(BELIEFS[:2], (5, 1)))
    policy.probs(BELIEFS[:2] + np.array([1e-9, -1e-9]))
    policy.with_(probs_from="visits").probs(BELIEFS[:2])

    assert first.shape == (10, 3)
    assert policy.decisions == 2


def test_shapes_and_sparse_beliefs_give_the_same() -> None:
    policy = planner()
    dense = policy.probs(BELIEFS)

    np.testing.assert_array_equal(policy.probs(BELIEFS.reshape(2, 2, 2)), dense.reshape(2, 2, 3))
    np.testing.assert_array_equal(policy.probs(sp.csr_array(BELIEFS)), dense)
    np.testing.assert_array_equal(policy.probs(BELIEFS[0]), dense[0])


def test_visits_are_those_of_the_search() -> None:
    policy = planner(probs_from="visits")
    decision = policy.decide(BELIEFS[0])

    # The first simulation only makes the root, by a rollout.
    assert decision.visits.sum() == 300 - 1
    np.testing.assert_allclose(policy.probs(BELIEFS[0]), decision.visits / decision.visits.sum())


def test_probabilities_of_values_and_visits() -> None:
    values, visits = np.array([1.0, 3.0, 3.0]), np.array([1.0, 8.0, 1.0])

    def probs(probs_from: str, temperature: float | None, ties: str = "split") -> list[float]:
        found = probs_of(values, visits, probs_from, temperature=temperature, ties=ties)
        return found.round(6).tolist()

    assert probs("values", None) == [0.0, 0.5, 0.5]
    assert probs("values", None, "first") == [0.0, 1.0, 0.0]
    e = np.exp(-1.0)  # (1 − 3) / 2
    assert probs("values", 2.0) == (np.array([e, 1.0, 1.0]) / (2.0 + e)).round(6).tolist()
    assert probs("visits", None) == [0.1, 0.8, 0.1]
    assert probs("visits", None, "first") == [0.0, 1.0, 0.0]
    assert probs("visits", 0.5) == (np.array([1.0, 64.0, 1.0]) / 66.0).round(6).tolist()


def test_a_copy_acts_otherwise_and_leaves_the_policy() -> None:
    policy = planner()
    soft = policy.with_(temperature=20.0)

    assert policy.probs(BELIEFS[0]).max() == 1.0
    assert soft.probs(BELIEFS[0]).max() < 1.0
    assert soft.with_(temperature=None).probs(BELIEFS[0]).max() == 1.0


def test_a_pickled_policy_answers_alike() -> None:
    policy = planner()
    expected = policy.action_values(BELIEFS[:1])

    again = pickle.loads(pickle.dumps(policy))

    np.testing.assert_array_equal(again.action_values(BELIEFS[:1]), expected)
    assert again.decisions == 1
    np.testing.assert_array_equal(
        again.action_values(BELIEFS[1:2]), policy.action_values(BELIEFS[1:2])
    )


def test_rollouts_by_who_sees_are_worth_more_than_random_ones() -> None:
    # Few simulations of many steps: values are those of the rollouts. A random action costs
    # (−1 − 100 + 10)/3 a step on average, whoever sees earns 10.
    seeing = planner(simulations=10, depth=20).action_values(BELIEFS[0])
    blind = planner(simulations=10, depth=20, rollout="random").action_values(BELIEFS[0])

    assert seeing.max() > 50.0
    assert blind.max() < -50.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"planner": "pouc"}, r"Did you mean 'pouct'\?"),
        ({"simulations": 0}, "simulations must be"),
        ({"depth": 0}, "depth must be"),
        ({"exploration": -1.0}, "exploration must be"),
        ({"rollout": "rand"}, r"Did you mean 'random'\?"),
        ({"probs_from": "value"}, r"Did you mean 'values'\?"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"ties": "last"}, "unknown ties"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_planner_policy_refuses_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PlannerPolicy(MODEL, **given)


def test_planner_policy_refuses_what_is_no_belief_or_no_model() -> None:
    with pytest.raises(InvalidInputError, match="2 states"):
        planner().probs(np.full((1, 3), 1 / 3))
    with pytest.raises(InvalidInputError, match="sum to 1"):
        planner().probs(np.array([[0.5, 0.4]]))
    with pytest.raises(InvalidInputError, match="model must be a TabularPOMDP"):
        PlannerPolicy(make("tiger"))  # type: ignore[arg-type]


def test_planner_policy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pomdp_py", None)

    with pytest.raises(InvalidInputError, match=r"pip install 'imm-rl\[pomdp-py\]'"):
        PlannerPolicy(MODEL)

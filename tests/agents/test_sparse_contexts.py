"""Training with sparse beliefs: the same numbers as with dense ones, and nothing of size S × S."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents.checkpoint import agent_state, load_checkpoint, save_checkpoint
from imm_rl.agents.context_weights import weighing
from imm_rl.agents.evaluation import restricted_returns
from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.agents.restricted import asking
from imm_rl.agents.restricted.asking import probs_at, told
from imm_rl.agents.restricted_contexts import RestrictedRolloutContexts
from imm_rl.agents.rollout import action_cdf
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.agents.solve import solve
from imm_rl.envs import belief_filter
from imm_rl.errors import InvalidInputError


def force(monkeypatch: pytest.MonkeyPatch, *, sparse: bool) -> None:
    """Beliefs of all models are kept so, whatever their size."""
    monkeypatch.setattr(belief_filter, "MOST_DENSE_STATES", 0 if sparse else 10**9)
    monkeypatch.setattr(belief_filter, "SPARSE_SHARE", 1.0)


def fresh(env: str, restricted: Any = "qmdp", weight: Any = 0.5, **options: Any) -> IMMReinforce:
    settings = ReinforceSettings().replaced(eval_episodes=3, eval_points=4, **options)
    return IMMReinforce(
        imm_rl.make(env), restricted, weight, seeds=(0, 1), settings=settings, device="cpu"
    )


@pytest.mark.parametrize("contexts", ["agent", "restricted"])
@pytest.mark.parametrize("weight", ["uniform", "certainty", "informed"])
@pytest.mark.parametrize("env", ["4x3", "hallway"])
def test_an_update_is_the_same_with_sparse_and_dense_beliefs(
    env: str, weight: str, contexts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of beliefs met equally often either may take the others; here all are taken.
    monkeypatch.setattr(RestrictedRolloutContexts, "MOST", 10**6)
    found = []
    for sparse in (False, True):
        force(monkeypatch, sparse=sparse)
        agent = fresh(env, context_weight=weight, contexts=contexts, n_envs=2, n_steps=40)
        grads: list[np.ndarray] = []
        step = agent.optimizer.step

        def keep(agent: Any = agent, grads: Any = grads, step: Any = step) -> None:
            grads += [p.grad.numpy().copy() for p in agent.policy.parameters()]
            step()

        monkeypatch.setattr(agent.optimizer, "step", keep)
        agent.learn(2 * 80)
        assert agent.source is not None
        cdf = action_cdf(agent.action_probs()[0])
        met = agent.source.contexts(agent.rollouts.collect(cdf, 3))
        assert isinstance(met.beliefs, np.ndarray) is not sparse
        found.append([*grads, *agent.records[0].measures.values()])
    assert len(found[0]) > 8
    # Dense beliefs of the restricted policy's own are rounded to six digits, to find equal ones.
    atol = 1e-6 if contexts == "agent" else 1e-5
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=atol)


def test_lambda_0_is_bit_for_bit_plain_reinforce_with_sparse_beliefs() -> None:
    plain, zero = fresh("rocksample(4,4)", None, None), fresh("rocksample(4,4)", "qmdp", 0.0)
    for agent in (plain, zero):
        agent.learn(500)
    np.testing.assert_array_equal(plain.action_probs(), zero.action_probs())


@pytest.mark.parametrize("contexts", ["agent", "restricted"])
def test_resumed_agent_ends_like_an_uninterrupted_one_with_sparse_beliefs(
    tmp_path: Path, contexts: str
) -> None:
    def make() -> IMMReinforce:
        return fresh(
            "rocksample(4,4)", n_steps=30, contexts=contexts
        )  # episodes go on over updates

    def stop(agent: IMMReinforce, _: Record | None) -> bool:
        return agent.env_steps < 300

    whole, first, resumed = make().learn(900), make().learn(900, stop), make()
    save_checkpoint(first, tmp_path / "checkpoint.npz")
    load_checkpoint(resumed, tmp_path / "checkpoint.npz")
    resumed.learn(900)
    expected, found = agent_state(whole), agent_state(resumed)
    assert expected.keys() == found.keys()
    assert ("contexts/belief/indptr" in found) is (contexts == "agent")
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


class Recorder:
    """A policy whose first action is as likely as the first half of the states; notes what it is asked."""

    name, n_actions = "recorder", 2

    def __init__(self, n_states: int, *, takes_sparse: bool) -> None:
        self.n_states, self.asked = n_states, list[Any]()
        if takes_sparse:
            self.takes_sparse = True

    def probs(self, beliefs: Any) -> np.ndarray:
        self.asked.append(beliefs)
        first = beliefs @ (np.arange(self.n_states) < self.n_states / 2)
        return np.stack([first, 1.0 - first], axis=1)


@pytest.mark.parametrize("takes_sparse", [False, True])
def test_a_policy_is_asked_for_some_rows_of_sparse_beliefs_at_a_time(
    takes_sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_DENSE", 3 * 8)
    monkeypatch.setattr(asking, "MOST_ROWS", 3)
    dense = np.random.default_rng(0).dirichlet(np.ones(8), 7)
    policy = Recorder(8, takes_sparse=takes_sparse)
    found = probs_at(policy, sp.csr_array(dense))
    np.testing.assert_allclose(found[:, 0], dense[:, :4].sum(axis=1), atol=1e-15)
    assert [asked.shape for asked in policy.asked] == [(3, 8), (3, 8), (1, 8)]
    assert all(isinstance(asked, np.ndarray) is not takes_sparse for asked in policy.asked)


def test_told_asks_at_sure_beliefs_without_a_square_of_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = np.repeat([[1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    np.testing.assert_array_equal(told(Recorder(8, takes_sparse=True)), expected)
    monkeypatch.setattr(asking, "MOST_DENSE", 20)
    policy = Recorder(8, takes_sparse=False)
    np.testing.assert_array_equal(told(policy), expected)
    assert max(asked.size for asked in policy.asked) <= 20


@pytest.mark.parametrize("weight", ["uniform", "certainty", "informed"])
def test_weights_of_sparse_beliefs_are_those_of_dense_ones(weight: str) -> None:
    policy = Recorder(8, takes_sparse=False)
    dense = np.random.default_rng(0).dirichlet(np.full(8, 0.2), 6)
    dense[0], dense[1, 1:], dense[1, 0] = 1 / 8, 0.0, 1.0
    weigh, targets = weighing(weight, policy), policy.probs(dense)
    found = weigh(sp.csr_array(dense), targets)
    np.testing.assert_allclose(found, weigh(dense, targets), atol=1e-14)
    assert found.shape == (6,)


def test_a_bad_answer_at_sparse_beliefs_is_said() -> None:
    policy = Recorder(8, takes_sparse=True)
    policy.probs = lambda beliefs: np.full((beliefs.shape[0], 2), np.nan)  # type: ignore[method-assign]
    with pytest.raises(InvalidInputError, match="restricted policy 'recorder' must be ≥ 0 and sum"):
        probs_at(policy, sp.csr_array(np.eye(8)))


def test_restricted_policy_earns_the_same_on_sparse_and_dense_beliefs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = imm_rl.make("rocksample(4,4)")
    policy, found = solve(pair.model, "qmdp"), []
    for sparse in (False, True):
        force(monkeypatch, sparse=sparse)
        rng = np.random.default_rng(0)
        found.append(restricted_returns(pair, policy, episodes=50, n_steps=30, rng=rng))
    np.testing.assert_array_equal(*found)
    assert np.ptp(found[0]) > 0.0


@pytest.mark.parametrize("contexts", ["agent", "restricted"])
def test_training_on_thousands_of_states_needs_no_square_of_them(contexts: str) -> None:
    pair = imm_rl.make("rocksample(5,7)")
    square = pair.model.n_states**2 * 8  # 82 MB
    tracemalloc.start()
    try:
        agent = fresh("rocksample(5,7)", "qmdp", 1.0, contexts=contexts).learn(20 * 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < square
    # Left to itself an agent samples at random, at −10 or −100 a time; told what qmdp does, it is soon
    # closer to it.
    kl = [record.measures["imm/kl"].mean() for record in agent.records]
    assert kl[-1] < 0.7 * kl[0]

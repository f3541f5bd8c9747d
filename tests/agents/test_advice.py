"""The restricted policy as an adviser: mixed in (interpolate), and first to act (jsrl)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import imm_rl
from imm_rl import losses
from imm_rl.agents.advice import Advised, BeliefFollower, Guide, Mixture, likeliest
from imm_rl.agents.evaluation import Evaluator, exact_returns, restricted_returns
from imm_rl.agents.rollout import Rollout, TabularRollouts, action_cdf
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs import belief


class _Recorder:
    """An adviser that passes another's advice on and keeps what was said and seen."""

    def __init__(self, inner: Any, follower: BeliefFollower) -> None:
        self.inner, self.follower = inner, follower
        self.beliefs: list[np.ndarray] = []
        self.thresholds: list[np.ndarray] = []
        self.elapsed: list[np.ndarray] = []

    def begin(self, states: np.ndarray, n_steps: int, *, restart: bool) -> None:
        self.inner.begin(states, n_steps, restart=restart)

    def advise(self, thresholds: np.ndarray, elapsed: np.ndarray) -> Advised:
        self.beliefs.append(np.array(self.follower._beliefs))
        advised = self.inner.advise(thresholds, elapsed)
        self.thresholds.append(advised.thresholds)
        self.elapsed.append(elapsed)
        return advised

    def observe(self, *args: Any) -> None:
        self.inner.observe(*args)


def _rows(pair: imm_rl.EnvPair, n_envs: int, max_steps: int) -> TabularRollouts:
    streams = [SeedStreams([7], purpose) for purpose in ("environment", "action")]
    return TabularRollouts(pair.sampler, *streams, n_runs=1, n_envs=n_envs, max_steps=max_steps)


def _follower(pair: imm_rl.EnvPair, policy: Any, n_envs: int) -> BeliefFollower:
    return BeliefFollower(pair, policy, SeedStreams([7], "advice"), n_envs)


def _uniform(pair: imm_rl.EnvPair) -> np.ndarray:
    n_states, n_actions = pair.model.n_states, pair.model.n_actions
    return np.full((1, n_states, n_actions), 1.0 / n_actions)


def _guided(name: str, steps: int, n_steps: int, max_steps: int = 6) -> tuple[Rollout, _Recorder]:
    pair = imm_rl.make(name)
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp").with_(temperature=1.0)
    follower = _follower(pair, policy, 5)
    guide = Guide(follower, 5)
    guide.steps = np.full(5, steps)
    recorder = _Recorder(guide, follower)
    rows = _rows(pair, 5, max_steps)
    return rows.collect(action_cdf(_uniform(pair)), n_steps, recorder), recorder


@pytest.mark.parametrize("name", ["cheese", "4x3", "grid(size=5)"])
def test_guide_acts_in_the_first_steps_of_every_episode(name: str) -> None:
    rollout, recorder = _guided(name, 2, 20)

    over = rollout.terminated | rollout.truncated
    assert over.sum() >= 10
    into = np.zeros(5, dtype=int)
    for t in range(20):
        np.testing.assert_array_equal(recorder.elapsed[t], into)
        assert rollout.counted is not None
        np.testing.assert_array_equal(rollout.counted[t], into >= 2)
        into = np.where(over[t], 0, into + 1)


def test_guide_leaves_the_agents_own_steps_to_its_policy() -> None:
    rollout, recorder = _guided("cheese", 2, 20)

    own = np.cumsum(np.full(4, 0.25))[:-1]
    for t in range(20):
        assert rollout.counted is not None
        counted = rollout.counted[t]
        np.testing.assert_allclose(
            recorder.thresholds[t][counted], own[None].repeat(counted.sum(), 0)
        )
        assert not np.allclose(recorder.thresholds[t][~counted], own) or counted.all()


def test_guide_that_has_no_steps_changes_nothing() -> None:
    pair = imm_rl.make("cheese")
    plain = _rows(pair, 5, 6).collect(action_cdf(_uniform(pair)), 20)

    rollout, _ = _guided("cheese", 0, 20)

    assert rollout.counted is None
    for found, expected in zip(rollout[:6], plain[:6], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_guide_keeps_a_row_handed_over_until_its_episode_ends() -> None:
    pair = imm_rl.make("cheese")
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp")
    guide = Guide(_follower(pair, policy, 2), 2)
    rows, cdf = _rows(pair, 2, 8), action_cdf(_uniform(pair))

    guide.steps = np.array([1, 1])
    rows.collect(cdf, 4, guide)
    guide.steps = np.array([8, 8])
    later = rows.collect(cdf, 8, guide)

    assert later.counted is not None
    assert later.counted[:4].all()
    assert not later.counted[4:].any()


def test_follower_keeps_the_beliefs_of_the_rows_own_histories(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against `belief.update`, one row and step at a time, on the observations that were drawn."""
    pair = imm_rl.make("cheese")
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp")
    follower = _follower(pair, policy, 3)
    recorder = _Recorder(Mixture(follower, np.full(3, 0.5), greedy=False), follower)
    seen: list[np.ndarray] = []
    observe = pair.sampler.observe

    def spy(*args: Any) -> np.ndarray:
        seen.append(observe(*args))
        return seen[-1]

    monkeypatch.setattr(pair.sampler, "observe", spy)
    rollout = _rows(pair, 3, 5).collect(action_cdf(_uniform(pair)), 12, recorder)

    expected = np.tile(pair.model.initial, (3, 1))
    over = rollout.terminated | rollout.truncated
    assert over.any()
    for t in range(12):
        np.testing.assert_allclose(recorder.beliefs[t], expected, atol=1e-12)
        assert (expected[np.arange(3), rollout.states[t]] > 0.0).all()
        expected = np.stack(
            [
                pair.model.initial
                if over[t, r]
                else belief.update(
                    expected[[r]], rollout.actions[t, [r]], seen[t][[r]], pair.model
                )[0]
                for r in range(3)
            ]
        )


@pytest.mark.parametrize("name", ["cheese", "grid(size=5)"])
def test_mixture_mixes_probabilities_as_interpolate_does(name: str) -> None:
    pair = imm_rl.make(name)
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp").with_(temperature=0.3)
    table = np.random.default_rng(0).dirichlet(np.ones(pair.model.n_actions), pair.model.n_states)
    follower = _follower(pair, policy, 4)
    recorder = _Recorder(Mixture(follower, np.full(4, 0.25), greedy=False), follower)

    rollout = _rows(pair, 4, 6).collect(action_cdf(table[None]), 10, recorder)

    for t in range(10):
        mixed = losses.interpolate(
            torch.as_tensor(table[rollout.states[t]]),
            torch.as_tensor(policy.probs(recorder.beliefs[t])),
            0.25,
        ).numpy()
        found = np.diff(recorder.thresholds[t], axis=1, prepend=0.0, append=1.0)
        np.testing.assert_allclose(found, mixed, atol=1e-12)


def test_a_mixture_of_the_restricted_policy_alone_earns_what_it_earns() -> None:
    pair = imm_rl.make("4x3")  # has terminal states
    policy = imm_rl.agents.solve(pair.restricted_model, "qmdp").with_(temperature=0.1)
    evaluator = Evaluator(pair, [0], 1, episodes=3000, n_steps=30)
    evaluator.mix_with(policy)

    found = evaluator.play(_uniform(pair), shares=np.ones(1)).returns[0]
    rng = np.random.default_rng(1)
    expected = restricted_returns(pair, policy, episodes=3000, n_steps=30, rng=rng)

    error = np.hypot(found.std(), expected.std()) / np.sqrt(3000)
    assert abs(found.mean() - expected.mean()) < 3.5 * error
    own = evaluator.play(_uniform(pair), shares=np.zeros(1)).returns[0]
    assert abs(own.mean() - expected.mean()) > 7 * error  # so that the agreement says something


def test_play_gives_discounted_returns_of_the_same_episodes() -> None:
    pair = imm_rl.make("4x3")
    probs = _uniform(pair)
    evaluator = Evaluator(pair, [0], 1, episodes=4000, n_steps=25)

    played = evaluator.play(probs)

    exact = exact_returns(pair.model, probs, 25)
    spread = played.returns.std() / np.sqrt(4000)
    assert played.returns.mean() == pytest.approx(exact[0], abs=4 * spread)
    values = np.zeros(pair.model.n_states)  # backward induction with γ
    for _ in range(25):
        after = np.stack(
            [pair.model.transition_of(a) @ values for a in range(pair.model.n_actions)], axis=1
        )
        values = (probs[0] * (pair.model.reward + pair.model.discount * after)).sum(axis=1)
    error = played.discounted.std() / np.sqrt(4000)
    assert played.discounted.mean() == pytest.approx(values @ pair.model.initial, abs=4 * error)
    assert abs(played.discounted.mean() - played.returns.mean()) > 8 * error


def test_likeliest_picks_the_first_of_the_largest() -> None:
    probs = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])

    found = likeliest(np.cumsum(probs, axis=1)[:, :-1])

    uniforms = np.array([0.0, 0.5, 0.999])
    for row, best in zip(found, (1, 0, 2), strict=True):
        assert ((uniforms[:, None] >= row).sum(axis=1) == best).all()

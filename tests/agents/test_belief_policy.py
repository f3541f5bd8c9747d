"""`BeliefPolicy`: the same actions as a filter by hand, the same returns as ours, in SB3's own tools."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import (
    EvalCallback,
    EventCallback,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

import imm_rl
from imm_rl.agents.belief_policy import BeliefPolicy
from imm_rl.agents.evaluation import restricted_returns
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
from imm_rl.agents.solve import solve
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError

METHODS = {"tiger": "pomdp", "cheese": "fib", "grid": "fib"}


def solved(name: str) -> tuple[EnvPair, Any]:
    pair = imm_rl.make(name)
    return pair, solve(pair.restricted_model, METHODS.get(name, "qmdp"))


class Fixed:
    """The same action probabilities at every belief."""

    name = "fixed"

    def __init__(self, n_states: int, probs: list[float]) -> None:
        self.n_states, self.n_actions = n_states, len(probs)
        self._row = np.array(probs)

    def probs(self, context: FloatArray) -> FloatArray:
        return np.broadcast_to(self._row, (*context.shape[:-1], self.n_actions))


def seen_states(n_states: int = 3, max_steps: int = 20) -> EnvPair:
    """States 0 … n − 1 that never change under "stay", go round under "next", and are observed."""
    moves = np.stack([np.eye(n_states), np.roll(np.eye(n_states), 1, axis=1)], axis=1)
    model = TabularPOMDP(
        moves, np.stack([np.eye(n_states)] * 2), np.zeros((n_states, 2)), np.eye(n_states)[0], 0.9
    )
    return EnvPair("seen", model, max_steps=max_steps)


def updated(model: TabularPOMDP, belief: FloatArray, action: int, seen: int) -> FloatArray:
    """The Bayes filter written out, given that the episode goes on."""
    transition, observation = model.transition_of(action), model.observation_of(action)
    dense = [m if isinstance(m, np.ndarray) else m.toarray() for m in (transition, observation)]
    after = (belief @ dense[0]) * dense[1][:, seen] * ~model.terminal
    return np.asarray(after / after.sum())


@pytest.mark.parametrize("name", ["tiger", "cheese", "grid", "light-dark", "rocksample(4,4)"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_those_of_a_filter_by_hand(name: str, deterministic: bool) -> None:
    pair, policy = solved(name)
    model, n = pair.restricted_model, 5
    agent, rng = BeliefPolicy(policy, pair, seed=7), np.random.default_rng(7)
    env = pair.sb3_vector(n, "pomdp")
    env.seed(3)
    seen: Any = env.reset()
    starts, state = np.ones(n, dtype=bool), None
    beliefs, ended = np.zeros((n, model.n_states)), 0
    actions = np.zeros(n, dtype=np.int64)
    for _ in range(2 * pair.max_steps + 5):
        for i in range(n):
            if not starts[i]:
                beliefs[i] = updated(model, beliefs[i], int(actions[i]), int(seen[i]))
            elif pair.observation_beliefs is not None:
                beliefs[i] = pair.observation_beliefs[seen[i]]
            else:
                assert seen[i] == model.n_observations
                beliefs[i] = model.initial
        probs, uniforms = policy.probs(beliefs), rng.random((n, 1))
        if deterministic:
            expected = (probs > probs.max(axis=1, keepdims=True) - 1e-6).argmax(axis=1)
        else:
            expected = (uniforms >= probs.cumsum(axis=1)[:, :-1]).sum(axis=1)
        actions, state = agent.predict(seen, state, starts, deterministic)
        np.testing.assert_array_equal(actions, expected)
        assert actions.dtype == np.int64
        np.testing.assert_allclose(agent.beliefs(state), beliefs, atol=1e-9)
        assert isinstance(state, tuple)
        assert all(isinstance(part, np.ndarray) for part in state)
        seen, _, starts, _ = env.step(actions)
        ended += int(starts.sum())
    assert ended >= 2 * n


@pytest.mark.parametrize("name", ["tiger", "cheese", "grid"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluate_policy_agrees_with_our_evaluation(name: str, deterministic: bool) -> None:
    pair, policy = solved(name)
    agent = BeliefPolicy(policy, pair, deterministic_ties="split")
    env = pair.sb3_vector(40, "pomdp")
    env.seed(1)
    theirs, lengths = evaluate_policy(
        agent, env, 400, deterministic=deterministic, return_episode_rewards=True
    )
    ours = restricted_returns(
        pair, policy, episodes=4000, n_steps=pair.max_steps, rng=np.random.default_rng(0)
    )
    assert len(theirs) == 400  # type: ignore[arg-type]
    assert max(lengths) <= pair.max_steps  # type: ignore[type-var, arg-type]
    error = np.sqrt(np.var(theirs) / 400 + ours.var() / 4000)
    assert abs(np.mean(theirs) - ours.mean()) < 3.5 * error


def test_docstring_example() -> None:
    pair = imm_rl.make("tiger")
    policy = imm_rl.agents.solve(pair.restricted_model)
    mean, _ = evaluate_policy(BeliefPolicy(policy, pair), pair.sb3_vector(8, "pomdp"), 100)
    assert -50.0 < float(np.asarray(mean)) < 100.0  # listening for ever, and 46.5 on average


@pytest.mark.parametrize("episodes", [3, 11])
def test_evaluate_policy_with_episodes_of_unlike_length_and_number(episodes: int) -> None:
    # SB3 stops telling the truth of episode_start for an environment whose episodes it has counted.
    pair, policy = solved("light-dark")
    lengths = evaluate_policy(
        BeliefPolicy(policy, pair),
        pair.sb3_vector(8, "pomdp"),
        episodes,
        return_episode_rewards=True,
    )[1]
    assert len(lengths) == episodes  # type: ignore[arg-type]
    assert len(set(lengths)) > 1  # type: ignore[arg-type]


def test_gymnasium_ids_and_dummy_vec_env() -> None:
    pair, policy = solved("tiger")
    agent = BeliefPolicy(policy, pair)
    env = Monitor(gymnasium.make("imm_rl/Tiger-POMDP-v0"))
    rewards, _ = evaluate_policy(agent, env, 10, return_episode_rewards=True)
    assert len(rewards) == 10  # type: ignore[arg-type]
    copies = DummyVecEnv([lambda: Monitor(pair.pomdp())] * 3)
    mean, _ = evaluate_policy(agent, copies, 6)
    assert float(np.asarray(mean)) > -400.0


def test_one_environment_is_played_without_vectors() -> None:
    pair, policy = solved("light-dark")
    agent, env = BeliefPolicy(policy, pair), pair.pomdp()
    belief = pair.model.initial
    observation, _ = env.reset(seed=0)
    state, done, steps = None, False, 0
    while not done:
        action, state = agent.predict(observation, state, deterministic=True)
        assert action.shape == ()
        assert action == policy.probs(belief).argmax()
        observation, _, terminated, truncated, _ = env.step(action)  # type: ignore[arg-type]
        done, steps = terminated or truncated, steps + 1
        if not done:
            belief = updated(pair.model, belief, int(action), observation)
    assert steps > 1
    # The next episode's first observation says that it is one.
    observation, _ = env.reset()
    _, state = agent.predict(observation, state)
    np.testing.assert_array_equal(agent.beliefs(state), [pair.model.initial])


def test_agent_beats_the_restricted_policy_as_a_threshold_of_eval_callback() -> None:
    pair, policy = solved("tiger")
    yardstick, _ = evaluate_policy(BeliefPolicy(policy, pair), pair.sb3_vector(8, "pomdp"), 100)
    stop = StopTrainingOnRewardThreshold(float(np.asarray(yardstick)))
    callback = EvalCallback(
        pair.sb3_vector(8), stop, n_eval_episodes=8, eval_freq=64, deterministic=False, verbose=0
    )
    model = PPO(
        "MlpPolicy",
        pair.sb3_vector(8),
        learning_rate=1e-2,
        n_steps=64,
        batch_size=256,
        device="cpu",
        seed=0,
    )
    model.learn(10_000, callback=callback)
    assert callback.best_mean_reward >= stop.reward_threshold
    assert model.num_timesteps < 10_000  # it was stopped


class Beside(EventCallback):
    """Evaluates the restricted policy at the evaluations of an EvalCallback."""

    def __init__(self, agent: BeliefPolicy, env: Any) -> None:
        super().__init__()
        self._agent, self._env = agent, env
        self.means: list[float] = []

    def _on_step(self) -> bool:
        self.means.append(float(np.asarray(evaluate_policy(self._agent, self._env, 8)[0])))
        return True


def test_evaluation_within_a_training_leaves_the_training_as_it_is() -> None:
    pair, policy = solved("tiger")
    beside = Beside(BeliefPolicy(policy, pair), pair.sb3_vector(4, "pomdp"))
    callback = EvalCallback(
        pair.sb3_vector(4), callback_after_eval=beside, eval_freq=32, n_eval_episodes=4, verbose=0
    )
    weights = []
    for chosen in (None, callback):
        model = PPO(
            "MlpPolicy", pair.sb3_vector(4), n_steps=32, batch_size=64, device="cpu", seed=0
        )
        model.learn(256, callback=chosen)
        weights.append(model.policy.parameters_to_vector())
    assert len(beside.means) == 2
    np.testing.assert_array_equal(*weights)


def test_video_recorder_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips: list[list[np.ndarray]] = []

    class Clip:  # stands in for moviepy, which only writes the file
        def __init__(self, frames: list[np.ndarray], fps: float) -> None:
            clips.append(list(frames))

        def write_videofile(self, path: str) -> None:
            Path(path).touch()

    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sequence = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    sequence.ImageSequenceClip = Clip  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, sequence.__name__, sequence)

    pair, policy = solved("cheese")
    agent = BeliefPolicy(policy, pair)
    env = VecVideoRecorder(
        pair.sb3_vector(2, "pomdp", "rgb_array"), str(tmp_path), lambda step: step == 0, 12
    )
    evaluate_policy(agent, env, 2, warn=False)
    assert len(clips) == 1
    assert len(clips[0]) == 13
    assert clips[0][0].ndim == 3
    assert any((frame != clips[0][0]).any() for frame in clips[0])
    assert len(list(tmp_path.iterdir())) == 1


def test_draws_come_from_its_own_seed() -> None:
    pair = imm_rl.make("tiger")
    policy = Fixed(2, [0.2, 0.3, 0.5])
    first = np.full(4000, pair.model.n_observations)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    one, other = BeliefPolicy(policy, pair, seed=5), BeliefPolicy(policy, pair, seed=5)
    drawn, _ = one.predict(first)
    np.testing.assert_array_equal(other.predict(first)[0], drawn)
    assert not np.array_equal(one.predict(first)[0], drawn)
    one.set_random_seed(5)
    np.testing.assert_array_equal(one.predict(first)[0], drawn)
    assert not np.array_equal(BeliefPolicy(policy, pair, seed=6).predict(first)[0], drawn)
    shares = np.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.03)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # type: ignore[index]  # noqa: NPY002


def test_ties_are_broken_as_asked() -> None:
    pair = imm_rl.make("tiger")
    first = np.full(300, pair.model.n_observations)
    policy = Fixed(2, [0.2, 0.4, 0.4])
    actions, _ = BeliefPolicy(policy, pair).predict(first, deterministic=True)
    assert set(actions) == {1}
    split = BeliefPolicy(policy, pair, deterministic_ties="split")
    actions, _ = split.predict(first, deterministic=True)
    assert set(actions) == {1, 2}
    assert 100 < (actions == 1).sum() < 200


def test_policies_on_observations_act_on_them() -> None:
    pair = seen_states()
    table = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    agent = BeliefPolicy(MemorylessPolicy(table, np.eye(3)), pair)
    state = (np.array([[1.0, 0, 0]] * 3), np.array([0, 1, 0]))
    actions, state = agent.predict(np.array([0, 1, 3]), state)  # type: ignore[assignment]
    assert actions[:2].tolist() == [0, 1]
    drawn, _ = agent.predict(np.full(400, 3))
    assert 140 < drawn.sum() < 260  # nothing seen yet: uniform
    grid = imm_rl.make("grid")
    policy = solve(grid.restricted_model, "fib")
    memoryless = MemorylessPolicy.from_policy(policy, grid.observation_beliefs)
    seen = np.arange(grid.model.n_observations)
    one, _ = BeliefPolicy(policy, grid).predict(seen, deterministic=True)
    other, _ = BeliefPolicy(memoryless, grid).predict(seen, deterministic=True)
    np.testing.assert_array_equal(one, other)


def test_predict_leaves_the_state_it_was_given() -> None:
    pair, policy = solved("rocksample(4,4)")
    agent = BeliefPolicy(policy, pair)
    nothing = pair.model.n_observations
    _, state = agent.predict(np.full(2, nothing))
    before = [part.copy() for part in state]
    one, _ = agent.predict(np.array([0, nothing]), state, deterministic=True)
    other, after = agent.predict(np.array([0, nothing]), state, [False, True], deterministic=True)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(agent.beliefs(after)[1], pair.model.initial)
    for part, was in zip(state, before, strict=True):
        np.testing.assert_array_equal(part, was)
    everywhere, _ = agent.predict(np.full(2, nothing), state, [True, True], deterministic=True)
    np.testing.assert_array_equal(everywhere, [one[1]] * 2)


def test_saved_policy_acts_as_it_did(tmp_path: Path) -> None:
    pair, policy = solved("cheese")
    agent = BeliefPolicy(policy, pair, deterministic_ties="split", seed=4)
    agent.save(str(tmp_path / "belief.pt"))
    again = BeliefPolicy.load(str(tmp_path / "belief.pt"))
    assert again.deterministic_ties == "split"
    state = other = None
    seen = np.full(6, pair.model.n_observations)
    for _ in range(4):
        actions, state = agent.predict(seen, state)
        same, other = again.predict(seen, other)
        np.testing.assert_array_equal(actions, same)
        seen = np.full(6, pair.model.n_observations)


def test_first_observations_go_through_sb3s_own_path() -> None:
    pair, policy = solved("tiger")
    agent = BeliefPolicy(policy, pair)
    actions = agent._predict(torch.full((3,), pair.model.n_observations), deterministic=True)
    assert actions.tolist() == [0, 0, 0]  # listen


def test_names_are_solved() -> None:
    pair = imm_rl.make("tiger")
    agent = BeliefPolicy("qmdp", pair)
    assert agent.restricted.n_states == 2
    assert agent.observation_space == pair.pomdp().observation_space
    assert agent.action_space == pair.pomdp().action_space


def test_impossible_observations_are_refused() -> None:
    agent = BeliefPolicy(Fixed(3, [1.0, 0.0]), seen_states())
    _, state = agent.predict(np.array([3, 3]))
    agent.predict(np.array([0, 0]), state)
    with pytest.raises(InvalidInputError, match="observation 1 .* is impossible after action 0"):
        agent.predict(np.array([0, 1]), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": 1}, "observation 1 is not an episode's first, which would be 3"),
        ({"observation": [3, 0]}, "Give predict the state that its last call returned"),
        ({"observation": [4]}, r"observation must be in \[0, 4\); received 4"),
        ({"observation": [0.5]}, r"observation must be whole numbers in \[0, 4\)"),
        ({"observation": [[3]]}, r"observation must have shape \(n,\) or \(\)"),
        ({"observation": (3, {})}, "Gymnasium's reset returns"),
        (
            {"observation": [0, 0], "state": (np.eye(3)[:1], np.array([0]))},
            r"state must be the arrays \(beliefs \(2, 3\), actions\) of 2 environments; "
            r"received \[\(1, 3\), \(1,\)\]",
        ),
        ({"observation": [0], "state": np.eye(3)[:1]}, "state must be the arrays"),
        ({"observation": [0], "state": (np.eye(3)[:1],)}, "state must be the arrays"),
        (
            {"observation": [0], "state": (np.eye(3)[:1], np.array([2]))},
            r"the actions in state must be in \[0, 2\)",
        ),
        (
            {
                "observation": [0],
                "state": (np.eye(3)[:1], np.array([0])),
                "episode_start": [True, False],
            },
            r"episode_start must have shape \(1,\)",
        ),
    ],
)
def test_predict_refuses(arguments: dict[str, Any], message: str) -> None:
    agent = BeliefPolicy(Fixed(3, [1.0, 0.0]), seen_states())
    with pytest.raises(InvalidInputError, match=message):
        agent.predict(**arguments)


def test_sparse_states_are_checked_too() -> None:
    pair, policy = solved("rocksample(4,4)")
    agent = BeliefPolicy(policy, pair)
    _, state = agent.predict(np.full(3, pair.model.n_observations))
    for wrong in (state[:2], state[3:] * 4, state):
        with pytest.raises(InvalidInputError, match=r"data, indices, indptr, actions"):
            agent.predict(np.zeros(2, dtype=np.int64), wrong)


def test_constructor_refuses() -> None:
    pair = seen_states()
    with pytest.raises(InvalidInputError, match="is for 2 states and 2 actions; seen has 3 states"):
        BeliefPolicy(Fixed(2, [1.0, 0.0]), pair)
    with pytest.raises(InvalidInputError, match="unknown deterministic_ties 'last'"):
        BeliefPolicy(Fixed(3, [1.0, 0.0]), pair, deterministic_ties="last")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="seed must be a whole number ≥ 0"):
        BeliefPolicy(Fixed(3, [1.0, 0.0]), pair, seed=-1)
    with pytest.raises(InvalidInputError, match="pair must be an EnvPair"):
        BeliefPolicy(Fixed(3, [1.0, 0.0]), pair.model)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="policy must be a restricted policy or the name"):
        BeliefPolicy("none", pair)
    with pytest.raises(InvalidInputError, match="sum to 1 in every row"):
        BeliefPolicy(Fixed(3, [0.5, 0.0]), pair).predict(3)

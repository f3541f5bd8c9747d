from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import imm_rl
from imm_rl.agents.restricted.memoryless import MemorylessPolicy
from imm_rl.agents.restricted.view_policy import FunctionPolicy
from imm_rl.agents.solve import solve
from imm_rl.agents.solvers.mdp import policy_values
from imm_rl.agents.watching import CUT, TERMINATED, Moment, TabularSight, tabular_episodes
from imm_rl.envs.belief_filter import BeliefFilter


def watched(pair: Any, agent: Any, restricted: Any = None, **how: Any) -> list[Moment]:
    return list(tabular_episodes(pair, agent, restricted, **{"seed": 0, **how}))


def sight_of(moment: Moment) -> TabularSight:
    assert isinstance(moment.sight, TabularSight)
    return moment.sight


@pytest.mark.parametrize("name", ["tiger", "4x3", "hallway"])
def test_episode_shows_the_beliefs_of_the_filter_and_the_policy_at_them(name: str) -> None:
    pair = imm_rl.make(name)
    policy = solve(pair.restricted_model, "qmdp")
    table = np.full((pair.model.n_states, pair.model.n_actions), 1.0 / pair.model.n_actions)
    bayes = BeliefFilter(pair.restricted_model)
    belief: Any = bayes.start(1)

    moments = watched(pair, table, policy, steps=20)
    assert [m.step for m in moments] == list(range(21))
    for before, after in itertools.pairwise(moments):
        np.testing.assert_array_equal(sight_of(before).belief, belief[0])
        np.testing.assert_array_equal(before.restricted, policy.probs(belief)[0])
        assert after.last_action == before.action
        belief = bayes.update(
            belief, np.array([before.action]), np.array([sight_of(after).observation])
        )
    assert moments[-1].ended == CUT
    assert moments[-1].total == pytest.approx(sum(m.reward for m in moments))


def test_episode_is_that_of_the_environment_with_the_same_seed_and_actions() -> None:
    pair = imm_rl.make("4x3")
    moments = watched(pair, np.full((11, 4), 0.25), steps=15)
    from imm_rl.agents.streams import generator

    env = pair.mdp()
    state, _ = env.reset(seed=int(generator(0, "evaluation").integers(2**31)))
    for before, after in itertools.pairwise(moments):
        assert sight_of(before).state == state
        state, reward, *_ = env.step(before.action)
        assert after.reward == reward


def test_episodes_do_not_depend_on_how_many_there_are_nor_on_who_stands_beside() -> None:
    pair = imm_rl.make("tiger")
    half = np.full((2, 3), 1 / 3)
    two = watched(pair, half, episodes=2, steps=8)
    beside = watched(pair, half, solve(pair.model, "qmdp"), episodes=3, steps=8)

    for first, second in zip(two, beside, strict=False):
        assert (first.action, first.reward, sight_of(first).state) == (
            second.action,
            second.reward,
            sight_of(second).state,
        )


def test_belief_of_a_pair_that_observes_at_reset_starts_at_its_observation() -> None:
    pair = imm_rl.make("grid")
    assert pair.observation_beliefs is not None
    table = np.full((11, 4), 0.25)
    memoryless = MemorylessPolicy(table, pair.observation_beliefs)

    for moment in watched(pair, memoryless, steps=5):
        sight = sight_of(moment)
        assert sight.observation == sight.state // 11
        np.testing.assert_allclose(sight.belief, pair.observation_beliefs[sight.observation])


def test_episode_that_ends_in_a_terminal_state_has_no_belief_left() -> None:
    pair = imm_rl.make("tmaze")
    east_then_north = np.zeros((pair.model.n_states, 4))
    at_junction = ["junction" in name for name in pair.model.state_names]
    east_then_north[:, 2] = ~np.array(at_junction)
    east_then_north[at_junction, 0] = 1.0

    last = watched(pair, east_then_north)[-1]
    assert last.ended == TERMINATED
    assert (sight_of(last).belief, last.agent, last.restricted, last.action) == (None,) * 4


def test_agent_on_the_restricted_view_is_shown_what_that_view_shows() -> None:
    pair = imm_rl.make("tiger")
    seen: list[int] = []

    def opens(views: Any) -> Any:
        seen.append(int(views[0]))
        return np.zeros(len(views), dtype=int)

    env = pair.pomdp()
    policy = FunctionPolicy(opens, env.observation_space, env.action_space)
    moments = watched(pair, policy, steps=4)

    shown = [2 if sight_of(m).observation is None else sight_of(m).observation for m in moments]
    assert seen == shown[:-1]
    assert seen[0] == 2  # nothing yet


def test_likeliest_action_is_taken_if_asked_for() -> None:
    pair = imm_rl.make("tiger")
    table = np.full((2, 3), [0.5, 0.25, 0.25])

    assert {m.action for m in watched(pair, table, deterministic=True, steps=9)[:-1]} == {0}
    assert len({m.action for m in watched(pair, table, steps=9)[:-1]}) > 1


@pytest.mark.parametrize("name", ["4x3", "tmaze", "tag"])
def test_policy_values_of_probabilities_solve_the_bellman_equation(name: str) -> None:
    model = imm_rl.make(name).model
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(model.n_actions), size=model.n_states)
    values = policy_values(model, table)

    after = np.stack([model.transition_of(a) @ values for a in range(model.n_actions)], axis=1)
    again = (table * (model.reward + model.discount * after)).sum(axis=1)
    np.testing.assert_allclose(values, again * ~model.terminal, atol=1e-8)
    sure = np.eye(model.n_actions)[table.argmax(axis=1)]
    np.testing.assert_allclose(
        policy_values(model, sure), policy_values(model, table.argmax(axis=1)), atol=1e-8
    )

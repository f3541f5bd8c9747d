"""`TabularEnv`: one copy, both views; ends, streams, and that nothing hidden comes out."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from imm_rl.envs import EnvPair, make
from imm_rl.envs.model import TabularPOMDP
from imm_rl.errors import InvalidInputError


def play(env: Any, seed: int, actions: list[int]) -> list[tuple[Any, ...]]:
    """(state, output, reward, terminated, truncated, info) at reset and after each action."""
    first, info = env.reset(seed=seed)
    rows: list[tuple[Any, ...]] = [(env.state, first, None, False, False, info)]
    for action in actions:
        output, reward, terminated, truncated, info = env.step(action)
        rows.append((env.state, output, reward, terminated, truncated, info))
    return rows


def test_views_of_a_known_course_show_state_and_observation(corridor: TabularPOMDP) -> None:
    pair = EnvPair("corridor", corridor)
    mdp, pomdp = play(pair.mdp(), 0, [1, 0, 0]), play(pair.pomdp(), 0, [1, 0, 0])
    assert [row[1] for row in mdp] == [0, 0, 1, 2]
    assert [row[1] for row in pomdp] == [2, 0, 0, 1]  # 2: nothing observed yet
    assert [row[2] for row in mdp] == [row[2] for row in pomdp] == [None, -1.0, 0.0, 10.0]
    assert [row[3] for row in pomdp] == [False, False, False, True]
    assert not any(row[4] for row in mdp + pomdp)


def test_end_in_a_terminal_state_is_termination_even_on_the_last_step(
    corridor: TabularPOMDP,
) -> None:
    env = EnvPair("corridor", corridor, max_steps=2).mdp()
    assert play(env, 0, [0, 0])[-1][3:5] == (True, False)


def test_cut_is_truncation_and_not_termination(corridor: TabularPOMDP) -> None:
    env = EnvPair("corridor", corridor, max_steps=3).mdp()
    rows = play(env, 0, [1, 1, 1])
    assert [row[4] for row in rows] == [False, False, False, True]
    assert not any(row[3] for row in rows)
    env.reset()
    assert env.step(1)[3] is False  # the count begins anew


def test_terminal_state_is_absorbing_and_pays_nothing(corridor: TabularPOMDP) -> None:
    rows = play(EnvPair("corridor", corridor).mdp(), 0, [0, 0, 0, 1])
    assert [row[0] for row in rows[-2:]] == [2, 2]
    assert [row[2] for row in rows[-2:]] == [0.0, 0.0]
    assert all(row[3] for row in rows[-2:])


def test_reset_goes_on_with_its_streams_and_a_seed_begins_them_anew() -> None:
    env = make("grid").mdp()
    first = [env.reset(seed=5)[0]] + [env.reset()[0] for _ in range(20)]
    again = [env.reset(seed=5)[0]] + [env.reset()[0] for _ in range(20)]
    other = [env.reset(seed=6)[0]] + [env.reset()[0] for _ in range(20)]
    assert first == again
    assert first != other
    assert len(set(first)) > 10


def test_observation_stream_is_not_the_transition_stream() -> None:
    """In tiger, the side heard at a step must not follow from the number that moved the tiger."""
    env = make("tiger", accuracy=0.5).pomdp()  # what is heard is pure chance
    env.reset(seed=0)
    heard, moved = [], []
    for _ in range(400):
        heard.append(env.step(0)[0])  # listening moves nothing but draws a number all the same
        env.step(1)  # opening draws the tiger's new side
        moved.append(env.state)
        if env._steps >= 50:
            env.reset()
    assert abs(np.corrcoef(heard, moved)[0, 1]) < 0.2  # 4 standard errors


def test_replaced_generator_drives_both_streams() -> None:
    env = make("tiger").pomdp()
    courses = []
    for _ in range(2):
        env.np_random = np.random.default_rng(7)
        env.reset()
        courses.append([env.step(action)[:2] for action in [0, 1, 0, 2] * 5])
    assert courses[0] == courses[1]


def test_restricted_outputs_are_the_same_whatever_is_hidden(blind: TabularPOMDP) -> None:
    """Two states that look and pay alike: every byte that comes out must be the same."""
    pair = EnvPair("blind", blind)
    outputs: dict[int, set[bytes]] = {0: set(), 1: set()}
    for seed in range(12):
        course = []
        ansi, rgb = pair.pomdp("ansi"), pair.pomdp("rgb_array")
        for env in (ansi, rgb):
            course.append(env.reset(seed=seed))
            for action in (0, 1):
                course.append((*env.step(action), env.render()))
        outputs[ansi.state].add(pickle.dumps(course))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 1


def test_full_view_tells_what_the_restricted_one_hides(blind: TabularPOMDP) -> None:
    env = EnvPair("blind", blind).mdp("ansi")
    seen = set()
    for seed in range(12):
        output, _ = env.reset(seed=seed)
        seen.add((output, env.state, env.render()))
    assert len(seen) == 2
    assert all(output == state for output, state, _ in seen)


def test_env_survives_pickling_mid_episode() -> None:
    env = make("tiger").pomdp()
    env.reset(seed=3)
    env.step(0)
    copied = pickle.loads(pickle.dumps(env))
    for action in [0, 1, 0, 2, 0]:
        assert copied.step(action) == env.step(action)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (3, r"action must be in \[0, 3\); received 3"),
        (-1, r"action must be in \[0, 3\); received -1"),
        (1.0, r"action must be a whole number in \[0, 3\); received 1.0"),
        ("listen", r"action must be a whole number"),
        (None, r"action must be a whole number"),
    ],
)
def test_step_refuses_what_is_no_action(action: Any, message: str) -> None:
    env = make("tiger").mdp()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match=message):
        env.step(action)


@pytest.mark.parametrize("action", [np.int64(2), np.array(2), np.uint8(2)])
def test_step_takes_numpy_integers(action: Any) -> None:
    env = make("tiger").mdp()
    env.reset(seed=0)
    assert env.step(action)[1] in (10.0, -100.0)


def test_use_before_reset_says_so() -> None:
    env = make("tiger").mdp("ansi")
    for use in (lambda: env.step(0), env.render, lambda: env.state):
        with pytest.raises(InvalidInputError, match=r"call reset\(\) first"):
            use()


def test_reset_refuses_options_since_there_are_none() -> None:
    env = make("tiger").mdp()
    with pytest.raises(InvalidInputError, match=r"options of reset must be empty.*'state'"):
        env.reset(options={"state": 1})


def test_render_without_a_mode_says_so() -> None:
    env = make("tiger").mdp()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="render_mode must be 'ansi' or 'rgb_array'"):
        env.render()

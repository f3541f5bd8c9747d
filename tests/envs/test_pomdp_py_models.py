from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imm_rl.agents.solve import solve
from imm_rl.envs import belief as beliefs
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pomdp_py_models import from_pomdp_py, to_pomdp_py
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError

pomdp_py = pytest.importorskip("pomdp_py", reason="pomdp-py has no wheel here")


def row(model: TabularPOMDP, state: str, action: str) -> dict[str, float]:
    """A row of T by names."""
    matrix = model.transition_of(model.action_names.index(action))
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    values = dense[model.state_names.index(state)]
    return {model.state_names[i]: round(float(values[i]), 9) for i in np.flatnonzero(values)}


def sights(model: TabularPOMDP, state: str, action: str) -> dict[str, float]:
    """A row of O by names."""
    matrix = model.observation_of(model.action_names.index(action))
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    values = dense[model.state_names.index(state)]
    return {model.observation_names[i]: round(float(values[i]), 6) for i in np.flatnonzero(values)}


# The problems of pomdp_py


def test_tiger_of_pomdp_py_has_the_numbers_of_ours() -> None:
    theirs, ours = make("pomdp_py:tiger").model, make("tiger").model

    assert theirs.state_names == ours.state_names
    assert theirs.action_names == ours.action_names
    np.testing.assert_allclose(theirs.transition, ours.transition, atol=1e-12)
    np.testing.assert_allclose(theirs.observation, ours.observation, atol=1e-12)
    np.testing.assert_array_equal(theirs.reward, ours.reward)
    np.testing.assert_array_equal(theirs.initial, ours.initial)
    assert theirs.discount == 0.95


def test_load_unload_moves_as_its_code_does_and_not_as_its_probabilities_say() -> None:
    model = make("pomdp_py:load_unload").model

    # 9 inner cells with and without a load, and the two ends.
    assert (model.n_states, model.n_actions, model.n_observations) == (20, 2, 3)
    assert row(model, "state_3_True", "move-left") == {"state_2_True": 1.0}
    assert row(model, "state_1_True", "move-left") == {"state_0_False": 1.0}
    assert row(model, "state_9_False", "move-right") == {"state_10_True": 1.0}
    assert sights(model, "state_3_True", "move-left") == {"middle": 1.0}
    assert sights(model, "state_0_False", "move-left") == {"unload": 1.0}
    paid = np.full((20, 2), -1.0)
    paid[model.state_names.index("state_1_True"), model.action_names.index("move-left")] = 100.0
    np.testing.assert_array_equal(model.reward, paid)
    assert model.initial[model.state_names.index("state_0_False")] == pytest.approx(1 / 11)
    assert model.initial[model.state_names.index("state_4_True")] == pytest.approx(1 / 22)


def test_rocksample_follows_its_definition() -> None:
    model = make("pomdp_py:rocksample(n=2, k=2, rocks=[(0, 1), (1, 1)], start=(0, 0))").model
    start = "State_0_0_good_bad_False"

    # 4 cells and 4 kinds of rocks, and one state for having left.
    assert (model.n_states, model.n_actions) == (17, 7)
    assert model.observation_names == ("None", "bad", "good")
    assert model.state_names[-1] == "terminal"
    assert model.terminal.tolist() == [False] * 16 + [True]
    assert row(model, start, "move-SOUTH") == {"State_0_1_good_bad_False": 1.0}
    assert row(model, start, "move-WEST") == {start: 1.0}
    assert row(model, "State_1_0_good_bad_False", "move-EAST") == {"terminal": 1.0}
    sampled = "State_0_1_good_bad_False"
    assert row(model, sampled, "sample") == {"State_0_1_bad_bad_False": 1.0}
    # One step off the first rock: (1 + 2^(-1/20)) / 2.
    assert sights(model, start, "check-0") == {"good": 0.982968, "bad": 0.017032}
    assert sights(model, start, "sample") == {"None": 1.0}
    reward = {
        (s, a): model.reward[i, j]
        for i, s in enumerate(model.state_names)
        for j, a in enumerate(model.action_names)
    }
    assert reward[sampled, "sample"] == 10.0
    assert reward["State_1_1_good_bad_False", "sample"] == -10.0
    assert reward[start, "sample"] == 0.0
    assert reward["State_1_0_good_bad_False", "move-EAST"] == 10.0
    np.testing.assert_allclose(model.initial[model.initial > 0], 0.25)


def test_rocksample_on_the_published_map_has_its_qmdp_bound() -> None:
    # Rocks and start of RockSample[4,4]; 22.410 is the archive file's.
    rocks = [(3, 1), (2, 1), (1, 3), (1, 0)]
    model = make("pomdp_py:rocksample", n=4, k=4, rocks=rocks, start=(0, 2)).model

    assert model.n_states == 257
    assert model.is_sparse
    assert solve(model, "qmdp").upper_bound == pytest.approx(22.410, abs=5e-4)


def test_tag_lets_the_target_run_to_every_cell_farther_away() -> None:
    model = make("pomdp_py:tag").model

    # 29 cells for each, and one state for having tagged.
    assert (model.n_states, model.n_actions, model.n_observations) == (842, 5, 30)
    # Cells (x, y) of robot and target: the target at (5, 3) may go right, up or down.
    after = row(model, "State_4_3_5_3_False", "move-xy-East2D")
    assert after == pytest.approx(
        {
            "State_5_3_5_3_False": 0.2,
            "State_5_3_6_3_False": 0.8 / 3,
            "State_5_3_5_2_False": 0.8 / 3,
            "State_5_3_5_4_False": 0.8 / 3,
        }
    )
    assert row(model, "State_4_3_4_3_False", "tag") == {"terminal": 1.0}
    assert row(model, "State_4_3_5_3_False", "tag") == {"State_4_3_5_3_False": 1.0}
    # Cornered at the left end of the lower row, with the robot beside it: it can only stay or go up.
    assert row(model, "State_1_4_0_4_False", "move-xy-East2D") == pytest.approx(
        {"State_2_4_0_4_False": 0.2, "State_2_4_0_3_False": 0.8}
    )
    tag = model.action_names.index("tag")
    assert model.reward[model.state_names.index("State_4_3_4_3_False"), tag] == 10.0
    assert model.reward[model.state_names.index("State_4_3_5_3_False"), tag] == -10.0
    assert set(model.reward[:-1, :tag].ravel()) == {-1.0}
    assert sights(model, "State_4_3_4_3_False", "tag") == {"Observation_4_3": 1.0}
    assert sights(model, "State_4_3_5_3_False", "tag") == {"Observation_None": 1.0}


def test_the_same_tables_come_out_whatever_the_hash_seed() -> None:
    # Python's sets, from which pomdp_py lists its actions, change their order with the hash seed.
    code = (
        "import imm_rl; print(*(imm_rl.make(s).model.fingerprint() for s in "
        "('pomdp_py:tiger', 'pomdp_py:rocksample(n=3, k=2)')))"
    )
    outs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert outs[0] == outs[1]
    assert len(outs[0].split()) == 2


def test_the_users_random_numbers_go_on_as_if_nothing_had_been_drawn() -> None:
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002  the global generator is what pomdp_py draws from
    wanted = (random.random(), np.random.rand())  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002

    make("pomdp_py:rocksample(n=2, k=1)")

    assert (random.random(), np.random.rand()) == wanted  # noqa: NPY002


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pomdp_py:tigre", r"unknown problem of pomdp_py 'tigre'. Did you mean 'tiger'\? Known: "),
        ("pomdp_py:tiger(nois=0.1)", r"Did you mean 'noise'\?"),
        ("pomdp_py:tiger(noise=2)", "noise must be a probability"),
        ("pomdp_py:rocksample(n=2, k=4)", "k must be at most 3"),
        ("pomdp_py:rocksample(n=2, k=2, rocks=[(0, 1)])", "rocks must be 2 different cells"),
        ("pomdp_py:rocksample(n=2, k=1, start=(2, 0))", r"start must be"),
        ("pomdp_py:tag(start=(0, 0))", "start must be a free cell"),
        ("pomdp_py:no_such_module_x:f", "cannot import 'no_such_module_x'"),
    ],
)
def test_make_refuses_problems_and_options_that_there_are_not(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(spec)


def test_make_says_what_to_install_where_pomdp_py_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pomdp_py", None)

    with pytest.raises(InvalidInputError, match=r"pip install 'imm-rl\[pomdp-py\]'.*Linux x86-64"):
        make("pomdp_py:tiger")


def test_a_problem_of_ones_own_is_made_by_its_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_tiger_x.py").write_text(
        "from pomdp_py.problems.tiger.tiger_problem import TigerProblem\n"
        "def build(noise):\n"
        "    return TigerProblem.create(obs_noise=noise)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    pair = make("pomdp_py:own_tiger_x:build(noise=0.25, discount=0.9, max_steps=7)")

    assert (pair.name, pair.max_steps, pair.model.discount) == ("build", 7, 0.9)
    assert pair.model.observation_of(0)[0, 0] == 0.75
    assert make(pair.spec).model.fingerprint() == pair.model.fingerprint()
    assert make("pomdp_py:own_tiger_x:build(0.25, 0.9, 7)").spec == pair.spec
    assert make("pomdp_py:own_tiger_x:build(0.25)").model.discount == 0.95
    with pytest.raises(InvalidInputError, match=r"option 'noisy' of .* Did you mean 'noise'\?"):
        make("pomdp_py:own_tiger_x:build(noisy=0.25)")
    with pytest.raises(InvalidInputError, match="missing a required .*argument: 'noise'"):
        make("pomdp_py:own_tiger_x:build")


# Any problem


class Walk(pomdp_py.TransitionModel):  # type: ignore[misc]
    """0 … end, then it stays; deterministic, and so without probabilities."""

    def __init__(self, end: float) -> None:
        self.end = end

    def sample(self, state: Any, action: Any) -> Any:
        return pomdp_py.SimpleState(min(state.data + 1, self.end))


class Look(pomdp_py.ObservationModel):  # type: ignore[misc]
    def sample(self, state: Any, action: Any) -> Any:
        return pomdp_py.SimpleObservation(state.data % 2)


class Pay(pomdp_py.RewardModel):  # type: ignore[misc]
    def sample(self, state: Any, action: Any, after: Any) -> float:
        return float(after.data != state.data)


class Flip(pomdp_py.TransitionModel):  # type: ignore[misc]
    """0 or 1 at random; says `mass` for the two together, and nothing where it is None."""

    def __init__(self, mass: float | None) -> None:
        self.mass = mass

    def sample(self, state: Any, action: Any) -> Any:
        return pomdp_py.SimpleState(random.randrange(2))

    def probability(self, after: Any, state: Any, action: Any) -> float:
        if self.mass is None:
            raise NotImplementedError
        return self.mass / 2


class Gamble(pomdp_py.RewardModel):  # type: ignore[misc]
    """1 with probability 1/4, else −1."""

    def __init__(self, tells: bool) -> None:
        self.tells = tells

    def sample(self, state: Any, action: Any, after: Any) -> float:
        return 1.0 if random.random() < 0.25 else -1.0

    def probability(self, reward: float, state: Any, action: Any, after: Any) -> float:
        if not self.tells:
            raise NotImplementedError
        return {1.0: 0.25, -1.0: 0.75}[reward]


def agent_of(transition: Any, reward: Any = None, observation: Any = None) -> Any:
    actions = [pomdp_py.SimpleAction("b"), pomdp_py.SimpleAction("a")]
    return pomdp_py.Agent(
        pomdp_py.Histogram({pomdp_py.SimpleState(0): 1.0}),
        pomdp_py.UniformPolicyModel(actions),
        transition,
        observation or Look(),
        reward or Pay(),
    )


def test_deterministic_models_without_probabilities_are_tabulated() -> None:
    model = from_pomdp_py(agent_of(Walk(11)), discount=0.9)

    # Numbers in texts are sorted by size, and names are fit for a .POMDP file.
    assert model.state_names == tuple(f"state_{i}" for i in range(12))
    assert model.action_names == ("a", "b")
    assert model.observation_names == ("observation_0", "observation_1")
    np.testing.assert_array_equal(model.transition[:, 0], np.eye(12)[[*range(1, 12), 11]])
    np.testing.assert_array_equal(model.reward[:, 0], [1.0] * 11 + [0.0])
    assert model.terminal.tolist() == [False] * 11 + [True]  # nothing leaves it, nothing is paid
    assert model.observation[0, 3].tolist() == [0.0, 1.0]


def test_states_where_episodes_end_become_one_and_pay_nothing() -> None:
    model = from_pomdp_py(agent_of(Walk(99)), discount=0.9, terminal=lambda s: s.data >= 3)

    assert model.state_names == ("state_0", "state_1", "state_2", "terminal")
    assert model.terminal.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(model.reward[:, 0], [1.0, 1.0, 1.0, 0.0])
    assert model.observation[0, 3].tolist() == [0.5, 0.5]


def test_random_models_take_their_probabilities() -> None:
    model = from_pomdp_py(agent_of(Flip(1.0), Gamble(True)), discount=0.9)

    np.testing.assert_array_equal(model.transition, np.full((2, 2, 2), 0.5))
    np.testing.assert_allclose(model.reward, -0.5)
    assert model.outcome_reward is None


def test_a_reward_for_the_next_state_is_kept_as_such() -> None:
    model = from_pomdp_py(agent_of(Flip(1.0), Pay()), discount=0.9)

    assert model.outcome_reward is not None
    np.testing.assert_array_equal(model.outcome_reward[:, 0], [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(model.reward, 0.5)


def test_functions_take_the_place_of_models_that_are_wrong() -> None:
    one = pomdp_py.SimpleState(1)
    model = from_pomdp_py(
        agent_of(Flip(None), Gamble(False)),
        discount=0.9,
        transition=lambda s, a: {one: 0.25, s: 0.75} if s != one else {one: 1.0},
        observation=lambda s, a: {"x": 0.125, "y": 0.875},
        reward=lambda s, a, after: 7.0,
    )

    np.testing.assert_array_equal(model.transition[0, 0], [0.75, 0.25])
    np.testing.assert_array_equal(model.observation[1, 1], [0.125, 0.875])
    np.testing.assert_array_equal(model.reward, 7.0)


def test_given_orders_are_kept_and_must_be_whole() -> None:
    states = [pomdp_py.SimpleState(i) for i in (2, 0, 1)]
    sees = [pomdp_py.SimpleObservation(i) for i in (1, 0)]
    actions = [pomdp_py.SimpleAction(n) for n in "ba"]

    model = from_pomdp_py(
        agent_of(Walk(2)), discount=0.9, states=states, observations=sees, actions=actions
    )

    assert model.state_names == ("state_2", "state_0", "state_1")
    assert model.observation_names == ("observation_1", "observation_0")
    assert model.action_names == ("b", "a")
    with pytest.raises(InvalidInputError, match=r"states must hold '1', which is met"):
        from_pomdp_py(agent_of(Walk(2)), discount=0.9, states=states[:2])


@pytest.mark.parametrize(
    ("transition", "reward", "message"),
    [
        (Walk(float("inf")), None, "more than 50 reachable states"),
        (Flip(None), None, r"transition from state '0' under action 'a' .* gives no probabilities"),
        (Flip(0.9), None, "the probabilities of what sample gives sum to 0.9"),
        (Flip(1.1), None, "sum to 1.1"),
        (Flip(1.0), Gamble(False), r"the reward of state '0' .* gives no probabilities"),
        (None, None, "problem must have a transition_model"),
    ],
)
def test_problems_that_cannot_be_tabulated_are_refused(
    transition: Any, reward: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        from_pomdp_py(agent_of(transition, reward), discount=0.9, most_states=50)


def test_tolerance_lets_sums_be_off() -> None:
    model = from_pomdp_py(agent_of(Flip(0.9)), discount=0.9, tolerance=0.1)

    np.testing.assert_array_equal(model.transition, np.full((2, 2, 2), 0.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"discount": 2.0}, "discount must be"),
        ({"discount": 0.9, "most_states": 0}, "most_states must be"),
        ({"discount": 0.9, "tolerance": -1}, "tolerance must be"),
        ({"discount": 0.9, "transition": lambda s, a: {s: 0.5}}, "sum to 1"),
        ({"discount": 0.9, "observation": lambda s, a: None}, "sum to 1"),
    ],
)
def test_wrong_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        from_pomdp_py(agent_of(Walk(2)), **given)


# The other way


def test_a_model_comes_back_from_pomdp_py_as_it_went(corridor: TabularPOMDP) -> None:
    agent, _ = to_pomdp_py(corridor)

    back = from_pomdp_py(
        agent,
        discount=0.9,
        states=agent.all_states,
        actions=agent.all_actions,
        observations=agent.all_observations,
    )

    assert back.state_names == corridor.state_names
    assert back.action_names == corridor.action_names
    np.testing.assert_allclose(back.transition, corridor.transition)
    np.testing.assert_allclose(back.observation, corridor.observation)
    np.testing.assert_array_equal(back.reward, corridor.reward)
    np.testing.assert_array_equal(back.terminal, corridor.terminal)


def value_of(model: TabularPOMDP, horizon: int) -> float:
    """pomdp_py's exact value of the start belief."""
    agent, _ = to_pomdp_py(model)
    spaces = (list(agent.all_states), list(agent.all_actions), list(agent.all_observations))
    models = (agent.transition_model, agent.observation_model, agent.reward_model)
    return float(pomdp_py.value(agent.belief, *spaces, *models, model.discount, horizon=horizon))


@pytest.mark.parametrize(("horizon", "exact"), [(1, -1.0), (2, -1.95), (3, 2.3098), (4, 1.7955)])
def test_pomdp_py_values_tiger_as_it_is_known(horizon: int, exact: float) -> None:
    assert value_of(make("tiger").model, horizon) == pytest.approx(exact, abs=5e-5)


def test_pomdp_py_values_a_model_with_an_end(corridor: TabularPOMDP) -> None:
    # Two steps to the end, which pays 10 on arrival: γ · 10, however long there is.
    assert value_of(corridor, 1) == 0.0
    assert value_of(corridor, 2) == pytest.approx(9.0)
    assert value_of(corridor, 4) == pytest.approx(9.0)


def test_beliefs_of_pomdp_py_are_updated_as_ours() -> None:
    model = make("crying-baby").model
    agent, _ = to_pomdp_py(model)
    action, seen = agent.all_actions[1], agent.all_observations[0]

    theirs = pomdp_py.update_histogram_belief(
        agent.belief, action, seen, agent.observation_model, agent.transition_model
    )

    ours = beliefs.update(model.initial, 1, 0, model)
    np.testing.assert_allclose([theirs[s] for s in agent.all_states], ours, atol=1e-12)


def test_the_environment_steps_in_the_model(corridor: TabularPOMDP) -> None:
    agent, env = to_pomdp_py(corridor)
    go = agent.all_actions[0]

    rewards = [env.state_transition(go, execute=True) for _ in range(3)]

    assert rewards == [0.0, 10.0, 0.0]
    assert (env.state.index, env.state.name) == (2, "end")
    assert env.provide_observation(agent.observation_model, go).name == "exit"


def test_rewards_of_outcomes_reach_pomdp_py() -> None:
    paid = np.zeros((2, 1, 2, 2))
    paid[0, 0, 1] = [4.0, 8.0]
    model = TabularPOMDP(
        np.full((2, 1, 2), 0.5), [[[1.0, 0.0], [0.25, 0.75]]], paid, [1.0, 0.0], 0.9
    )
    agent, _ = to_pomdp_py(model)
    zero, one = agent.all_states
    (act,) = agent.all_actions

    assert agent.reward_model.sample(zero, act, one) == 7.0  # 1/4 · 4 + 3/4 · 8
    assert agent.reward_model.sample(zero, act, zero) == 0.0
    assert agent.reward_model.sample(zero, act, None) == 3.5
    assert agent.reward_model.probability(7.0, zero, act, one) == 1.0


def test_draws_have_the_probabilities_of_the_model() -> None:
    model = make("4x3").model
    agent, _ = to_pomdp_py(model)
    state, action = agent.all_states[0], agent.all_actions[0]
    random.seed(0)

    drawn = [agent.transition_model.sample(state, action).index for _ in range(4000)]

    shares = np.bincount(drawn, minlength=model.n_states) / 4000
    np.testing.assert_allclose(shares, model.transition[0, 0], atol=0.03)
    assert agent.transition_model.argmax(state, action).index == model.transition[0, 0].argmax()


def test_particles_have_the_shares_of_the_belief() -> None:
    agent, _ = to_pomdp_py(make("4x3").model, belief="particles", particles=100)

    counts = np.bincount([s.index for s in agent.belief.particles], minlength=11)

    assert counts.sum() == 100
    np.testing.assert_allclose(counts, make("4x3").model.initial * 100, atol=1.0)


@pytest.mark.parametrize("sparse", [False, True])
def test_planners_of_pomdp_py_run_on_our_models(corridor: TabularPOMDP, sparse: bool) -> None:
    if sparse:
        import scipy.sparse as sp

        stacks = [
            [sp.csr_array(m) for m in (f(0), f(1))]
            for f in (corridor.transition_of, corridor.observation_of)
        ]
        corridor = TabularPOMDP(
            *stacks, corridor.reward, corridor.initial, 0.9, terminal=corridor.terminal
        )
    agent, _ = to_pomdp_py(corridor)
    planner = pomdp_py.POUCT(
        max_depth=4,
        num_sims=200,
        discount_factor=0.9,
        exploration_const=10.0,
        rollout_policy=agent.policy_model,
    )
    random.seed(0)

    assert planner.plan(agent).index == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"belief": "histograms"}, r"unknown belief 'histograms'. Did you mean 'histogram'\?"),
        ({"particles": 0}, "particles must be"),
        ({"initial_state": 3}, "initial_state must be"),
    ],
)
def test_to_pomdp_py_refuses_wrong_arguments(
    corridor: TabularPOMDP, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        to_pomdp_py(corridor, **given)


def test_to_pomdp_py_refuses_what_is_no_model() -> None:
    with pytest.raises(InvalidInputError, match="model must be a TabularPOMDP"):
        to_pomdp_py(make("tiger"))  # type: ignore[arg-type]

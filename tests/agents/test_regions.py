"""Regions: which states beliefs keep to, and that they never leave them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import imm_rl
from imm_rl.agents.solvers import regions as regions_module
from imm_rl.agents.solvers.dynamics import Dynamics
from imm_rl.agents.solvers.regions import Reach, Regions, find_regions
from imm_rl.envs.model import FloatArray, TabularPOMDP

CELLS, SECRETS = 40, 3


def corridor(*, lost: bool = False, start: str = "door", sparse: bool = False) -> TabularPOMDP:
    """A ring of 40 cells and a secret of 3 that never changes: state = 3 · cell + secret.

    "on" goes to the next cell, "look" stays and shows the secret with noise. Where lost, "on" may also
    stay, and nothing shows the cell. Starts: at the "door" with any secret, "known" there with the
    first secret, or "anywhere".
    """
    cell = 0.5 * (np.eye(CELLS) + np.roll(np.eye(CELLS), 1, axis=1))
    moves = [cell if lost else np.roll(np.eye(CELLS), 1, axis=1), np.eye(CELLS)]
    transition = [np.kron(move, np.eye(SECRETS)) for move in moves]
    sight = 0.7 * np.eye(SECRETS) + 0.1
    nothing = np.tile([1.0, 0.0, 0.0], (SECRETS, 1))
    observation = [np.tile(nothing, (CELLS, 1)), np.tile(sight, (CELLS, 1))]
    initial = np.zeros(CELLS * SECRETS)
    initial[{"door": slice(0, SECRETS), "known": slice(0, 1), "anywhere": slice(None)}[start]] = 1.0
    reward = np.zeros((CELLS * SECRETS, 2))
    reward[np.arange(CELLS) * SECRETS, 0] = 1.0
    return TabularPOMDP(
        [sp.csr_array(t) for t in transition] if sparse else np.stack(transition, axis=1),
        [sp.csr_array(o) for o in observation] if sparse else np.stack(observation),
        reward,
        initial / initial.sum(),
        0.9,
    )


def supports(model: TabularPOMDP, states: np.ndarray) -> list[np.ndarray]:
    """By the definition: states with P(s', o | b, a) > 0, b uniform over these, for each a and o."""
    belief: FloatArray = np.zeros(model.n_states)
    belief[states] = 1.0
    found = []
    for action in range(model.n_actions):
        predicted = belief @ model.transition_of(action)
        seen = model.observation_of(action)
        dense = seen if isinstance(seen, np.ndarray) else seen.toarray()
        after = [np.flatnonzero(predicted * column) for column in dense.T]
        found += [part for part in after if part.size]
    return found


def check_closed(model: TabularPOMDP, regions: Regions) -> None:
    """b0 lies in the first region; what follows from a region lies in one."""
    assert set(np.flatnonzero(model.initial)) <= set(regions.sets[0])
    for states in regions.sets:
        for following in supports(model, states):
            region = regions.find(following)
            assert region is not None
            assert set(following) <= set(regions.sets[region])


@pytest.mark.parametrize("sparse", [False, True])
def test_regions_of_a_corridor_are_its_cells(sparse: bool) -> None:
    model = corridor(sparse=sparse)
    regions = find_regions(model)
    # Some order, but every cell with all its secrets.
    assert sorted(states.tolist() for states in regions.sets) == [
        [3 * cell, 3 * cell + 1, 3 * cell + 2] for cell in range(CELLS)
    ]
    assert regions.sets[0].tolist() == [0, 1, 2]
    check_closed(model, regions)


def test_regions_are_single_states_where_nothing_is_hidden() -> None:
    model = corridor(start="known")
    regions = find_regions(model)
    assert sorted(states.tolist() for states in regions.sets) == [[3 * c] for c in range(CELLS)]
    check_closed(model, regions)


@pytest.mark.parametrize("start", ["door", "known"])
def test_model_stays_whole_where_beliefs_spread(start: str) -> None:
    model = corridor(lost=True, start=start)
    regions = find_regions(model)
    if start == "known":  # a third of the states, one secret, holds for ever: some is gained
        assert max(len(states) for states in regions.sets) == CELLS
        check_closed(model, regions)
    else:
        assert [states.tolist() for states in regions.sets] == [list(range(CELLS * SECRETS))]


def test_model_stays_whole_where_the_start_is_anywhere_and_never_found() -> None:
    model = corridor(lost=True, start="anywhere")
    assert [len(states) for states in find_regions(model).sets] == [CELLS * SECRETS]


def test_model_stays_whole_where_it_is_small() -> None:
    model = imm_rl.make("hallway2").model
    assert model.n_states < regions_module.LEAST_STATES
    assert [len(states) for states in find_regions(model).sets] == [model.n_states]


@pytest.mark.parametrize(("limit", "most"), [("MOST_REGIONS", 39), ("MOST_PAIRS", 100)])
def test_model_stays_whole_where_regions_are_too_many(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(regions_module, limit, most)
    assert [len(states) for states in find_regions(corridor()).sets] == [CELLS * SECRETS]


def test_regions_of_rocksample_are_cells_and_the_end() -> None:
    model = imm_rl.make("rocksample(4,4)").model
    regions = find_regions(model)
    # 16 cells with all 2⁴ kinds of rocks, and the exit.
    assert sorted(len(states) for states in regions.sets) == [1] + [16] * 16
    assert sorted(np.concatenate(regions.sets)) == list(range(257))
    check_closed(model, regions)


def test_regions_of_tag_are_the_robots_cells() -> None:
    model = imm_rl.make("tag").model
    regions = find_regions(model)
    # At first nothing is known: 29 · 29 states. From then on the robot's cell is.
    assert regions.sets[0].size == 841
    assert {len(states) for states in regions.sets[1:]} == {29}
    assert len(regions) == 30
    check_closed(model, regions)


def test_reach_follows_the_definition() -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(6), size=(6, 2)) * (rng.random((6, 2, 6)) < 0.4)
    transition[..., 0] += 0.1
    observation = rng.dirichlet(np.ones(4), size=(2, 6)) * (rng.random((2, 6, 4)) < 0.5)
    observation[..., 1] += 0.1
    observation[..., 3] = 0.0  # never seen
    model = TabularPOMDP(
        transition / transition.sum(axis=2, keepdims=True),
        observation / observation.sum(axis=2, keepdims=True),
        np.zeros((6, 2)),
        np.full(6, 1 / 6),
        0.9,
    )
    for states in (np.array([2]), np.array([0, 3, 5]), np.arange(6)):
        found = list(Reach(model).supports(states))
        assert [s.tolist() for s in found] == [s.tolist() for s in supports(model, states)]


def test_find_takes_the_smallest_region_that_holds_all() -> None:
    regions = Regions(6, [np.arange(6), np.array([0, 1, 2]), np.array([1, 2]), np.array([4])])
    assert regions.find(np.array([1, 2])) == 2
    assert regions.find(np.array([0, 1])) == 1
    assert regions.find(np.array([2, 4])) == 0
    assert regions.find(np.array([4])) == 3
    assert Regions(6, [np.array([0, 1])]).find(np.array([1, 2])) is None
    assert len(regions) == 4


@pytest.mark.parametrize("name", ["corridor", "rocksample(4,4)", "tag"])
def test_successors_by_region_are_the_whole_ones(name: str) -> None:
    model = corridor() if name == "corridor" else imm_rl.make(name).model
    by_region, (whole,) = Dynamics(model), Dynamics.whole(model).regions
    for region in (0, 1, len(by_region) - 1):
        here = by_region.regions[region]
        belief = np.random.default_rng(region).dirichlet(np.ones(len(here.states)))
        padded = np.zeros(model.n_states)
        padded[here.states] = belief
        flat = Dynamics.whole(model).successors(0, padded[None])[0][0]
        expected = {
            (outcome.action, outcome.observation): row
            for outcome, row in zip(whole.outcomes, flat, strict=True)
            if row.any()
        }
        found = {}
        for target, rows in by_region.successors(region, belief[None]).items():
            for outcome, row in zip(here.targets[target], rows[0], strict=True):
                key = here.outcomes[outcome].action, here.outcomes[outcome].observation
                found[key] = np.zeros(model.n_states)
                found[key][by_region.regions[target].states] = row
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            np.testing.assert_allclose(found[key], row, atol=1e-15)

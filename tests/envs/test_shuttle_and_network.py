"""The shuttle and the network: their rules by hand, their pictures, the archive's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.envs import make, render
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.render import Scene


def chances(model: TabularPOMDP, state: str, action: str) -> dict[str, float]:
    row = model.transition_of(model.action_names.index(action))[model.state_names.index(state)]
    return {model.state_names[s]: round(float(row[s]), 12) for s in np.flatnonzero(row)}


def seen(model: TabularPOMDP, state: str) -> dict[str, float]:
    row = model.observation_of(0)[model.state_names.index(state)]
    return {model.observation_names[o]: round(float(row[o]), 12) for o in np.flatnonzero(row)}


# --- shuttle -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        # A round trip that earns 10: out of MRV, across, turn, dock backwards.
        ("docked-mrv", "GoForward", {"at-mrv-backed": 1.0}),
        ("at-mrv-backed", "GoForward", {"space-facing-lrv": 1.0}),
        ("space-facing-lrv", "GoForward", {"at-lrv-facing": 1.0}),
        ("at-lrv-facing", "TurnAround", {"at-lrv-backed": 1.0}),
        ("at-lrv-backed", "Backup", {"docked-lrv": 0.7, "at-lrv-backed": 0.3}),
        ("docked-lrv", "GoForward", {"at-mrv-backed": 1.0}),  # the station left is MRV now
        # The rest.
        ("docked-lrv", "TurnAround", {"at-mrv-facing": 1.0}),
        ("docked-mrv", "TurnAround", {"at-mrv-facing": 1.0}),
        ("docked-lrv", "Backup", {"docked-mrv": 1.0}),
        ("docked-mrv", "Backup", {"docked-mrv": 1.0}),
        ("at-mrv-backed", "Backup", {"docked-mrv": 0.7, "at-mrv-backed": 0.3}),
        ("at-mrv-facing", "GoForward", {"at-mrv-facing": 1.0}),
        ("at-lrv-backed", "GoForward", {"space-facing-mrv": 1.0}),
        ("space-facing-mrv", "TurnAround", {"space-facing-lrv": 1.0}),
        (
            "space-facing-mrv",
            "Backup",
            {"at-lrv-backed": 0.8, "at-lrv-facing": 0.1, "space-facing-mrv": 0.1},
        ),
        (
            "at-mrv-facing",
            "Backup",
            {"at-mrv-facing": 0.4, "space-facing-mrv": 0.3, "at-mrv-backed": 0.3},
        ),
        (
            "at-lrv-facing",
            "Backup",
            {"at-lrv-facing": 0.4, "space-facing-lrv": 0.3, "at-lrv-backed": 0.3},
        ),
    ],
)
def test_shuttle_moves(state: str, action: str, after: dict[str, float]) -> None:
    assert chances(make("shuttle").model, state, action) == after


def test_shuttle_pays_for_docking_at_lrv_and_charges_for_bumps() -> None:
    model = make("shuttle").model
    names, forward, back = model.state_names, 1, 2
    paid = {
        (names[s], names[after]): model.outcome_reward[s, a, after]  # type: ignore[index]
        for s, a, after in np.argwhere(model.outcome_reward)
    }
    assert paid == {
        ("at-mrv-facing", "at-mrv-facing"): -3.0,
        ("at-lrv-facing", "at-lrv-facing"): -3.0,
        ("at-lrv-backed", "docked-lrv"): 10.0,
    }
    assert model.reward[names.index("at-lrv-backed"), back] == pytest.approx(7.0)
    assert model.reward[names.index("at-mrv-facing"), forward] == -3.0
    assert names[int(model.initial.argmax())] == "docked-mrv"


def test_shuttle_sees_docks_and_the_station_ahead() -> None:
    model = make("shuttle").model
    assert seen(model, "docked-lrv") == {"docked-lrv": 1.0}
    assert seen(model, "docked-mrv") == {"docked-mrv": 1.0}
    assert seen(model, "at-lrv-facing") == {"see-lrv": 1.0}
    assert seen(model, "space-facing-mrv") == {"see-mrv": 0.7, "nothing": 0.3}
    assert seen(model, "at-lrv-backed") == {"nothing": 1.0}


def test_shuttle_equals_the_archive(shared_data: Path) -> None:
    """States and observations have numbers there; the numbers are the same."""
    ours = make("shuttle").model
    archive = TabularPOMDP.load(shared_data / "pomdp" / "shuttle.95.POMDP")
    for part in ("transition", "observation", "reward", "outcome_reward", "initial"):
        np.testing.assert_allclose(
            getattr(ours, part), getattr(archive, part), rtol=0, atol=1e-15, err_msg=part
        )
    assert ours.action_names == archive.action_names
    assert ours.discount == archive.discount
    assert not archive.terminal.any()
    assert not ours.terminal.any()


def test_shuttle_text_by_hand() -> None:
    pair = make("shuttle")
    state = pair.model.state_names.index
    nothing = pair.model.observation_names.index("nothing")
    line = render.ansi(Scene(pair, state("at-lrv-backed"), nothing, 1)).splitlines()[1]
    assert line == "LRV [ ] > .   [ ] MRV"
    line = render.ansi(Scene(pair, state("docked-mrv"), None, None)).splitlines()[1]
    assert line == "LRV [ ]   .   [<] MRV"
    line = render.ansi(Scene(pair, None, nothing, 1)).splitlines()[1]
    assert line == "LRV [ ] ? ? ? [ ] MRV"


# --- network -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        (
            "s040",
            "unrestrict",
            {"s000": 0.1, "s020": 0.1, "s040": 0.3, "s060": 0.3, "s080": 0.1, "s100": 0.1},
        ),
        ("s000", "unrestrict", {"s000": 0.5, "s020": 0.3, "s040": 0.1, "s060": 0.1}),
        ("s100", "unrestrict", {"s060": 0.1, "s080": 0.1, "s100": 0.3, "crash": 0.5}),
        ("s060", "steady", {"s020": 0.1, "s040": 0.2, "s060": 0.4, "s080": 0.2, "s100": 0.1}),
        ("s080", "steady", {"s040": 0.1, "s060": 0.2, "s080": 0.4, "s100": 0.2, "crash": 0.1}),
        (
            "s080",  # the odd one of the four changes downwards is of four levels, not of three
            "restrict",
            {"s000": 0.1, "s040": 0.1, "s060": 0.3, "s080": 0.3, "s100": 0.1, "crash": 0.1},
        ),
        ("s020", "restrict", {"s000": 0.5, "s020": 0.3, "s040": 0.1, "s060": 0.1}),
        ("crash", "steady", {"crash": 1.0}),
        ("crash", "reboot", {"s000": 1.0}),
        ("s080", "reboot", {"s000": 1.0}),
    ],
)
def test_network_load_changes(state: str, action: str, after: dict[str, float]) -> None:
    assert chances(make("network").model, state, action) == after


def test_network_pays_by_load_and_tells_when_it_is_down() -> None:
    model = make("network").model
    worth = [-20.0, 0.0, 20.0, 40.0, 60.0, 80.0, -20.0]
    for action in range(3):
        assert model.reward[:, action].tolist() == worth
    assert model.reward[:, 3].tolist() == [-40.0] * 7
    assert model.observation_of(2)[:, 1].tolist() == [0.0, 0.0, 0.0, 0.1, 0.3, 0.5, 1.0]
    np.testing.assert_allclose(model.initial, 1 / 7)


def test_network_equals_the_archive(shared_data: Path) -> None:
    """The file pays 40.000004 at load 60, a digit lost in writing; everything else is exact."""
    ours = make("network").model
    archive = TabularPOMDP.load(shared_data / "pomdp" / "network.POMDP")
    for part in ("state_names", "action_names", "observation_names", "discount"):
        assert getattr(ours, part) == getattr(archive, part)
    for part in ("transition", "observation", "initial", "terminal"):
        np.testing.assert_allclose(
            getattr(ours, part), getattr(archive, part), rtol=0, atol=1e-15, err_msg=part
        )
    differ = np.argwhere(np.abs(ours.reward - archive.reward) > 1e-12).tolist()
    assert differ == [[3, 0], [3, 1], [3, 2]]
    np.testing.assert_allclose(ours.reward, archive.reward, rtol=0, atol=4.1e-6)


def test_network_text_by_hand() -> None:
    pair = make("network")
    state = pair.model.state_names.index

    def line(name: str | None, observation: int | None) -> str:
        scene = Scene(pair, None if name is None else state(name), observation, 1)
        return render.ansi(scene).splitlines()[1]

    assert line("s060", 0) == "load  60 % [###  ]   users: up"
    assert line("crash", 1) == "load   crash         users: down"
    assert line(None, 1) == "load   ? % [?????]   users: down"
    assert line("s100", None) == "load 100 % [#####]"

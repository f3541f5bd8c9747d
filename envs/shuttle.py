"""Shuttle: carry goods between two space stations, docking backwards at the one visited longer ago.

    [LRV] outside --- space --- outside [MRV]

A ship flies between two stations, called after their last visit: the least recently visited one, LRV,
and the most recently visited one, MRV. It is docked in one, just outside one, or in space between them,
and faces one of the two. Only backing into LRV from outside it pays: 10.

- `TurnAround` turns the ship, surely. A docked ship comes out in front of its station and faces it.
- `GoForward` moves one place the way it faces, surely; against a station it stays, and pays −3. A
  docked ship comes out with its back to the station.
- `Backup` moves one place backwards, but fails often. With its back to the station: docks with 0.7,
  else stays. In space: reaches the other place with 0.8, with 0.1 reaches it turned round, else
  stays. Facing the station: reaches space with 0.3, turns round with 0.3, else stays. A docked ship
  stays docked.

A station that the ship comes out of, or stays docked in, is MRV from then on, and the other LRV. The
ship sees that it is docked and in which; else the station it faces: surely from just outside,
with 0.7 from space, and not at all from outside the other one; else nothing. γ = 0.95. It
starts docked in MRV. The problem goes on for ever; episodes are cut.

Source: L. Chrisman, "Reinforcement learning with perceptual aliasing: the perceptual distinctions
approach", AAAI 1992; numbered as in the archive's shuttle.95.POMDP, which the model equals. That
file's author notes that Chrisman's own list charges the −3 at LRV for another transition (docked
in MRV to facing LRV), which is impossible; the file, and this, charge it for bumping into LRV.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imm_rl.envs import render_gauges
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair

ACTIONS = ("TurnAround", "GoForward", "Backup")
LRV, MRV = 0, 4
"""Places are 0 … 4 from LRV to MRV: docked, outside, space, outside, docked."""
SPACE = 2


class Ship(NamedTuple):
    """A state: the ship's place and the station that it faces; docked ships face outwards."""

    place: int
    faces: int


STATES = {
    "docked-lrv": Ship(LRV, MRV),
    "at-mrv-facing": Ship(3, MRV),
    "space-facing-mrv": Ship(SPACE, MRV),
    "at-lrv-backed": Ship(1, MRV),
    "at-mrv-backed": Ship(3, LRV),
    "space-facing-lrv": Ship(SPACE, LRV),
    "at-lrv-facing": Ship(1, LRV),
    "docked-mrv": Ship(MRV, LRV),
}
OBSERVATIONS = ("see-lrv", "see-mrv", "docked-mrv", "nothing", "docked-lrv")


def shuttle(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    ships = list(STATES.values())
    n_states = len(ships)
    transition = np.zeros((n_states, len(ACTIONS), n_states))
    for s, ship in enumerate(ships):
        for action, outcomes in enumerate((_turned(ship), _ahead(ship), _back(ship))):
            for after, chance in outcomes.items():
                transition[s, action, ships.index(after)] = chance

    # The pay of an outcome: bumping is known in advance, docking is not.
    reward = np.zeros((n_states, len(ACTIONS), n_states))
    for s, ship in enumerate(ships):
        if _ahead(ship) == {ship: 1.0}:
            reward[s, 1, s] = -3.0
    reward[ships.index(Ship(1, MRV)), 2, ships.index(Ship(LRV, MRV))] = 10.0

    start = np.zeros(n_states)
    start[ships.index(Ship(MRV, LRV))] = 1.0
    model = TabularPOMDP(
        transition,
        observation=np.stack([np.stack([_sight(ship) for ship in ships])] * len(ACTIONS)),
        reward=reward,
        initial=start,
        discount=0.95,
        state_names=list(STATES),
        action_names=ACTIONS,
        observation_names=OBSERVATIONS,
    )
    return EnvPair(
        "shuttle",
        model,
        max_steps=max_steps,
        source="Chrisman, AAAI 1992; archive shuttle.95.POMDP",
        draw=render_gauges.SHUTTLE,
    )


def _docked(ship: Ship) -> bool:
    return ship.place in (LRV, MRV)


def _turned(ship: Ship) -> dict[Ship, float]:
    if _docked(ship):  # the station it comes out of is MRV now, whichever it was
        return {Ship(3, MRV): 1.0}
    return {_about(ship): 1.0}


def _ahead(ship: Ship) -> dict[Ship, float]:
    if _docked(ship):
        return {Ship(3, LRV): 1.0}
    place = min(max(ship.place + (1 if ship.faces == MRV else -1), 1), 3)
    return {Ship(place, ship.faces): 1.0}


def _back(ship: Ship) -> dict[Ship, float]:
    if _docked(ship):
        return {Ship(MRV, LRV): 1.0}
    behind = ship._replace(place=ship.place - (1 if ship.faces == MRV else -1))
    if _docked(behind):
        return {behind: 0.7, ship: 0.3}
    if ship.place == SPACE:
        return {behind: 0.8, _about(behind): 0.1, ship: 0.1}
    return {behind: 0.3, _about(ship): 0.3, ship: 0.4}


def _about(ship: Ship) -> Ship:
    return ship._replace(faces=LRV + MRV - ship.faces)


def _sight(ship: Ship) -> FloatArray:
    chances = dict.fromkeys(OBSERVATIONS, 0.0)
    if _docked(ship):
        chances["docked-lrv" if ship.place == LRV else "docked-mrv"] = 1.0
    else:
        distance = abs(ship.faces - ship.place)  # 1 just outside it, 2 in space, 3 beyond
        seen = {1: 1.0, 2: 0.7, 3: 0.0}[distance]
        chances["see-lrv" if ship.faces == LRV else "see-mrv"] = seen
        chances["nothing"] += 1.0 - seen
    return np.array(list(chances.values()))

"""Network: keep the load of a computer network high without crashing it; only its state shows, partly.

The load is one of six levels, 0, 20, … 100 per cent. Every step it rises and falls by some levels at
random, with chances that depend on how the operator lets traffic in:

    levels       −4   −2   −1    0   +1   +2   +3
    unrestrict        .1   .1   .3   .3   .1   .1
    steady            .1   .2   .4   .2   .1
    restrict     .1   .1   .3   .3   .1   .1

It cannot fall below 0; above 100 the network crashes, and stays so until `reboot`, which leads
to load 0 from anywhere. A step pays 20 a level less 20: −20 at load 0, 80 at load 100; −20 after a
crash; −40 for `reboot`. γ = 0.95. The start is uniform, the crash included. Users report "up" or
"down": "down" with probability 0, 0, 0, 0.1, 0.3, 0.5 by level, surely after a crash. The
problem goes on for ever; episodes are cut.

Source: M. L. Littman, 1996, one of the test problems of A. R. Cassandra, "Exact and approximate
algorithms for partially observable Markov decision processes", PhD thesis, Brown University, 1998;
numbered and named as in the archive's network.POMDP, which the model equals but for the last
digit of one reward there (40.000004).
"""

from __future__ import annotations

import numpy as np

from imm_rl.envs import render_gauges
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair

LEVELS = 6
CRASH = LEVELS
STATES = ("s000", "s020", "s040", "s060", "s080", "s100", "crash")
ACTIONS = ("unrestrict", "steady", "restrict", "reboot")
CHANGES = (
    {-2: 0.1, -1: 0.1, 0: 0.3, 1: 0.3, 2: 0.1, 3: 0.1},
    {-2: 0.1, -1: 0.2, 0: 0.4, 1: 0.2, 2: 0.1},
    {-4: 0.1, -2: 0.1, -1: 0.3, 0: 0.3, 1: 0.1, 2: 0.1},
)
"""The chances of a change of level, by action; `reboot` has none."""
DOWN = (0.0, 0.0, 0.0, 0.1, 0.3, 0.5, 1.0)
"""The chance of "down", by state."""
PER_LEVEL, BASE, REBOOTING = 20.0, -20.0, -40.0


def network(*, max_steps: int = 50) -> EnvPair:
    """Builds the pair.

    Args:
        max_steps: Steps after which an episode is cut.
    """
    n_states = len(STATES)
    transition = np.zeros((n_states, len(ACTIONS), n_states))
    for action, changes in enumerate(CHANGES):
        for level in range(LEVELS):
            for change, chance in changes.items():
                transition[level, action, min(max(level + change, 0), CRASH)] += chance
        transition[CRASH, action, CRASH] = 1.0
    transition[:, ACTIONS.index("reboot"), 0] = 1.0

    worth = np.append(BASE + PER_LEVEL * np.arange(LEVELS), BASE)
    down = np.array(DOWN)
    model = TabularPOMDP(
        transition,
        observation=np.stack([np.stack([1.0 - down, down], axis=1)] * len(ACTIONS)),
        reward=np.stack([worth] * 3 + [np.full(n_states, REBOOTING)], axis=1),
        initial=np.full(n_states, 1.0 / n_states),
        discount=0.95,
        state_names=STATES,
        action_names=ACTIONS,
        observation_names=("up", "down"),
    )
    return EnvPair(
        "network",
        model,
        max_steps=max_steps,
        source="Littman 1996; Cassandra, PhD thesis, 1998; archive network.POMDP",
        draw=render_gauges.NETWORK,
    )

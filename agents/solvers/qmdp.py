"""QMDP (Littman, Cassandra and Kaelbling 1995): acts as if the state were known after this step.

One vector an action, the MDP's Q(·, a). It never gathers information: a weak restricted policy, and a
quick one. Its value is an upper bound.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.solvers.base import Solution, SolveSettings
from imm_rl.agents.solvers.mdp import mdp_values
from imm_rl.envs.model import TabularPOMDP


def solve(model: TabularPOMDP, settings: SolveSettings) -> Solution:
    """Vectors Q_MDP(·, a); upper bound max_a Σ_s b0(s) Q_MDP(s, a)."""
    _, q = mdp_values(model)
    upper = float((model.initial @ q).max())
    settings.report(None, upper, model.n_actions)
    # Its definition is to act on its vectors; a look-ahead on them would be another, stronger policy.
    return Solution(
        vectors=np.ascontiguousarray(q.T),
        actions=np.arange(model.n_actions),
        lower_bound=None,
        upper_bound=upper,
        converged=True,
        execution="vectors",
    )

"""`PlannerPolicy`: pomdp_py's online planners, POUCT and POMCP, as a policy on beliefs.

A planner searches anew at every belief, a tenth of a second and more: right for a few hundred beliefs, far
too slow for every step of a training. `imm_rl.agents.restricted.distill.distil` writes down what it does.

Source: D. Silver and J. Veness, "Monte-Carlo planning in large POMDPs", NeurIPS 2010.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.restricted import alpha_checks as checks
from imm_rl.agents.restricted.base import TIE_TOLERANCE, greedy_probs, softmax_probs
from imm_rl.agents.solvers.base import IntArray
from imm_rl.agents.solvers.mdp import finite_horizon_values
from imm_rl.envs import options
from imm_rl.envs.belief import check_distributions
from imm_rl.envs.global_random import seeded_globals
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pomdp_py_models import pomdp_py_module
from imm_rl.errors import invalid

PLANNERS = ("pouct", "pomcp")
PROBS_FROM = ("values", "visits")
TIES = ("split", "first")
ROLLOUTS = ("mdp", "random")
ROLLOUT_HORIZON = 200
"""Steps that the rollouts' actions are the best for."""

PARTICLES = 1_000
"""Of POMCP's belief; POUCT draws states from the belief itself."""

DECIMALS = 6
"""Beliefs are rounded to so many before they are asked, and equal ones are asked once."""

_KEEP = object()


class Decision(NamedTuple):
    """What one search found, each (A,): mean return and number of visits of every action."""

    values: FloatArray
    visits: FloatArray


class PlannerPolicy:
    """Searches a tree of actions and observations from each belief that it is asked for.

    The answer is a function of the belief and the seed: it depends neither on what was asked before nor
    on the global random generators, which are left as they were. Answers are kept.

    Attributes:
        acts_on: "belief", see `RestrictedPolicy`.
        takes_sparse: It may be asked with CSR arrays.
        decisions: How many searches have been made.

    Args:
        model: The POMDP to plan in.
        planner: "pouct" or "pomcp"; the latter holds the belief as 1,000 particles.
        simulations: Of one search, a third of a second on small problems; with far fewer, values are
            coarse.
        depth: Steps of a simulation.
        exploration: Constant of UCB1, in reward units; default: a quarter of the largest less the
            smallest reward.
        rollout: What acts past the tree: "mdp", the best action of whoever sees the simulated state, or
            "random", pomdp_py's own, which needs many more simulations.
        seed: Of the searches.
        temperature: None: greedy by values, or the shares of the visits. A number: softmax of values /
            temperature, or visits^(1 / temperature), normalised.
        probs_from: "values" (how pomdp_py's planners act themselves) or "visits". UCB1 with a large
            constant visits poor actions often, so that shares of visits are much softer.
        ties: Greedy probabilities of equal values: "split" evenly, or all to the "first".

    Raises:
        InvalidInputError: pomdp_py is not installed, or an argument is wrong.
    """

    acts_on: ClassVar[str] = "belief"
    takes_sparse: ClassVar[bool] = True

    def __init__(
        self,
        model: TabularPOMDP,
        planner: str = "pouct",
        *,
        simulations: int = 4_000,
        depth: int = 10,
        exploration: float | None = None,
        rollout: str = "mdp",
        seed: int = 0,
        temperature: float | None = None,
        probs_from: str = "values",
        ties: str = "split",
    ) -> None:
        if not isinstance(model, TabularPOMDP):
            raise invalid("model", "be a TabularPOMDP", type(model).__name__)
        self.model = model
        self.planner = checks.choice("planner", planner, PLANNERS)
        self.simulations = options.whole("simulations", simulations, at_least=1)
        self.depth = options.whole("depth", depth, at_least=1)
        if exploration is None:
            exploration = float(model.reward.max() - model.reward.min()) / 4.0 or 1.0
        self.exploration = options.positive("exploration", exploration)
        self.rollout = checks.choice("rollout", rollout, ROLLOUTS)
        self.seed = options.whole("seed", seed, at_least=0)
        self.temperature = checks.temperature(temperature)
        self.probs_from = checks.choice("probs_from", probs_from, PROBS_FROM)
        self.ties = checks.choice("ties", ties, TIES)
        self.decisions = 0
        self._kept: dict[bytes, Decision] = {}
        self._prepare()

    @property
    def name(self) -> str:
        """The planner's name."""
        return self.planner

    @property
    def n_states(self) -> int:
        """S."""
        return self.model.n_states

    @property
    def n_actions(self) -> int:
        """A."""
        return self.model.n_actions

    def probs(self, context: FloatArray | sp.csr_array) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S), or (B, A) at sparse ones (B, S).

        Raises:
            InvalidInputError: Beliefs of another size, or no beliefs.
        """
        values, visits = self._found(context)
        return probs_of(
            values, visits, self.probs_from, temperature=self.temperature, ties=self.ties
        )

    def action_values(self, context: FloatArray | sp.csr_array) -> FloatArray:
        """The searches' mean returns (..., A) at beliefs (..., S).

        Raises:
            InvalidInputError: As `probs`.
        """
        return self._found(context)[0]

    def decide(self, belief: FloatArray) -> Decision:
        """What the search from one belief (S,) finds."""
        rounded = rounded_belief(belief)
        key = rounded.tobytes()
        if key not in self._kept:
            self._kept[key] = self._search(rounded, key)
            self.decisions += 1
        return self._kept[key]

    def with_(
        self,
        *,
        temperature: float | object | None = _KEEP,
        probs_from: str | None = None,
        ties: str | None = None,
    ) -> PlannerPolicy:
        """A copy that acts otherwise on the same searches."""
        changed = copy.copy(self)
        if temperature is not _KEEP:
            changed.temperature = checks.temperature(temperature)
        if probs_from is not None:
            changed.probs_from = checks.choice("probs_from", probs_from, PROBS_FROM)
        if ties is not None:
            changed.ties = checks.choice("ties", ties, TIES)
        return changed

    def __getstate__(self) -> dict[str, Any]:
        # pomdp_py's objects cannot be pickled; they are made again.
        made = ("_pomdp_py", "_parts", "_rollout_policy")
        return {key: value for key, value in vars(self).items() if key not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def __repr__(self) -> str:
        return (
            f"PlannerPolicy({self.planner!r}, {self.model!r}, simulations={self.simulations}, "
            f"depth={self.depth}, exploration={self.exploration:g}, seed={self.seed})"
        )

    def _prepare(self) -> None:
        self._pomdp_py = pomdp_py_module()
        from imm_rl.envs.pomdp_py_tabular import (
            TabularParts,
            TabularRollout,
        )  # late: imports pomdp_py

        self._parts = parts = TabularParts(self.model)
        self._rollout_policy = parts.policy
        if self.rollout == "mdp":
            self._rollout_policy = TabularRollout(parts.actions, _seeing_actions(self.model))

    def _found(self, context: FloatArray | sp.csr_array) -> tuple[FloatArray, FloatArray]:
        """Values and visits (..., A)."""
        rows, shape = belief_rows(context, self.n_states)
        decisions = [self.decide(row) for row in rows]
        found = np.array(decisions).reshape(len(rows), 2, self.n_actions)
        values, visits = (found[:, i].reshape(*shape, self.n_actions) for i in (0, 1))
        return values, visits

    def _search(self, belief: FloatArray, key: bytes) -> Decision:
        package, parts = self._pomdp_py, self._parts
        if self.planner == "pouct":
            make, held = package.POUCT, parts.histogram(belief, every_state=False)
        else:
            make, held = package.POMCP, parts.particles(belief, PARTICLES)
        agent = parts.agent(held)
        planner = make(
            max_depth=self.depth - 1,  # pomdp_py goes one step on
            num_sims=self.simulations,
            discount_factor=self.model.discount,
            exploration_const=self.exploration,
            rollout_policy=self._rollout_policy,
        )
        digest = hashlib.sha256(self.seed.to_bytes(16, "little") + key).digest()
        with seeded_globals(int.from_bytes(digest[:4], "little")):
            planner.plan(agent)
        nodes = [agent.tree[action] for action in parts.actions]
        return Decision(
            np.array([float(node.value) for node in nodes]),
            np.array([float(node.num_visits) for node in nodes]),
        )


def _seeing_actions(model: TabularPOMDP) -> IntArray:
    """The best action in each state (S,) for whoever sees it and has `ROLLOUT_HORIZON` steps."""
    values = finite_horizon_values(model, ROLLOUT_HORIZON, model.discount)
    after = np.stack([model.transition_of(a) @ values for a in range(model.n_actions)], axis=1)
    best: IntArray = (model.reward + model.discount * after).argmax(axis=1)
    return best


def probs_of(
    values: FloatArray,
    visits: FloatArray,
    probs_from: str,
    *,
    temperature: float | None,
    ties: str,
) -> FloatArray:
    """Action probabilities (..., A) from the searches' values and visits (..., A)."""
    if probs_from == "values":
        if temperature is None:
            return greedy_probs(values, ties)
        return softmax_probs(values, temperature)
    if temperature is None:
        if ties == "first":  # asked for the most likely actions alone
            return greedy_probs(visits, ties)
        shares: FloatArray = visits / visits.sum(axis=-1, keepdims=True)
        return shares
    return softmax_probs(np.log(np.maximum(visits, TIE_TOLERANCE)), temperature)


def rounded_belief(belief: FloatArray) -> FloatArray:
    """A belief (S,) of which equal ones have equal bytes."""
    rounded: FloatArray = belief.round(DECIMALS) + 0.0  # no −0, which has other bytes
    total = rounded.sum()
    # Of very many states each may be rounded to 0.
    return rounded / total if total > 0.5 else belief


def belief_rows(
    context: FloatArray | sp.csr_array, n_states: int
) -> tuple[FloatArray, tuple[int, ...]]:
    """Beliefs (..., S), dense or sparse, as rows (B, S), and their leading shape.

    Raises:
        InvalidInputError: The last axis is not S long, or a row is no distribution.
    """
    dense = context.toarray() if sp.issparse(context) else context
    array = options.floats("belief", dense)
    if array.ndim == 0 or array.shape[-1] != n_states:
        raise invalid("belief", f"have {n_states} states on its last axis", array.shape)
    rows: FloatArray = array.reshape(-1, n_states)
    check_distributions("belief", rows)
    return rows, array.shape[:-1]

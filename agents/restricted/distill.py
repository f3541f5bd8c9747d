"""`distil`: asks a slow policy at a limited number of beliefs and writes a quick one down.

`--restricted pouct` and `pomcp` are made so; anything with `probs` can be. Beliefs are those met in
episodes: most follow the policy, with a tenth of the actions at random, some act at random altogether,
since the agent in training does not act like its restricted policy, least of all at first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imm_rl.agents.restricted.asking import policy_name, probs_at
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.restricted.planner import belief_rows, rounded_belief
from imm_rl.agents.streams import generator
from imm_rl.envs import options
from imm_rl.envs.belief_filter import BeliefFilter
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import invalid

DECISIONS = 200
"""Beliefs that are asked for at most, unless said otherwise."""
SPACING = 0.01
"""Beliefs nearer than this in L1 distance to one that was asked for are taken for it."""
HELD_OUT = 20
"""Beliefs outside the table that the policy is asked for, to see how well the table stands for it."""

COPIES = 16
"""Episodes that are played side by side."""
RANDOM_COPIES = 4
"""Of these, act at random."""
RANDOM_ACTIONS = 0.1
"""Share of random actions in the others."""
PATIENCE = 4_000
"""So many beliefs met in a row without a new one: there are no more."""
TEST_STEPS = 125
"""Steps of each copy that the finished table is tried for."""


@dataclass(frozen=True, kw_only=True)
class DistilReport:
    """How a table was made, and how well it stands for its policy.

    Attributes:
        beliefs: N of the table.
        seconds: What asking took.
        met: Beliefs of the fresh episodes in which the table was tried.
        mean_distance, max_distance: Of these from the nearest of the table, L1, in [0, 2].
        held_out: How many of these, not in the table, the policy was asked for.
        agreement: Share of those where its likeliest action is the table's; None if none were asked.
    """

    beliefs: int
    seconds: float
    met: int
    mean_distance: float
    max_distance: float
    held_out: int
    agreement: float | None

    def __str__(self) -> str:
        text = (
            f"table of {self.beliefs} beliefs, asked in {self.seconds:.0f} s; those met are at L1 "
            f"distance {self.mean_distance:.2g} from it, at most {self.max_distance:.2g}"
        )
        if self.agreement is None:
            return text
        return f"{text}; same likeliest action at {self.agreement:.0%} of {self.held_out} others"


def distil(
    policy: Any,
    problem: EnvPair | TabularPOMDP,
    *,
    beliefs: npt.ArrayLike | None = None,
    decisions: int | None = None,
    spacing: float | None = None,
    seconds: float | None = None,
    held_out: int = HELD_OUT,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> BeliefTablePolicy:
    """Asks a policy at some beliefs, and does at any other what it does at the nearest.

    The same arguments give the same table, unless the clock stops it.

    Args:
        policy: Anything with `probs`; its `action_values`, where it has them, are kept too.
        problem: What is played; its model's b0, and certainty of each state where there are at most a
            quarter as many as decisions, are asked first.
        beliefs: (N, S), where to ask instead.
        decisions: Most beliefs to ask for, 200 by default; fewer where no more are met.
        spacing: Beliefs nearer than this in L1 distance to one that was asked for are not asked for,
            0.01 by default: the decisions are spent where they tell more.
        seconds: Time after which no more are asked.
        held_out: Further beliefs to ask for, to tell how well the table stands for the policy; 0: none.
        seed: Of the episodes.
        progress: Called with (asked, most) after each belief of the table.

    Returns:
        The table, with a `report`; its notes say the same.

    Raises:
        InvalidInputError: An argument is wrong, the policy is for another model, or its answer is no
            distribution.
    """
    pair = problem if isinstance(problem, EnvPair) else _as_pair(problem)
    model = pair.restricted_model
    sizes = (policy.n_states, policy.n_actions)
    if sizes != (model.n_states, model.n_actions):
        wanted = f"be for {model.n_states} states and {model.n_actions} actions"
        raise invalid("policy", wanted, sizes)
    for option, value in (("decisions", decisions), ("spacing", spacing)):
        if beliefs is not None and value is not None:
            raise invalid(option, "be left out where beliefs say where to ask", value)
    if spacing is None:
        spacing = SPACING if beliefs is None else 0.0
    spacing = options.number("spacing", spacing, "be a distance in [0, 2]", 0.0, 2.0)
    held_out = options.whole("held_out", held_out, at_least=0)
    seed = options.whole("seed", seed, at_least=0)
    given = None if beliefs is None else belief_rows(np.asarray(beliefs), model.n_states)[0]
    if given is None:
        most = options.whole("decisions", DECISIONS if decisions is None else decisions, at_least=1)
    else:
        most = len(given)
    deadline = np.inf
    if seconds is not None:
        deadline = time.perf_counter() + options.positive("seconds", seconds)
    asked = _Asked(policy, most, deadline, spacing, progress)
    started = time.perf_counter()
    if given is not None:
        asked.all_of(given)
    else:
        asked.all_of(_first_beliefs(pair, most))
        _meet(pair, asked, generator(seed, "restricted"))
    spent = time.perf_counter() - started
    table = BeliefTablePolicy(
        np.array(asked.beliefs),
        np.array(asked.probs),
        values=np.array(asked.values) if asked.values else None,
        name=policy_name(policy),
        fingerprint=model.fingerprint(),
    )
    report = _tried(pair, policy, table, spent, held_out, generator(seed + 1, "restricted"))
    table.report, table.notes = report, (str(report),)
    return table


class _Asked:
    """The answers so far, by belief; asks for no more than it may."""

    def __init__(
        self,
        policy: Any,
        most: int,
        deadline: float,
        spacing: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._policy, self._most, self._deadline = policy, most, deadline
        self._spacing, self._progress = spacing, progress
        self._index: dict[bytes, int] = {}
        self.beliefs: list[FloatArray] = []
        self.probs: list[FloatArray] = []
        self.values: list[FloatArray] = []

    @property
    def full(self) -> bool:
        """Whether no more may be asked; one always may."""
        late = time.perf_counter() > self._deadline
        return len(self.beliefs) >= self._most or (late and bool(self.beliefs))

    def all_of(self, rows: FloatArray) -> None:
        """Asks for rows (B, S), as far as it may."""
        for row in rows:
            self.of(row)

    def of(self, belief: FloatArray) -> tuple[FloatArray | None, bool]:
        """The action probabilities (A,) at a belief, None if they may not be asked; whether it is new."""
        rounded = rounded_belief(belief)
        key = rounded.tobytes()
        if key not in self._index and self.beliefs and self._spacing > 0.0:
            distances = np.abs(np.array(self.beliefs) - rounded).sum(axis=1)
            if distances.min() < self._spacing:
                self._index[key] = int(distances.argmin())
        if key in self._index:
            return self.probs[self._index[key]], False
        if self.full:
            return None, True
        self._index[key] = len(self.beliefs)
        self.beliefs.append(rounded)
        self.probs.append(probs_at(self._policy, rounded[None])[0])
        if hasattr(self._policy, "action_values"):
            values = np.asarray(self._policy.action_values(rounded[None]), dtype=np.float64)[0]
            if np.isfinite(values).all():
                self.values.append(values)
        if self._progress is not None:
            self._progress(len(self.beliefs), self._most)
        return self.probs[-1], True


def _as_pair(model: TabularPOMDP) -> EnvPair:
    if not isinstance(model, TabularPOMDP):
        raise invalid("problem", "be an EnvPair or a TabularPOMDP", type(model).__name__)
    return EnvPair("model", model)


def _first_beliefs(pair: EnvPair, most: int) -> FloatArray:
    """b0 or what the first observations tell, and certainty of each state if there are few."""
    model = pair.restricted_model
    rows = [model.initial[None]] if pair.observation_beliefs is None else [pair.observation_beliefs]
    going = np.flatnonzero(~model.terminal)
    if len(going) * 4 <= most:
        rows.append(np.eye(model.n_states)[going])
    return np.concatenate(rows)


def _meet(pair: EnvPair, asked: _Asked, rng: np.random.Generator) -> None:
    """Plays until no more may be asked, or no new beliefs are met."""
    known = 0

    def probs(rows: FloatArray) -> FloatArray:
        nonlocal known
        answers = np.full((len(rows), pair.model.n_actions), 1.0 / pair.model.n_actions)
        for i, row in enumerate(rows):
            answer, new = asked.of(row)
            known = 0 if new else known + 1
            if answer is not None:
                answers[i] = answer
        return answers

    for _ in _beliefs(pair, probs, rng):
        if asked.full or known >= PATIENCE:
            return


def _tried(
    pair: EnvPair,
    policy: Any,
    table: BeliefTablePolicy,
    spent: float,
    held_out: int,
    rng: np.random.Generator,
) -> DistilReport:
    """Plays the table in fresh episodes and compares it with its policy where it has no row."""
    played = _beliefs(pair, table.probs, rng)
    met = np.concatenate([rows for rows, _ in zip(played, range(TEST_STEPS), strict=False)])
    _, distances = table.nearest(met)
    away = np.unique(met[distances > 1e-5].round(6), axis=0)
    chosen = away[rng.permutation(len(away))[:held_out]]
    agreement = None
    if len(chosen):
        chosen = chosen / chosen.sum(axis=1, keepdims=True)
        same = probs_at(policy, chosen).argmax(axis=1) == table.probs(chosen).argmax(axis=1)
        agreement = float(same.mean())
    return DistilReport(
        beliefs=len(table.beliefs),
        seconds=spent,
        met=len(met),
        mean_distance=float(distances.mean()),
        max_distance=float(distances.max()),
        held_out=len(chosen),
        agreement=agreement,
    )


def _beliefs(
    pair: EnvPair, probs: Callable[[FloatArray], FloatArray], rng: np.random.Generator
) -> Iterator[FloatArray]:
    """The beliefs (`COPIES`, S) at each step of episodes that start anew where they end."""
    sampler, belief_filter = pair.sampler, BeliefFilter(pair.restricted_model)
    n_actions = pair.model.n_actions
    at_random = np.where(np.arange(COPIES) < RANDOM_COPIES, 1.0, RANDOM_ACTIONS)
    states, beliefs = _starts(pair, rng, COPIES)
    elapsed = np.zeros(COPIES, dtype=np.int64)
    while True:
        chances = probs(beliefs)
        yield beliefs
        thresholds = np.cumsum(chances, axis=1)[:, :-1]
        actions = (rng.random((COPIES, 1)) >= thresholds).sum(axis=1)
        free = rng.random(COPIES) < at_random
        actions = np.where(free, rng.integers(n_actions, size=COPIES), actions)
        step = sampler.step(states, actions, rng.random(COPIES), rng.random(COPIES))
        elapsed += 1
        on = ~step.terminated & (elapsed < pair.max_steps)
        states, after = _starts(pair, rng, COPIES)
        if on.any():
            states = np.where(on, step.next_states, states)
            after[on] = belief_filter.update(beliefs[on], actions[on], step.observations[on])
        beliefs, elapsed = after, np.where(on, elapsed, 0)


def _starts(
    pair: EnvPair, rng: np.random.Generator, count: int
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    states = pair.sampler.initial(rng.random(count))
    if pair.observation_beliefs is None:
        return states, np.tile(pair.restricted_model.initial, (count, 1))
    seen = pair.sampler.observe(np.zeros_like(states), states, rng.random(count))
    return states, pair.observation_beliefs[seen].copy()

"""What `from_pomdp_py` asks of a pomdp_py agent, and the tables that the answers make.

Index letters: S states, A actions, O observations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from imm_rl.envs import pomdp_py_enumerate as enumeration
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.envs.pomdp_py_enumerate import Distribution, Limits
from imm_rl.errors import InvalidInputError, invalid

DENSE_ENTRIES = 300_000
"""Transitions of up to this many entries, S·A·S, are kept dense; larger ones as CSR arrays."""

MOST_OUTCOME_ENTRIES = 20_000_000
"""Rewards that depend on s' are kept so up to this many entries, S·A·S; beyond it, by their mean."""


class _End:
    """The one state that stands for all those in which an episode ends."""

    def __str__(self) -> str:
        return "terminal"


END = _End()


class Questions:
    """One agent's models, or what the user gave in their place; arguments as of `from_pomdp_py`."""

    def __init__(
        self,
        agent: Any,
        limits: Limits,
        states: Iterable[Any] | None,
        actions: Iterable[Any] | None,
        observations: Iterable[Any] | None,
        terminal: Callable[[Any], bool] | None,
        *,
        transition: Callable[[Any, Any], Distribution] | None,
        observation: Callable[[Any, Any], Distribution] | None,
        reward: Callable[[Any, Any, Any], float] | None,
    ) -> None:
        self.agent, self.limits = agent, limits
        self.states = None if states is None else list(states)
        self.observations = None if observations is None else list(observations)
        self.actions = _all_actions(agent) if actions is None else list(actions)
        self._ends = terminal
        self._transition, self._observation, self._reward = transition, observation, reward
        self._known_states = self.states or _all_of(agent.transition_model, "get_all_states")
        self.known_observations = self.observations or _all_of(
            agent.observation_model, "get_all_observations"
        )

    def start(self) -> Distribution:
        """The agent's belief; a histogram need not be normalised."""
        belief = self.agent.belief
        shares = belief.get_histogram() if hasattr(belief, "get_histogram") else dict(belief)
        found: Distribution = {}
        for state, p in shares.items():
            if p > 0.0:
                place = END if self.ends(state) else state
                found[place] = found.get(place, 0.0) + float(p)
        if not found:
            raise InvalidInputError("the agent's belief gives no state a probability.")
        total = sum(found.values())
        return {state: p / total for state, p in found.items()}

    def ends(self, state: Any) -> bool:
        """Whether an episode ends in a state."""
        return self._ends is not None and bool(self._ends(state))

    def row(self, state: Any, action: Any) -> dict[Any, tuple[float, float]]:
        """Next states with their probability and mean reward; those that end are one."""
        if state is END:
            return {END: (1.0, 0.0)}
        found: dict[Any, tuple[float, float]] = {}
        for after, p in self._next(state, action).items():
            paid = self._paid(state, action, after)
            place = END if self.ends(after) else after
            before, earlier = found.get(place, (0.0, 0.0))
            found[place] = (before + p, (before * earlier + p * paid) / (before + p))
        return found

    def seen(self, state: Any, action: Any) -> Distribution:
        """The distribution of the observation on arrival in a state."""
        where = f"the observation in state {str(state)!r} after action {str(action)!r}"
        if self._observation is not None:
            given = self._observation(state, action)
            return enumeration.given_distribution(where, given, self.limits)
        model = self.agent.observation_model
        return enumeration.distribution(
            where,
            lambda: model.sample(state, action),
            lambda sight: model.probability(sight, state, action),
            self.known_observations,
            self.limits,
        )

    def _next(self, state: Any, action: Any) -> Distribution:
        where = f"the transition from state {str(state)!r} under action {str(action)!r}"
        if self._transition is not None:
            given = self._transition(state, action)
            return enumeration.given_distribution(where, given, self.limits)
        model = self.agent.transition_model
        return enumeration.distribution(
            where,
            lambda: model.sample(state, action),
            lambda after: model.probability(after, state, action),
            self._known_states,
            self.limits,
        )

    def _paid(self, state: Any, action: Any, after: Any) -> float:
        if self._reward is not None:
            return float(self._reward(state, action, after))
        model = self.agent.reward_model
        shares = enumeration.distribution(
            f"the reward of state {str(state)!r} under action {str(action)!r}",
            lambda: float(model.sample(state, action, after)),
            lambda value: model.probability(value, state, action, after),
            None,
            self.limits,
        )
        return float(sum(share * value for value, share in shares.items()))


def tabulate(questions: Questions, discount: float) -> TabularPOMDP:
    """The model of all states that can be reached.

    Raises:
        InvalidInputError: As `from_pomdp_py`.
    """
    actions = questions.actions
    start = questions.start()
    found = enumeration.reachable(
        sorted(start, key=enumeration.sort_key),
        len(actions),
        lambda state, a: questions.row(state, actions[a]),
        questions.limits,
    )
    order = _ordered("states", found, questions.states)
    rows = [[found[state][a] for state in order] for a in range(len(actions))]
    transitions = [
        _csr([{k: v[0] for k, v in row.items()} for row in each], order) for each in rows
    ]
    sights, observations = _sights(questions, order)
    dense = len(order) ** 2 * len(actions) <= DENSE_ENTRIES
    initial = np.array([start.get(state, 0.0) for state in order])
    rewards = _rewards(rows, order)
    return TabularPOMDP(
        transition=np.stack([t.toarray() for t in transitions], axis=1) if dense else transitions,
        observation=np.stack([o.toarray() for o in sights]) if dense else sights,
        reward=rewards,
        initial=initial / initial.sum(),
        discount=discount,
        terminal=_terminal(transitions, rewards),
        state_names=enumeration.names("state", order),
        action_names=enumeration.names("action", actions),
        observation_names=enumeration.names("observation", observations),
    )


def _all_of(model: Any, method: str) -> list[Any] | None:
    """Everything that a model lists, sorted; None if it does not."""
    try:
        listed = list(getattr(model, method)())
    except (
        Exception
    ):  # of models without a list: NotImplementedError, or what their code makes of it
        return None
    return sorted(listed, key=enumeration.sort_key) or None


def _all_actions(agent: Any) -> list[Any]:
    listed = _all_of(agent.policy_model, "get_all_actions")
    if listed is None:
        raise InvalidInputError(
            "the problem's policy model lists no actions (get_all_actions() without a state). Give "
            "actions=, all of them."
        )
    return listed


def _ordered(what: str, met: Iterable[Any], given: list[Any] | None) -> list[Any]:
    """What was met, in the order given or by their texts; the end comes last."""
    going = {value for value in met if value is not END}
    last = [END] if END in met else []
    if given is None:
        return sorted(going, key=enumeration.sort_key) + last
    listed = list(dict.fromkeys(given))
    missing = sorted(going - set(listed), key=enumeration.sort_key)
    if missing:
        raise invalid(what, f"hold {str(missing[0])!r}, which is met", [str(v) for v in listed[:5]])
    return [value for value in listed if value in going] + last


def _sights(questions: Questions, order: list[Any]) -> tuple[list[sp.csr_array], list[Any]]:
    """O, one matrix an action, and the observations in their order."""
    rows = [
        [{} if state is END else questions.seen(state, action) for state in order]
        for action in questions.actions
    ]
    met = {sight for each in rows for row in each for sight in row}
    observations = _ordered("observations", met, questions.observations)
    if not observations:
        raise InvalidInputError("the problem is over where it starts: nothing is ever observed.")
    # What is seen on arrival where an episode ends matters to nobody; it must be something.
    uniform = dict.fromkeys(observations, 1.0 / len(observations))
    return [_csr([row or uniform for row in each], observations) for each in rows], observations


def _rewards(
    rows: list[list[dict[Any, tuple[float, float]]]],
    order: list[Any],
) -> FloatArray:
    """(S, A), or (S, A, S') where some reward depends on the next state and the table is not too large."""
    shape = (len(order), len(rows))
    mean: FloatArray
    mean = np.array([[sum(p * r for p, r in row.values()) for row in each] for each in rows]).T
    depends = any(
        max(r for _, r in row.values()) > min(r for _, r in row.values())
        for each in rows
        for row in each
    )
    if not depends or shape[0] * shape[1] * shape[0] > MOST_OUTCOME_ENTRIES:
        # Rounding of probabilities aside, a reward that is certain is the model's own number.
        certain = np.array([[next(iter(row.values()))[1] for row in each] for each in rows]).T
        return mean if depends else np.asarray(certain)
    table = np.zeros((*shape, shape[0]))
    for a, each in enumerate(rows):
        paid = _csr([{k: v[1] for k, v in row.items()} for row in each], order)
        table[:, a] = paid.toarray()
    return table


def _terminal(transitions: list[sp.csr_array], rewards: FloatArray) -> np.ndarray[Any, Any]:
    """Which states no action leaves, and where nothing is paid."""
    stays = np.all([t.diagonal() >= 1.0 - 1e-12 for t in transitions], axis=0)
    return np.asarray(stays & (rewards.reshape(len(rewards), -1) == 0.0).all(axis=1))


def _csr(rows: list[dict[Any, float]], columns: list[Any]) -> sp.csr_array:
    """One row a dictionary."""
    index = {value: i for i, value in enumerate(columns)}
    places = [(i, index[key], p) for i, row in enumerate(rows) for key, p in row.items()]
    at_row, at_column, values = zip(*places, strict=True) if places else ((), (), ())
    shape = (len(rows), len(columns))
    return sp.csr_array((np.array(values, dtype=np.float64), (at_row, at_column)), shape=shape)

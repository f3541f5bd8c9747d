"""A `TabularPOMDP` in pomdp_py's own classes; `pomdp_py_models.to_pomdp_py` and planners use them.

Imports pomdp_py, so it is imported late: see `pomdp_py_models.pomdp_py_module`.

States, actions and observations are one object an index, made once: pomdp_py keeps its search trees in
dictionaries of them. Lists stand in the model's order, never in a set's. Tables are read row by row when
first asked, since a planner meets few rows of a large model.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pomdp_py

from imm_rl.envs.model import FloatArray, Matrix, TabularPOMDP


class _Indexed:
    """What the three kinds of objects share: an index in the model, and its name."""

    def __init__(self, index: int, name: str) -> None:
        self.index, self.name = index, name

    def __hash__(self) -> int:
        return self.index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.index == self.index

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __copy__(self) -> _Indexed:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Indexed:
        return self  # never changed; POMCP copies the whole belief at every search

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class TabularState(_Indexed, pomdp_py.State):  # type: ignore[misc]  # pomdp_py has no types
    """A state: `index` and `name`."""


class TabularAction(_Indexed, pomdp_py.Action):  # type: ignore[misc]
    """An action: `index` and `name`."""


class TabularObservation(_Indexed, pomdp_py.Observation):  # type: ignore[misc]
    """An observation: `index` and `name`."""


class _Row(NamedTuple):
    """One distribution: its outcomes, their cumulative and their own probabilities."""

    outcomes: list[Any]
    cumulative: list[float]
    probabilities: dict[Any, float]


class _Rows:
    """The rows of one matrix an action, kept as Python lists from their first use on."""

    def __init__(self, matrices: Sequence[Matrix], outcomes: Sequence[Any]) -> None:
        self._matrices, self._outcomes = matrices, outcomes
        self._rows: dict[tuple[int, int], _Row] = {}

    def row(self, state: Any, action: Any) -> _Row:
        """The row of a state under an action."""
        key = (state.index, action.index)
        if key not in self._rows:
            self._rows[key] = self._read(*key)
        return self._rows[key]

    def _read(self, state: int, action: int) -> _Row:
        matrix = self._matrices[action]
        if isinstance(matrix, np.ndarray):
            columns: npt.NDArray[Any] = np.flatnonzero(matrix[state])
            values: FloatArray = matrix[state][columns]
        else:
            part = slice(matrix.indptr[state], matrix.indptr[state + 1])
            columns, values = matrix.indices[part], matrix.data[part]
        outcomes = [self._outcomes[c] for c in columns.tolist()]
        cumulative = np.cumsum(values).tolist()
        cumulative[-1] = 2.0  # the last outcome takes what rounding leaves of 1
        return _Row(outcomes, cumulative, dict(zip(outcomes, values.tolist(), strict=True)))

    def draw(self, state: Any, action: Any) -> Any:
        """An outcome, by Python's global generator, as pomdp_py's own models draw."""
        row = self.row(state, action)
        if len(row.outcomes) == 1:
            return row.outcomes[0]
        return row.outcomes[bisect.bisect_right(row.cumulative, random.random())]

    def most_likely(self, state: Any, action: Any) -> Any:
        """The first of the likeliest outcomes."""
        row = self.row(state, action)
        return max(row.outcomes, key=row.probabilities.__getitem__)


class TabularTransitionModel(pomdp_py.TransitionModel):  # type: ignore[misc]
    """P(s' | s, a)."""

    def __init__(self, rows: _Rows, states: list[TabularState]) -> None:
        self._rows, self._states = rows, states

    def probability(self, next_state: Any, state: Any, action: Any) -> float:
        """P(next_state | state, action)."""
        return self._rows.row(state, action).probabilities.get(next_state, 0.0)

    def sample(self, state: Any, action: Any) -> Any:
        """A next state."""
        return self._rows.draw(state, action)

    def argmax(self, state: Any, action: Any) -> Any:
        """The likeliest next state."""
        return self._rows.most_likely(state, action)

    def get_all_states(self) -> list[TabularState]:
        """All states, in the model's order."""
        return self._states


class TabularObservationModel(pomdp_py.ObservationModel):  # type: ignore[misc]
    """P(o | s', a)."""

    def __init__(self, rows: _Rows, observations: list[TabularObservation]) -> None:
        self._rows, self._observations = rows, observations

    def probability(self, observation: Any, next_state: Any, action: Any) -> float:
        """P(observation | next_state, action)."""
        return self._rows.row(next_state, action).probabilities.get(observation, 0.0)

    def sample(self, next_state: Any, action: Any) -> Any:
        """An observation."""
        return self._rows.draw(next_state, action)

    def argmax(self, next_state: Any, action: Any) -> Any:
        """The likeliest observation."""
        return self._rows.most_likely(next_state, action)

    def get_all_observations(self) -> list[TabularObservation]:
        """All observations, in the model's order."""
        return self._observations


class TabularRewardModel(pomdp_py.RewardModel):  # type: ignore[misc]
    """r(s, a), or r(s, a, s') where the model pays by it; over observations its mean is taken."""

    def __init__(self, model: TabularPOMDP) -> None:
        self._by_action: list[list[float]] = model.reward.tolist()
        outcome = model.outcome_reward
        if outcome is not None and outcome.ndim == 4:
            seen = np.stack([_dense(model.observation_of(a)) for a in range(model.n_actions)])
            outcome = np.einsum("sapo,apo->sap", outcome, seen)
        self._by_outcome: FloatArray | None = outcome

    def sample(self, state: Any, action: Any, next_state: Any) -> float:
        """The reward; next_state None asks for its mean."""
        if self._by_outcome is None or next_state is None:
            mean: float = self._by_action[state.index][action.index]
            return mean
        return float(self._by_outcome[state.index, action.index, next_state.index])

    def argmax(self, state: Any, action: Any, next_state: Any) -> float:
        """The reward, which is certain."""
        return self.sample(state, action, next_state)

    def probability(self, reward: float, state: Any, action: Any, next_state: Any) -> float:
        """1 for the reward, 0 for any other."""
        return float(reward == self.sample(state, action, next_state))


class TabularPolicyModel(pomdp_py.RandomRollout):  # type: ignore[misc]
    """All actions in every state; rolls out uniformly."""

    def __init__(self, actions: list[TabularAction]) -> None:
        self._actions = actions

    def get_all_actions(self, state: Any = None, history: Any = None) -> list[TabularAction]:  # noqa: ARG002
        """All actions, in the model's order."""
        return self._actions

    def sample(self, state: Any) -> TabularAction:  # noqa: ARG002  the signature of pomdp_py
        """Any action."""
        return random.choice(self._actions)

    def rollout(self, state: Any, history: Any = None) -> TabularAction:  # noqa: ARG002
        """Any action."""
        return random.choice(self._actions)


class TabularRollout(pomdp_py.RolloutPolicy):  # type: ignore[misc]
    """One action a state; actions (S,) are indices."""

    def __init__(self, actions: list[TabularAction], choice: npt.NDArray[np.int64]) -> None:
        self._choice: list[TabularAction] = [actions[a] for a in choice.tolist()]

    def rollout(self, state: Any, history: Any = None) -> TabularAction:  # noqa: ARG002
        """The state's action."""
        chosen: TabularAction = self._choice[state.index]
        return chosen


class TabularParts:
    """The objects and models of one `TabularPOMDP`."""

    def __init__(self, model: TabularPOMDP) -> None:
        self.model = model
        self.states = [TabularState(i, name) for i, name in enumerate(model.state_names)]
        self.actions = [TabularAction(i, name) for i, name in enumerate(model.action_names)]
        self.observations = [
            TabularObservation(i, name) for i, name in enumerate(model.observation_names)
        ]
        actions = range(model.n_actions)
        self.transition = TabularTransitionModel(
            _Rows([model.transition_of(a) for a in actions], self.states), self.states
        )
        self.observation = TabularObservationModel(
            _Rows([model.observation_of(a) for a in actions], self.observations), self.observations
        )
        self.reward = TabularRewardModel(model)
        self.policy = TabularPolicyModel(self.actions)

    def histogram(self, belief: FloatArray, *, every_state: bool) -> Any:
        """A belief (S,) as a histogram, of every state or of those with a probability."""
        which = range(len(belief)) if every_state else np.flatnonzero(belief).tolist()
        return pomdp_py.Histogram({self.states[i]: float(belief[i]) for i in which})

    def particles(self, belief: FloatArray, count: int) -> Any:
        """A belief (S,) as `count` particles with the nearest shares that whole numbers allow."""
        exact = belief * count
        whole = np.floor(exact).astype(np.int64)
        most_left = np.argsort(whole - exact, kind="stable")  # largest remainders first
        whole[most_left[: count - int(whole.sum())]] += 1
        chosen = np.repeat(np.arange(len(belief)), whole)
        return pomdp_py.Particles([self.states[i] for i in chosen.tolist()])

    def agent(self, belief: Any) -> Any:
        """An agent with this belief."""
        return pomdp_py.Agent(belief, self.policy, self.transition, self.observation, self.reward)

    def environment(self, state: int) -> Any:
        """An environment in this state."""
        return pomdp_py.Environment(self.states[state], self.transition, self.reward)


def _dense(matrix: Matrix) -> FloatArray:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())

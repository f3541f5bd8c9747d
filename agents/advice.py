"""The restricted policy as an adviser of rows: `interpolate` mixes it in, `jsrl` lets it begin.

`TabularRollouts.collect` asks an adviser before each action and tells it what came of it. An adviser
keeps each row's belief as the restricted policy would have it: the filter runs on the row's own
actions and on observations drawn from the model (an agent that sees the state is shown none).

Index letters: N runs, E copies a run, R = N·E rows, T steps, S states, A actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from imm_rl.agents.restricted.asking import NOTHING_SEEN, answers, is_view_policy, policy_name
from imm_rl.agents.rollout import BoolArray
from imm_rl.agents.streams import SeedStreams
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError


class Advised(NamedTuple):
    """What becomes of the rows' policies at one step.

    Attributes:
        thresholds: (R, A−1), cumulative probabilities of all actions but the last.
        own: (R,), whether the action counts as the agent's own; None: all do.
    """

    thresholds: FloatArray
    own: BoolArray | None


class Adviser(Protocol):
    """What `TabularRollouts.collect` needs of an adviser."""

    def begin(self, states: IntArray, n_steps: int, *, restart: bool) -> None:
        """A rollout of so many steps follows; with `restart`, every row starts an episode."""

    def advise(self, thresholds: FloatArray, elapsed: IntArray) -> Advised:
        """The policies' own thresholds (R, A−1), `elapsed` (R,) steps into each row's episode."""

    def observe(
        self, actions: IntArray, next_states: IntArray, over: BoolArray, current: IntArray
    ) -> None:
        """What the rows did and reached; `over` where an episode ended and `current` starts a new one."""


class BeliefFollower:
    """Beliefs and answers of the restricted policy in R rows.

    Args:
        pair: The problem.
        policy: Acts on beliefs or on the last observation.
        streams: What observations are drawn by, of their own.
        n_envs: E.
    """

    def __init__(self, pair: EnvPair, policy: Any, streams: SeedStreams, n_envs: int) -> None:
        self.pair, self.policy = pair, policy
        self._filter = BeliefFilter(pair.restricted_model)
        self._streams, self._n_envs = streams, n_envs
        self._beliefs: Beliefs | None = None
        self._seen: IntArray = np.empty(0, dtype=np.int64)
        self._draws: FloatArray = np.empty((2, 0, 0))
        self._step = 0

    def begin(self, states: IntArray, n_steps: int, *, restart: bool) -> None:
        """Draws what a rollout of so many steps needs; with `restart` the rows are at their start."""
        # One more than there are steps: the first row is for episodes that start with the rollout.
        self._draws = self._streams.uniforms(2, n_steps + 1, self._n_envs)
        self._step = 0
        if restart or self._beliefs is None:
            self._beliefs = self._filter.start(len(states))
            self._seen = np.full(len(states), NOTHING_SEEN)
            self._show_first(np.arange(len(states)), states, 0)

    def probs(self, rows: IntArray | None = None) -> FloatArray:
        """The restricted policy's action probabilities in some rows, or in all: (n, A)."""
        beliefs: Any = self._beliefs
        if rows is None:
            return answers(self.policy, beliefs, self._seen)
        return answers(self.policy, beliefs[rows], self._seen[rows])

    def observe(
        self,
        actions: IntArray,
        next_states: IntArray,
        going: BoolArray,
        over: BoolArray,
        current: IntArray,
    ) -> None:
        """Updates the rows that are `going`; the others are at the start, shown `current` where `over`."""
        self._step += 1
        sampler = self.pair.sampler
        after = sampler.observe(actions, next_states, self._draws[0, self._step])
        self._seen = np.where(going, after, NOTHING_SEEN)
        beliefs: Any = self._beliefs
        self._beliefs = self._filter.follow(beliefs, actions, after, going)
        if over.any():
            self._show_first(np.flatnonzero(over), current, self._step)

    def _show_first(self, rows: IntArray, states: IntArray, step: int) -> None:
        """What a reset shows, where it shows something."""
        table = self.pair.observation_beliefs
        if table is None:
            return
        uniforms = self._draws[1, step][rows]
        seen = self.pair.sampler.observe(np.zeros_like(rows), states[rows], uniforms)
        self._seen[rows] = seen
        beliefs: Any = self._beliefs
        if not isinstance(beliefs, np.ndarray):
            beliefs = beliefs.toarray() if rows.size == beliefs.shape[0] else sp.lil_array(beliefs)
        beliefs[rows] = table[seen]
        self._beliefs = beliefs if isinstance(beliefs, np.ndarray) else sp.csr_array(beliefs)

    def state(self) -> dict[str, np.ndarray]:
        """Where the stream stands, and each row's belief and last observation."""
        state: dict[str, np.ndarray] = {"stream": np.array(self._streams.state())}
        if self._beliefs is not None:
            dense = self._beliefs
            rows = dense if isinstance(dense, np.ndarray) else dense.toarray()
            state |= {"beliefs": rows.copy(), "seen": self._seen.copy()}
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts all of it where `state` says."""
        self._streams.restore(str(state["stream"]))
        self._beliefs = None
        if "beliefs" in state:
            rows, self._seen = state["beliefs"], state["seen"].copy()
            self._beliefs = sp.csr_array(rows) if self._filter.is_sparse else rows.copy()


class Mixture:
    """`interpolate`: acts by (1 − r)·π(·|s) + r·P̂(·|b), for evaluation (paper's prediction-time mix).

    Args:
        follower: Of the rows.
        shares: (R,), r of each row.
        greedy: Takes the likeliest action of the mixture instead of drawing one.
    """

    def __init__(self, follower: BeliefFollower, shares: FloatArray, *, greedy: bool) -> None:
        self._follower, self._shares, self._greedy = follower, shares[:, None], greedy

    def begin(self, states: IntArray, n_steps: int, *, restart: bool) -> None:
        """See `Adviser`."""
        self._follower.begin(states, n_steps, restart=restart)

    def advise(self, thresholds: FloatArray, elapsed: IntArray) -> Advised:  # noqa: ARG002  see Adviser
        """Cumulative probabilities mix as probabilities do."""
        theirs = np.cumsum(self._follower.probs(), axis=1)[:, :-1]
        mixed = thresholds + self._shares * (theirs - thresholds)
        return Advised(likeliest(mixed) if self._greedy else mixed, None)

    def observe(
        self, actions: IntArray, next_states: IntArray, over: BoolArray, current: IntArray
    ) -> None:
        """See `Adviser`."""
        self._follower.observe(actions, next_states, ~over, over, current)


class Guide:
    """`jsrl`: the restricted policy acts for the first `steps` steps of each episode, then the agent.

    A row that was handed over stays the agent's until its episode ends, whatever becomes of `steps`.

    Attributes:
        steps: (R,), how long the restricted policy acts; set it before each rollout.

    Args:
        follower: Of the rows.
        n_rows: R.
    """

    def __init__(self, follower: BeliefFollower, n_rows: int) -> None:
        self._follower = follower
        self.steps: IntArray = np.zeros(n_rows, dtype=np.int64)
        self._guided: BoolArray = np.ones(n_rows, dtype=bool)

    def begin(self, states: IntArray, n_steps: int, *, restart: bool) -> None:
        """See `Adviser`."""
        self._follower.begin(states, n_steps, restart=restart)

    def advise(self, thresholds: FloatArray, elapsed: IntArray) -> Advised:
        """The restricted policy's thresholds in the rows that it still has."""
        self._guided &= elapsed < self.steps
        rows = np.flatnonzero(self._guided)
        if rows.size:
            thresholds = thresholds.copy()
            thresholds[rows] = np.cumsum(self._follower.probs(rows), axis=1)[:, :-1]
        return Advised(thresholds, ~self._guided)

    def observe(
        self, actions: IntArray, next_states: IntArray, over: BoolArray, current: IntArray
    ) -> None:
        """See `Adviser`; rows of the agent need no belief."""
        self._follower.observe(actions, next_states, self._guided & ~over, over, current)
        self._guided = self._guided | over

    def state(self) -> dict[str, np.ndarray]:
        """What going on exactly needs."""
        return {"guided": self._guided.copy(), **self._follower.state()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the guide where `state` says."""
        self._guided = state["guided"].copy()
        self._follower.restore(state)


def refuse_memory(policy: Any, method: str) -> None:
    """Refuses a policy that remembers what it saw, for methods that ask it step by step.

    Raises:
        InvalidInputError: It is one.
    """
    if is_view_policy(policy):
        raise InvalidInputError(
            f"method {method!r} asks the restricted policy at a belief or at the last observation, and "
            f"{policy_name(policy)} acts on all that it has observed. Use method 'imm', 'noising' or "
            "'naive-kl'."
        )


def likeliest(thresholds: FloatArray) -> FloatArray:
    """Thresholds (R, A−1) that always pick the likeliest action, the first of equals."""
    rows = len(thresholds)
    cumulative = np.concatenate([np.zeros((rows, 1)), thresholds, np.ones((rows, 1))], axis=1)
    best = np.diff(cumulative, axis=1).argmax(axis=1)
    picked: FloatArray = (np.arange(thresholds.shape[1]) >= best[:, None]).astype(np.float64)
    return picked

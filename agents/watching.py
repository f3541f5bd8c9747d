"""Episodes to look at: who acts and, beside it, what the restricted policy sees, believes and would do.

`imm-rl watch` shows what is played here; nothing is measured. An episode is given by the seed and its
number: the environment is seeded from the seed's stream "evaluation", actions are drawn from "action".

Index letters: S states, A actions, r features of a restricted view, d entries of a continuous action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from imm_rl.agents.restricted.asking import NOTHING_SEEN, answers, is_view_policy
from imm_rl.agents.restricted.view_policy import followed
from imm_rl.agents.streams import generator
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.canvas import RGB
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair

CONTINUES, TERMINATED, CUT = "", "terminated", "cut"
"""How an episode stands: it goes on, a terminal state was reached, or its steps are used up."""


class TabularSight(NamedTuple):
    """What there is to see of a tabular pair.

    Attributes:
        state: Where the agent is.
        observation: What the restricted view saw last; None before the first observation.
        belief: (S,), what it lets one believe, given that the episode goes on; None when it is over.
    """

    state: int
    observation: int | None
    belief: FloatArray | None


class FeatureSight(NamedTuple):
    """What there is to see of a Gymnasium environment.

    Attributes:
        view: The restricted view, flattened (r,); None where there is none.
        picture: (H, W, 3), the environment's own, None where it was not asked for.
    """

    view: FloatArray | None
    picture: RGB | None


class Moment(NamedTuple):
    """One moment of an episode: after `step` actions, before the next one.

    Attributes:
        episode: From 0.
        step: Actions taken so far.
        sight: What there is to see.
        agent: (A,) probabilities of who acts, or (2, d), mean and standard deviation; None at the end.
        restricted: The same of the restricted policy beside it; None where there is none, and at the end.
        action: What is done next; None at the end.
        last_action: What was done last; None at the start.
        reward: Of the last action.
        total: Sum of rewards so far.
        ended: `CONTINUES`, `TERMINATED` or `CUT`.
    """

    episode: int
    step: int
    sight: TabularSight | FeatureSight
    agent: FloatArray | None
    restricted: FloatArray | None
    action: Any
    last_action: Any
    reward: float
    total: float
    ended: str


class Streams(NamedTuple):
    """What the episodes of a seed are drawn by.

    Attributes:
        env_seeds: One number an episode, what its environment is seeded with.
        actions: One generator an episode.
    """

    env_seeds: list[int]
    actions: list[np.random.Generator]

    @classmethod
    def of(cls, seed: int, episodes: int) -> Streams:
        """Of a seed; the first episodes are the same, however many there are."""
        seeds = generator(seed, "evaluation").integers(2**31, size=episodes)
        return cls(seeds.tolist(), generator(seed, "action").spawn(episodes))


class _Tracked:
    """The belief along one episode, and what the restricted view shows."""

    def __init__(self, pair: EnvPair, output: int) -> None:
        self._pair, self._filter = pair, BeliefFilter(pair.restricted_model)
        self.output, self.starts = output, True
        self.rows: Beliefs | None = self._filter.start(1)
        if pair.observation_beliefs is not None:
            self.rows = pair.observation_beliefs[[output]]

    @property
    def observation(self) -> int | None:
        """The last observation; the output past the last one says that there is none yet."""
        return None if self.output == self._pair.model.n_observations else self.output

    @property
    def belief(self) -> FloatArray | None:
        """(S,), dense."""
        if self.rows is None:
            return None
        row: Any = self.rows[[0]]
        belief: FloatArray = (row if isinstance(row, np.ndarray) else row.toarray())[0]
        return belief

    def update(self, action: int, output: int, *, terminated: bool) -> None:
        """After an action."""
        self.output, self.starts = output, False
        if terminated or self.rows is None:
            self.rows = None
        else:
            self.rows = self._filter.update(self.rows, np.array([action]), np.array([output]))


class _Asked:
    """A policy of the restricted view, asked once a step; it may have a memory."""

    def __init__(self, policy: Any) -> None:
        self._policy, self._memory = policy, None

    def probs(self, tracked: _Tracked) -> FloatArray:
        """Action probabilities (A,)."""
        if is_view_policy(self._policy):
            views, starts = np.array([[tracked.output]]), np.array([[tracked.starts]])
            found, self._memory = followed(self._policy, views, starts, self._memory)
            probs: FloatArray = found[0, 0]
            return probs
        seen = NOTHING_SEEN if tracked.observation is None else tracked.observation
        rows: Any = tracked.rows
        asked: FloatArray = answers(self._policy, rows, np.array([seen]))[0]
        return asked


def tabular_episodes(
    pair: EnvPair,
    agent: Any,
    restricted: Any | None = None,
    *,
    seed: int,
    episodes: int = 1,
    steps: int | None = None,
    deterministic: bool = False,
) -> Iterator[Moment]:
    """Plays a policy on a tabular pair.

    Both views of the pair are stepped side by side: with the same seed and actions they are in the same
    state, and the restricted one shows what was observed.

    Args:
        pair: The problem.
        agent: Who acts: action probabilities (S, A) at each state, or a policy that acts on its own
            belief, observation or view.
        restricted: A policy on beliefs, observations or views that is asked beside it.
        seed: Of the episodes.
        episodes: How many.
        steps: After which an episode is cut; default, and at most: the pair's.
        deterministic: Takes the likeliest action, the first of equals, instead of drawing one.
    """
    streams = Streams.of(seed, episodes)
    most = pair.max_steps if steps is None else min(steps, pair.max_steps)
    for episode in range(episodes):
        full, hidden = pair.mdp(), pair.pomdp()
        env_seed, chance = streams.env_seeds[episode], streams.actions[episode]
        state, output = full.reset(seed=env_seed)[0], hidden.reset(seed=env_seed)[0]
        tracked = _Tracked(pair, output)
        acting = None if isinstance(agent, np.ndarray) else _Asked(agent)
        beside = None if restricted is None else _Asked(restricted)
        step, reward, total, last, ended = 0, 0.0, 0.0, None, CONTINUES
        while True:
            sight = TabularSight(state, tracked.observation, tracked.belief)
            if ended:
                yield Moment(episode, step, sight, None, None, None, last, reward, total, ended)
                break
            probs = agent[state] if acting is None else acting.probs(tracked)
            would = None if beside is None else beside.probs(tracked)
            action = _drawn(probs, None if deterministic else chance)
            yield Moment(episode, step, sight, probs, would, action, last, reward, total, ended)
            state, reward, terminated, _, _ = full.step(action)
            output = hidden.step(action)[0]
            tracked.update(action, output, terminated=terminated)
            step, total, last = step + 1, total + reward, action
            ended = TERMINATED if terminated else CUT if step >= most else CONTINUES


def _drawn(probs: FloatArray, chance: np.random.Generator | None) -> int:
    if chance is None:
        return int(probs.argmax())
    # The last one takes what rounding leaves.
    return int((chance.random() >= np.cumsum(probs)[:-1]).sum())

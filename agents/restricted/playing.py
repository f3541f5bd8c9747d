"""`view_policy_returns`: what a policy on views earns when it acts itself, on the restricted view.

Evaluations set it beside the agent, and it shows whether a restricted policy is worth matching at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from imm_rl.agents.restricted.view_policy import ViewPolicy, check_fit, followed
from imm_rl.agents.streams import generator
from imm_rl.envs import options
from imm_rl.envs.options import FloatArray

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair


def view_policy_returns(
    pair: EnvPair | FeaturePair,
    policy: ViewPolicy,
    *,
    episodes: int,
    seed: int,
    n_envs: int = 8,
    deterministic: bool = False,
) -> FloatArray:
    """Plays whole episodes by the policy.

    Every episode has a seed and a stream of actions of its own: two policies meet the same episodes, and
    neither the number of environments nor the length of other episodes matters. None is left out for
    being long.

    Args:
        pair: The environment.
        policy: It sees `pair.pomdp()`.
        episodes: How many.
        seed: Of starts and actions.
        n_envs: Environments that are stepped side by side.
        deterministic: Takes the likeliest action, the first of equals, or the mean, instead of drawing.

    Returns:
        Undiscounted returns (episodes,).

    Raises:
        InvalidInputError: The policy is for something else, or its answers are wrong.
    """
    episodes = options.whole("episodes", episodes, at_least=1)
    n_envs = min(options.whole("n_envs", n_envs, at_least=1), episodes)
    seed = options.whole("seed", seed, at_least=0)
    tables = []
    try:
        for _ in range(n_envs):
            tables.append(_Table(pair.pomdp()))
        check_fit(policy, tables[0].env.observation_space, tables[0].env.action_space)
        return _played(tables, policy, episodes, seed, deterministic)
    finally:
        for table in tables:
            table.env.close()


class _Table:
    """One environment and the episode that is played in it; -1 after the last one."""

    def __init__(self, env: Any) -> None:
        self.env, self.episode, self.starts, self.view = env, -1, True, np.zeros(0)

    def start(self, episode: int, seed: int) -> None:
        self.episode, self.starts = episode, True
        self.view = np.asarray(self.env.reset(seed=seed)[0])


def _played(
    tables: list[_Table], policy: ViewPolicy, episodes: int, seed: int, deterministic: bool
) -> FloatArray:
    env_seeds = generator(seed, "evaluation").integers(2**31, size=episodes)
    chances = generator(seed, "restricted").spawn(episodes)
    returns, memory, begun = np.zeros(episodes), None, len(tables)
    for k, table in enumerate(tables):
        table.start(k, int(env_seeds[k]))
    while any(table.episode >= 0 for table in tables):
        views = np.stack([table.view for table in tables])[None]
        starts = np.array([[table.starts for table in tables]])
        answers, memory = followed(policy, views, starts, memory)
        for table, answer in zip(tables, answers[0], strict=True):
            if table.episode < 0:  # its last view is asked again and again, and nobody listens
                continue
            chance = None if deterministic else chances[table.episode]
            action = drawn_action(answer, policy.action_space, chance)
            view, reward, terminated, truncated, _ = table.env.step(action)
            returns[table.episode] += float(reward)
            table.view, table.starts = np.asarray(view), False
            if not (terminated or truncated):
                continue
            if begun < episodes:
                table.start(begun, int(env_seeds[begun]))
                begun += 1
            else:
                table.episode = -1
    return returns


def drawn_action(answer: FloatArray, space: Any, chance: np.random.Generator | None) -> Any:
    """An action of an answer (A,) or (2, d); chance None: the best one, the first of equals."""
    if isinstance(space, spaces.Discrete):
        if chance is None:
            return int(space.start) + int(answer.argmax())
        # The last one takes what rounding leaves.
        return int(space.start) + int((chance.random() >= np.cumsum(answer)[:-1]).sum())
    mean, std = answer
    drawn = mean if chance is None else mean + std * chance.standard_normal(mean.shape)
    return np.clip(drawn.reshape(space.shape), space.low, space.high).astype(space.dtype)

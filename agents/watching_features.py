"""Episodes to look at of a Gymnasium environment: as `watching`, with features in place of a belief."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from imm_rl.agents.restricted.playing import drawn_action
from imm_rl.agents.restricted.view_policy import ViewPolicy, followed
from imm_rl.agents.watching import CONTINUES, CUT, TERMINATED, FeatureSight, Moment, Streams
from imm_rl.errors import ImmRlError, InvalidInputError

if TYPE_CHECKING:
    from imm_rl.envs.canvas import RGB
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.options import FloatArray
    from imm_rl.envs.pair import View


class _Asked:
    """A policy asked once a step; it may have a memory."""

    def __init__(self, policy: ViewPolicy) -> None:
        self._policy, self._memory, self._starts = policy, None, True

    def answer(self, seen: Any) -> FloatArray:
        """(A,) or (2, d)."""
        views, starts = np.asarray(seen)[None, None], np.array([[self._starts]])
        found, self._memory = followed(self._policy, views, starts, self._memory)
        self._starts = False
        answer: FloatArray = found[0, 0]
        return answer


def feature_episodes(
    pair: FeaturePair,
    agent: ViewPolicy,
    view: View,
    restricted: ViewPolicy | None = None,
    *,
    seed: int,
    episodes: int = 1,
    steps: int | None = None,
    deterministic: bool = False,
    pictures: bool = False,
) -> Iterator[Moment]:
    """Plays a policy in a Gymnasium environment.

    Args:
        pair: The environment.
        agent: Who acts.
        view: What it sees, "mdp" or "pomdp".
        restricted: A policy on the restricted view that is asked beside it.
        seed: Of the episodes.
        episodes: How many.
        steps: After which an episode is cut; default: the environment's limit.
        deterministic: Takes the likeliest action, or the mean, instead of drawing.
        pictures: Whether the environment renders each moment.

    Raises:
        InvalidInputError: The environment cannot be rendered, or a policy's answers are wrong.
    """
    streams = Streams.of(seed, episodes)
    env = _made(pair, pictures=pictures)
    try:
        for episode in range(episodes):
            chance = None if deterministic else streams.actions[episode]
            observation = env.reset(seed=streams.env_seeds[episode])[0]
            acting, beside = _Asked(agent), None if restricted is None else _Asked(restricted)
            step, reward, total, last, ended = 0, 0.0, 0.0, None, CONTINUES
            while True:
                seen = None if pair.features is None else pair.features.one(observation)
                flat = None if seen is None else np.asarray(seen, dtype=np.float64).reshape(-1)
                sight = FeatureSight(flat, _picture(env, pair.name) if pictures else None)
                if ended:
                    yield Moment(episode, step, sight, None, None, None, last, reward, total, ended)
                    break
                answer = acting.answer(observation if view == "mdp" else seen)
                would = None if beside is None else beside.answer(seen)
                action = drawn_action(answer, agent.action_space, chance)
                yield Moment(
                    episode, step, sight, answer, would, action, last, reward, total, ended
                )
                observation, paid, terminated, truncated, _ = env.step(action)
                reward = float(paid)
                step, total, last = step + 1, total + reward, action
                over = truncated or (steps is not None and step >= steps)
                ended = TERMINATED if terminated else CUT if over else CONTINUES
    finally:
        env.close()


def _made(pair: FeaturePair, *, pictures: bool) -> gymnasium.Env[Any, Any]:
    if not pictures:
        return pair.mdp()
    plain = pair.mdp()
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if "rgb_array" not in modes:
        raise InvalidInputError(
            f"{pair.name} cannot be drawn: it has no render mode rgb_array. Watch it without --out."
        )
    try:
        return pair.mdp("rgb_array")
    except ImmRlError:
        raise
    except Exception as error:  # whatever a drawing library that is missing makes of it
        raise _undrawable(pair.name, error) from error


def _picture(env: gymnasium.Env[Any, Any], name: str) -> RGB:
    try:
        picture = np.asarray(env.render())
    except Exception as error:  # as above
        raise _undrawable(name, error) from error
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InvalidInputError(
            f"{name} cannot be drawn: its render() gives {picture.dtype} {picture.shape} where an image "
            "(H, W, 3) of bytes was wanted. Watch it without --out."
        )
    return picture


def _undrawable(name: str, error: Exception) -> InvalidInputError:
    told = str(error).rstrip(".")
    if not isinstance(error, gymnasium.error.DependencyNotInstalled):
        told = f"{type(error).__name__}: {told}"
    return InvalidInputError(f"{name} cannot be drawn: {told}. Or watch it without --out.")

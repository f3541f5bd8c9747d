"""From a training's configuration to `IMMPPO` or `IMMA2C`, and what such an agent earns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.preprocessing import is_image_space

from imm_rl.agents.sb3_agents import IMMA2C, IMMPPO
from imm_rl.agents.sb3_settings import SB3Settings
from imm_rl.agents.streams import PURPOSES
from imm_rl.cli.generators import seeded_apart
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair, View
from imm_rl.threads import fitting_threads

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair

ALGORITHMS: dict[str, Any] = {"ppo": IMMPPO, "a2c": IMMA2C}

MOST_COPIES = {True: 100, False: 8}
"""Copies that an evaluation steps side by side, of a tabular environment (arrays) and of another."""


def view_of(config: TrainConfig) -> View:
    """The pair's name of the view that the agent trains on."""
    return "mdp" if config.view == "full" else "pomdp"


def make_agent(
    config: TrainConfig, pair: EnvPair | FeaturePair, policy: Any | None, seed: int
) -> Any:
    """An agent that has not learned yet.

    Raises:
        InvalidInputError: The restricted policy, or a setting of matching, does not go with the pair.
    """
    settings = cast("SB3Settings", config.settings)
    env = pair.sb3_vector(settings.n_envs, view_of(config)) if policy is None else pair
    network = _network(pair.observation_space) if not isinstance(pair, EnvPair) else "MlpPolicy"
    matching: dict[str, Any] = {}
    if policy is not None:
        matching = {
            "restricted": policy,
            "imm_lambda": config.imm_lambda,
            "imm": {
                **settings.imm_arguments(),
                "method": config.method,
                "total_timesteps": config.steps,
            },
            "n_envs": settings.n_envs,
        }
    device = config.device
    if device == "auto" and network == "MlpPolicy":
        device = "cpu"  # faster for networks as small as these, as SB3 says too
    with warnings.catch_warnings():
        # The plan says it in one line, and who asks for a GPU wants it.
        for message in ("You have specified a mini-batch size", "You are trying to run"):
            warnings.filterwarnings("ignore", message=message)
        return ALGORITHMS[config.agent](
            network,
            env,
            **matching,
            **settings.sb3_arguments(pair.model.discount if isinstance(pair, EnvPair) else None),
            seed=seed,
            device=device,
        )


def _network(space: Any) -> str:
    """SB3's name of the kind of network for a space."""
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(space) else "MlpPolicy"


@contextmanager
def threads_for(config: TrainConfig, pair: EnvPair | FeaturePair) -> Iterator[None]:
    """As many threads inside the block as the training's tensors are worth."""
    settings = cast("SB3Settings", config.settings)
    size = (
        pair.n_outputs(view_of(config))
        if isinstance(pair, EnvPair)
        else int(math.prod(pair.observation_space.shape or (1,)))
    )
    rows = max(getattr(settings, "batch_size", settings.rollout_size), settings.imm_batch)
    with fitting_threads(rows * max(size, *settings.hidden_sizes)):
        yield


def evaluation_env(pair: EnvPair | FeaturePair, view: View, episodes: int) -> VecEnv:
    """Copies of an environment for `played_episodes`."""
    return pair.sb3_vector(min(episodes, MOST_COPIES[isinstance(pair, EnvPair)]), view)


def evaluation_seed(seed: int, env_steps: int = 0) -> int:
    """The seed of an evaluation of a seed's agent after so many steps; 0 steps: of the final one."""
    key = (PURPOSES.index("evaluation"), env_steps)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0]) >> 1


class Episodes(NamedTuple):
    """Whole episodes, each (B,): undiscounted and discounted sums of rewards, and lengths."""

    returns: FloatArray
    discounted: FloatArray
    lengths: FloatArray


def discount_of(config: TrainConfig, pair: EnvPair | FeaturePair) -> float:
    """γ of discounted returns: the model's or, where there is none, the agent's."""
    if isinstance(pair, EnvPair):
        return float(pair.model.discount)
    return float(cast("SB3Settings", config.settings).sb3_arguments(None)["gamma"])


def played_episodes(
    agent: Any,
    env: VecEnv,
    *,
    episodes: int,
    seed: int,
    deterministic: bool = False,
    gamma: float = 1.0,
) -> Episodes:
    """Plays whole episodes.

    Args:
        agent: An algorithm or a policy of SB3.
        env: See `evaluation_env`.
        episodes: B.
        seed: Of environment and actions: the same seed, the same episodes as far as actions agree. The
            shared generators of a training that goes on are left as they are.
        deterministic: Takes the likeliest action instead of drawing one.
        gamma: Of the discounted returns.
    """
    going, discounted = np.zeros(env.num_envs), []

    def discount(now: dict[str, Any], _: dict[str, Any]) -> None:
        """Called by `evaluate_policy` for each copy i after each of its steps."""
        i = now["i"]
        going[i] += gamma ** (now["current_lengths"][i] - 1) * now["reward"]
        # As `evaluate_policy` tells an episode's end, whatever wrappers say of `done`.
        if now["done"] and (not now["is_monitor_wrapped"] or "episode" in now["info"]):
            discounted.append(going[i])
            going[i] = 0.0

    with seeded_apart(seed):
        env.seed(seed)
        returns, lengths = evaluate_policy(
            agent,
            env,
            n_eval_episodes=episodes,
            deterministic=deterministic,
            callback=discount,
            return_episode_rewards=True,
            warn=False,
        )
    return Episodes(
        *(np.array(values, dtype=np.float64) for values in (returns, discounted, lengths))
    )

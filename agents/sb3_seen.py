"""From what users hand to `IMMCallback` to what a restricted policy sees: a tabular pair, or features.

Index letters: N observations.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import VecEnv

from imm_rl.agents.neighbours import Equal, Nearest
from imm_rl.agents.sb3_rollout import transposer
from imm_rl.agents.sb3_settings import completions_unused
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.envs.features import Features, Observe
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.registry import make
from imm_rl.envs.sb3_vector import TabularSB3VecEnv
from imm_rl.envs.tabular_env import TabularEnv
from imm_rl.envs.vector import TabularVectorEnv
from imm_rl.errors import InvalidInputError, invalid

__all__ = ["Observe", "check_arguments", "check_spaces", "seen_by_restricted", "with_pair"]


def with_pair(env: Any, observe: Observe | None) -> tuple[Any, Observe | None]:
    """The two as they are, but for a text, which becomes the pair that it describes."""
    if not isinstance(env, str):
        return env, observe
    return make(env) if observe is None else make(env, observe=observe), None


def seen_by_restricted(env: Any, observe: Observe | None) -> EnvPair | Features:
    """What the restricted policy sees of an environment.

    Args:
        env: A pair, a text for `imm_rl.make`, or an environment, also a vectorised one.
        observe: Indices of the features that are seen, or a function of observations, for an environment
            that is no pair.

    Returns:
        The tabular pair, whose model says what is observed; or the features.

    Raises:
        InvalidInputError: It is nothing of these, or `observe` is missing, is not needed, or hides
            nothing.
    """
    env, observe = with_pair(env, observe)
    pair = env if isinstance(env, EnvPair) else _pair_seen_in_full(env)
    if pair is not None:
        if observe is not None:
            raise InvalidInputError(
                f"observe chooses features, and the model of {pair.name} says what is observed. Leave "
                "observe out."
            )
        return pair
    if isinstance(env, FeaturePair):
        if observe is not None and env.features is not None:
            raise invalid("observe", "be given once", "in the pair and as an argument")
        if env.features is not None:
            env.features.check_hides()
            return env.features
        space = env.observation_space
    elif isinstance(env, gymnasium.Env | VecEnv):
        space = env.observation_space
    else:
        remedy = "Give imm_rl.make(...), or the environment that the agent is trained on"
        raise invalid("env", "be a pair or an environment", type(env).__name__, remedy)
    if observe is None:
        raise InvalidInputError(
            "observe is missing: which features of an observation does the restricted policy see? Give "
            "their indices, such as observe=[2, 3], or a function of observations (N, ...)."
        )
    features = Features(space, observe)
    features.check_hides()
    return features


def check_arguments(
    seen: EnvPair | Features, completions: Any, context_weight: Any, observations: Any
) -> None:
    """Refuses arguments of `IMMCallback` that would be ignored.

    Raises:
        InvalidInputError: One is for features and the environment is tabular, or the other way round.
    """
    if isinstance(seen, EnvPair):
        if completions is not None:
            raise completions_unused(seen.name)
        return
    is_kind = isinstance(completions, str | Nearest | Equal) or (
        callable(completions) and not isinstance(completions, type)
    )
    if completions is not None and not is_kind:
        remedy = "Give Nearest(k=16), Equal(), their text, or a function of views and a generator"
        raise invalid("completions", "say what a view may stand for", completions, remedy)
    for name, value in (("context_weight", context_weight), ("observations", observations)):
        if value is not None:
            raise InvalidInputError(
                f"{name} is for tabular pairs, and this environment has no model. Leave it out."
            )


def check_spaces(seen: EnvPair | Features, model: Any) -> None:
    """Refuses an algorithm whose spaces are not those of the environment that matching knows.

    Raises:
        InvalidInputError: Actions or observations differ, both spaces are printed; or the environment is
            the restricted view of a tabular pair, or of a pair with another model.
    """
    if isinstance(seen, EnvPair):
        wanted = gymnasium.spaces.Discrete(seen.model.n_actions)
        if model.action_space != wanted:
            raise InvalidInputError(
                f"the algorithm acts in {model.action_space}, and {seen.name} has the actions {wanted}."
            )
        trained = _pair_seen_in_full(model.get_env())
        if trained and trained.model.fingerprint() != seen.model.fingerprint():
            raise InvalidInputError(
                f"the algorithm is trained on {_described(trained)}, and the model that matching was made "
                f"for, of {_described(seen)}, is another one: its beliefs would be wrong. Give IMMCallback "
                "the pair that is trained on."
            )
        return
    if model.observation_space != seen.full_space and not transposer(
        model.get_env(), seen.full_space
    ):
        raise InvalidInputError(
            f"the algorithm observes {model.observation_space}, and matching was made for "
            f"{seen.full_space}. Where a wrapper changes the observations (frames stacked), give "
            "IMMCallback the wrapped environment with observe=, whose indices or function then go by what "
            "the wrapper shows."
        )


def _described(pair: EnvPair) -> str:
    """A pair's name, and how it was made where that says more."""
    return pair.name if pair.spec in ("", pair.name) else f"{pair.name} ({pair.spec})"


def _pair_seen_in_full(env: Any) -> EnvPair | None:
    """The pair behind an environment of this project, however wrapped; None behind any other.

    Raises:
        InvalidInputError: The environment shows the restricted view, whose observations may pass for
            states where there are as many of them.
    """
    base = getattr(env, "unwrapped", env)
    if isinstance(base, TabularSB3VecEnv):
        base = base.vector
    elif isinstance(base, VecEnv):
        copies = getattr(base, "envs", None)  # of DummyVecEnv; other processes are out of reach
        base = copies[0].unwrapped if copies else None
    if not isinstance(base, TabularEnv | TabularVectorEnv):
        return None
    if base.view != "mdp":
        raise InvalidInputError(
            f"the environment is the restricted view of {base.pair.name}, and matching trains a policy "
            "that sees the state. Train on pair.mdp() or pair.sb3_vector(n)."
        )
    return base.pair

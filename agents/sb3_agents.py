"""`IMMPPO` and `IMMA2C`: SB3's PPO and A2C that bring `IMMCallback` along.

    agent = IMMPPO("MlpPolicy", imm_rl.make("tiger"), restricted="pomdp", n_steps=64)
    agent.learn(20_000)
    agent.save("tiger")        # tiger.zip; tiger.imm.npz and tiger.restricted.npz beside it
    IMMPPO.load("tiger", env=imm_rl.make("tiger")).learn(20_000, reset_num_timesteps=False)

The zip is SB3's own: where this package is installed `PPO.load` reads it and acts the same. The
restricted policy lies beside it, not in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback

from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
from imm_rl.agents.restricted.stored import load_policy
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.files import write_atomically

CALLBACK_ARGUMENTS = (
    "observe",
    "completions",
    "context_weight",
    "observations",
    "batch_size",
    "refresh",
    "total_timesteps",
    "seed",
)


if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm as _Algorithm
else:
    _Algorithm = object  # PPO and A2C bring theirs


class _Matched(_Algorithm):
    """What `IMMPPO` and `IMMA2C` add to their algorithm."""

    imm: IMMCallback | None
    imm_lambda: Any

    def __init__(
        self,
        policy: Any,
        env: Any,
        restricted: Any = None,
        imm_lambda: Any = None,
        *,
        imm: dict[str, Any] | None = None,
        n_envs: int = 8,
        **arguments: Any,
    ) -> None:
        if isinstance(env, str):
            env = make(env)
        self.imm = _callback(env, restricted, imm_lambda, imm or {})
        self.imm_lambda = None if self.imm is None else self.imm.schedule.text
        super().__init__(policy, _vectorised(env, n_envs), **arguments)

    def learn(self, total_timesteps: int, callback: Any = None, *more: Any, **named: Any) -> Any:
        """As in SB3; `callback` comes after the matching."""
        if self.imm is None and self.imm_lambda is not None:
            raise InvalidInputError(
                "this agent was trained with a restricted policy, and none lies beside its zip. Give "
                "load(..., restricted=...) to go on with it, or set agent.imm_lambda to None to go on "
                "without."
            )
        callbacks: list[BaseCallback] = [] if self.imm is None else [self.imm]
        if callback is not None:
            given = callback if isinstance(callback, list) else [callback]
            callbacks += [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super().learn(total_timesteps, callbacks, *more, **named)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """As in SB3; beside the zip go the state of the matching and the restricted policy.

        A policy that is a function, or a model that was never saved, cannot be written down: `load` is
        to be given it again.

        Args:
            path: Without its ending, or with `.zip`; into an open file goes the zip alone.
            exclude: As in SB3.
            include: As in SB3.
        """
        super().save(path, exclude=exclude, include=include)
        if self.imm is None or not isinstance(path, str | Path):
            return
        state: dict[str, Any] = self.imm.state()
        write_atomically(_beside(path, ".imm.npz"), lambda file: np.savez(file, **state))
        policy = self.imm.policy
        if isinstance(policy, SB3ViewPolicy):
            policy.copy_to(_beside(path, ".restricted"))
        elif callable(getattr(policy, "save", None)):
            policy.save(_beside(path, ".restricted.npz"))

    @classmethod
    def load(
        cls,
        path: Any,
        env: Any = None,
        *arguments: Any,
        restricted: Any = None,
        imm: dict[str, Any] | None = None,
        n_envs: int = 8,
        **more: Any,
    ) -> Any:
        """As in SB3; with an environment, matching goes on where it was.

        Args:
            path: As in `save`.
            env: A pair, a text for `imm_rl.make`, or what SB3 takes.
            arguments: As in SB3.
            restricted: The restricted policy; default: the one beside the zip.
            imm: Other arguments of `IMMCallback`; those that can be written down are remembered.
            n_envs: Copies, where `env` is a pair.
            more: As in SB3.

        Raises:
            InvalidInputError: What lies beside the zip cannot be read or does not fit.
        """
        if isinstance(env, str):
            env = make(env)
        vector = None if env is None else _vectorised(env, n_envs)
        model = super().load(path, vector, *arguments, **more)
        model.imm = None
        if env is None or model.imm_lambda is None:
            return model
        if restricted is None:
            restricted = _policy_beside(path, env)
        if restricted is not None:
            model.imm = _callback(env, restricted, model.imm_lambda, imm or {})
            state = _beside(path, ".imm.npz")
            if model.imm is not None and state.is_file():
                with np.load(state, allow_pickle=False) as arrays:
                    model.imm.restore(dict(arrays))
        return model

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "imm"]


class IMMPPO(_Matched, PPO):
    """PPO with Induced Model Matching.

    Args:
        policy: As in SB3.
        env: A pair, of which `n_envs` copies are made; a text for `imm_rl.make`; or what SB3 takes.
        restricted: As in `IMMCallback`; None trains without matching.
        imm_lambda: As in `IMMCallback`.
        imm: Other arguments of `IMMCallback`.
        n_envs: Copies, where `env` is a pair.
        arguments: As in `stable_baselines3.PPO`.
    """


class IMMA2C(_Matched, A2C):
    """A2C with Induced Model Matching; arguments as in `IMMPPO`, and those of `stable_baselines3.A2C`."""


def _callback(
    env: Any, restricted: Any, imm_lambda: Any, arguments: dict[str, Any]
) -> IMMCallback | None:
    for name in arguments:
        if name not in CALLBACK_ARGUMENTS:
            raise unknown_name("entry of imm", name, CALLBACK_ARGUMENTS)
    if restricted is None or (isinstance(restricted, str) and restricted == "none"):
        if arguments or imm_lambda not in (None, 0, "0"):
            raise InvalidInputError(
                "restricted is None, so that there is nothing to match, and imm_lambda or imm is given. "
                "Name a restricted policy, or leave them out."
            )
        return None
    return IMMCallback(env, restricted, imm_lambda, **arguments)


def _vectorised(env: Any, n_envs: int) -> Any:
    if isinstance(env, EnvPair | FeaturePair):
        return env.sb3_vector(n_envs)
    if isinstance(env, gymnasium.Env) or env is None or hasattr(env, "num_envs"):
        return env
    raise InvalidInputError(
        f"env must be a pair, its text or an environment; received {type(env).__name__}."
    )


def _beside(path: Any, ending: str) -> Path:
    return Path(str(path).removesuffix(".zip") + ending)


def _policy_beside(path: Any, env: Any) -> Any:
    """The restricted policy that `save` left, or None."""
    if not isinstance(path, str | Path):
        return None
    folder, alpha = _beside(path, ".restricted"), _beside(path, ".restricted.npz")
    if folder.is_dir():
        return str(folder)
    if alpha.is_file():
        model = env.restricted_model if isinstance(env, EnvPair) else None
        return load_policy(alpha, model)
    return None

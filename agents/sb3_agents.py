"""`IMMPPO` and `IMMA2C`: SB3's PPO and A2C that bring `IMMCallback` along.

    agent = IMMPPO("MlpPolicy", imm_rl.make("tiger"), restricted="pomdp", n_steps=64)
    agent.learn(20_000)
    agent.save("tiger")        # tiger.zip; tiger.imm.npz and tiger.restricted.npz beside it
    IMMPPO.load("tiger", env=imm_rl.make("tiger")).learn(20_000, reset_num_timesteps=False)

The zip is SB3's own: where this package is installed `PPO.load` reads it and acts the same. The
restricted policy lies beside it, not in it: `sb3_beside`.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback

from imm_rl.agents import sb3_beside
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.registry import make
from imm_rl.errors import InvalidInputError, unknown_name

CALLBACK_ARGUMENTS = (
    "method",
    "observe",
    "completions",
    "context_weight",
    "observations",
    "batch_size",
    "refresh",
    "total_timesteps",
    "seed",
)

COPIES = 8
"""Copies of a pair that a new agent trains on, where nothing is said."""

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm as _Algorithm
else:
    _Algorithm = object  # PPO and A2C bring theirs


class _Matched(_Algorithm):
    """What `IMMPPO` and `IMMA2C` add to their algorithm."""

    imm: IMMCallback | None
    imm_lambda: Any
    imm_arguments: dict[str, Any]  # those of `imm` that the zip remembers
    imm_unwritten: list[str]  # names of the others
    imm_save: str | None  # tells a save from others

    def __init__(
        self,
        policy: Any,
        env: Any,
        restricted: Any = None,
        imm_lambda: Any = None,
        *,
        imm: dict[str, Any] | None = None,
        n_envs: int | None = None,
        **arguments: Any,
    ) -> None:
        if isinstance(env, str):
            env = make(env)
        self._match(env, restricted, imm_lambda, imm or {})
        self.imm_save = None
        super().__init__(policy, _vectorised(env, n_envs), **arguments)

    def _match(self, env: Any, restricted: Any, imm_lambda: Any, arguments: dict[str, Any]) -> None:
        self.imm = _callback(env, restricted, imm_lambda, arguments)
        self.imm_lambda = None if self.imm is None else self.imm.schedule.text
        self.imm_arguments, self.imm_unwritten = sb3_beside.written(arguments)
        self._unmatched = "it has no agent.imm. Give load(..., restricted=...)"

    def learn(self, total_timesteps: int, callback: Any = None, *more: Any, **named: Any) -> Any:
        """As in SB3; `callback` comes after the matching."""
        if self.imm is None and self.imm_lambda is not None:
            raise InvalidInputError(
                f"this agent was trained with a restricted policy, and {self._unmatched} to go on with "
                "it, or set agent.imm_lambda to None to go on without."
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
        if self.imm is not None:
            self.imm_save = secrets.token_hex(8)
        super().save(path, exclude=exclude, include=include)
        if self.imm is not None and self.imm_save and isinstance(path, str | Path):
            sb3_beside.write(path, self.imm, self.imm_save)

    @classmethod
    def load(
        cls,
        path: Any,
        env: Any = None,
        *arguments: Any,
        restricted: Any = None,
        imm_lambda: Any = None,
        imm: dict[str, Any] | None = None,
        n_envs: int | None = None,
        **more: Any,
    ) -> Any:
        """As in SB3; with an environment, matching goes on where it was.

        Args:
            path: As in `save`.
            env: A pair, a text for `imm_rl.make`, or what SB3 takes.
            arguments: As in SB3.
            restricted: The restricted policy; default: the one beside the zip. "none" goes on without.
            imm_lambda: As in `IMMCallback`; default: as it was.
            imm: Other arguments of `IMMCallback`; default, each: as it was, where it is a number, a text
                or indices. Functions, and `observations`, are to be given again.
            n_envs: Copies, where `env` is a pair; default: as many as there were.
            more: As in SB3.

        Raises:
            InvalidInputError: What lies beside the zip cannot be read or does not fit; or an argument of
                matching is given, and no environment to match on.
        """
        if env is None:
            said = {
                "restricted": restricted,
                "imm_lambda": imm_lambda,
                "imm": imm,
                "n_envs": n_envs,
            }
            for name, value in said.items():
                if value is not None:
                    raise InvalidInputError(
                        f"{name} is given, and no environment to use it on. Give load(..., env=...)."
                    )
        elif isinstance(env, str):
            env = make(env)
        if n_envs is None and isinstance(env, EnvPair | FeaturePair):
            n_envs = sb3_beside.saved_copies(path)
        model = super().load(path, _vectorised(env, n_envs), *arguments, **more)
        model.imm = None
        if env is None:
            model._unmatched = "it was loaded without an environment. Give load(..., env=...)"
        else:
            model._match_again(path, env, restricted, imm_lambda, imm or {})
        return model

    def _match_again(
        self, path: Any, env: Any, restricted: Any, imm_lambda: Any, given: dict[str, Any]
    ) -> None:
        """Takes up the matching of a loaded agent; or none, where what it needs was not saved."""
        if self.imm_lambda is None or (isinstance(restricted, str) and restricted == "none"):
            self._match(env, restricted, imm_lambda, given)
            return
        beside = sb3_beside.read(path, self.imm_save)
        if restricted is None and beside is not None:
            restricted = beside.policy(env)
        lost = sb3_beside.without_needless(self.imm_unwritten, env)
        lost = [name for name in lost if name not in given]
        if restricted is None or lost:
            self._unmatched = (
                "none lies beside its zip. Give load(..., restricted=...)"
                if restricted is None
                else f"imm has entries that could not be saved: {', '.join(lost)}. Give "
                f"load(..., imm={{{lost[0]!r}: ...}})"
            )
            return
        kept = sb3_beside.without_needless(self.imm_arguments, env)
        together = {**{name: self.imm_arguments[name] for name in kept}, **given}
        self._match(
            env, restricted, self.imm_lambda if imm_lambda is None else imm_lambda, together
        )
        if beside is not None and self.imm is not None:
            beside.restore(self.imm)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "imm", "_unmatched"]


class IMMPPO(_Matched, PPO):
    """PPO with Induced Model Matching.

    Args:
        policy: As in SB3.
        env: A pair, of which `n_envs` copies are made; a text for `imm_rl.make`; or what SB3 takes.
        restricted: As in `IMMCallback`; None trains without matching.
        imm_lambda: As in `IMMCallback`.
        imm: Other arguments of `IMMCallback`.
        n_envs: Copies, where `env` is a pair; default: 8.
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


def _vectorised(env: Any, n_envs: int | None) -> Any:
    if isinstance(env, EnvPair | FeaturePair):
        return env.sb3_vector(COPIES if n_envs is None else n_envs)
    if not (isinstance(env, gymnasium.Env) or env is None or hasattr(env, "num_envs")):
        raise InvalidInputError(
            f"env must be a pair, its text or an environment; received {type(env).__name__}."
        )
    if n_envs is not None:
        raise InvalidInputError(
            f"n_envs is {n_envs}, and says how many copies of a pair are made. This environment is no "
            "pair and trained on as it is: leave n_envs out, or give a pair (imm_rl.make)."
        )
    return env

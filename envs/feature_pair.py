"""`FeaturePair`: any Gymnasium environment in two views. `imm_rl.make` builds it; agents train on it.

The full view (`"mdp"`) shows the environment's observation, the restricted view (`"pomdp"`) some features
of it. There is no model: what could be hidden behind a restricted view is learnt from what was met.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from imm_rl.envs import options
from imm_rl.envs.feature_view import FeatureView
from imm_rl.envs.features import Features, Observe
from imm_rl.envs.pair import VIEWS, View
from imm_rl.errors import InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

MakeEnv: TypeAlias = Callable[..., gymnasium.Env[Any, Any]]


class FeaturePair:
    """A Gymnasium environment in two views: the full observation and a part of it. Read only.

    Both views are copies of one environment, so that the same seed and actions give the same rewards, and
    the restricted observation is `features` of the full one. One copy is made to read the spaces from,
    and closed again.

    Args:
        name: What it is called, e.g. "CartPole-v1".
        make_env: Makes a new copy each time it is called, without arguments, or with `render_mode=`.
        observe: What the restricted view sees: indices of the flattened observation, or a function
            (`Features`). None: there is no restricted view, e.g. to train without a restricted policy.
        spec: The text from which `imm_rl.make` builds this pair again; "" where there is none.
        max_steps: Steps after which episodes are cut, where the environment has no limit of its own or
            a higher one.

    Attributes:
        features: What the restricted view sees; None where `observe` is.
        observation_space: Of the full view; that of the restricted view is `features.space`.
        action_space: Of both views.
        max_steps: Steps after which episodes are cut (truncation, not termination), None where no limit
            is known.

    Raises:
        InvalidInputError: make_env makes no Gymnasium environment, or observe does not fit it.
    """

    def __init__(
        self,
        name: str,
        make_env: MakeEnv,
        observe: Observe | None = None,
        *,
        spec: str = "",
        max_steps: int | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self._make_env = _checked_maker(make_env)
        self._limit = (
            None if max_steps is None else options.whole("max_steps", max_steps, at_least=1)
        )
        env = self._made(None)
        try:
            self.observation_space = env.observation_space
            self.action_space = env.action_space
            self.max_steps = self._least_limit(env)
            self.features = None if observe is None else Features(env.observation_space, observe)
            if self.features is not None and callable(self.features.observe):
                self.features.one(env.reset(seed=0)[0])  # samples of the space say little of NaN
        finally:
            env.close()

    def mdp(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """A new copy, in its full view.

        Raises:
            InvalidInputError: make_env takes no render_mode, or its spaces are others than at first.
        """
        env = self._made(render_mode)
        for name in ("observation_space", "action_space"):
            first, now = getattr(self, name), getattr(env, name)
            if now != first:
                env.close()
                raise invalid(
                    f"the {name} of {self.name}",
                    f"be the same each time the environment is made, at first {first}",
                    now,
                )
        return env

    def pomdp(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """A new copy, in its restricted view.

        Raises:
            InvalidInputError: The pair was made without `observe`; and as `mdp` does.
        """
        return FeatureView(self.mdp(render_mode), self._checked_features())

    def vector(
        self, n: int, view: View = "mdp", render_mode: str | None = None
    ) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        """A Gymnasium `VectorEnv` of n copies, stepped one after the other; SAME_STEP autoreset."""
        return SyncVectorEnv(
            self._makers(n, view, render_mode), autoreset_mode=AutoresetMode.SAME_STEP
        )

    def sb3_vector(self, n: int, view: View = "mdp", render_mode: str | None = None) -> VecEnv:
        """A Stable-Baselines3 `VecEnv` of n copies, monitored, so that PPO logs episode returns."""
        from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor  # late: imports torch

        return VecMonitor(DummyVecEnv(self._makers(n, view, render_mode)))

    def with_spec(self, spec: str) -> FeaturePair:
        """This pair, remembering the text that makes it again."""
        changed = copy.copy(self)
        changed.spec = spec
        return changed

    def _makers(
        self, n: int, view: View, render_mode: str | None
    ) -> list[Callable[[], gymnasium.Env[Any, Any]]]:
        """Functions that give one copy each, n of them."""
        n = options.whole("n", n, at_least=1)
        if view not in VIEWS:
            raise unknown_name("view", view, VIEWS)
        if view == "pomdp":
            self._checked_features()
        envs = [
            self.mdp(render_mode) if view == "mdp" else self.pomdp(render_mode) for _ in range(n)
        ]
        if len({id(env.unwrapped) for env in envs}) < n:
            raise invalid("make_env", "make a new environment each time", "one that it made before")
        return [partial(_itself, env) for env in envs]

    def _made(self, render_mode: str | None) -> gymnasium.Env[Any, Any]:
        if render_mode is None:
            env = self._make_env()
        elif _takes_render_mode(self._make_env):
            env = self._make_env(render_mode=render_mode)
        else:
            remedy = "Give make_env an argument render_mode, or leave it out here"
            raise invalid(
                "render_mode", f"be None: {self.name} is made without", render_mode, remedy
            )
        if not isinstance(env, gymnasium.Env):
            raise invalid(
                "make_env", "make a gymnasium.Env (not an environment of gym)", type(env).__name__
            )
        return env if self._limit is None else TimeLimit(env, self._limit)

    def _least_limit(self, env: gymnasium.Env[Any, Any]) -> int | None:
        inner = env.env if self._limit is not None and isinstance(env, TimeLimit) else env
        own = None if inner.spec is None else inner.spec.max_episode_steps
        limits = [limit for limit in (own, self._limit) if limit is not None]
        return min(limits) if limits else None

    def _checked_features(self) -> Features:
        if self.features is None:
            raise InvalidInputError(
                f"{self.name} has no restricted view: observe was not given. Say what it sees, e.g. "
                f"imm_rl.make({self.name!r}, observe=[0]); observations are {self.observation_space}."
            )
        return self.features

    def __deepcopy__(self, memo: dict[int, Any]) -> FeaturePair:
        # Read only, so one is enough.
        return self

    def __repr__(self) -> str:
        seen = None if self.features is None else self.features.observe
        return (
            f"FeaturePair({self.spec or self.name!r}, observe={seen}, max_steps={self.max_steps})"
        )


def _checked_maker(make_env: Any) -> MakeEnv:
    if not callable(make_env):  # an environment, as a rule
        remedy = "Write lambda render_mode=None: MyEnv(render_mode=render_mode)"
        raise invalid("make_env", "be a function that makes a new environment", make_env, remedy)
    maker: MakeEnv = make_env
    return maker


def _itself(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return env


def _takes_render_mode(make_env: MakeEnv) -> bool:
    try:
        parameters = inspect.signature(make_env).parameters
    except (TypeError, ValueError):  # builtins: let it say so itself
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "render_mode" in parameters or inspect.Parameter.VAR_KEYWORD in kinds

"""`TabularEnv`: one copy of a pair as a Gymnasium environment, in its full or its restricted view.

`EnvPair.mdp` and `EnvPair.pomdp` make it. It is the vector environment's semantics for one copy: after
the same seed and actions, `pair.vector(1)` shows the same, episode after episode.

Two streams are drawn from: `np_random` for start states and transitions, and one spawned from it for
observations. Each step draws one number of each, in both views.
"""

from __future__ import annotations

import operator
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from imm_rl.envs import gym_ids, render
from imm_rl.envs.pair import RENDER_MODES, EnvPair, RenderMode, View
from imm_rl.errors import InvalidInputError, invalid, unknown_name


class TabularEnv(gymnasium.Env[Any, Any]):
    """One copy of a problem.

    Action space: Discrete(A). Observation space: Discrete(S) in the view "mdp": the state; in the
    view "pomdp" Discrete(O), or Discrete(O + 1) whose last index, returned by `reset` only, says
    that nothing was observed yet. Starting state: drawn from `pair.model.initial`. Rewards: the
    model's. Episode end: terminated in a terminal state, truncated after `pair.max_steps` steps.
    Information: `info` is always empty, so that it cannot leak what the view hides.

    Args:
        pair: The problem.
        view: "mdp" or "pomdp".
        render_mode: None, "ansi" or "rgb_array".
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012  # as in Env

    def __init__(self, pair: EnvPair, view: View, render_mode: RenderMode | None = None) -> None:
        self.pair = pair
        self.view = view
        self.render_mode = self._mode = checked_render_mode(render_mode)
        self.observation_space = gymnasium.spaces.Discrete(pair.n_outputs(view))
        self.action_space = gymnasium.spaces.Discrete(pair.model.n_actions)
        # With its own spec, checkers and wrappers can build the environment again.
        self.spec = EnvSpec(
            gym_ids.env_id(pair.name, view),
            entry_point=pair.mdp if view == "mdp" else pair.pomdp,  # type: ignore[arg-type]
            order_enforce=False,
            disable_env_checker=True,
            kwargs={"render_mode": render_mode},
        )
        self._streams: tuple[np.random.Generator, np.random.Generator] | None = None
        self._state: int | None = None
        self._observation: int | None = None
        self._action: int | None = None
        self._steps = 0

    @property
    def state(self) -> int:
        """The hidden state, for analysis and tests; no view's observation or info holds it."""
        if self._state is None:
            raise InvalidInputError("the environment has no state yet; call reset() first.")
        return self._state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Starts an episode; with a seed, both streams begin afresh.

        Raises:
            InvalidInputError: options holds anything; there are none.
        """
        super().reset(seed=seed)
        refuse_options(options)
        transitions, observations = self._generators()
        sampler = self.pair.sampler
        self._state = int(sampler.initial(transitions.random(1))[0])
        self._observation, self._action, self._steps = None, None, 0
        if self.pair.observes_at_reset:
            states, actions = np.array([self._state]), np.zeros(1, dtype=np.int64)
            self._observation = int(sampler.observe(actions, states, observations.random(1))[0])
        return self._output(), {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Takes one action.

        Raises:
            InvalidInputError: action is no index in [0, A), or reset was never called.
        """
        chosen = self._checked_action(action)
        transitions, observations = self._generators()
        step = self.pair.sampler.step(
            np.array([self.state]),
            np.array([chosen]),
            transitions.random(1),
            observations.random(1),
        )
        self._state, self._observation = int(step.next_states[0]), int(step.observations[0])
        self._action = chosen
        self._steps += 1
        terminated = bool(step.terminated[0])
        truncated = self._steps >= self.pair.max_steps and not terminated
        return self._output(), float(step.rewards[0]), terminated, truncated, {}

    def render(self) -> str | npt.NDArray[np.uint8]:
        """The scene as text or as an RGB image (H, W, 3); the restricted view shows no state.

        Raises:
            InvalidInputError: The environment was made without a render mode, or not reset.
        """
        state = self.state if self.view == "mdp" else None
        scene = render.Scene(self.pair, state, self._observation, self._action)
        return render.frame(scene, self._mode)

    def _generators(self) -> tuple[np.random.Generator, np.random.Generator]:
        """(transitions, observations); the second is spawned anew whenever the first is replaced."""
        parent = self.np_random
        if self._streams is None or self._streams[0] is not parent:
            self._streams = parent, parent.spawn(1)[0]
        return self._streams

    def _output(self) -> int:
        if self.view == "mdp":
            return self.state
        return self.pair.model.n_observations if self._observation is None else self._observation

    def _checked_action(self, action: int) -> int:
        n_actions = self.pair.model.n_actions
        try:
            chosen = operator.index(action)
        except TypeError:
            raise invalid("action", f"be a whole number in [0, {n_actions})", action) from None
        if not 0 <= chosen < n_actions:
            raise invalid("action", f"be in [0, {n_actions})", chosen)
        return chosen


def checked_render_mode(render_mode: RenderMode | None) -> RenderMode | None:
    """Returns render_mode where it is one that is served."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise unknown_name("render_mode", str(render_mode), RENDER_MODES)
    return render_mode


def refuse_options(options: dict[str, Any] | None) -> None:
    """Raises InvalidInputError where reset options are given: none is ignored, and there are none."""
    if options:
        raise invalid("options of reset", "be empty", sorted(options))

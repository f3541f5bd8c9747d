"""`TabularVectorEnv`: n copies of a pair in NumPy arrays, as a Gymnasium `VectorEnv`.

`EnvPair.vector` and `gymnasium.make_vec` make it. A step draws one block of n uniforms from each of
two streams (transitions; observations) and looks the outcomes up in the pair's tables. Episodes that
end are restarted within the same step (`AutoresetMode.SAME_STEP`): the observation returned is the
next episode's first, the last one is in `infos["final_obs"]`.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv

from imm_rl.envs import options as checks
from imm_rl.envs import render
from imm_rl.envs.pair import RENDER_MODES, EnvPair, RenderMode, View
from imm_rl.envs.tabular_env import checked_render_mode, refuse_options
from imm_rl.errors import InvalidInputError, invalid

IntArray: TypeAlias = npt.NDArray[np.int64]
StepReturn: TypeAlias = tuple[
    IntArray, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
]


class TabularVectorEnv(VectorEnv[IntArray, IntArray, Any]):
    """n copies of a problem; spaces, rewards and ends are those of `TabularEnv`.

    Args:
        pair: The problem.
        num_envs: n, the number of copies.
        view: "mdp" or "pomdp".
        render_mode: None, "ansi" or "rgb_array".

    Raises:
        InvalidInputError: num_envs is not a whole number ≥ 1, or view or render_mode is unknown.
    """

    def __init__(
        self,
        pair: EnvPair,
        num_envs: int,
        view: View = "mdp",
        render_mode: RenderMode | None = None,
    ) -> None:
        self.pair = pair
        self.view = view
        self.num_envs = n = checks.whole("num_envs", num_envs, at_least=1)
        self.render_mode = self._mode = checked_render_mode(render_mode)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": 4,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.single_observation_space = gymnasium.spaces.Discrete(pair.n_outputs(view))
        self.single_action_space = gymnasium.spaces.Discrete(pair.model.n_actions)
        self.observation_space = gymnasium.vector.utils.batch_space(
            self.single_observation_space, n
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, n)
        self._streams: tuple[np.random.Generator, np.random.Generator] | None = None
        self._nothing = np.full(n, pair.model.n_observations, dtype=np.int64)
        self._no_action = np.full(n, -1, dtype=np.int64)
        self._states: IntArray | None = None
        self._observations = self._nothing
        self._actions = self._no_action
        self._steps = np.zeros(n, dtype=np.int64)

    @property
    def states(self) -> IntArray:
        """The hidden states (n,), for analysis and tests; no observation or info holds them."""
        return np.array(self._current())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[IntArray, dict[str, Any]]:
        """Starts an episode in every copy; with a seed, both streams begin afresh.

        Args:
            seed: One number for all copies.
            options: There are none.

        Returns:
            Observations (n,) and an empty info.

        Raises:
            InvalidInputError: options holds anything.
        """
        super().reset(seed=seed)
        refuse_options(options)
        self._states, self._observations = self._started(self.num_envs)
        self._actions = self._no_action
        self._steps[:] = 0
        return self._outputs(), {}

    def step(self, actions: IntArray) -> StepReturn:
        """Steps every copy.

        Args:
            actions: (n,) ints in [0, A).

        Returns:
            Observations (n,), rewards (n,), terminations (n,), truncations (n,) and infos, with
            `final_obs` and `final_info` and their masks where an episode ended.

        Raises:
            InvalidInputError: actions have another shape or type or are out of range, or reset was
                never called.
        """
        states = self._current()
        chosen = self._checked_actions(actions)
        transitions, observations = self._generators()
        n = self.num_envs
        step = self.pair.sampler.step(states, chosen, transitions.random(n), observations.random(n))
        self._states, self._observations, self._actions = (
            step.next_states,
            step.observations,
            chosen,
        )
        self._steps += 1
        truncated = self._steps >= self.pair.max_steps
        truncated &= ~step.terminated
        infos: dict[str, Any] = {}
        done = step.terminated | truncated
        if done.any():
            infos = self._restart(done)
        return self._outputs(), step.rewards, step.terminated, truncated, infos

    def state(self) -> dict[str, np.ndarray]:
        """Where every copy and both streams stand, as arrays; `restore` goes on from there.

        Raises:
            InvalidInputError: reset was never called.
        """
        streams = [stream.bit_generator.state for stream in self._generators()]
        return {
            "states": np.array(self._current()),
            "observations": np.array(self._observations),
            "actions": np.array(self._actions),
            "steps": np.array(self._steps),
            "streams": np.array(json.dumps(streams)),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts every copy and both streams where `state` says; the next step is that of then.

        Raises:
            InvalidInputError: The state is of another number of copies.
        """
        if state["states"].shape != (self.num_envs,):
            raise invalid("state", f"be of {self.num_envs} copies", state["states"].shape)
        streams = []
        for saved in json.loads(str(state["streams"])):
            stream = np.random.default_rng(0)
            stream.bit_generator.state = saved
            streams.append(stream)
        self._np_random, self._streams = streams[0], (streams[0], streams[1])
        self._states = np.array(state["states"])
        self._observations = np.array(state["observations"])
        self._actions, self._steps = np.array(state["actions"]), np.array(state["steps"])

    def render(self) -> tuple[Any, ...]:
        """One frame a copy, as `TabularEnv.render` draws it.

        Raises:
            InvalidInputError: The environment was made without a render mode, or not reset.
        """
        states = self._current()
        frames = []
        for i in range(self.num_envs):
            state = int(states[i]) if self.view == "mdp" else None
            seen, action = int(self._observations[i]), int(self._actions[i])
            observation = seen if seen < self.pair.model.n_observations else None
            scene = render.Scene(self.pair, state, observation, action if action >= 0 else None)
            frames.append(render.frame(scene, self._mode))
        return tuple(frames)

    def _restart(self, done: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Starts new episodes where done; returns the infos of those that ended."""
        where = np.flatnonzero(done)
        final_obs = np.full(self.num_envs, None, dtype=object)
        final_obs[where] = self._outputs()[where]
        starts, seen = self._started(where.size)
        # In place: these arrays are this step's own, callers were given copies.
        self._current()[where] = starts
        self._observations[where], self._actions[where] = seen, -1
        self._steps[where] = 0
        return {
            "final_obs": final_obs,
            "_final_obs": done.copy(),
            "final_info": {},
            "_final_info": done.copy(),
        }

    def _started(self, count: int) -> tuple[IntArray, IntArray]:
        """Start states and first observations, (count,) each."""
        transitions, observations = self._generators()
        states = self.pair.sampler.initial(transitions.random(count))
        if not self.pair.observes_at_reset:
            return states, self._nothing[:count]
        actions = np.zeros(count, dtype=np.int64)
        return states, self.pair.sampler.observe(actions, states, observations.random(count))

    def _outputs(self) -> IntArray:
        # Copies: callers keep and change what they are given.
        return np.array(self._current() if self.view == "mdp" else self._observations)

    def _current(self) -> IntArray:
        if self._states is None:
            raise InvalidInputError("the environments have no state yet; call reset() first.")
        return self._states

    def _generators(self) -> tuple[np.random.Generator, np.random.Generator]:
        parent = self.np_random
        if self._streams is None or self._streams[0] is not parent:
            self._streams = parent, parent.spawn(1)[0]
        return self._streams

    def _checked_actions(self, actions: IntArray) -> IntArray:
        array = np.asarray(actions)
        n_actions = self.pair.model.n_actions
        if array.shape != (self.num_envs,) or array.dtype.kind not in "iu":
            wanted = f"be {self.num_envs} whole numbers in [0, {n_actions})"
            raise invalid("actions", wanted, (array.dtype.name, array.shape))
        if array.min() < 0 or array.max() >= n_actions:
            outside = array[(array < 0) | (array >= n_actions)][0]
            raise invalid("actions", f"be in [0, {n_actions})", int(outside))
        return array.astype(np.int64)  # a copy: the caller may change theirs

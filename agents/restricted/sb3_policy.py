"""`SB3ViewPolicy`: a model of stable-baselines3 or sb3-contrib, trained on the restricted view.

`as_view_policy` makes it of a model or a path. Imported late: it imports SB3 and with it torch. How each
kind of network is read: `sb3_networks`.

Index letters: T steps of E environments, B = T·E rows; A actions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from imm_rl.agents.restricted import sb3_copies, sb3_zip
from imm_rl.agents.restricted.base import greedy_probs, softmax_probs
from imm_rl.agents.restricted.sb3_networks import Said, ask, kind_of, left_as_it_was, takes_masks
from imm_rl.agents.restricted.view_answers import (
    Space,
    Starts,
    Views,
    checked_action_space,
    checked_answers,
    checked_noise,
    checked_views,
)
from imm_rl.envs import options
from imm_rl.envs.options import FloatArray
from imm_rl.errors import InvalidInputError, invalid

MOST_ROWS = 8192
"""Views that a network is asked for at a time."""


class SB3ViewPolicy:
    """What a trained model would do at views.

    It is asked as it stands, neither changed nor copied: a model that goes on training changes the answers.

    Attributes:
        name: See `ViewPolicy`; so are the next three.
        view_space, action_space, remembers: As above.
        policy: The network.
        normalize: What its views are normalised by, or None.
        notes: Sentences that a user should know of how it is read.
        path: The zip it was loaded from, or None.

    Args:
        model: An algorithm or policy of stable-baselines3 or sb3-contrib.
        name: Default: the algorithm's or policy's class.
        normalize: The `VecNormalize` that it was trained with; its statistics are used, not updated.
            None: that of the algorithm's environment, if it has one. False: none.
        deterministic: Acts greedily: the likeliest action, ties split, or the mean with `noise`.
        temperature: Of discrete actions: softmax of values (DQN, QRDQN; without it they are greedy, ties
            split) or of log-probabilities over it.
        noise: Standard deviation where the model has none, or is deterministic, as a share of the
            action range; default: `ACTION_NOISE`.
        action_masks: Of MaskablePPO: takes views (B, ...), returns booleans (B, A), which actions are
            valid. Without it all are.

    Raises:
        InvalidInputError: The model is of another kind, or has no use for an argument.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str | None = None,
        normalize: VecNormalize | Literal[False] | None = None,
        deterministic: bool = False,
        temperature: float | None = None,
        noise: float | None = None,
        action_masks: Callable[[Views], Any] | None = None,
    ) -> None:
        if not isinstance(model, BaseAlgorithm | BasePolicy):
            raise invalid(
                "model", "be an algorithm or policy of stable-baselines3", type(model).__name__
            )
        self.name = type(model).__name__ if name is None else name
        self.notes: tuple[str, ...] = ()
        self.path: Path | None = None
        self._stamp: tuple[int, int] | None = None
        self.policy: Any = model.policy if isinstance(model, BaseAlgorithm) else model
        self._kind = kind_of(self.policy, self.name)
        self.remembers = self._kind == "recurrent"
        self.view_space = _checked_view_space(self.policy.observation_space, self.name)
        self.action_space: Space = checked_action_space(self.policy.action_space, self.name)
        self.normalize = self._checked_statistics(model, normalize)
        self._greedy = bool(deterministic)
        self._temperature = self._checked_temperature(temperature)
        self._noise = self._checked_noise(noise)
        # As they were given: a default, given as an argument, may be refused.
        self._given = {
            "temperature": None if temperature is None else self._temperature,
            "noise": self._noise,
        }
        self._masks = self._checked_masks(action_masks)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        normalize: VecNormalize | Literal[False] | None = None,
        device: str = "cpu",
        **arguments: Any,
    ) -> SB3ViewPolicy:
        """The policy in a zip that `model.save` left, or in `model.zip` of a folder.

        The zip is unpickled: load none from somebody you do not trust.

        Args:
            path: The zip, with or without `.zip`, or the folder.
            normalize: See above; None: `vecnormalize.pkl` beside the zip, if it is there.
            device: Where its network computes, "auto": on a GPU if there is one.
            **arguments: The others, see above; defaults: what `copy_to` wrote there, if it did; or else
                for the name the file's, or the folder's.

        Raises:
            InvalidInputError: No such zip, one of something else, or a policy of an unknown kind.
        """
        path = sb3_zip.find_zip(path)
        stamp = sb3_copies.stamp(path)
        policy = sb3_zip.read_policy(path, device)
        settings = {"name": sb3_zip.policy_name(path), **sb3_copies.read(path)}
        normalised = settings.pop("normalize", True)
        beside = path.with_name(sb3_zip.STATISTICS)
        found = normalize is None and normalised and beside.is_file()
        if found:
            normalize = sb3_zip.read_statistics(beside)
        loaded = cls(policy, normalize=normalize, **{**settings, **arguments})
        loaded.path, loaded._stamp = path, stamp
        if found and loaded.normalize is not None:
            loaded.notes += (f"Views are normalised by {beside}.",)
        return loaded

    def copy_to(self, folder: str | os.PathLike[str]) -> bool:
        """Writes it into a folder, from which `load` makes one that answers the same.

        Returns:
            False, and nothing is written, if that cannot be: it was not loaded from a zip, the zip has
            gone or was written anew since, or action masks, which are a function, belong to it.

        Raises:
            InvalidInputError, RunFailedError: The folder or a file cannot be written.
        """
        changed = self.path is None or sb3_copies.stamp(self.path) != self._stamp
        if self.path is None or changed or self._masks is not None:
            return False
        settings = {"name": self.name, "deterministic": self._greedy, **self._given}
        return sb3_copies.write(Path(folder), self.path, self.normalize, settings)

    def follow(self, views: Views, starts: Starts, memory: Any = None) -> tuple[FloatArray, Any]:
        """Answers along rollouts, see `ViewPolicy.follow`.

        Returns:
            Answers; and of recurrent models the states of the LSTM (2, layers, E, units), else None.

        Raises:
            InvalidInputError: Views do not fit, the memory is another policy's, or an answer is NaN.
        """
        own = self.view_space is self.policy.observation_space
        views, starts = checked_views(views, starts, self.view_space, flat=not own)
        memory = self._checked_memory(memory, starts.shape[1])
        if self.normalize is not None:
            views = np.asarray(self.normalize.normalize_obs(views))
        at_a_time = max(MOST_ROWS // max(starts.shape[1], 1), 1)
        answers = []
        with left_as_it_was(self.policy):
            for t in range(0, len(starts), at_a_time):
                part = slice(t, t + at_a_time)
                answer, memory = self._answers(views[part], starts[part], memory)
                answers.append(answer)
        return np.concatenate(answers), memory

    def _answers(self, views: Views, starts: Starts, memory: Any) -> tuple[FloatArray, Any]:
        rows = views.swapaxes(0, 1).reshape(-1, *views.shape[2:])  # environment by environment
        said = ask(
            self.policy,
            self._kind,
            rows,
            starts=starts.T.reshape(-1),
            states=memory,
            masks=None if self._masks is None else self._masks_at(rows),
        )
        answer, noise = self._answer(said)
        checked = checked_answers(answer, len(rows), self.action_space, name=self.name, noise=noise)
        by_env = checked.reshape(*starts.T.shape, *checked.shape[1:])
        return by_env.swapaxes(0, 1), said.states

    def _answer(self, said: Said) -> tuple[Any, float | None]:
        """An answer that `checked_answers` takes, and the noise to take it with."""
        if said.values is not None:
            if self._temperature is None:
                return greedy_probs(said.values, "split"), None
            return softmax_probs(said.values, self._temperature), None
        if said.std is None or self._greedy:
            return said.mean, self._noise
        return (said.mean, said.std), None

    def _masks_at(self, rows: Views) -> Any:
        masks = np.asarray(self._masks(rows))  # type: ignore[misc]  # called only if there is one
        wanted = (len(rows), int(self.action_space.n))  # type: ignore[attr-defined]  # Discrete
        if masks.shape != wanted or masks.dtype != np.bool_ or not masks.any(axis=1).all():
            raise invalid(
                f"action_masks of restricted policy {self.name!r}",
                f"be booleans of shape {wanted}, at least one true in every row",
                f"{masks.dtype} {masks.shape}",
            )
        return masks

    def _checked_memory(self, memory: Any, n_envs: int) -> Any:
        wanted: tuple[int, ...] | None = None
        if self.remembers:
            layers, _, units = self.policy.lstm_hidden_state_shape
            wanted = (2, layers, n_envs, units)
            if memory is None:
                return np.zeros(wanted, dtype=np.float32)
        if (None if memory is None else np.shape(memory)) != wanted:
            what = f"memory of restricted policy {self.name!r}"
            must = "be None, as it remembers nothing" if wanted is None else f"have shape {wanted}"
            raise invalid(what, must, np.shape(memory), "Give what the last call returned, or None")
        return memory

    def _checked_statistics(
        self, model: Any, given: VecNormalize | Literal[False] | None
    ) -> VecNormalize | None:
        if given is False:
            return None
        if given is None:
            given = model.get_vec_normalize_env() if isinstance(model, BaseAlgorithm) else None
            if given is None or not given.norm_obs:
                return None
            self.notes += ("Views are normalised by the VecNormalize of the model's environment.",)
        if not isinstance(given, VecNormalize):
            raise invalid("normalize", "be a VecNormalize, None or False", type(given).__name__)
        if not given.norm_obs:  # it was for rewards alone
            return None
        shape = given.observation_space.shape
        if shape != self.view_space.shape:
            remedy = f"Give that which restricted policy {self.name!r} was trained with"
            raise invalid("normalize", f"be for views {self.view_space.shape}", shape, remedy)
        return given

    def _checked_temperature(self, temperature: float | None) -> float | None:
        if temperature is None:
            return None if self._greedy or self._kind in ("values", "quantiles") else 1.0
        clash = None
        if not isinstance(self.action_space, spaces.Discrete):
            clash = f"the actions of restricted policy {self.name!r} are continuous: it has none"
        elif self._greedy:
            clash = "deterministic is True. Give up one"
        if clash is not None:
            raise InvalidInputError(f"temperature is {temperature}, and {clash}.")
        return options.positive("temperature", temperature)

    def _checked_noise(self, noise: float | None) -> float | None:
        if noise is not None and self._kind != "deterministic" and not self._greedy:
            raise InvalidInputError(
                f"noise is {noise}, and restricted policy {self.name!r} has standard deviations of its "
                "own, or discrete actions. Give up one, or set deterministic=True."
            )
        return checked_noise(noise, self.action_space, self.name)

    def _checked_masks(self, masks: Callable[[Views], Any] | None) -> Callable[[Views], Any] | None:
        if takes_masks(self.policy):
            if masks is None:
                self.notes += ("There are no action masks: every action counts as valid.",)
        elif masks is not None:
            raise InvalidInputError(
                f"restricted policy {self.name!r} takes no action_masks: it is no MaskablePPO."
            )
        return masks


def _checked_view_space(space: Any, name: str) -> Space:
    served = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    if not isinstance(space, served):
        must = "be Box, Discrete, MultiDiscrete or MultiBinary"
        raise invalid(f"what restricted policy {name!r} sees", must, space)
    checked: Space = space
    return checked

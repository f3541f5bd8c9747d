"""`ViewMatcher`: the matching term of an SB3 policy where some features of the observation are hidden.

There is no model that says what a restricted view may stand for. The agent's own recent states do: a
batch of them is drawn, and each is completed by those of the batch whose view is near (`neighbours`), or
by a sampler of the user's. `sb3.IMMCallback` drives it.

A policy with a memory answers by the history, not by the view alone. Its contexts are completed among
states where both the view and its answer are near: states that it does not tell apart as far as acting
goes, so that matching their average is implied by matching history by history.

Index letters: T steps, E copies, M states remembered, B of a batch, K completions, A actions, d
dimensions of an action, J draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from imm_rl.agents import view_terms
from imm_rl.agents.episodes import EpisodeTracker
from imm_rl.agents.neighbours import Equal, Nearest, complete, view_scale
from imm_rl.agents.restricted.view_policy import ViewPolicy, followed
from imm_rl.agents.sb3_policies import take
from imm_rl.agents.sb3_rollout import RolloutReader, Steps
from imm_rl.agents.sb3_term import PolicyTerm
from imm_rl.agents.streams import generator, restore_stream, stream_state
from imm_rl.envs import space_arrays
from imm_rl.envs.features import Features
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.state_file import state_part

MEMORY = 4096
"""States remembered at least, as far as there were so many: short rollouts have few of their own."""

DRAWS = 8
"""Actions J drawn from the restricted policy for each context, where actions are continuous."""

Sampler: TypeAlias = "Callable[[FloatArray, np.random.Generator], Any]"
"""Maps views (B, ...) and a generator to K full observations for each, (B, K, ...) or a dict of these."""


class ViewMatcher:
    """Matches at the agent's recent states.

    Args:
        features: What the restricted policy sees of an observation.
        policy: The restricted policy.
        completions: How a view is completed: `Nearest`, `Equal` or a sampler.
        action_space: Of the trained policy.
        batch_size: B.
        n_envs: E.
        seed: Of batches and draws.
    """

    def __init__(
        self,
        features: Features,
        policy: ViewPolicy,
        completions: Nearest | Equal | Sampler,
        *,
        action_space: gymnasium.Space[Any],
        batch_size: int,
        n_envs: int,
        seed: int,
    ) -> None:
        if isinstance(completions, Equal) and policy.remembers:
            raise InvalidInputError(
                f"restricted policy {policy.name!r} remembers, so that hardly two of its answers are "
                "equal, and completions 'equal' would leave each state alone. Set completions to "
                "'nearest'."
            )
        self._features, self._policy, self._completions = features, policy, completions
        self._discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        self._batch_size = batch_size
        self._draws = generator(seed, "batch")
        self._imm = view_terms.new_matching()
        self._memory: np.ndarray | None = None  # the restricted policy's, between rollouts
        self._observations: Any = None  # (M, ...), or a dict of these
        self._views, self._answers = np.zeros((0, 0)), np.zeros((0, 0))
        self._masks: np.ndarray | None = None
        self._scale = np.ones(0)
        self._tracker = EpisodeTracker(n_envs)

    @property
    def ready(self) -> bool:
        """Whether there is a state to match at."""
        return len(self._views) > 0

    @property
    def weight(self) -> float:
        """Every state counts fully."""
        return 1.0

    def follow(self, steps: Steps, *, continues: bool) -> None:
        """Asks the restricted policy along a rollout, and remembers its states."""
        shape = steps.starts.shape
        observations = _rows(steps.observations)
        views = self._features(observations)
        along = views.reshape(*shape, *views.shape[1:])
        carried, known = self._tracker.follow(steps, continues=continues)
        memory = self._memory if carried else None
        answers, self._memory = followed(self._policy, along, steps.starts, memory)
        answers = answers.reshape(len(views), *answers.shape[2:])
        masks = None if steps.masks is None else steps.masks.reshape(len(views), -1)
        if self._policy.remembers and not known.all():
            rows = np.flatnonzero(known)
            if not rows.size:
                return
            observations, views, answers = take(observations, rows), views[rows], answers[rows]
            masks = None if masks is None else masks[rows]
        if masks is not None and not isinstance(self._completions, Nearest | Equal):
            if not masks.all():
                raise InvalidInputError(
                    "completions is a function, and which actions are allowed at the observations that "
                    "it gives is not known. Leave completions out where actions are masked."
                )
            masks = None
        keep = max(MEMORY - len(views), 0)
        if self.ready and keep:
            observations = _joined(self._observations, observations, keep)
            views = _joined(self._views, views, keep)
            answers = _joined(self._answers, answers, keep)
            masks = None if masks is None else _joined(self._masks, masks, keep)
        self._observations, self._views, self._answers = observations, views, answers
        self._masks = masks
        self._scale = view_scale(self._keys(slice(None)))

    def term(self, policy: Any, reader: RolloutReader) -> PolicyTerm | None:
        """The term at a batch of remembered states, with gradients."""
        n_states = len(self._views)
        rows = self._draws.choice(n_states, min(self._batch_size, n_states), replace=False)
        masks = None
        if isinstance(self._completions, Nearest | Equal):
            index, log_weights = complete(self._completions, self._keys(rows), self._scale)
            observations = take(self._observations, rows)
            masks = None if self._masks is None else self._masks[rows]
        else:
            observations, index = self._sampled(self._completions, self._views[rows])
            log_weights = np.zeros(index.shape)
        batch = view_terms.Completed(
            index, log_weights, reader.as_seen(observations), self._answers[rows], masks
        )
        if self._discrete:
            return view_terms.discrete_term(self._imm, policy, batch)
        normals = self._draws.standard_normal((len(rows), DRAWS, batch.answers.shape[-1]))
        return view_terms.continuous_term(self._imm, policy, batch, normals)

    def _keys(self, rows: Any) -> FloatArray:
        """What contexts are told apart by, (B, r): the view, and the answer of a policy with a memory."""
        views = np.asarray(self._views[rows], dtype=np.float64)
        views = views.reshape(len(views), -1)
        if not self._policy.remembers:
            return views
        return np.concatenate([views, self._answers[rows].reshape(len(views), -1)], axis=1)

    def _sampled(self, sampler: Sampler, views: FloatArray) -> tuple[Any, np.ndarray]:
        """The user's completions as one list of observations (B·K, ...), and their places (B, K)."""
        what, space = "completions(views, rng)", self._features.full_space
        drawn = sampler(views, self._draws)
        shapes = [_shape(part) for part in _parts(drawn)]
        leads = {shape[:2] for shape in shapes}
        lead = leads.pop() if len(leads) == 1 else ()
        if len(lead) != 2 or lead[0] != len(views) or lead[1] == 0:
            must = f"give K full observations for each view, of shape ({len(views)}, K, ...)"
            raise invalid(what, must, shapes)
        rows = space_arrays.fitted(space, _rows(drawn), what)
        if not all(np.isfinite(part).all() for part in _parts(rows)):
            raise invalid(what, "be finite", "NaN or infinity")
        return rows, np.arange(lead[0] * lead[1]).reshape(lead)

    def state(self) -> dict[str, np.ndarray]:
        """What going on exactly needs, between two rollouts."""
        kept: dict[str, Any] = {"draws": np.array(stream_state(self._draws))}
        kept |= self._tracker.state()
        if self.ready:
            named = self._observations
            named = named if isinstance(named, dict) else {"": named}
            kept |= {f"observations/{key}": value for key, value in named.items()}
            kept |= {"views": self._views, "answers": self._answers}
            kept |= {} if self._masks is None else {"masks": self._masks}
        return kept if self._memory is None else kept | {"memory": self._memory}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the matcher where `state` says."""
        restore_stream(self._draws, str(state["draws"]))
        if self._tracker.restore(state):
            self._memory = state.get("memory")
        if "views" not in state:
            return
        named = state_part("observations", state)
        self._observations = named[""] if set(named) == {""} else named
        self._views, self._answers = state["views"], state["answers"]
        self._masks = state.get("masks")
        self._scale = view_scale(self._keys(slice(None)))


def _rows(observations: Any) -> Any:
    """(T, E, ...) as (T·E, ...), an array or a dict of arrays."""
    if isinstance(observations, dict):
        return {key: _rows(value) for key, value in observations.items()}
    rows = np.asarray(observations)
    return rows.reshape(-1, *rows.shape[2:])


def _joined(before: Any, after: Any, keep: int) -> Any:
    """The last rows of what was remembered, and the new ones."""
    if isinstance(after, dict):
        return {key: _joined(before[key], value, keep) for key, value in after.items()}
    return np.concatenate([before[-keep:], after])


def _shape(value: Any) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:  # ragged
        return ()


def _parts(observations: Any) -> list[Any]:
    return list(observations.values()) if isinstance(observations, dict) else [observations]

"""`BeliefPolicy`: a restricted policy on its beliefs, where Stable-Baselines3 expects a policy.

`evaluate_policy`, `VecVideoRecorder` and loops that call `predict` take it as they take a recurrent
policy; what it carries from step to step is the belief. So a solved POMDP is judged by the same code, on
the same environments, as the agent that is trained beside it:

    pair = imm_rl.make("tiger")
    policy = imm_rl.agents.solve(pair.restricted_model)
    evaluate_policy(BeliefPolicy(policy, pair), pair.sb3_vector(8, "pomdp"), 100)

Imported late: it imports SB3 and with it torch. Index letters: n environments, S states, A actions.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from stable_baselines3.common.policies import BasePolicy

from imm_rl.agents.arguments import checked_policy
from imm_rl.agents.restricted import alpha_checks
from imm_rl.agents.restricted.asking import acts_on_observation, probs_at
from imm_rl.agents.restricted.base import RestrictedPolicy, greedy_probs
from imm_rl.envs import options
from imm_rl.envs.belief_filter import BeliefFilter, Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.registry import tabular
from imm_rl.envs.sampler import IntArray
from imm_rl.errors import InvalidInputError, invalid

State: TypeAlias = "tuple[np.ndarray, ...]"
"""Beliefs and the last actions (n,): (beliefs (n, S), actions), or with beliefs that are sparse (data,
indices, indptr, actions), the first three as in SciPy's CSR."""

TIES = ("first", "split")


class BeliefPolicy(BasePolicy):
    """Acts in a pair's POMDP view by a restricted policy, n environments at once.

    Beliefs are those of `pair.restricted_model`, given that an episode that goes on has not reached a
    terminal state. They start at the model's start belief, or at the first observation's where the pair
    has `observation_beliefs`. A policy that acts on the last observation alone is served too; it acts
    uniformly before there is one.

    Args:
        policy: On beliefs or observations, for this pair; or the name of one, e.g. "pomdp".
        pair: Whose view it acts in: `pair.pomdp()` or `pair.sb3_vector(n, "pomdp")`.
        deterministic_ties: What `deterministic=True` does among actions that are equally likely: takes
            the "first", or draws one of them, "split". Where a policy is indifferent between actions
            that make no progress alone (wander left, wander right), the first may be the wrong one for
            ever, and "split" is not.
        seed: Of the actions that are drawn; the global generators are not touched.

    Raises:
        InvalidInputError: The policy does not fit the pair, or an argument is out of range.
    """

    def __init__(
        self,
        policy: RestrictedPolicy | str,
        pair: EnvPair,
        *,
        deterministic_ties: Literal["first", "split"] = "first",
        seed: int = 0,
    ) -> None:
        pair = tabular(pair, "BeliefPolicy")
        fitting = checked_policy(pair, policy)
        if fitting is None:
            raise invalid("policy", "be a restricted policy or the name of one", policy)
        super().__init__(
            gymnasium.spaces.Discrete(pair.n_outputs("pomdp")),
            gymnasium.spaces.Discrete(pair.model.n_actions),
        )
        self.restricted = fitting
        self.pair = pair
        self.deterministic_ties = alpha_checks.choice(
            "deterministic_ties", deterministic_ties, TIES
        )
        self._filter = BeliefFilter(pair.restricted_model)
        self.set_random_seed(seed)

    def set_random_seed(self, seed: int) -> None:
        """Starts the generator of actions afresh."""
        self._seed = options.whole("seed", seed, at_least=0)
        self._rng = np.random.default_rng(self._seed)

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: npt.ArrayLike | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[np.int64], State]:
        """Actions at the observations of n environments, and what the next call is to be given.

        Args:
            observation: (n,) whole numbers as the POMDP view shows them, or one.
            state: What the last call returned; None at the start of every episode.
            episode_start: (n,), where an episode starts with this observation; default: nowhere else
                than where the observation, "nothing yet", says so itself. An environment said to start
                with another observation, as `evaluate_policy` says of those that it no longer counts,
                acts at the start belief.
            deterministic: Whether the likeliest action is taken, or one is drawn.

        Returns:
            Actions (n,), or () for one environment, and the state.

        Raises:
            InvalidInputError: An argument does not fit, an observation is impossible under the belief
                and the last action, or past an episode's first observation no state is given.
        """
        seen = self._checked_observations(observation)
        rows = seen.reshape(-1)
        beliefs = self._beliefs(rows, state, episode_start)
        actions = self._actions(self._probs(beliefs, rows), deterministic)
        if isinstance(beliefs, np.ndarray):
            return actions.reshape(seen.shape), (beliefs, actions)
        parts = (beliefs.data, beliefs.indices, beliefs.indptr)
        return actions.reshape(seen.shape), (*parts, actions)

    def beliefs(self, state: State) -> FloatArray:
        """The beliefs (n, S) in a state that `predict` returned, on which its actions were taken."""
        beliefs, _ = self._unpacked(state, len(state[-1]))
        return beliefs if isinstance(beliefs, np.ndarray) else np.asarray(beliefs.toarray())

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        """SB3's way past `predict`, which knows no state: first observations only."""
        actions, _ = self.predict(observation.cpu().numpy(), deterministic=deterministic)
        return torch.from_numpy(np.atleast_1d(actions))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """What `save` keeps, pickled, and `load` calls the class with."""
        return {
            "policy": self.restricted,
            "pair": self.pair,
            "deterministic_ties": self.deterministic_ties,
            "seed": self._seed,
        }

    def _beliefs(
        self, seen: IntArray, state: State | None, episode_start: npt.ArrayLike | None
    ) -> Beliefs:
        first = self.pair.observation_beliefs
        nothing = seen == self.pair.model.n_observations
        if state is None:
            if first is not None:
                return first[seen]
            if not nothing.all():
                raise InvalidInputError(
                    f"observation {int(seen[~nothing][0])} is not an episode's first, which would be "
                    f"{self.pair.model.n_observations}, so the belief depends on what came before. "
                    "Give predict the state that its last call returned."
                )
            return self._filter.start(len(seen))
        beliefs, actions = self._unpacked(state, len(seen))
        starts = nothing | self._checked_starts(episode_start, len(seen))
        beliefs = self._filter.follow(beliefs, actions, seen, ~starts)
        if first is not None and isinstance(beliefs, np.ndarray) and starts.any():
            beliefs[starts] = first[seen[starts]]
        return beliefs

    def _unpacked(self, state: Any, n: int) -> tuple[Beliefs, IntArray]:
        """The beliefs and last actions in a state."""
        width = self.pair.model.n_states
        # Pairs with observation_beliefs have them dense, and dense beliefs stay so.
        sparse = self._filter.is_sparse and self.pair.observation_beliefs is None
        names = "data, indices, indptr, actions" if sparse else f"beliefs ({n}, {width}), actions"
        if not isinstance(state, tuple) or len(state) != (4 if sparse else 2):
            raise _bad_state(names, n, state)
        actions = options.indices("the actions in state", state[-1], self.pair.model.n_actions)
        fits = actions.shape == (n,)
        if sparse and fits and len(state[2]) == n + 1:
            return sp.csr_array(state[:3], shape=(n, width)), actions
        if sparse or not fits or np.shape(state[0]) != (n, width):
            raise _bad_state(names, n, state)
        return options.floats("the beliefs in state", state[0]), actions

    def _probs(self, beliefs: Beliefs, seen: IntArray) -> FloatArray:
        if not acts_on_observation(self.restricted):
            return probs_at(self.restricted, beliefs)
        n_actions = self.pair.model.n_actions
        probs = np.full((len(seen), n_actions), 1.0 / n_actions)
        some = seen < self.pair.model.n_observations
        if some.any():
            probs[some] = self.restricted.observation_probs(seen[some])
        return probs

    def _actions(self, probs: FloatArray, deterministic: bool) -> IntArray:
        if deterministic:
            probs = greedy_probs(probs, self.deterministic_ties)
        choices = self._rng.random((len(probs), 1)) >= np.cumsum(probs, axis=1)[:, :-1]
        return np.asarray(choices.sum(axis=1))

    def _checked_observations(self, observation: Any) -> IntArray:
        if isinstance(observation, tuple):
            raise invalid(
                "observation",
                "be what reset or step shows",
                observation,
                "Gymnasium's reset returns (observation, info): give predict the first of them",
            )
        seen = options.indices("observation", observation, self.pair.n_outputs("pomdp"))
        if seen.ndim > 1:
            raise invalid("observation", "have shape (n,) or ()", seen.shape)
        return seen

    def _checked_starts(self, episode_start: npt.ArrayLike | None, n: int) -> npt.NDArray[np.bool_]:
        if episode_start is None:
            return np.zeros(n, dtype=bool)
        starts = np.asarray(episode_start, dtype=bool)
        if starts.shape != (n,) and not (starts.ndim == 0 and n == 1):
            raise invalid("episode_start", f"have shape ({n},), as observation", starts.shape)
        return starts.reshape(n)


def _bad_state(names: str, n: int, state: Any) -> InvalidInputError:
    shapes = (
        [np.shape(part) for part in state] if isinstance(state, tuple) else type(state).__name__
    )
    wanted = f"be the arrays ({names}) of {n} environments"
    return invalid("state", wanted, shapes, "Give predict what its last call returned")

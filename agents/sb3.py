"""`IMMCallback`: Induced Model Matching in any stable-baselines3 script, by one argument.

    pair = imm_rl.make("tiger")
    PPO("MlpPolicy", pair.sb3_vector(8)).learn(20_000, callback=IMMCallback(pair))

    pair = imm_rl.make("CartPole-v1", observe=[2, 3])
    PPO("MlpPolicy", "CartPole-v1").learn(50_000, callback=IMMCallback(pair, restricted="angle.zip"))

The algorithm is left as it is. Before each step of its optimizer the gradient of λ · IMM is added to the
gradient that the algorithm has just made (and clipped): `Optimizer.register_step_pre_hook`. At λ = 0
nothing is added and no shared random number is drawn, so the training is bit for bit the plain one.

Called by users, by `sb3_agents` and through it by `imm-rl train --agent ppo|a2c`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback

from imm_rl.agents.arguments import Weight, checked_policy, checked_weights
from imm_rl.agents.belief_matcher import BeliefMatcher
from imm_rl.agents.methods import checked_term
from imm_rl.agents.neighbours import Equal, Nearest, parse_completions
from imm_rl.agents.restricted.asking import acts_on_observation, is_view_policy, probs_at
from imm_rl.agents.restricted.view_policy import ViewPolicy, as_view_policy, followed
from imm_rl.agents.sb3_gradient import TermGradient
from imm_rl.agents.sb3_measures import measured
from imm_rl.agents.sb3_policies import checked_algorithm
from imm_rl.agents.sb3_rollout import RolloutReader
from imm_rl.agents.sb3_seen import (
    Observe,
    check_arguments,
    check_spaces,
    seen_by_restricted,
    with_pair,
)
from imm_rl.agents.sb3_states import StateCodec
from imm_rl.agents.sb3_term import Matcher
from imm_rl.agents.settings import checked_count, is_whole
from imm_rl.agents.view_matcher import Sampler, ViewMatcher
from imm_rl.envs.features import Features
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.schedules import WeightController
from imm_rl.settings_checks import MOST_STEPS
from imm_rl.state_file import state_part

BATCH_SIZE = 256
"""Contexts of one gradient, at most."""

REFRESH = 8
"""Optimizer steps for which a gradient of the term is used before it is computed anew."""

MEASURE_EVERY = 16
"""Optimizer steps between two measurements at least: A2C has one step a rollout, PPO hundreds."""


class IMMCallback(BaseCallback):
    """Adds the matching term to PPO, A2C or MaskablePPO.

    Attributes:
        policy: The restricted policy.
        schedule: λ over the training.

    Args:
        env: What is trained on: a pair, a text for `imm_rl.make`, or the environment itself.
        restricted: The restricted policy. For a tabular pair one that acts on beliefs, or a name such as
            "pomdp", which is solved for; otherwise one that acts on the restricted view: an SB3 model or
            its zip, a `ViewPolicy`, a function of views (N, r), or "module:factory", called with the
            spaces of views and actions, that returns one of these.
        imm_lambda: λ or its schedule over the training's progress, as SB3 counts it. Default: from 1 to 0
            at half of the training.
        observe: For an environment that is no pair: which features the restricted policy sees.
        completions: What a view may stand for, where features are hidden: `Nearest`, `Equal`, their text
            ("nearest:k=16"), or a function of views (B, r) and a generator that gives full observations
            (B, K, ...). Default: by the kind of the view.
        method: `imm`; for a tabular pair also `noising` or `naive-kl`, its rivals (`methods.METHODS`).
        context_weight: For a tabular pair: how much each belief counts; as in `ReinforceSettings`.
        observations: For a tabular pair whose states a wrapper shows in a form of its own: the
            observation of each state, (S, ...), or a function of the states (S,).
        batch_size: Contexts of one gradient.
        refresh: Optimizer steps for which one gradient of the term is used; 1 computes it for each step.
        total_timesteps: Environment steps over which λ runs its schedule. Default: those of `learn`; to
            be given where `learn` is called several times with reset_num_timesteps=False.
        seed: Of the random numbers of matching; default: the algorithm's seed, or 0.
        verbose: As in SB3.

    Raises:
        InvalidInputError: An argument is wrong or does not go with the environment. What concerns the
            algorithm is checked when `learn` starts.
    """

    def __init__(
        self,
        env: Any,
        restricted: Any = "pomdp",
        imm_lambda: Weight | None = None,
        *,
        method: str = "imm",
        observe: Observe | None = None,
        completions: Nearest | Equal | Sampler | str | None = None,
        context_weight: str | None = None,
        observations: npt.ArrayLike | Callable[..., npt.ArrayLike] | None = None,
        batch_size: int = BATCH_SIZE,
        refresh: int = REFRESH,
        total_timesteps: int | None = None,
        seed: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        env, observe = with_pair(env, observe)
        self._seen = seen_by_restricted(env, observe)
        self._restricted = restricted
        check_arguments(self._seen, completions, context_weight, observations)
        if isinstance(completions, str):
            completions = parse_completions(completions)
        self._completions = completions
        self._context_weight, self._observations = context_weight, observations
        self.policy = self._checked_restricted(getattr(env, "action_space", None))
        self._method = checked_term(method, tabular=isinstance(self._seen, EnvPair))
        (self.schedule,) = checked_weights(imm_lambda, self.policy, self._method)
        self._batch_size = checked_count("batch_size", batch_size)
        self._gradient = TermGradient(checked_count("refresh", refresh))
        if total_timesteps is not None:
            total_timesteps = checked_count("total_timesteps", total_timesteps, MOST_STEPS)
        self._total_timesteps = total_timesteps
        if seed is not None and (not is_whole(seed) or seed < 0):
            raise invalid("seed", "be a whole number ≥ 0", seed)
        self._seed = seed
        self._matcher: Matcher | None = None
        self._matcher_of: Any = None
        self._controller: WeightController | None = None
        self._saved: dict[str, np.ndarray] = {}
        self._handle: Any = None
        self._unmeasured = MEASURE_EVERY
        self._ended_at: int | None = None  # environment steps when the last rollout was followed
        self._begun = 0  # environment steps before the rollout that is trained on
        self._followed: Any = None  # the rewards of the rollout that is trained on
        self._steps_seen = 0

    def _checked_restricted(self, action_space: Any) -> Any:
        """The restricted policy; None until the algorithm tells the action space of an environment."""
        if self._restricted is None:
            raise InvalidInputError(
                "restricted is None: there is no policy to match. Name one, or train without IMMCallback."
            )
        if isinstance(self._seen, EnvPair):
            return checked_policy(self._seen, self._restricted)
        if isinstance(self._restricted, str) and self._restricted == "pomdp":
            raise InvalidInputError(
                "restricted is missing: no POMDP is known for this environment, so none can be solved. "
                "Give an SB3 model that was trained on the restricted view, its zip, or a function of "
                "views (N, r)."
            )
        if action_space is None:
            return self._restricted
        return as_view_policy(self._restricted, self._seen.space, action_space)

    # --- SB3 calls these ---

    def _init_callback(self) -> None:
        model = checked_algorithm(self.model)
        check_spaces(self._seen, model)
        if isinstance(self._seen, Features):
            self.policy = as_view_policy(self.policy, self._seen.space, model.action_space)
        made_for = (model.observation_space, model.action_space, model.n_envs)
        goes_on = model.num_timesteps > 0 and self._matcher_of == made_for
        if self._matcher is None or not goes_on:
            seed = self._seed if self._seed is not None else (model.seed or 0)
            self._matcher = self._new_matcher(seed)
            self._matcher_of = made_for
        if self._saved:
            self._matcher.restore(state_part("matcher", self._saved))

    def _on_training_start(self) -> None:
        model: Any = self.model
        self._reader = RolloutReader(model, getattr(self._seen, "full_space", None))
        self._ask_once()
        total = self._total_timesteps or model._total_timesteps
        updates = max(1, -(-total // (model.n_steps * model.n_envs)))
        factors = None if self._controller is None else self._controller.state()
        self._controller = WeightController([self.schedule.resolve(epochs=updates)])
        if self._saved:
            factors = state_part("controller", self._saved)
            self._unmeasured = int(self._saved["unmeasured"])
            self._ended_at = int(self._saved["ended_at"])
        if factors and self.num_timesteps:  # going on; a new training begins anew
            self._controller.restore(factors)
        self._saved = {}
        if getattr(model, "target_kl", None) is not None:
            warnings.warn(
                f"target_kl is {model.target_kl}: matching moves the policy as well, so that updates stop "
                "early because of it. Leave target_kl at None.",
                stacklevel=2,
            )
        self._followed, self._steps_seen = None, 0

    def _on_rollout_start(self) -> None:
        self._finish_update()
        self._begun = self.model.num_timesteps
        self._reader.begin()

    def _on_step(self) -> bool:
        self._reader.step()
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        assert self._matcher is not None  # _init_callback made it
        self._gradient.drop()
        self._matcher.follow(self._reader.end(), continues=self._begun == self._ended_at)
        self._ended_at = model.num_timesteps
        self._followed = model.rollout_buffer.rewards
        self._handle = model.policy.optimizer.register_step_pre_hook(self._before_step)

    def _on_training_end(self) -> None:
        self._finish_update()

    def _finish_update(self) -> None:
        """Lets go of the optimizer, which must have stepped if there was a rollout to train on."""
        self._unhook()
        self._gradient.check(self.model.num_timesteps)
        if self._followed is not None and not self._steps_seen:
            raise InvalidInputError(
                f"{type(self.model).__name__} has trained on a rollout without a step of "
                "policy.optimizer, so that matching cannot reach its policy."
            )

    # --- before each step of the optimizer ---

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Adds λ times the gradient of the term to the gradients that the step is going to use."""
        model: Any = self.model
        if model.rollout_buffer.rewards is not self._followed:
            self._unhook()  # an error ended `learn`, and this training goes on without the callback
            return
        matcher, controller = self._matcher, self._controller
        assert matcher is not None and controller is not None  # noqa: PT018
        self._steps_seen += 1
        self._unmeasured += 1
        weight = float(controller.weights(self._progress())[0])
        adapts = controller.needs_kl or controller.needs_cosine
        measure = self._gradient.dropped and self._unmeasured >= MEASURE_EVERY  # after a rollout
        if not (weight or measure or adapts) or not matcher.ready:
            return
        if self._gradient.due:
            term = self._gradient.renew(
                model.policy,
                optimizer,
                lambda: matcher.term(model.policy, self._reader),
                getattr(model, "max_grad_norm", None),
            )
            if term is not None and (measure or adapts):
                measures = measured(term, self._gradient.pairs)
                controller.observe(kl=_one(measures, "kl"), cosine=_one(measures, "grad_cosine"))
                weight = float(controller.weights(self._progress())[0])
                if measure:
                    self._record(measures, weight)
        self._gradient.add(weight)

    def _record(self, measures: dict[str, float], weight: float) -> None:
        """Hands the measures to SB3's logger, as means over those of one dump."""
        self._unmeasured = 0
        matching = weight * measures.pop("norm")
        whole = matching + measures.pop("main_norm")
        measures["grad_share"] = matching / whole if whole else 0.0
        assert self._matcher is not None
        measures["weight"] = self._matcher.weight
        for name, value in measures.items():
            if np.isfinite(value):
                self.logger.record_mean(f"imm/{name}", value)
        self.logger.record("imm/lambda", weight)

    # --- going on with a training ---

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed training needs, between two rollouts; arrays by name."""
        if self._matcher is None or self._controller is None:
            return dict(self._saved)
        return {
            **{f"matcher/{key}": value for key, value in self._matcher.state().items()},
            **{f"controller/{key}": value for key, value in self._controller.state().items()},
            "unmeasured": np.array(self._unmeasured),
            "ended_at": np.array(-1 if self._ended_at is None else self._ended_at),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on where `state` says, from the next `learn` on.

        Raises:
            InvalidInputError: An entry is missing.
        """
        if state and not {"unmeasured", "ended_at"} <= state.keys():
            raise invalid("state", "be what IMMCallback.state() gave", sorted(state))
        self._saved = dict(state)
        self._matcher = None

    def _progress(self) -> float:
        """The share of training that was done when the rollout of this update began, in [0, 1].

        As SB3 counts it, but for that rollout: the first update is at 0 however long rollouts are.
        """
        total = self._total_timesteps or self.model._total_timesteps
        return min(self._begun / total, 1.0)

    def _ask_once(self) -> None:
        """Asks the restricted policy about the first observations, so that a fault is said at once."""
        if isinstance(self._seen, EnvPair):
            if is_view_policy(self.policy):
                nothing = np.full((1, 1), self.policy.view_space.n - 1)
                followed(self.policy, nothing, np.ones((1, 1), dtype=bool))
            elif not acts_on_observation(self.policy):
                probs_at(self.policy, self._seen.restricted_model.initial[None])
            return
        first = self._reader.first()
        views = self._seen(first)
        starts = np.ones((1, len(views)), dtype=bool)
        followed(self.policy, views[None], starts)

    def _new_matcher(self, seed: int) -> Matcher:
        model: Any = self.model
        if isinstance(self._seen, EnvPair):
            return BeliefMatcher(
                self._seen,
                self.policy,
                StateCodec(self._seen, model.observation_space, self._observations),
                weight=self._context_weight,
                batch_size=self._batch_size,
                n_envs=model.n_envs,
                seed=seed,
                method=self._method,
            )
        return ViewMatcher(
            self._seen,
            self.policy,
            self._completions or _default_completions(self._seen, self.policy),
            action_space=model.action_space,
            batch_size=self._batch_size,
            n_envs=model.n_envs,
            seed=seed,
        )

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


def _default_completions(features: Features, policy: ViewPolicy) -> Nearest | Equal:
    """Equal views where they are whole numbers; near ones else, and where answers count as well."""
    return Equal() if features.discrete and not policy.remembers else Nearest()


def _one(measures: dict[str, float], name: str) -> list[float] | None:
    return [measures[name]] if name in measures else None

"""REINFORCE with Induced Model Matching on tabular pairs, all seeds and weights as one tensor program.

Called by `imm-rl train` and `imm-rl reproduce`, and by users:

    agent = IMMReinforce(imm_rl.make("tiger"), restricted="pomdp", seeds=range(10))
    agent.learn(20_000)
    agent.action_probs()[0, 3]          # (S, A), the policy of the first weight and the fourth seed

Each update: evaluate every run's policy at all S states, roll out, weigh each (state, action) by its
advantage, add λ times the matching term, one backward pass, one Adam step. What IMM is compared with
(`methods.METHODS`) is trained by the same lines.

Index letters: L weights λ, K seeds, N = L·K runs, E copies, T steps, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from imm_rl.agents.advantages import Advantages
from imm_rl.agents.advice import BeliefFollower, Guide, refuse_memory
from imm_rl.agents.arguments import (
    Weight,
    checked_horizon,
    checked_pair,
    checked_policy,
    checked_seeds,
    checked_settings,
    checked_weights,
)
from imm_rl.agents.contexts import ContextSource
from imm_rl.agents.device_advantages import DeviceAdvantages
from imm_rl.agents.device_contexts import DeviceSource
from imm_rl.agents.device_matching import DeviceMatchingTerm
from imm_rl.agents.device_parts import DeviceParts, refusal
from imm_rl.agents.device_rollout import DeviceRollout, DeviceRollouts
from imm_rl.agents.evaluation import Evaluator, Played
from imm_rl.agents.finite_losses import FiniteLosses
from imm_rl.agents.matching_term import MatchingTerm
from imm_rl.agents.methods import TERMS, checked_method
from imm_rl.agents.network import BatchedStateNetwork
from imm_rl.agents.policy_loss import PolicyLoss
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import Rollout, TabularRollouts, action_cdf
from imm_rl.agents.settings import ReinforceSettings, checked_count, checked_index
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.agents.streams import SeedStreams, generator
from imm_rl.agents.warm_start import clone, demonstrations
from imm_rl.device import torch_device
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError
from imm_rl.schedules import WeightController
from imm_rl.settings_checks import MOST_STEPS
from imm_rl.threads import fitting_threads


class Record(NamedTuple):
    """One evaluation of all runs; arrays are (N,) unless said otherwise.

    Attributes:
        env_steps: Environment steps each run has taken.
        returns: Mean undiscounted return of the sampled policy.
        rollout_returns: The same over the training episodes since the last record, or NaN.
        measures: `imm/…` measures of the update before, by their TensorBoard tag; NaN in a run that
            met no belief with a weight. Empty without a restricted policy.
    """

    env_steps: int
    returns: FloatArray
    rollout_returns: FloatArray
    measures: dict[str, FloatArray]


Callback: TypeAlias = "Callable[[IMMReinforce, Record | None], bool | None]"


class IMMReinforce:
    """REINFORCE on the full state, with the induced policy matched to a restricted policy.

    Args:
        pair: A tabular environment pair.
        restricted: A policy on beliefs; a name (`pomdp`, `fib`, …, see
            `imm_rl.agents.restricted.named`), of which one is made for `pair.restricted_model`; or None
            for plain REINFORCE.
        imm_lambda: Weight or schedule of the matching term, or a list of them: each is trained with
            each seed. Default: from 1 to 0 at half of the training, or 0 without a restricted policy.
        seeds: Seeds ≥ 0, or a single one. A run draws its own seed's random numbers whatever stands
            beside it; only the rounding of matrix products may differ with the number of runs, and
            grow as training goes.
        settings: How to train; the paper's are `ReinforceSettings.preset("paper")`, with
            imm_lambda="paper".
        device: `auto`, `cpu` or `cuda`.
        method: What the restricted policy is used for, a name of `methods.METHODS`; λ means what the
            method says. Default: `imm`, or `none` without a restricted policy.
        on_device: Whether rollouts, filter and loss are tensors of the device, so that the host waits
            at evaluations alone (`device_parts`), or NumPy arrays of the host. Default: on CUDA, where
            pair and policy can be. The numbers are the same up to rounding.

    Attributes:
        on_device: What became of it.

    Raises:
        InvalidInputError: Sizes do not fit, a weight without a restricted policy or that the method has
            no use for, bad seeds, no such device or method, or rollouts that cannot be on the device.
    """

    def __init__(
        self,
        pair: EnvPair,
        restricted: RestrictedPolicy | str | None = "pomdp",
        imm_lambda: Weight | Sequence[Weight] | None = None,
        seeds: Iterable[int] | int = (0,),
        settings: ReinforceSettings | None = None,
        device: str = "auto",
        method: str | None = None,
        on_device: bool | None = None,
    ) -> None:
        self.pair = checked_pair(pair)
        self.settings = checked_settings(settings)
        self.seeds = checked_seeds(seeds)
        self.restricted = checked_policy(pair, restricted)
        self.method = checked_method(method, helped=self.restricted is not None)
        self.schedules = checked_weights(imm_lambda, self.restricted, self.method)
        if self.method in ("interpolate", "jsrl", "bc"):
            refuse_memory(self.restricted, self.method)
        self.device = torch_device(device)

        model, settings = pair.model, self.settings
        gamma = settings.gamma or model.discount
        checked_horizon(pair, gamma, bootstraps=settings.bootstraps)
        n_variants, self.n_runs = len(self.schedules), len(self.schedules) * len(self.seeds)
        self.n_steps = settings.n_steps or pair.max_steps
        self.env_steps = 0
        self.batch_steps = self.n_steps * settings.n_envs
        # Every weight of a seed starts from the same parameters.
        starts = [generator(s, "init") for _ in range(n_variants) for s in self.seeds]
        self.policy = BatchedStateNetwork(
            model.n_states, settings.hidden_sizes, model.n_actions, starts
        ).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(), lr=settings.learning_rate, fused=True
        )
        self.rollouts: TabularRollouts | DeviceRollouts = TabularRollouts(
            pair.sampler,
            SeedStreams(self.seeds, "environment", n_variants),
            SeedStreams(self.seeds, "action", n_variants),
            n_runs=self.n_runs,
            n_envs=settings.n_envs,
            max_steps=pair.max_steps,
        )
        self.advantages: Advantages | DeviceAdvantages = Advantages(
            self.n_runs,
            model.n_states,
            gamma=gamma,
            baseline=settings.baseline,
            normalize=settings.normalize_advantage,
            bootstrap=settings.bootstraps,
        )
        self.evaluator = Evaluator(
            pair,
            self.seeds,
            n_variants,
            episodes=settings.eval_episodes,
            n_steps=settings.eval_steps or pair.max_steps,
        )
        self.term: MatchingTerm | None = None
        self.guide: Guide | None = None
        if self.method in TERMS:
            self.term = MatchingTerm(
                pair,
                self.restricted,
                self.method,
                settings=settings,
                seeds=self.seeds,
                n_variants=n_variants,
                parameters=list(self.policy.parameters()),
            )
        elif self.method == "jsrl":
            streams = SeedStreams(self.seeds, "advice", n_variants)
            follower = BeliefFollower(pair, self.restricted, streams, settings.n_envs)
            self.guide = Guide(follower, self.n_runs * settings.n_envs)
        elif self.method == "interpolate":
            self.evaluator.mix_with(self.restricted)
        refused = refusal(pair, self.restricted, self.method, self.term)
        if on_device and refused:
            raise InvalidInputError(
                f"on_device is True, and rollouts cannot be on the device: {refused}. Leave it out."
            )
        self.on_device = self.device.type != "cpu" if on_device is None else bool(on_device)
        self.on_device = self.on_device and not refused
        names = [f"seed {k} (λ = {s.text})" for s in self.schedules for k in self.seeds]
        self._losses = FiniteLosses(names, self.device, at_once=not self.on_device)
        if self.on_device:
            parts = DeviceParts(
                pair,
                self.restricted,
                self.term,
                settings=settings,
                seeds=self.seeds,
                n_variants=n_variants,
                gamma=gamma,
                device=self.device,
            )
            self.rollouts, self.advantages, self.term = parts.rollouts, parts.advantages, parts.term
        self._policy_loss = PolicyLoss(
            self.advantages,
            (self.n_runs, model.n_states, model.n_actions),
            n_envs=settings.n_envs,
            batch_steps=self.batch_steps,
            entropy_coef=settings.entropy_coef,
            device=self.device,
        )
        self.shown: FloatArray = np.zeros(self.n_runs)  # steps that `bc` was shown first
        self._n_updates = 0  # of the whole training, once it is known
        self.controller: WeightController | None = None
        self.controller_state: dict[str, np.ndarray] = {}  # of a checkpoint, until learn() needs it
        self.records: list[Record] = []

    def learn(
        self,
        total_steps: int,
        callback: Callback | None = None,
        *,
        evaluate_at: Iterable[int] | None = None,
    ) -> IMMReinforce:
        """Trains every run until it has taken total_steps environment steps (whole updates).

        Args:
            total_steps: Steps of each run, counted from the start of its training.
            callback: Called after every update with the agent and, where the update was followed by
                an evaluation, its record; False stops the training.
            evaluate_at: Environment steps after which to evaluate, rounded up to whole updates.
                Default: `settings.eval_points` of them, evenly spread.

        Raises:
            DivergedError: A loss is not finite.
        """
        n_updates = -(-checked_count("total_steps", total_steps, MOST_STEPS) // self.batch_steps)
        self._n_updates = n_updates
        if self.controller is None:
            resolved = [s.resolve(epochs=n_updates) for s in self.schedules]
            self.controller = WeightController(
                [schedule for schedule in resolved for _ in self.seeds]
            )
            if self.controller_state:
                self.controller.restore(self.controller_state)
        if evaluate_at is None:
            due = _evaluation_updates(n_updates, self.settings.eval_points)
        else:
            due = {
                -(-checked_count("evaluate_at", s, MOST_STEPS) // self.batch_steps)
                for s in evaluate_at
            }
        units = max(self.settings.hidden_sizes)
        with fitting_threads(self.n_runs * self.pair.model.n_states * units):
            if self.method == "bc" and self.env_steps == 0:
                self._warm_start()
            while (done := self.env_steps // self.batch_steps) < n_updates:
                evaluate = done + 1 in due
                measures = self._update(done / n_updates, measure=evaluate)
                self.env_steps += self.batch_steps
                record = self._record(measures) if evaluate else None
                if callback is not None and callback(self, record) is False:
                    break
            self._require_good_updates()
        return self

    @property
    def source(self) -> ContextSource | DeviceSource | None:
        """Where the contexts to match at come from; None where no term is added to the loss."""
        return None if self.term is None else self.term.source

    def action_probs(self) -> FloatArray:
        """Every run's policy, (L, K, S, A) for L weights and K seeds."""
        with torch.no_grad():
            probs = torch.softmax(self.policy(), dim=-1).cpu().numpy().astype(np.float64)
        probs /= probs.sum(axis=-1, keepdims=True)
        return probs.reshape(len(self.schedules), len(self.seeds), *probs.shape[1:])

    def state_policy(self, run: int = 0) -> StatePolicy:
        """What a run has learned, to act with and to save: `agent.state_policy().save("model.zip")`.

        Args:
            run: Which one, counted over weights and, within a weight, over seeds.
        """
        return self.state_policies()[checked_index("run", run, self.n_runs)]

    def state_policies(self, **about: Any) -> list[StatePolicy]:
        """What every run has learned, over weights and, within a weight, over seeds.

        Args:
            about: More, or other, entries of `StatePolicy.about`.
        """
        common = {"env": self.pair.spec or self.pair.name, "agent": "reinforce"}
        return [
            StatePolicy(
                table,
                {
                    **common,
                    "imm_lambda": schedule.text,
                    "seed": seed,
                    "env_steps": self.env_steps,
                    **about,
                },
            )
            for schedule, tables in zip(self.schedules, self.action_probs(), strict=True)
            for seed, table in zip(self.seeds, tables, strict=True)
        ]

    def _update(self, progress: float, *, measure: bool) -> dict[str, FloatArray]:
        """One rollout and one step of Adam; the measures of the matching term where asked for."""
        log_probs = torch.log_softmax(self.policy(), dim=-1)  # (N, S, A)
        rollout: Rollout | DeviceRollout
        if isinstance(self.rollouts, DeviceRollouts):
            rollout = self.rollouts.collect(log_probs.detach(), self.n_steps)
        else:
            cdf = action_cdf(log_probs.detach().exp().cpu().numpy())
            rollout = self.rollouts.collect(cdf, self.n_steps, self._adviser(progress))
        loss = self._policy_loss(log_probs, rollout)  # (N,)
        measures: dict[str, FloatArray] = {}
        if self.term is not None and self.controller is not None:
            matching, measures = self.term(
                log_probs, rollout, loss, self.controller, progress, measure=measure
            )
            loss = loss if matching is None else loss + matching
        elif self.method == "bc":
            measures = {"bc/demonstration_steps": self.shown}
        elif self.controller is not None and self.method in ("interpolate", "jsrl"):
            measures = {"imm/lambda": self.controller.weights(progress)}
        self._losses.note(loss.detach(), self.env_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        self.optimizer.step()
        return measures

    def _adviser(self, progress: float) -> Guide | None:
        """Who acts before the agent does: with `jsrl` the restricted policy, for λ of the episode."""
        if self.guide is None or self.controller is None:
            return None
        shares = np.minimum(self.controller.weights(progress), 1.0)
        steps = np.round(shares * self.pair.max_steps).astype(np.int64)
        self.guide.steps = np.repeat(steps, self.settings.n_envs)
        return self.guide

    def _warm_start(self) -> None:
        settings = self.settings
        shown, steps = demonstrations(self.pair, self.restricted, self.seeds, settings.bc_episodes)
        self.shown = np.tile(steps, len(self.schedules))
        clone(
            self.policy,
            list(self.policy.parameters()),
            np.tile(shown, (len(self.schedules), 1, 1)),
            updates=settings.bc_updates,
            learning_rate=settings.learning_rate,
        )

    def play(self, *, greedy: bool = False) -> Played:
        """Fresh evaluation episodes of every run, (N, B), as the method acts: `interpolate` mixes.

        Args:
            greedy: Takes the likeliest actions instead of drawing them.
        """
        probs = self.action_probs()
        shares: FloatArray | None = None
        if self.method == "interpolate" and self.controller is not None and self._n_updates:
            progress = min(self.env_steps / (self._n_updates * self.batch_steps), 1.0)
            odds = self.controller.weights(progress)
            shares = odds / (1.0 + odds)
        return self.evaluator.play(
            probs.reshape(-1, *probs.shape[2:]), greedy=greedy, shares=shares
        )

    def _record(self, measures: dict[str, FloatArray]) -> Record:
        self._require_good_updates()
        probs = self.action_probs()
        sums = torch.as_tensor(probs).flatten(0, 1).sum(dim=(1, 2))
        self._losses.require(sums, "policy", self.env_steps)
        returns = self.play().returns.mean(axis=1)
        record = Record(self.env_steps, returns, self.rollouts.finished_returns(), measures)
        self.records.append(record)
        return record

    def _require_good_updates(self) -> None:
        """Fails where an update on the device went wrong since the last look; the host waits for it."""
        if self.on_device:
            if isinstance(self.term, DeviceMatchingTerm):
                self.term.check()
            self._losses.check()


def _evaluation_updates(n_updates: int, points: int) -> set[int]:
    """The updates (counted from 1) after which all runs are evaluated, the last one always."""
    points = min(points, n_updates)
    return {round(n_updates * (i + 1) / points) for i in range(points)}

"""Between two updates of a training: evaluates, logs, keeps a checkpoint, and stops on Ctrl-C.

Everything happens at the start of a rollout. There the policy is the one that the curves name by its
environment steps, and a checkpoint holds whole updates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv

from imm_rl.cli.console import Progress, measures_shown
from imm_rl.cli.sb3_model import evaluation_seed, played_episodes
from imm_rl.errors import DivergedError

if TYPE_CHECKING:
    from imm_rl.cli.sb3_curves import RunCurves
    from imm_rl.cli.train_config import TrainConfig

LOG_POINTS = 200
"""Points of a curve, about."""


class StoppedError(Exception):
    """Ends `learn` after Ctrl-C, once the state is saved."""


class Keeper(BaseCallback):
    """Goes into `learn` of one seed's agent.

    Attributes:
        curve: Environment steps and mean return of each evaluation.

    Args:
        config: The training.
        seed: The agent's.
        eval_env: The evaluations' own environment.
        curves: Where the logger writes.
        curve: Evaluations of before a stop.
        progress: Told of updates and evaluations.
        stop: Set where the training is to end early.
        save: Keeps a checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        seed: int,
        *,
        eval_env: VecEnv,
        curves: RunCurves,
        curve: list[list[float]],
        progress: Progress,
        stop: Event,
        save: Callable[[], None],
    ) -> None:
        super().__init__()
        self.curve = curve
        self._seed, self._eval_env, self._curves = seed, eval_env, curves
        self._progress, self._stop, self._save = progress, stop, save
        self._steps = config.steps
        self._episodes = config.settings.eval_episodes
        self._points = config.settings.eval_points
        self._logged = self._kept = self._resumed_at = 0

    def _on_training_start(self) -> None:
        self._logged = self._kept = self._resumed_at = self.model.num_timesteps
        self._started = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps > self._resumed_at:
            self._between_updates()
        if self._stop.is_set():
            raise StoppedError

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._between_updates(last=True)

    def _between_updates(self, *, last: bool = False) -> None:
        done = self.model.num_timesteps
        check_finite(self.model, self._seed)
        self._progress.update(done)
        due = last or self._passed(self._points, self._kept)
        if due:
            self._evaluate()
        if due or self._passed(LOG_POINTS, self._logged):
            self._log(evaluated=due)
        if due or self._stop.is_set():
            self._curves.save()
            self._save()
            self._kept = done

    def _passed(self, points: int, before: int) -> bool:
        """Whether one of so many points, spread evenly, lies between then and now."""
        now = self.model.num_timesteps * points // self._steps
        return now > before * points // self._steps

    def _evaluate(self) -> None:
        done = self.model.num_timesteps
        seed = evaluation_seed(self._seed, done)
        played = played_episodes(self.model, self._eval_env, episodes=self._episodes, seed=seed)
        self.curve.append([done, float(played.returns.mean())])
        self.logger.record("eval/mean_reward", float(played.returns.mean()))
        self.logger.record("eval/mean_ep_length", float(played.lengths.mean()))

    def _log(self, *, evaluated: bool) -> None:
        """What SB3's `dump_logs` writes, and what the last update and evaluation recorded."""
        model: Any = self.model
        done = self._logged = model.num_timesteps
        if model.ep_info_buffer:
            for tag, key in (("rollout/ep_rew_mean", "r"), ("rollout/ep_len_mean", "l")):
                self.logger.record(tag, safe_mean([e[key] for e in model.ep_info_buffer]))
        elapsed = time.perf_counter() - self._started
        speed = (done - self._resumed_at) / max(elapsed, 1e-9)
        self.logger.record("time/fps", speed)
        self.logger.dump(done)
        if evaluated:
            row = self._curves.rows[-1]
            measures = {tag: np.array([value]) for tag, value in row.items()}
            shown = measures_shown(measures["eval/mean_reward"], measures)
            self._progress.evaluated(done, shown, speed)


def check_finite(agent: Any, seed: int) -> None:
    """Refuses a network that has diverged.

    Raises:
        DivergedError: A parameter is NaN or infinite.
    """
    if not all(bool(p.isfinite().all()) for p in agent.policy.parameters()):
        raise DivergedError(
            f"the training of seed {seed} diverged: after {agent.num_timesteps:,} steps its network "
            "holds numbers that are not finite. A smaller learning_rate or max_grad_norm may help; "
            "rewards or observations that are not finite do the same.",
            agent.num_timesteps,
        )

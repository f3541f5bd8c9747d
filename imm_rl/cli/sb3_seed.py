"""One seed of a training by Stable-Baselines3: from the first step, or the checkpoint, to the result."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.logger import Logger

from imm_rl.cli.clock import read_seconds, write_seconds
from imm_rl.cli.console import Console, Progress
from imm_rl.cli.environments import is_tabular
from imm_rl.cli.sb3_checkpoint import load_checkpoint, save_checkpoint
from imm_rl.cli.sb3_curves import RunCurves, pending, restore_pending
from imm_rl.cli.sb3_keeper import Keeper, StoppedError, check_finite
from imm_rl.cli.sb3_model import (
    discount_of,
    evaluation_env,
    evaluation_seed,
    make_agent,
    played_episodes,
    threads_for,
    view_of,
)
from imm_rl.cli.summary import Curve, FinalEvaluation, Result
from imm_rl.files import write_atomically
from imm_rl.runs import MODEL, RunFolder

if TYPE_CHECKING:
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

RESULT = "checkpoints/result.npz"
_RETURNS = tuple(field.name for field in dataclasses.fields(FinalEvaluation))
_NOT_IDENTITY = ("logdir", "device", "preset", "seeds", "steps", "eval_episodes", "eval_points")


class SeedTraining:
    """One agent in its folder.

    Args:
        config: What to train.
        pair: The environment.
        policy: The restricted policy, None without one.
        seed: The agent's.
        folder: The seed's.
        console: For progress.
    """

    def __init__(
        self,
        config: TrainConfig,
        pair: EnvPair | FeaturePair,
        policy: Any | None,
        seed: int,
        folder: RunFolder,
        console: Console,
    ) -> None:
        self._config, self._pair, self._seed = config, pair, seed
        self._folder, self._console = folder, console
        folder.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self._agent = make_agent(config, pair, policy, seed)
        self._identity = _identity(config, pair, seed)

    def learn(self, stop: Event) -> Result | None:
        """Trains to the end and evaluates; None where it was stopped, with its state saved.

        Raises:
            RunFailedError: The training diverged; the last checkpoint is kept.
            InvalidInputError: The checkpoint is damaged or of another training.
        """
        config, agent, folder = self._config, self._agent, self._folder
        record: dict[str, Any] = {"rows": [], "curve": []}
        seconds_before, resumed_at = 0.0, None
        if folder.checkpoint.is_file():
            record = load_checkpoint(agent, folder.checkpoint, self._identity)
            seconds_before, resumed_at = read_seconds(folder), agent.num_timesteps
            self._say_where(resumed_at)
        started = time.perf_counter()
        with ExitStack() as stack:
            stack.enter_context(threads_for(config, self._pair))
            curves = RunCurves(folder, record["rows"], resumed_at)
            stack.callback(curves.close)
            progress = Progress(self._console, config.steps, agent.num_timesteps)
            stack.callback(progress.close)
            eval_env = self._evaluation_env(stack)

            def save() -> None:
                told = pending(agent.logger)
                kept = {"rows": curves.rows, "curve": keeper.curve, "pending": told}
                save_checkpoint(agent, folder.checkpoint, self._identity, kept)
                write_seconds(folder, seconds_before + time.perf_counter() - started)

            keeper = Keeper(
                config,
                self._seed,
                eval_env=eval_env,
                curves=curves,
                curve=record["curve"],
                progress=progress,
                stop=stop,
                save=save,
            )
            agent.set_logger(Logger(str(folder.path), [curves]))
            restore_pending(agent.logger, record.get("pending", {}))
            try:
                self._learn(keeper)
            except StoppedError:
                return None
            seconds = seconds_before + time.perf_counter() - started
            final = self._evaluate(eval_env)
        result = Result(
            agent.num_timesteps,
            seconds,
            Curve.of([int(n) for n, _ in keeper.curve], [mean for _, mean in keeper.curve]),
            final,
        )
        # Into an open file goes the zip alone: the restricted policy lies in the run's folder.
        write_atomically(folder.path / MODEL, agent.save)
        _write_result(folder, result)
        return result

    def _learn(self, keeper: Keeper) -> None:
        agent, missing = self._agent, self._config.steps - self._agent.num_timesteps
        if missing <= 0:  # stopped between its last update and its result
            return
        try:
            # SB3's own dumps are left out: the keeper writes one row for each step that it logs.
            agent.learn(
                missing,
                callback=keeper,
                log_interval=None,
                reset_num_timesteps=not agent.num_timesteps,
            )
        except ValueError:  # torch refuses NaN as logits, before the keeper sees it
            check_finite(agent, self._seed)
            raise

    def _evaluate(self, env: Any) -> FinalEvaluation:
        """The final evaluation, sampled and with the likeliest actions, in equal episodes."""
        sampled, deterministic = (
            played_episodes(
                self._agent,
                env,
                episodes=self._config.settings.eval_episodes,
                seed=evaluation_seed(self._seed),
                deterministic=best,
                gamma=discount_of(self._config, self._pair),
            )
            for best in (False, True)
        )
        return FinalEvaluation(
            sampled.returns[None],
            deterministic.returns[None],
            sampled.discounted[None],
            deterministic.discounted[None],
        )

    def _evaluation_env(self, stack: ExitStack) -> Any:
        episodes = self._config.settings.eval_episodes
        env = evaluation_env(self._pair, view_of(self._config), episodes)
        stack.callback(env.close)
        stack.callback(self._agent.get_env().close)
        return env

    def _say_where(self, env_steps: int) -> None:
        text = f"going on at {env_steps:,} steps"
        if not is_tabular(self._pair):
            text += "; what the environment held cannot be stored, so its episodes begin anew"
        self._console.note(text)


def finished_result(folder: RunFolder) -> Result | None:
    """What a seed that is done has come to; None if it is not done."""
    path = folder.path / RESULT
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as found:
        return Result(
            int(found["env_steps"]),
            float(found["wall_seconds"]),
            Curve(found["curve_steps"].tolist(), found["curve_returns"]),
            FinalEvaluation(**{name: found[name] for name in _RETURNS}),
        )


def _write_result(folder: RunFolder, result: Result) -> None:
    arrays: dict[str, Any] = {
        "env_steps": result.env_steps,
        "wall_seconds": result.wall_seconds,
        "curve_steps": np.array(result.curve.env_steps, dtype=np.int64),
        "curve_returns": result.curve.returns,
        **{name: getattr(result.final, name) for name in _RETURNS},
    }
    write_atomically(folder.path / RESULT, lambda file: np.savez(file, **arrays))


def _identity(config: TrainConfig, pair: Any, seed: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to fit."""
    told = {key: value for key, value in config.as_dict().items() if key not in _NOT_IDENTITY}
    model = {"model": pair.model.fingerprint()} if is_tabular(pair) else {}
    return {**told, **model, "seed": seed}

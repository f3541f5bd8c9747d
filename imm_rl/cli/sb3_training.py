"""A training of `imm-rl train --agent ppo|a2c` in its run folder: one seed after the other.

Its face is that of `training.Training`, which trains all seeds of REINFORCE side by side.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.cli.console import Console
from imm_rl.cli.interrupt import stop_on_interrupt
from imm_rl.cli.sb3_seed import SeedTraining, finished_result
from imm_rl.cli.summary import Curve, FinalEvaluation, Result, Yardsticks, summarize
from imm_rl.runs import SUMMARY, RunFolder

if TYPE_CHECKING:
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair


class SB3Training:
    """All seeds of a run; what the folder has already is taken up.

    Args:
        config: What to train.
        pair: The environment.
        policy: The restricted policy, None without one.
        folder: The run's.
        console: For progress.

    Raises:
        InvalidInputError: The restricted policy, or a setting of matching, does not go with the pair.
    """

    def __init__(
        self,
        config: TrainConfig,
        pair: EnvPair | FeaturePair,
        policy: Any | None,
        folder: RunFolder,
        console: Console,
    ) -> None:
        self._config, self._pair, self._policy = config, pair, policy
        self._folder, self._console = folder, console
        folder.remove_leftovers()
        self._folders = [folder.of_seed(seed, config.seeds) for seed in config.seeds]
        self._results: list[Result] = []

    def learn(self) -> bool:
        """Trains to the end, or until Ctrl-C; the state is saved either way. False if it was stopped.

        Raises:
            RunFailedError: The training diverged; the last checkpoint is kept.
        """
        seeds = self._config.seeds
        with stop_on_interrupt() as stop:
            for seed, folder in zip(seeds, self._folders, strict=True):
                result = finished_result(folder)
                if result is None:
                    if len(seeds) > 1:
                        self._console.note(f"seed {seed}:")
                    if stop.is_set():
                        return False
                    training = SeedTraining(
                        self._config, self._pair, self._policy, seed, folder, self._console
                    )
                    result = training.learn(stop)
                if result is None:
                    return False
                self._results.append(result)
        return True

    def finish(self, yardsticks: Yardsticks) -> dict[str, Any]:
        """Writes what tells of the result."""
        config = self._config
        if len(config.seeds) > 1:
            for seed, result, folder in zip(
                config.seeds, self._results, self._folders, strict=True
            ):
                alone = dataclasses.replace(config, seeds=(seed,))
                folder.write_json(SUMMARY, summarize(alone, result, yardsticks))
        summary = summarize(config, _together(self._results), yardsticks)
        self._folder.write_json(SUMMARY, summary)  # last: it says that the run is finished
        return summary


def _together(results: list[Result]) -> Result:
    """K seeds as one result; all were evaluated at the same steps."""
    return Result(
        results[0].env_steps,
        sum(result.wall_seconds for result in results),
        Curve(
            results[0].curve.env_steps,
            np.concatenate([result.curve.returns for result in results], axis=1),
        ),
        FinalEvaluation.together([result.final for result in results]),
    )

"""A training of REINFORCE in its run folder, from its first step or from its checkpoint.

Several runs that differ in λ alone can be trained as one tensor program, each with a run folder of its own
(`imm-rl sweep` does); the checkpoint of all of them lies in the first one's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from imm_rl.agents.checkpoint import load_checkpoint, save_checkpoint
from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.agents.state_policy import StatePolicy
from imm_rl.cli.clock import read_seconds, write_seconds
from imm_rl.cli.console import Console, Progress, measures_shown
from imm_rl.cli.interrupt import stop_on_interrupt
from imm_rl.cli.summary import Curve, Result, Yardsticks, evaluate_finally, summarize
from imm_rl.runs import MODEL, PROGRESS, SUMMARY, RunFolder
from imm_rl.tensorboard import CurveWriter, remove_curves

if TYPE_CHECKING:
    from imm_rl.agents.restricted.base import RestrictedPolicy
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.pair import EnvPair


class Training:
    """All seeds of a run, trained side by side; what the folder has already is taken up.

    Args:
        config: What to train.
        pair: The environment.
        policy: The restricted policy, None without one.
        folder: The run's.
        console: For progress.
        others: Further runs to train along, which differ in their λ alone, with their folders.
    """

    def __init__(
        self,
        config: TrainConfig,
        pair: EnvPair,
        policy: RestrictedPolicy | None,
        folder: RunFolder,
        console: Console,
        others: Sequence[tuple[TrainConfig, RunFolder]] = (),
    ) -> None:
        self._config, self._folder, self._console = config, folder, console
        self._runs = [(config, folder), *others]
        self.agent = IMMReinforce(
            pair,
            restricted=policy,
            imm_lambda=[each.imm_lambda for each, _ in self._runs],
            seeds=config.seeds,
            settings=cast("ReinforceSettings", config.settings),
            device=config.device,
            method=config.method,
        )
        self._seconds_before = 0.0
        for _, run in self._runs:
            run.remove_leftovers()
        # One a training, in the agent's order: over weights and, within a weight, over seeds.
        self._folders = [
            run.of_seed(seed, config.seeds) for _, run in self._runs for seed in config.seeds
        ]
        for each in [folder.checkpoint.parent, *(f.path for f in self._folders)]:
            each.mkdir(exist_ok=True)
        self._resumed_at: int | None = None
        if folder.checkpoint.is_file():
            load_checkpoint(self.agent, folder.checkpoint)
            self._resumed_at = self.agent.env_steps
            self._seconds_before = read_seconds(folder)
        else:
            for each_folder in self._folders:
                remove_curves(each_folder.path)
        self._started, self._started_at = time.perf_counter(), self.agent.env_steps

    @property
    def seconds(self) -> float:
        """Spent on training, before and after a stop."""
        return self._seconds_before + time.perf_counter() - self._started

    def learn(self) -> bool:
        """Trains to the end, or until Ctrl-C; the state is saved either way. False if it was stopped.

        Raises:
            RunFailedError: The training diverged; the last checkpoint is kept.
        """
        agent, config = self.agent, self._config
        if agent.env_steps:
            self._console.note(f"going on at {agent.env_steps:,} steps")
        self._started, self._started_at = time.perf_counter(), agent.env_steps
        with ExitStack() as stack:
            writers = [CurveWriter(f.path, self._resumed_at) for f in self._folders]
            for writer in writers:
                stack.callback(writer.close)
            progress = Progress(self._console, config.steps, agent.env_steps)
            stack.callback(progress.close)
            stop = stack.enter_context(stop_on_interrupt())

            def after_update(agent: IMMReinforce, record: Record | None) -> bool:
                progress.update(agent.env_steps)
                if record is not None:
                    self._keep(record, writers, progress)
                return not stop.is_set()

            agent.learn(config.steps, after_update)
            if agent.env_steps < config.steps:
                self._save()
                return False
        return True

    def finish(self, yardsticks: Yardsticks) -> dict[str, Any]:
        """Evaluates the trained policies and writes everything that tells of the result.

        Returns:
            The summary of the first run.
        """
        seconds, agent = self.seconds, self.agent
        final = evaluate_finally(agent)
        self._write_progress()
        policies = agent.state_policies()
        n_seeds = len(self._config.seeds)
        summaries = []
        for i, (config, folder) in enumerate(self._runs):
            mine = slice(i * n_seeds, (i + 1) * n_seeds)
            returns = [record.returns[mine] for record in agent.records]
            curve = Curve.of([record.env_steps for record in agent.records], returns)
            result = Result(agent.env_steps, seconds, curve, final.part(mine))
            about = {
                "env": config.env,
                "agent": config.agent,
                "restricted": config.restricted,
                "imm_lambda": config.imm_lambda,
            }
            for k, (policy, place) in enumerate(
                zip(policies[mine], self._folders[mine], strict=True)
            ):
                StatePolicy(policy.table, {**policy.about, **about}).save(place.path / MODEL)
                if place.path != folder.path:
                    place.write_json(SUMMARY, summarize(config, result, yardsticks, of=[k]))
            summaries.append(summarize(config, result, yardsticks))
        for (_, folder), summary in zip(self._runs, summaries, strict=True):
            folder.write_json(SUMMARY, summary)  # last: it says that the run is finished
        return summaries[0]

    def _keep(self, record: Record, writers: list[CurveWriter], progress: Progress) -> None:
        """Curves, checkpoint and a line of progress, after an evaluation.

        Curves come before the checkpoint: what was written beyond a checkpoint is hidden on resuming,
        what was not written would be missing.
        """
        elapsed = time.perf_counter() - self._started
        speed = (record.env_steps - self._started_at) * len(writers) / max(elapsed, 1e-9)
        for i, writer in enumerate(writers):
            writer.write(record.env_steps, {**_row(record, i), "time/fps": speed})
        self._write_progress()
        self._save()
        shown = measures_shown(record.returns, record.measures)
        progress.evaluated(record.env_steps, shown, speed)

    def _write_progress(self) -> None:
        for i, folder in enumerate(self._folders):
            rows = [{"env_steps": r.env_steps, **_row(r, i)} for r in self.agent.records]
            folder.write_csv(PROGRESS, rows)

    def _save(self) -> None:
        save_checkpoint(self.agent, self._folder.checkpoint)
        write_seconds(self._folder, self.seconds)


def _row(record: Record, run: int) -> dict[str, float]:
    """One run's values of a record, by TensorBoard tag."""
    values = {"eval/mean_reward": record.returns, "rollout/ep_rew_mean": record.rollout_returns}
    # Adding 0 makes 0 of a −0 that rounding left.
    return {tag: float(v[run]) + 0.0 for tag, v in {**values, **record.measures}.items()}

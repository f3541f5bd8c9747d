"""One training of `imm-rl train` in its run folder, from its first step or from its checkpoint."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.agents.checkpoint import load_checkpoint, save_checkpoint
from imm_rl.agents.reinforce import IMMReinforce, Record
from imm_rl.cli.console import Console, Progress, interval, number
from imm_rl.cli.summary import Yardsticks, evaluate_finally, summarize
from imm_rl.runs import MODEL, SUMMARY, RunFolder
from imm_rl.statistics import mean_ci95
from imm_rl.tensorboard import CurveWriter, remove_curves

if TYPE_CHECKING:
    from imm_rl.agents.restricted.base import RestrictedPolicy
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.pair import EnvPair

PROGRESS, CLOCK = "progress.csv", "checkpoints/clock.json"


class Training:
    """All seeds of a run, trained side by side; what the folder has already is taken up.

    Args:
        config: What to train.
        pair: The environment.
        policy: The restricted policy, None without one.
        folder: The run's.
        console: For progress.
    """

    def __init__(
        self,
        config: TrainConfig,
        pair: EnvPair,
        policy: RestrictedPolicy | None,
        folder: RunFolder,
        console: Console,
    ) -> None:
        self._config, self._folder, self._console = config, folder, console
        self.agent = IMMReinforce(
            pair,
            restricted=policy,
            imm_lambda=config.imm_lambda,
            seeds=config.seeds,
            settings=config.settings,
            device=config.device,
        )
        self._seconds_before = 0.0
        folder.remove_leftovers()
        self._folders = [folder.of_seed(seed, config.seeds) for seed in config.seeds]
        for each in [folder.checkpoint.parent, *(f.path for f in self._folders)]:
            each.mkdir(exist_ok=True)
        self._resumed_at: int | None = None
        if folder.checkpoint.is_file():
            load_checkpoint(self.agent, folder.checkpoint)
            self._resumed_at = self.agent.env_steps
            self._seconds_before = _read_seconds(folder)
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
        self._started, self._started_at = time.perf_counter(), agent.env_steps
        with ExitStack() as stack:
            writers = [CurveWriter(f.path, self._resumed_at) for f in self._folders]
            for writer in writers:
                stack.callback(writer.close)
            progress = Progress(self._console, config.steps, agent.env_steps)
            stack.callback(progress.close)
            stop = stack.enter_context(_stop_on_interrupt())

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
        """Evaluates the trained policies and writes everything that tells of the result."""
        seconds, config, agent = self.seconds, self._config, self.agent
        final = evaluate_finally(agent)
        policies = agent.state_policies(
            env=config.env,
            agent=config.agent,
            restricted=config.restricted,
            imm_lambda=config.imm_lambda,
        )
        self._write_progress()
        for i, (policy, folder) in enumerate(zip(policies, self._folders, strict=True)):
            policy.save(folder.path / MODEL)
            if folder is not self._folder:
                one = summarize(config, agent, final, yardsticks, seconds, of=[i])
                folder.write_json(SUMMARY, one)
        summary = summarize(config, agent, final, yardsticks, seconds)
        self._folder.write_json(SUMMARY, summary)  # last: it says that the run is finished
        return summary

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
        mean, *ends = mean_ci95(record.returns)
        shown = {"return": f"{number(mean)} {interval(ends)}".strip()}
        for name, tag in (("λ", "imm/lambda"), ("KL", "imm/kl")):
            measured = record.measures.get(tag, np.empty(0))
            measured = measured[np.isfinite(measured)]  # an update may have had nothing to match
            if measured.size:
                shown[name] = f"{measured.mean() + 0.0:.3f}"
        progress.evaluated(record.env_steps, shown, speed)

    def _write_progress(self) -> None:
        for i, folder in enumerate(self._folders):
            rows = [{"env_steps": r.env_steps, **_row(r, i)} for r in self.agent.records]
            folder.write_csv(PROGRESS, rows)

    def _save(self) -> None:
        save_checkpoint(self.agent, self._folder.checkpoint)
        self._folder.write_json(CLOCK, {"wall_seconds": self.seconds})


def _row(record: Record, run: int) -> dict[str, float]:
    """One run's values of a record, by TensorBoard tag."""
    values = {"eval/mean_reward": record.returns, "rollout/ep_rew_mean": record.rollout_returns}
    # Adding 0 makes 0 of a −0 that rounding left.
    return {tag: float(v[run]) + 0.0 for tag, v in {**values, **record.measures}.items()}


def _read_seconds(folder: RunFolder) -> float:
    try:
        text = (folder.path / CLOCK).read_text(encoding="utf-8")
        return float(json.loads(text)["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0  # killed between checkpoint and clock


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Sets the event on the first Ctrl-C; the second one stops at once."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:  # noqa: ARG001  the signature of handlers
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is signal.SIG_IGN:  # e.g. under nohup: Ctrl-C is not for us
        yield asked
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

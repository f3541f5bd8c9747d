"""The trainings of a comparison, one arm after the other, each in a run folder of its own.

A restricted policy that arms share is made once and played once: all arms learn from the same one. An arm
that diverges is left as it is, and the others are trained: it would diverge again, as its random numbers
are the same.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli.console import Console, number
from imm_rl.cli.divergence import FILE, Divergence
from imm_rl.cli.train_run import checked_policy, restricted_policy, run_files, trained
from imm_rl.errors import DivergedError, RunFailedError
from imm_rl.files import write_text
from imm_rl.runs import CONFIG, RunFolder

if TYPE_CHECKING:
    from imm_rl.cli.compare_plan import ComparisonPlan
    from imm_rl.cli.summary import Yardsticks
    from imm_rl.cli.train_config import TrainConfig


class Arms:
    """Trains what a comparison's folder still lacks.

    Args:
        plan: What is compared.
        folder: The comparison's.
        command: What the user typed.
        console: For a line an arm.

    Attributes:
        folders: The arms' run folders, in order.
        diverged: The arms that did, in order, once `train` has come to its end.
    """

    def __init__(self, plan: ComparisonPlan, folder: Path, command: str, console: Console) -> None:
        self._plan, self._console = plan, console
        self.folders = [plan.folder_of(arm, folder) for arm in plan.arms]
        self.diverged: list[Divergence] = []
        self._made: dict[tuple[str, float | None], tuple[Any, Yardsticks]] = {}
        for run, config in zip(self.folders, plan.configs, strict=True):
            if not (run.path / CONFIG).is_file():
                run.path.mkdir(exist_ok=True)
                files = run_files(config, command)
                for name in sorted(files, key=lambda name: name == CONFIG):  # last: it says "a run"
                    write_text(run.path / name, files[name])

    def train(self) -> bool:
        """Trains to the end, or until Ctrl-C, with the state saved; False if it was stopped.

        Raises:
            RunFailedError: A training failed otherwise than by diverging, as where the disk is full; the
                others that are done are kept.
        """
        plan, width = self._plan, max(len(arm.label) for arm in self._plan.arms)
        self.diverged = []
        for arm, config, run in zip(plan.arms, plan.configs, self.folders, strict=True):
            ended = self._ended(arm.label, config, run)
            if ended is None:
                return False
            if isinstance(ended, Divergence):
                self.diverged.append(ended)
                ended = f"{ended.told}: {ended.error}"
            self._console.note(f"{arm.label:<{width}}  {ended}")
        return True

    def _ended(self, label: str, config: TrainConfig, run: RunFolder) -> str | Divergence | None:
        """How an arm ended, in words, or that it diverged, now or before; None where it was stopped."""
        if run.finished:
            return _told(run.summary(), "was done")
        before = Divergence.read(label, run.path)
        if before is not None:
            return before
        try:
            summary = self._trained(config, run)
        except DivergedError as error:
            found = Divergence.of(label, run.path, error)
            write_text(run.path / FILE, found.to_json())
            return found
        except RunFailedError as error:
            raise RunFailedError(f"method {label}: {error}") from error
        if summary is None:
            return None
        return _told(summary, f"trained in {summary['wall_seconds']:.1f} s")

    def _trained(self, config: TrainConfig, run: RunFolder) -> dict[str, Any] | None:
        quiet = Console(json_only=self._console.json_only, quiet=True)
        pair = self._plan.pair
        key = (config.restricted, config.temperature)
        if key not in self._made:
            self._made[key] = self._policy(config, run, quiet)
        policy, yardsticks = self._made[key]
        # What is in the run's folder already, of a stopped training, goes before what was made here.
        return trained(config, pair, run, quiet, policy, yardsticks)

    def _policy(
        self, config: TrainConfig, run: RunFolder, console: Console
    ) -> tuple[Any, Yardsticks]:
        """The restricted policy of an arm, as another arm that was started has it, or made anew."""
        from imm_rl.cli.summary import measure_yardsticks

        source = run
        for other, theirs in zip(self.folders, self._plan.configs, strict=True):
            same = (theirs.restricted, theirs.temperature) == (
                config.restricted,
                config.temperature,
            )
            if same and other.restricted.is_file():
                source = other
                break
        made = checked_policy(config, self._plan.pair)
        policy = restricted_policy(config, self._plan.pair, source, made, console)
        return policy, measure_yardsticks(config, self._plan.pair, policy)


def _told(summary: dict[str, Any], took: str) -> str:
    return f"return {number(summary['eval']['mean_return']):>6}  {took}"


def resume_command(folder: Path) -> str:
    """How a comparison that was stopped goes on."""
    return f"imm-rl compare --resume {shlex.quote(str(folder))}"

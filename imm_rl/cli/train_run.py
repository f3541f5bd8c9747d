"""One run from its configuration to its summary: the restricted policy, the yardsticks, the training.

`imm-rl train` runs one of these; comparisons and sweeps run many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imm_rl.cli import restricted, view_restricted
from imm_rl.cli.console import Console, interval, number
from imm_rl.cli.train_plan import plan, policy_about, run_name, short, versions
from imm_rl.envs.pair import EnvPair
from imm_rl.runs import RunFolder

if TYPE_CHECKING:
    from imm_rl.cli.summary import Yardsticks
    from imm_rl.cli.train_config import TrainConfig
    from imm_rl.envs.feature_pair import FeaturePair


def run_files(config: TrainConfig, command: str) -> dict[str, str]:
    """The files that a run folder is made with, by name."""
    return {
        "config.yaml": config.to_yaml(),
        "command.txt": f"{command}\n",
        "versions.json": versions(),
    }


def new_folder(config: TrainConfig, pair: EnvPair | FeaturePair, command: str) -> RunFolder:
    """The next run folder below the configuration's logdir.

    Args:
        config: What will be trained in it.
        pair: The environment.
        command: What the user typed.

    Raises:
        InvalidInputError: It cannot be written.
    """
    files = run_files(config, command)
    return RunFolder.create(config.logdir, short(config.env), run_name(config, pair), files)


def trained(
    config: TrainConfig,
    pair: EnvPair | FeaturePair,
    folder: RunFolder,
    console: Console,
    made: Any | None = None,
    yardsticks: Yardsticks | None = None,
    others: Sequence[tuple[TrainConfig, RunFolder]] = (),
) -> dict[str, Any] | None:
    """Trains in a folder, from its checkpoint if there is one.

    Args:
        config: What to train.
        pair: The environment.
        folder: The run's, made with `run_files`.
        console: For notes and progress.
        made: The restricted policy, where it was made already.
        yardsticks: What it and the optimum earn, where that was measured already.
        others: Further runs of REINFORCE that differ in λ alone, to be trained as one with this one.

    Returns:
        The summary of the (first) run, or None after Ctrl-C, with the state saved.

    Raises:
        RunFailedError: The training diverged; the last checkpoint is kept.
    """
    from imm_rl.cli.summary import measure_yardsticks

    console.note(plan(config, pair))
    policy = restricted_policy(config, pair, folder, made, console)
    if yardsticks is None:
        yardsticks = measure_yardsticks(config, pair, policy)
    if policy is not None and yardsticks.restricted is not None:
        mean, *ends = yardsticks.restricted
        earned = f"earns {number(mean)} {interval(ends)}"
        console.note(f"restricted policy: {policy_about(policy)}; {earned}")
    if yardsticks.oracle is not None:
        console.note(f"optimum for who sees the state: {number(yardsticks.oracle)}")
    for other_config, other in others:
        restricted_policy(other_config, pair, other, policy, console)  # leaves it there
    along = {"others": others} if others else {}
    training = _training(config)(config, pair, policy, folder, console, **along)
    return training.finish(yardsticks) if training.learn() else None


def _training(config: TrainConfig) -> Any:
    """The class that trains the configuration's agent; both have one face."""
    if config.agent == "reinforce":
        from imm_rl.cli.training import Training

        return Training
    from imm_rl.cli.sb3_training import SB3Training

    return SB3Training


def checked_policy(config: TrainConfig, pair: EnvPair | FeaturePair) -> Any | None:
    """The restricted policy as far as it needs no solving; what cannot be made is refused."""
    if isinstance(pair, EnvPair):
        return restricted.check(config.restricted, pair, config.temperature)
    return view_restricted.make(config.restricted, pair)


def restricted_policy(
    config: TrainConfig,
    pair: EnvPair | FeaturePair,
    folder: RunFolder,
    made: Any | None,
    console: Console,
) -> Any | None:
    """The run's restricted policy: the one in its folder, else a new one that is left there."""
    from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
    from imm_rl.agents.restricted.belief_table import BeliefTablePolicy

    copy = view_restricted.kept(folder)
    if not isinstance(pair, EnvPair):
        if copy is not None:
            return view_restricted.make(copy, pair)
        view_restricted.keep(config.restricted, folder)
        return view_restricted.make(config.restricted, pair) if made is None else made
    if copy is not None:
        return restricted.make(copy, pair, None)
    if restricted.is_sb3(config.restricted):
        view_restricted.keep(config.restricted, folder)
    if folder.restricted.is_file():
        return restricted.from_file(folder.restricted, pair)

    def progress(asked: int, most: int) -> None:
        if asked % 50 == 0 or asked == 1:
            console.note(f"{config.restricted}: asked at {asked} of at most {most} beliefs")

    policy = made
    if policy is None:
        policy = restricted.make(config.restricted, pair, config.temperature, progress)
    if isinstance(policy, AlphaVectorPolicy | BeliefTablePolicy):
        policy.save(folder.restricted)
    return policy

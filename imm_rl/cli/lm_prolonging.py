"""`imm-rl lm train --resume RUN --epochs N`: a run goes on beyond the end that it was given.

It ends with the parameters of a run that had N epochs from the start; where step size or λ are laid out
over the whole length that cannot be, and it is refused.
"""

from __future__ import annotations

import dataclasses
import os

from imm_rl.cli import values
from imm_rl.cli.lm_config import LMConfig
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_text
from imm_rl.runs import CONFIG, SUMMARY, RunFolder


def prolonged(config: LMConfig, folder: RunFolder, epochs: str) -> LMConfig:
    """The configuration with more epochs; nothing is changed on the disk.

    Args:
        config: The run's.
        folder: The run's, finished or not.
        epochs: How many, as the user wrote it.

    Raises:
        InvalidInputError: It is no larger number, the longer training would be another one from its
            start, the text has changed, or a checkpoint cannot be read.
    """
    from imm_rl.cli.lm_folder import check_same, run_corpus
    from imm_rl.language.lm_training import bound_to_length
    from imm_rl.schedules import parse
    from imm_rl.state_file import read_identity

    more, had = values.count("--epochs", epochs), config.settings.epochs
    if more <= had:
        raise InvalidInputError(
            f"--epochs must be more than the {had} of the run {folder.path}; received {more}. Leave it out "
            "to go on with the run as it is."
        )
    bound = bound_to_length(config.settings, parse(config.imm_lambda))
    if bound:
        raise InvalidInputError(
            f"the run {folder.path} cannot be prolonged: {bound}, so a training of {more} would have been "
            f"another one from its start. Start a new run with --epochs {more}."
        )
    check_same(folder, run_corpus(config))
    for seed in config.seeds:
        checkpoint = folder.of_seed(seed, config.seeds).checkpoint
        if checkpoint.is_file():
            read_identity(checkpoint, "a language model")
    return dataclasses.replace(
        config, settings=dataclasses.replace(config.settings, epochs=more), seeds_drawn=False
    )


def reopen(folder: RunFolder, config: LMConfig, longer: LMConfig, command: str) -> None:
    """Makes the run one of more epochs that is not finished yet.

    Summaries stay as `summary-<epochs>-epochs.json`, and models until the new end. A kill in between
    leaves a run that goes on to its old end.

    Args:
        folder: The run's.
        config: As it is.
        longer: As it is to be.
        command: What the user typed.
    """
    kept = f"summary-{config.settings.epochs}-epochs.json"
    seeds = [folder.of_seed(seed, config.seeds) for seed in config.seeds]
    for place in dict.fromkeys([folder.path, *(seed.path for seed in seeds)]):
        if (place / SUMMARY).is_file():
            os.replace(place / SUMMARY, place / kept)
    commands = folder.path / "command.txt"
    before = commands.read_text(encoding="utf-8") if commands.is_file() else ""
    write_text(commands, f"{before}{command}\n")
    write_text(folder.path / CONFIG, longer.to_yaml())

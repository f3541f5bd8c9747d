"""Which trained language models a word of the command line means: a run folder, or a model's file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from imm_rl.cli.newest import newest_finished
from imm_rl.errors import InvalidInputError
from imm_rl.runs import nothing_at

if TYPE_CHECKING:
    from imm_rl.language.lm_checkpoint import TrainedModel

LM_MODEL = "model.npz"
GROUP = "lm"
"""Folder of a logdir that language models' runs lie in, apart from those of agents."""


def add_model(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The argument that `model_files` takes, and where to look for the newest run.

    Args:
        parser: Gets `model`, or `models`, a list, and `logdir`.
        several: Whether more than one may be named.
    """
    parser.add_argument(
        "models" if several else "model",
        nargs="*" if several else "?",
        metavar="RUN|MODEL",
        help=f"{'run folders' if several else 'a run folder'} of imm-rl lm train, or a model.npz "
        "(default: the newest finished run)",
    )
    parser.add_argument(
        "--logdir", metavar="DIR", help="where the newest run is looked for (default: runs)"
    )


def model_files(what: str | None, logdir: str | None) -> list[Path]:
    """The model files of a run, one a seed, or the one that is named.

    Args:
        what: A run folder, a folder of one of its seeds, or a `model.npz`; None: the newest finished
            run of a language model below `logdir`.
        logdir: Where runs lie; None: `runs`.

    Raises:
        InvalidInputError: There is none, or a folder is given to look for what is named.
    """
    if what is None:
        where = Path(logdir or "runs") / GROUP
        folder = newest_finished(where, "imm-rl lm train --resume").path
    else:
        if logdir is not None:
            raise InvalidInputError(
                f"--logdir is for finding the newest run, and {what} is named. Give up one."
            )
        folder = Path(what)
        if folder.is_file():
            return [folder]
        if not folder.is_dir():
            raise nothing_at(what, "file or folder")
    own = folder / LM_MODEL
    found = [own] if own.is_file() else sorted(folder.glob(f"seed_*/{LM_MODEL}"), key=_seed)
    if not found:
        raise InvalidInputError(
            f"{folder} has no {LM_MODEL}, neither of its own nor of a seed. A run has it when a seed "
            "has come to its end."
        )
    return found


def seed_text(model: TrainedModel, path: Path) -> str:
    """How tables call a model."""
    return f"{path.parent} (seed {model.about['seed']})"


def _seed(path: Path) -> tuple[int, str]:
    number = path.parent.name.removeprefix("seed_")
    return (int(number) if number.isdigit() else 0, number)

"""The folder of one run of `imm-rl lm train`, and the text that it is trained on.

runs/lm/<corpus>/<model>-<method>-<n>/
    config.yaml  command.txt  versions.json  vocabulary.txt
    restricted.arpa.gz                          the n-gram model, where the method has one
    checkpoints/latest.npz                      of each seed; so are the next
    progress.csv  events.out.tfevents.*  model.npz  summary.json
    summary.json                                of all seeds; says that the run is finished
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from pathlib import Path

from imm_rl.cli.console import ranges
from imm_rl.cli.lm_config import LMConfig, counting, resolve
from imm_rl.cli.lm_models import GROUP
from imm_rl.cli.train_plan import versions
from imm_rl.errors import InvalidInputError
from imm_rl.formats import to_json
from imm_rl.language.corpus import Corpus, load_corpus
from imm_rl.language.lm_settings import DRAWS
from imm_rl.runs import RunFolder, file_stem

VOCABULARY, RESTRICTED = "vocabulary.txt", "restricted.arpa.gz"
VERSIONS = "versions.json"
MUCH_UNKNOWN = 0.2
"""Share of unknown words in the validation text that is worth a remark."""

SHARE_OF_WARMUP = 10
"""A warm-up that has to give way becomes one such part of the training."""


def plan(config: LMConfig, corpus: Corpus) -> str:
    """What is going to run."""
    drawn = " (drawn)" if config.seeds_drawn else ""
    settings = counting(config.method, dataclasses.asdict(config.settings))
    listed = ", ".join(
        f"{name} {str(value).lower()}" for name, value in settings.items() if value is not None
    )
    term = (
        "no term" if config.method == "none" else f"method {config.method}, λ {config.imm_lambda}"
    )
    unknown = float((corpus.valid == corpus.vocabulary.unknown).mean())
    remarks = []
    if unknown > MUCH_UNKNOWN:
        remarks = [
            f"note: {100 * unknown:.0f} % of the validation words are unknown. Lower-case the text, put "
            "blanks before punctuation, or allow more words"
        ]
    return "\n".join(
        [
            f"corpus: {corpus.about()}",
            f"training: {term}, {'seed' if len(config.seeds) == 1 else 'seeds'} "
            f"{ranges(config.seeds)}{drawn}, device {config.device}, preset {config.preset}",
            textwrap.fill(f"settings: {listed}", 100, subsequent_indent="  "),
            *remarks,
        ]
    )


def run_files(config: LMConfig, corpus: Corpus, command: str) -> dict[str, str]:
    """The files that a run folder is made with, by name."""
    return {
        "config.yaml": config.to_yaml(),
        "command.txt": f"{command}\n",
        VERSIONS: to_json({**json.loads(versions()), "corpus": corpus.fingerprint()}),
        VOCABULARY: corpus.vocabulary.text(),
    }


def new_folder(config: LMConfig, corpus: Corpus, command: str) -> RunFolder:
    """The next run folder below the configuration's logdir.

    Raises:
        InvalidInputError: It cannot be written.
    """
    files = run_files(config, corpus, command)
    text = file_stem(config.corpus) if Path(config.corpus).is_file() else corpus.name
    name = f"{config.settings.model}-{config.method}"
    return RunFolder.create(Path(config.logdir) / GROUP, text, name, files)


def run_corpus(config: LMConfig) -> Corpus:
    """The corpus of a configuration."""
    return load_corpus(config.corpus, min_count=config.min_count, max_vocab=config.max_vocab)


def check_corpus(config: LMConfig, corpus: Corpus) -> None:
    """Refuses texts that are too short for the settings, and a model that this machine has no room for.

    Before anything is written.

    Raises:
        InvalidInputError: One of them is, or it has none.
    """
    from imm_rl.language.language_model import refuse_too_large  # late: it needs PyTorch

    settings = config.settings
    least = settings.batch_size + 1
    if len(corpus.train) < least:
        raise InvalidInputError(
            f"the training text has {len(corpus.train)} words, and batch_size "
            f"{settings.batch_size} needs at least {least}. Take a longer text or a smaller "
            "batch_size."
        )
    for name, text in (
        ("training", corpus.train),
        ("validation", corpus.valid),
        ("test", corpus.test),
    ):
        if len(text) < settings.order:
            raise InvalidInputError(
                f"the {name} text has {len(text)} words, and order {settings.order} needs at least as "
                "many. Take a longer text or a smaller order."
            )
    if config.method in DRAWS and settings.history > len(corpus.train):
        raise InvalidInputError(
            f"history must be at most the words of the training text, {len(corpus.train):,}; received "
            f"{settings.history}."
        )
    settings.check_length(_pieces(config, corpus))
    refuse_too_large(settings, len(corpus.vocabulary))


def with_fitting_warmup(config: LMConfig, corpus: Corpus) -> tuple[LMConfig, str]:
    """The configuration with a warm-up that the training has room for, and a line on what was changed.

    A preset's warm-up is for a text as long as the preset has in mind; of a training that would end in it,
    it becomes a tenth. One that somebody gave is left for `check_corpus` to refuse.

    Args:
        config: As it was asked for.
        corpus: Its text.
    """
    settings = config.settings
    if config.warmup_given or len(corpus.train) <= settings.batch_size:
        return config, ""
    updates = settings.epochs * _pieces(config, corpus)
    if settings.warmup < updates:
        return config, ""
    shorter = dataclasses.replace(settings, warmup=updates // SHARE_OF_WARMUP)
    told = (
        f"warm-up: {shorter.warmup} updates, a tenth of the training's {updates:,}; the "
        f"{settings.warmup:,} of preset {config.preset} are for a longer text"
    )
    return dataclasses.replace(config, settings=shorter), told


def _pieces(config: LMConfig, corpus: Corpus) -> int:
    """Updates of an epoch."""
    import torch  # late: it is slow to import

    from imm_rl.language.text_streams import Streams

    train = torch.from_numpy(corpus.train)
    return len(Streams(train, config.settings.batch_size, config.settings.unroll))


def corpus_of_run(path: Path) -> Corpus | None:
    """The corpus of the run that a file lies in; None where it lies in none."""
    folder = RunFolder.around(path.absolute().parent)
    if folder is None:
        return None
    return run_corpus(resolve({}, folder.config(), source=str(folder.path / "config.yaml")))


def check_same(folder: RunFolder, corpus: Corpus) -> None:
    """Refuses to go on with a run whose text has changed."""
    try:
        began = json.loads((folder.path / VERSIONS).read_text(encoding="utf-8"))["corpus"]
    except (OSError, ValueError, LookupError, TypeError):
        return
    now = corpus.fingerprint()
    if began != now:
        raise InvalidInputError(
            f"the corpus {corpus.name} is not the text that the run {folder.path} began with "
            f"(fingerprint {began}, now {now}). Put the text back, or start a new run."
        )

"""One run of `imm-rl lm train`: its seeds one after the other, each in a folder of its own.

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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from imm_rl.cli.console import Console, Progress, number, ranges
from imm_rl.cli.interrupt import stop_on_interrupt
from imm_rl.cli.lm_config import LMConfig, counting, resolve
from imm_rl.cli.lm_models import GROUP, LM_MODEL
from imm_rl.cli.lm_summary import seed_summary, summary_of
from imm_rl.cli.train_plan import versions
from imm_rl.errors import InvalidInputError
from imm_rl.formats import to_json
from imm_rl.language.arpa import write_arpa
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus, load_corpus
from imm_rl.language.device import torch_device
from imm_rl.language.lm_checkpoint import load_checkpoint, save_checkpoint, save_model
from imm_rl.language.lm_training import LMTrainer, Record
from imm_rl.language.ngram import KneserNey
from imm_rl.runs import PROGRESS, SUMMARY, RunFolder
from imm_rl.schedules import parse
from imm_rl.tensorboard import CurveWriter, remove_curves

VOCABULARY, RESTRICTED = "vocabulary.txt", "restricted.arpa.gz"
VERSIONS = "versions.json"


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
    return "\n".join(
        [
            f"corpus: {corpus.about()}",
            f"training: {term}, {'seed' if len(config.seeds) == 1 else 'seeds'} "
            f"{ranges(config.seeds)}{drawn}, device {config.device}, preset {config.preset}",
            textwrap.fill(f"settings: {listed}", 100, subsequent_indent="  "),
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
    name = f"{config.settings.model}-{config.method}"
    return RunFolder.create(Path(config.logdir) / GROUP, corpus.name, name, files)


def run_corpus(config: LMConfig) -> Corpus:
    """The corpus of a configuration."""
    return load_corpus(config.corpus, min_count=config.min_count, max_vocab=config.max_vocab)


def check_corpus(config: LMConfig, corpus: Corpus) -> None:
    """Refuses texts that are too short for the settings, before anything is written.

    Raises:
        InvalidInputError: One of them is.
    """
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


def corpus_of_run(path: Path) -> Corpus | None:
    """The corpus of the run that a file lies in; None where it lies in none."""
    folder = RunFolder.around(path.absolute().parent)
    if folder is None:
        return None
    return run_corpus(resolve({}, folder.config(), source=str(folder.path / "config.yaml")))


def trained(config: LMConfig, folder: RunFolder, console: Console) -> dict[str, Any] | None:
    """Trains every seed that is not done yet, from its checkpoint if there is one.

    Args:
        config: What to train.
        folder: The run's.
        console: For notes and progress.

    Returns:
        The summary of all seeds, or None after Ctrl-C, with the state saved.

    Raises:
        InvalidInputError: The corpus is not the one that the run began with.
        RunFailedError: A training failed; its last checkpoint is kept.
    """
    corpus = run_corpus(config)
    _check_same(folder, corpus)
    console.note(plan(config, corpus))
    # The method `none` has no use for it but to be held against it at the end.
    ngram = KneserNey(config.settings.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))
    if config.method != "none":
        console.note(
            f"restricted model: Kneser-Ney of order {ngram.order}, validation perplexity "
            f"{number(ngram.perplexity(corpus.valid))}"
        )
        for leftover in folder.path.glob(f".{RESTRICTED}.*"):
            leftover.unlink(missing_ok=True)
        if not (folder.path / RESTRICTED).is_file():
            write_arpa(ngram, folder.path / RESTRICTED, corpus.vocabulary.words)
    summaries = []
    for seed in config.seeds:
        place = folder.of_seed(seed, config.seeds)
        if place.path != folder.path and place.finished:
            summaries.append(place.summary())
            continue
        place.path.mkdir(exist_ok=True)
        place.remove_leftovers()
        if len(config.seeds) > 1:
            console.note(f"seed {seed}")
        training = _Seed(config, corpus, ngram, seed, place, console)
        if not training.learn():
            return None
        summaries.append(training.finish(several=place.path != folder.path))
    summary = summary_of(config, corpus, summaries)
    folder.write_json(SUMMARY, summary)
    return summary


def _check_same(folder: RunFolder, corpus: Corpus) -> None:
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


class _Seed:
    """The training of one seed in its folder."""

    def __init__(
        self,
        config: LMConfig,
        corpus: Corpus,
        ngram: BackoffModel,
        seed: int,
        folder: RunFolder,
        console: Console,
    ) -> None:
        self._config, self._folder, self._console = config, folder, console
        self._ngram = ngram
        self.trainer = LMTrainer(
            corpus,
            config.settings,
            config.method,
            parse(config.imm_lambda),
            ngram,
            seed=seed,
            device=torch_device(config.device),
        )
        folder.checkpoint.parent.mkdir(exist_ok=True)
        self._resumed_at: int | None = None
        if folder.checkpoint.is_file():
            load_checkpoint(self.trainer, folder.checkpoint)
            self._resumed_at = self.trainer.words
            console.note(f"going on at {self.trainer.words:,} words")
        else:
            remove_curves(folder.path)
        self._told = len(self.trainer.notes)

    def learn(self) -> bool:
        """Trains to the end, or until Ctrl-C; the state is saved either way. False if it was stopped."""
        trainer, settings = self.trainer, self._config.settings
        total = settings.epochs * trainer.epoch_words
        with ExitStack() as stack:
            writer = CurveWriter(self._folder.path, self._resumed_at)
            stack.callback(writer.close)
            progress = Progress(self._console, total, trainer.words, "words")
            stack.callback(progress.close)
            stop = stack.enter_context(stop_on_interrupt())

            def after_update(trainer: LMTrainer, record: Record | None) -> bool:
                progress.update(trainer.words)
                for note in trainer.notes[self._told :]:
                    self._console.note(note)
                self._told = len(trainer.notes)
                if record is not None:
                    self._keep(record, writer, progress)
                return not stop.is_set()

            trainer.train(after_update)
        if not trainer.finished:
            save_checkpoint(trainer, self._folder.checkpoint)
            return False
        return True

    def finish(self, *, several: bool) -> dict[str, Any]:
        """Writes the model and what it is worth; `summary.json` too where it is one of several seeds."""
        save_model(self.trainer, self._folder.path / LM_MODEL)
        summary = seed_summary(self.trainer, self._ngram)
        if several:
            self._folder.write_json(SUMMARY, summary)
        return summary

    def _keep(self, record: Record, writer: CurveWriter, progress: Progress) -> None:
        """Curves, checkpoint and a line of progress, after an epoch.

        Curves come before the checkpoint: what was written beyond a checkpoint is hidden on resuming,
        what was not written would be missing.
        """
        values = {tag: value for tag, value in record.items() if tag not in ("epoch", "words")}
        writer.write(int(record["words"]), values)
        self._folder.write_csv(PROGRESS, self.trainer.records)
        save_checkpoint(self.trainer, self._folder.checkpoint)
        shown = {
            "epoch": f"{record['epoch']:.0f}",
            "perplexity": number(record["valid/perplexity"]),
        }
        for name, tag in (("λ", "imm/lambda"), ("KL", "imm/kl")):
            if tag in record and self._config.method != "none":
                shown[name] = f"{record[tag]:.3f}"
        progress.evaluated(int(record["words"]), shown, record["time/words_per_second"])

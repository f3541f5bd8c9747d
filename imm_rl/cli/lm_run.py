"""One run of `imm-rl lm train`: its seeds one after the other, each in a folder of its own.

Several processes carry it out together; the first one writes the files.

`lm_folder` says what lies where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from imm_rl.cli.console import Console, Progress, number
from imm_rl.cli.interrupt import stop_on_interrupt
from imm_rl.cli.lm_config import LMConfig
from imm_rl.cli.lm_folder import RESTRICTED, check_same, plan, run_corpus
from imm_rl.cli.lm_models import LM_MODEL
from imm_rl.cli.lm_summary import seed_summary, summary_of
from imm_rl.errors import RunFailedError
from imm_rl.language.arpa import write_arpa
from imm_rl.language.backoff import BackoffModel
from imm_rl.language.corpus import Corpus
from imm_rl.language.lm_checkpoint import load_checkpoint, save_checkpoint, save_model
from imm_rl.language.lm_training import LMTrainer, Record
from imm_rl.language.ngram import KneserNey
from imm_rl.language.processes import ALONE, Processes, own_device
from imm_rl.out_of_memory import is_out_of_memory
from imm_rl.runs import PROGRESS, SUMMARY, RunFolder
from imm_rl.tensorboard import CurveWriter, remove_curves


def trained(
    config: LMConfig,
    folder: RunFolder,
    console: Console,
    stopped: Callable[[], bool] | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any] | None:
    """Trains every seed that is not done yet, from its checkpoint if there is one.

    Args:
        config: What to train.
        folder: The run's.
        console: For notes and progress.
        stopped: Asked after every update whether to stop, as after Ctrl-C.
        processes: That train together.

    Returns:
        The summary of all seeds, empty for all processes but the first; or None where it was stopped,
        with the state saved.

    Raises:
        InvalidInputError: The corpus is not the one that the run began with.
        RunFailedError: A training failed; its last checkpoint is kept.
    """
    corpus = run_corpus(config)
    check_same(folder, corpus)
    console.note(plan(config, corpus))
    # The method `none` has no use for it but to be held against it at the end.
    ngram = KneserNey(config.settings.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))
    if config.method != "none":
        console.note(
            f"restricted model: Kneser-Ney of order {ngram.order}, validation perplexity "
            f"{number(ngram.perplexity(corpus.valid))}"
        )
    if config.method != "none" and processes.first:
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
        if processes.first:
            place.path.mkdir(exist_ok=True)
            place.remove_leftovers()
        if len(config.seeds) > 1:
            console.note(f"seed {seed}")
        training = _Seed(config, corpus, ngram, seed, place, console, processes)
        if not training.learn(stopped):
            return None
        if processes.first:
            summaries.append(training.finish(several=place.path != folder.path))
    if not processes.first:
        return {}
    summary = summary_of(config, corpus, summaries)
    folder.write_json(SUMMARY, summary)
    return summary


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
        processes: Processes,
    ) -> None:
        self._processes = processes
        self._config, self._folder, self._console = config, folder, console
        self._ngram = ngram
        self.trainer = LMTrainer(
            corpus,
            config.settings,
            config.method,
            config.imm_lambda,
            ngram,
            seed=seed,
            device=own_device(config.device),
            processes=processes,
        )
        if processes.first:
            folder.checkpoint.parent.mkdir(exist_ok=True)
        self._resumed_at: int | None = None
        if folder.checkpoint.is_file():
            load_checkpoint(self.trainer, folder.checkpoint)
            self._resumed_at = self.trainer.words
            console.note(f"going on at {self.trainer.words:,} words")
        elif processes.first:
            remove_curves(folder.path)
        self._told = len(self.trainer.notes)

    def learn(self, stopped: Callable[[], bool] | None) -> bool:
        """Trains to the end, or until it is stopped; the state is saved either way. False if it was.

        Raises:
            RunFailedError: The training failed.
        """
        trainer, settings = self.trainer, self._config.settings
        total = settings.epochs * trainer.epoch_words
        with ExitStack() as stack:
            writer = None
            if self._processes.first:
                writer = CurveWriter(self._folder.path, self._resumed_at)
                stack.callback(writer.close)
            progress = Progress(self._console, total, trainer.words, "words")
            stack.callback(progress.close)
            stop = stack.enter_context(stop_on_interrupt(terminate=self._processes.count > 1))

            def after_update(trainer: LMTrainer, record: Record | None) -> bool:
                progress.update(trainer.words)
                for note in trainer.notes[self._told :]:
                    self._console.note(note)
                self._told = len(trainer.notes)
                if record is not None:
                    self._keep(record, writer, progress)
                return not (stop.is_set() or (stopped is not None and stopped()))

            with _compiling():
                trainer.train(after_update)
            if not trainer.finished:  # within the block: the others' signals may come late
                save_checkpoint(trainer, self._folder.checkpoint)
        return trainer.finished

    def finish(self, *, several: bool) -> dict[str, Any]:
        """Writes the model and what it is worth; `summary.json` too where it is one of several seeds."""
        save_model(self.trainer, self._folder.path / LM_MODEL)
        # Of a run that was stopped after its last update nothing is compiled yet.
        with _compiling():
            summary = seed_summary(self.trainer, self._ngram)
        if several:
            self._folder.write_json(SUMMARY, summary)
        return summary

    def _keep(self, record: Record, writer: CurveWriter | None, progress: Progress) -> None:
        """Curves, checkpoint and a line of progress, after an epoch.

        Curves come before the checkpoint: what was written beyond a checkpoint is hidden on resuming,
        what was not written would be missing.
        """
        values = {tag: value for tag, value in record.items() if tag not in ("epoch", "words")}
        if writer is not None:
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


@contextmanager
def _compiling() -> Iterator[None]:
    """Says in one line that PyTorch's compiler does not work here; it is called at the first update.

    Raises:
        RunFailedError: It does not.
    """
    try:
        yield
    except RuntimeError as error:
        # By its module: an import of torch._dynamo takes seconds.
        compilers = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        if not compilers or is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0].rstrip(".:")
        raise RunFailedError(
            f"the model cannot be compiled here: {reason[:200]}. On a CPU PyTorch needs a C++ compiler, on "
            "a GPU Triton. Start a new run without --compile (with the preset gpu: --compile false)."
        ) from None

"""`summary.json` of a language model's run, and the same as a person reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imm_rl.cli.console import interval, number, table
from imm_rl.statistics import finite_mean_ci95

if TYPE_CHECKING:
    from imm_rl.cli.lm_config import LMConfig
    from imm_rl.language.backoff import BackoffModel
    from imm_rl.language.corpus import Corpus
    from imm_rl.language.lm_training import LMTrainer

MEASURES = ("valid_perplexity", "test_perplexity", "induced_valid_perplexity")
TITLES = {
    "valid_perplexity": "perplexity of the best epoch, validation",
    "test_perplexity": "the same, test",
    "induced_valid_perplexity": "of its induced n-gram model, validation",
}


def seed_summary(trainer: LMTrainer, ngram: BackoffModel) -> dict[str, Any]:
    """What a trained seed is worth, in its best state.

    Args:
        trainer: That came to its end.
        ngram: The restricted model, or what `none` is held against.
    """
    from imm_rl.language.lm_worth import worth

    found = worth(trainer.model, trainer.corpus, ngram, settings=trainer.settings)
    return {
        "seed": trainer.seed,
        **found,
        "best_epoch": trainer.best.epoch,
        "words": trainer.words,
        "wall_seconds": trainer.seconds,
        "words_per_second": trainer.words / max(trainer.seconds, 1e-9),
        "notes": trainer.notes,
        "curve": {
            "words": [int(record["words"]) for record in trainer.records],
            "valid_perplexity": [record["valid/perplexity"] for record in trainer.records],
        },
    }


def summary_of(config: LMConfig, corpus: Corpus, seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary of all seeds."""
    measured = {}
    for name in MEASURES:
        values = [seed[name] for seed in seeds]
        mean, *ends = finite_mean_ci95(values)
        measured[name] = {"mean": mean, "ci95": ends, "per_seed": values}
    ngram = {key: seeds[0][key] for key in seeds[0] if key.startswith("ngram_")}
    return {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "vocabulary": len(corpus.vocabulary),
        "model": config.settings.model,
        "method": config.method,
        "imm_lambda": config.imm_lambda,
        "seeds": list(config.seeds),
        **measured,
        **ngram,
        "words": sum(seed["words"] for seed in seeds),
        "wall_seconds": sum(seed["wall_seconds"] for seed in seeds),
        "notes": [f"seed {seed['seed']}: {note}" for seed in seeds for note in seed["notes"]],
        "curves": {str(seed["seed"]): seed["curve"] for seed in seeds},
    }


def report(summary: dict[str, Any]) -> str:
    """The summary as a table."""
    rows = [["", "mean", "95 % interval"]]
    for name, title in TITLES.items():
        if name in summary:
            mean, ends = summary[name]["mean"], summary[name]["ci95"]
            # JSON has null for what is not finite, as of a run that diverged.
            rows.append([title, number(math.nan if mean is None else mean), interval(ends)])
    for part, title in (("valid", "validation"), ("test", "test")):
        if f"ngram_{part}_perplexity" in summary:
            found = summary[f"ngram_{part}_perplexity"]
            value = number(math.nan if found is None else found)
            rows.append([f"Kneser-Ney model of order {summary['ngram_order']}, {title}", value, ""])
    few = len(summary["seeds"]) < 2
    note = "one seed: no interval" if few else f"intervals over {len(summary['seeds'])} seeds"
    speed = summary["words"] / max(summary["wall_seconds"], 1e-9)
    return "\n".join(
        [table(rows), f"{note}; {summary['wall_seconds']:.0f} s, {speed:,.0f} words/s"]
    )

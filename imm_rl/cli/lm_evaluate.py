"""`imm-rl lm evaluate`: the perplexity of trained language models, on their corpus or another one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imm_rl.cli.lm_models import add_model
from imm_rl.cli.options import add_json, add_quiet
from imm_rl.errors import InvalidInputError

if TYPE_CHECKING:
    from imm_rl.language.corpus import Corpus
    from imm_rl.language.lm_checkpoint import TrainedModel

EPILOG = """\
examples:
  imm-rl lm evaluate
  imm-rl lm evaluate runs/lm/pydoc/lstm-batch-1
  imm-rl lm evaluate runs/lm/pydoc/lstm-batch-1/model.npz --corpus path/of/text
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EPILOG
    add_model(parser)
    parser.add_argument(
        "--corpus",
        metavar="NAME|PATH",
        help="what to evaluate on (default: the run's own); words that the model does not know "
        "count as <unk>",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    add_json(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates every seed, prints a table."""
    from imm_rl.cli.console import Console, interval, number, table
    from imm_rl.cli.lm_models import model_files, seed_text
    from imm_rl.device import torch_device
    from imm_rl.language.lm_checkpoint import load_model
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_worth import worth
    from imm_rl.statistics import mean_ci95

    device = torch_device(args.device)
    console = Console(json_only=args.json, quiet=args.quiet)
    rows: list[dict[str, Any]] = []
    names = []
    for path in model_files(args.model, args.logdir):
        found = load_model(path)
        corpus = _corpus(args.corpus, found, path)
        settings = LMSettings(**found.about["settings"])
        measured = worth(found.model.to(device), corpus, None, settings=settings)
        rows.append({"model": str(path), "seed": found.about["seed"], **measured})
        names.append(seed_text(found, path))
        console.note(f"{path}: {corpus.about()}")
    head = ["", "validation", "test"]
    columns = ("valid_perplexity", "test_perplexity")
    lines = [
        head,
        *([n, *(number(row[c]) for c in columns)] for n, row in zip(names, rows, strict=True)),
    ]
    means = {column: mean_ci95([row[column] for row in rows]) for column in columns}
    if len(rows) > 1:
        shown = [f"{number(mean)} {interval(ends)}" for mean, *ends in means.values()]
        lines.append(["mean and 95 % interval", *shown])
    values = {
        "models": rows,
        **{name: {"mean": mean, "ci95": ends} for name, (mean, *ends) in means.items()},
    }
    console.result(values, f"perplexity\n{table(lines)}")
    return 0


def _corpus(spec: str | None, found: TrainedModel, path: Any) -> Corpus:
    """The corpus to evaluate on, in the model's words."""
    from imm_rl.cli.lm_folder import corpus_of_run
    from imm_rl.language.corpus import load_corpus

    if spec is not None:
        return load_corpus(spec, vocabulary=found.vocabulary)
    corpus = corpus_of_run(path)
    if corpus is None:
        raise InvalidInputError(
            f"{path} lies in no run folder, so its corpus is not known. Give --corpus."
        )
    if corpus.fingerprint() != found.about["corpus"]:
        raise InvalidInputError(
            f"{path} was trained on another text than {corpus.name} holds now (fingerprint "
            f"{found.about['corpus']}, now {corpus.fingerprint()}). Give --corpus to evaluate on it."
        )
    return corpus

"""`imm-rl lm evaluate`: the perplexity of trained language models, on their corpus or another one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
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
  imm-rl lm evaluate runs/lm/pydoc/lstm-none-1 runs/lm/pydoc/lstm-batch-*
  imm-rl lm evaluate runs/lm/pydoc/lstm-batch-1/model.npz --corpus path/of/text
"""


COLUMNS = {"valid_perplexity": "validation", "test_perplexity": "test"}
"""What is measured -> its title."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.description = (
        "Says the perplexity of language models, a line each, and of every configuration with several\n"
        "seeds, in one run or in several, their mean and its 95 % interval."
    )
    parser.epilog = EPILOG
    add_model(parser, several=True)
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
    """Evaluates every model, prints a table."""
    from imm_rl.cli.console import Console, number, table
    from imm_rl.cli.lm_models import model_files, seed_text
    from imm_rl.device import torch_device
    from imm_rl.language.lm_checkpoint import load_model
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_worth import worth

    device = torch_device(args.device)
    console = Console(json_only=args.json, quiet=args.quiet)
    files = [path for what in args.models or [None] for path in model_files(what, args.logdir)]
    kinds = _by_configuration(files)
    rows: list[dict[str, Any]] = []
    lines = [["", *(title for title in COLUMNS.values())]]
    configurations = []
    for paths in kinds:
        mine: list[dict[str, Any]] = []
        for path in paths:
            found = load_model(path)
            corpus = _corpus(args.corpus, found, path)
            settings = LMSettings(**found.about["settings"])
            measured = worth(found.model.to(device), corpus, None, settings=settings)
            mine.append({"model": str(path), "seed": found.about["seed"], **measured})
            lines.append([seed_text(found, path), *(number(mine[-1][c]) for c in COLUMNS)])
            console.note(f"{path}: {corpus.about()}")
        rows += mine
        configurations.append(_configuration(found.about, mine))
        if len(mine) > 1:
            lines.append(_mean_line(configurations[-1], named=len(kinds) > 1))
    values: dict[str, Any] = {"models": rows, "configurations": configurations}
    if len(configurations) == 1:
        values |= {column: configurations[0][column] for column in COLUMNS}
    console.result(values, f"perplexity\n{table(lines)}")
    return 0


def _by_configuration(files: Sequence[Path]) -> list[list[Path]]:
    """The models by what they were trained on and how, in order of first appearance.

    Raises:
        InvalidInputError: A file is no language model, or two are of one configuration and one seed.
    """
    import dataclasses
    import json

    from imm_rl.cli.lm_config import counting
    from imm_rl.language.lm_checkpoint import load_model
    from imm_rl.language.lm_settings import LMSettings

    found: dict[str, dict[int, Path]] = {}
    for path in files:
        about = load_model(path).about
        seed, method = about["seed"], about["method"]
        # A model that is older than a setting had its default.
        settings = counting(method, dataclasses.asdict(LMSettings(**about["settings"])))
        if method == "none":  # measured against it after the training, which it does not change
            del settings["order"]
        # The text's fingerprint says more than its name.
        apart = ("seed", "valid_perplexity", "name")
        shared = {key: value for key, value in about.items() if key not in apart}
        kind = found.setdefault(json.dumps({**shared, "settings": settings}, sort_keys=True), {})
        if seed in kind:
            raise InvalidInputError(
                f"{kind[seed]} and {path} are of one configuration and one seed, {seed}, which a mean over "
                "seeds would count twice. Leave one of them out."
            )
        kind[seed] = path
    return [list(kind.values()) for kind in found.values()]


def _configuration(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What models of one configuration are worth together."""
    from imm_rl.statistics import finite_mean_ci95

    values = {
        "corpus": about["name"],
        "model": about["settings"].get("model", "lstm"),
        "method": about["method"],
        "imm_lambda": about["lambda"],
        "seeds": [row["seed"] for row in rows],
    }
    for column in COLUMNS:
        mean, *ends = finite_mean_ci95([row[column] for row in rows])
        values[column] = {"mean": mean, "ci95": ends}
    return values


def _mean_line(configuration: dict[str, Any], *, named: bool) -> list[str]:
    """A row of the table; `named`: it says of which models."""
    from imm_rl.cli.console import interval, number

    title = "mean and 95 % interval"
    if named:
        weight = "" if configuration["method"] == "none" else f", λ {configuration['imm_lambda']}"
        title += f" ({configuration['model']}, {configuration['method']}{weight})"
    measured = [configuration[column] for column in COLUMNS]
    return [title, *(f"{number(m['mean'])} {interval(m['ci95'])}".strip() for m in measured)]


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

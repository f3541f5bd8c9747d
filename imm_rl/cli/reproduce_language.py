"""`imm-rl reproduce table-1` and `table-bigram`: language models by method, over seeds.

Every training is a run folder of its own below `--out`, as `imm-rl lm train` makes them; a command that is
repeated takes up what is there, so that a long table can be stopped and resumed, and both tables share
their trainings.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imm_rl.cli.reproduce_job import Family, Job
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_text

if TYPE_CHECKING:
    from imm_rl.cli.lm_config import LMConfig

METHODS = ("none", "noising", "batch", "sampled")

OWN_KEYS = ("corpus", "method", "lambda", "seeds", "preset", "device", "logdir")
"""Keys of `imm-rl lm train` that a table's configuration file may not have."""

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "corpus": "pydoc",
        "preset": "laptop",
        "methods": ",".join(METHODS),
        "seeds": "0-2",
        "config": None,
        "jobs": 1,
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of this family."""
    group = parser.add_argument_group("table-1 and table-bigram")
    group.add_argument(
        "--corpus", metavar="NAME|PATH", help="as in imm-rl lm train (default: pydoc)"
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="of imm-rl lm train (default: laptop; paper and gpu want a GPU)",
    )
    group.add_argument(
        "--methods", metavar="A,B", help=f"of imm-rl lm train (default: {','.join(METHODS)})"
    )
    group.add_argument("--seeds", metavar="K", help="of each method (default: 0-2)")
    group.add_argument(
        "--config", metavar="FILE", help="YAML file with further settings of imm-rl lm train"
    )
    group.add_argument("--jobs", metavar="N", help="trainings at a time (default: 1)")


def run(job: Job) -> Sequence[Path]:
    """Trains what is not there yet, and writes table, picture and note."""
    from imm_rl.cli import language_report as report
    from imm_rl.cli.language_trainings import train_all
    from imm_rl.cli.lm_folder import check_corpus, run_corpus
    from imm_rl.cli.table_folder import REPORT, held, refuse_others, refuse_smaller

    configs = _configs(job)
    corpus = run_corpus(configs[0])
    for config in configs:
        check_corpus(config, corpus)
    out = job.folder()
    places = [_place(out, config) for config in configs]
    for config, place in zip(configs, places, strict=True):
        refuse_others(config.as_dict(), place, _as_taken_up)
    name = job.args.experiment
    asked = {(config.method, str(config.seeds[0])) for config in configs}
    refuse_smaller(out, name, ("method", "seed"), asked)
    command = shlex.join(getattr(job.args, "command_line", ["imm-rl", "reproduce"]))
    with held(out):
        train_all(configs, places, command, jobs=job.args.jobs, quiet=job.args.quiet)
    rows = [
        report.Row(c.method, c.imm_lambda, c.seeds[0], p.summary())
        for c, p in zip(configs, places, strict=True)
    ]
    report.refuse_other_orders(rows, configs[0].settings.order)
    files = [out / f"{name}.{suffix}" for suffix in REPORT]
    write_text(files[0], report.to_text(rows))
    report.picture(files[1], rows, bigram=name == "table-bigram")
    about = f"`{job.command(OPTIONS)}`. {corpus.about()}; fingerprint {corpus.fingerprint()}."
    note = report.note(
        rows, about, configs[0].settings, configs[0].preset, bigram=name == "table-bigram"
    )
    write_text(files[2], note)
    if not job.args.quiet:
        print(note)
    return files


def _configs(job: Job) -> list[LMConfig]:
    """One configuration a training, by seed and then by method: a table in work shows all methods."""
    from imm_rl.cli import values
    from imm_rl.cli.lm_config import counting, resolve
    from imm_rl.formats import read_yaml
    from imm_rl.language.lm_presets import preset_values
    from imm_rl.language.lm_settings import checked_method

    args = job.args
    file = {} if args.config is None else read_yaml(args.config)
    refused = [key for key in OWN_KEYS if key in file]
    if refused:
        raise InvalidInputError(
            f"{args.config} sets {refused[0]}, which the table sets itself: by an option, or, as λ, for "
            "each method its own."
        )
    methods = [checked_method(name.strip()) for name in args.methods.split(",")]
    if len(set(methods)) < len(methods):
        raise InvalidInputError(f"--methods names a method twice: {args.methods}.")
    model = preset_values(args.preset, file.get("model"), file.get("optimizer"))["model"]
    kept = {method: counting(method, {**file, "model": model}) for method in methods}
    found = []
    for seed in values.seeds("--seeds", args.seeds):
        for method in methods:
            given = {"corpus": args.corpus, "method": method, "seeds": [seed], "device": job.device}
            given["preset"] = args.preset
            found.append(resolve(given, kept[method], source=args.config or ""))
    useless = [key for key in file if not any(key in each for each in kept.values())]
    if useless:
        raise _of_no_use(useless[0], methods, model, args.config)
    return found


def _of_no_use(key: str, methods: Sequence[str], model: str, source: str) -> InvalidInputError:
    """The error for a setting that neither a method nor the model of the table would use."""
    from imm_rl.language.lm_settings import DRAWS, TRANSFORMERS

    if key in TRANSFORMERS:
        why, remedy = f"of no use to the model {model!r}", "set model: transformer"
    elif key == "between" and set(methods) & set(DRAWS):
        why, remedy = "of no use where every update draws (every: 1)", "set every to more than 1"
    else:
        why = f"of no use to any of the table's methods ({', '.join(methods)})"
        remedy = f"add {'batch' if key.startswith('start') else 'sampled'} to --methods"
    return InvalidInputError(f"{source} sets {key}, which is {why}. Leave it out, or {remedy}.")


def _as_taken_up(made: dict[str, Any], source: str) -> dict[str, Any]:
    """A configuration that was read, as its training would go on."""
    from imm_rl.cli.lm_config import resolve_again

    return resolve_again(made, source).as_dict()


def _place(out: Path, config: LMConfig) -> Any:
    from imm_rl.runs import RunFolder

    return RunFolder(out / "runs" / f"{config.method}-seed-{config.seeds[0]}")


FAMILY = Family(
    experiments={
        "table-1": "perplexity of a language model by method: none, noising, IMM",
        "table-bigram": "the same models' induced bigrams against the Kneser-Ney bigram",
    },
    options={"table-1": OPTIONS, "table-bigram": OPTIONS},
    add_arguments=add_arguments,
    run=run,
    goes_on=True,
)

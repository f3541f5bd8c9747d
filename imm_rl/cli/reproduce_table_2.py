"""`imm-rl reproduce table-2`: BERT on tasks of GLUE, by fine-tuning, + MLM, and + MLM + IMM, over restarts.

Every training is a run folder of its own below `--out`; a command that is repeated takes up what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imm_rl.cli.reproduce_job import Family, Job
from imm_rl.cli.setting_options import add_fields
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import user_path, write_text
from imm_rl.language.glue_settings import GlueSettings

if TYPE_CHECKING:
    from imm_rl.cli.bert_training import BertConfig

TASKS = "cola,mrpc,qnli,rte"

NAMES: Mapping[str, str] = MappingProxyType(
    {
        {"imm_lambda": "lambda"}.get(field.name, field.name): field.name
        for field in dataclasses.fields(GlueSettings)
    }
)
"""The settings of a training: option -> field."""

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "tasks": TASKS,
        "restarts": 5,
        "seed": 0,
        "model": "bert-base-uncased",
        "glue": None,
        "jobs": 1,
        "workers": 0,
        "keep": False,
        **{option: getattr(GlueSettings, name) for option, name in NAMES.items()},
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of this family."""
    group = parser.add_argument_group("table-2 (with --seed and --jobs)")
    group.add_argument("--tasks", metavar="A,B", help=f"of GLUE (default: {TASKS})")
    group.add_argument("--restarts", metavar="N", help="seeds of each task and column (default: 5)")
    group.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="a BERT: folder, or name on Hugging Face's hub (default: bert-base-uncased)",
    )
    group.add_argument(
        "--glue",
        metavar="FOLDER",
        help="folder of GLUE's TSV files, such as CoLA/train.tsv (default: from the hub)",
    )
    group.add_argument(
        "--workers", metavar="N", help="processes of each training that make batches (default: 0)"
    )
    group.add_argument(
        "--keep",
        action="store_true",
        default=None,
        help="keep each fine-tuned model, as a folder model/ of transformers in its run folder",
    )
    add_fields(group, GlueSettings, {name: option for option, name in NAMES.items()})


def run(job: Job) -> Sequence[Path]:
    """Trains what is not there yet, and writes table, picture and note."""
    from imm_rl.language.masked_checkpoint import require

    require("transformers", "accelerate", "sklearn")
    from imm_rl.cli import bert_report as report
    from imm_rl.cli.bert_training import trained, with_all_settings
    from imm_rl.cli.language_trainings import train_all
    from imm_rl.cli.table_folder import REPORT, held, refuse_others, refuse_smaller

    configs, about = _configs(job)
    out = job.folder()
    places = [config.place(out) for config in configs]
    for config, place in zip(configs, places, strict=True):
        refuse_others(config.as_dict(), place, with_all_settings)
    asked = {(config.task, config.method, str(config.seed)) for config in configs}
    refuse_smaller(out, "table-2", ("task", "method", "seed"), asked)
    command = shlex.join(getattr(job.args, "command_line", ["imm-rl", "reproduce"]))
    with held(out):
        train_all(configs, places, command, jobs=job.args.jobs, quiet=job.args.quiet, train=trained)
    rows = [
        report.Row(config.task, config.method, config.seed, place.summary())
        for config, place in zip(configs, places, strict=True)
    ]
    files = [out / f"table-2.{suffix}" for suffix in REPORT]
    write_text(files[0], report.to_text(rows))
    report.picture(files[1], rows)
    note = report.note(rows, f"`{job.command(OPTIONS)}`. {about}", configs[0].settings)
    write_text(files[2], note)
    if not job.args.quiet:
        print(note)
    return files


def _configs(job: Job) -> tuple[list[BertConfig], str]:
    """One configuration a training, by restart, task and column; and a line on model and data."""
    from imm_rl.cli import values
    from imm_rl.cli.bert_training import BertConfig
    from imm_rl.language.glue import checked_task, load_task
    from imm_rl.language.glue_settings import METHODS
    from imm_rl.language.masked_checkpoint import (
        check_architecture,
        load_tokenizer,
        model_fingerprint,
        model_place,
    )

    args = job.args
    restarts = values.count("--restarts", args.restarts)
    seeds = values.seeds_from("--seed", args.seed, restarts)
    workers = values.processes("--workers", args.workers, least=0)
    settings = values.settings(
        {name: getattr(args, option) for option, name in NAMES.items()}, GlueSettings
    )
    if settings.precision == "bfloat16" and job.device == "cuda":
        from transformers.utils import is_torch_bf16_gpu_available

        if not is_torch_bf16_gpu_available():
            raise invalid("--precision", "be float32: this GPU has no bfloat16", settings.precision)
    tasks = [checked_task(name) for name in args.tasks.split(",")]
    if len({task.name for task in tasks}) < len(tasks):
        raise InvalidInputError(f"--tasks names a task twice: {args.tasks}.")
    model = model_place(args.model)
    glue = None if args.glue is None else str(user_path(args.glue).absolute())
    check_architecture(model, settings.max_length)
    load_tokenizer(model)
    data = {task.name: load_task(task.name, glue) for task in tasks}
    fingerprint = model_fingerprint(model)
    found = [
        BertConfig(
            task=task.name,
            method=method,
            seed=seed,
            model=model,
            model_fingerprint=fingerprint,
            glue=glue,
            data_fingerprint=data[task.name].fingerprint(),
            device=job.device,
            settings=settings,
            workers=workers,
            keep=bool(args.keep),
        )
        for seed in seeds
        for task in tasks
        for method in METHODS
    ]
    for doubt in (doubt for part in data.values() for doubt in part.doubts):
        print(f"imm-rl reproduce: warning: {doubt}.", file=sys.stderr)
    sizes = ", ".join(f"{name} {len(d.train):,} / {len(d.dev):,}" for name, d in data.items())
    notes = "".join(f" {part.note}." for part in data.values() if part.note)
    return found, f"Model {fingerprint}; training / development examples: {sizes}.{notes}"


FAMILY = Family(
    experiments={
        "table-2": "BERT on GLUE: fine-tuning, + MLM, + MLM + IMM",
    },
    options={"table-2": OPTIONS},
    add_arguments=add_arguments,
    run=run,
    goes_on=True,
)

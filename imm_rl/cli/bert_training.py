"""One training of `imm-rl reproduce table-2` in a run folder of its own.

runs/<task>-<method>-seed-<k>/
    config.yaml  command.txt  versions.json
    checkpoints/checkpoint-<n>/     Trainer's own, the last one; gone when the training is finished
    model/                          the fine-tuned model and its tokenizer, with --keep
    summary.json                    says that it is finished
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imm_rl.cli.console import Console
from imm_rl.cli.interrupt import stop_on_interrupt
from imm_rl.cli.train_plan import versions
from imm_rl.cli.worker import worker_stop
from imm_rl.errors import InvalidInputError
from imm_rl.formats import to_json
from imm_rl.language.glue import load_task
from imm_rl.language.glue_settings import METHODS, GlueSettings
from imm_rl.runs import SUMMARY, RunFolder

MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """One training, complete.

    Attributes:
        task: A name of GLUE.
        method: A name of `METHODS`.
        seed: Of everything.
        model: The absolute path of its folder.
        model_fingerprint: Of its files, or its name and commit on the hub.
        glue: The folder of TSV files, absolute; None: from the hub.
        data_fingerprint: Of the task's examples.
        device: "cpu" or "cuda".
        settings: Of the training.
        workers: Processes that make batches.
        keep: Whether the fine-tuned model stays in the run folder.
    """

    task: str
    method: str
    seed: int
    model: str
    model_fingerprint: str
    glue: str | None
    data_fingerprint: str
    device: str
    settings: GlueSettings
    workers: int = 0
    keep: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Keys and plain values, as `config.yaml` has them; settings that do not count are left out.

        Paths are left out too: a model or a folder that was moved is the same by its fingerprint. So is
        what changes no result.
        """
        shown = {
            "task": self.task,
            "method": self.method,
            "seed": self.seed,
            "model_fingerprint": self.model_fingerprint,
            "data_fingerprint": self.data_fingerprint,
            "device": self.device,
        }
        return shown | _counting(self.settings, self.method)

    def place(self, out: Path) -> RunFolder:
        """Its folder below a table's."""
        return RunFolder(out / "runs" / f"{self.task}-{self.method}-seed-{self.seed}")


def with_all_settings(made: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A configuration that was read, with the settings that are newer than it.

    Their defaults do what the code of then did.

    Args:
        made: What `config.yaml` holds.
        source: Its name, for errors.

    Raises:
        InvalidInputError: It names no method.
    """
    if made.get("method") not in METHODS:
        raise InvalidInputError(f"{source} names no method of table-2. Give --out another folder.")
    return {**_counting(GlueSettings(), made["method"]), **made}


def _counting(settings: GlueSettings, method: str) -> dict[str, Any]:
    """The settings that a method has a use for, under the names of `config.yaml`."""
    counting = settings.counting(method)
    return {("lambda" if key == "imm_lambda" else key): value for key, value in counting.items()}


def trained(config: BertConfig, path: Path, command: str, threads: int, quiet: bool) -> bool:
    """Makes one training in its folder, from its last checkpoint if there is one.

    Args:
        config: What to train.
        path: Of the folder; made where it is not there yet.
        command: What the user typed.
        threads: Of PyTorch; 0: as they are.
        quiet: No lines.

    Returns:
        Whether it came to its end.

    Raises:
        InvalidInputError: The examples have changed.
        RunFailedError: The training failed.
    """
    import torch
    import yaml

    from imm_rl.language.glue_training import StoppedTrainingError, fine_tune

    stopped = worker_stop()
    if threads:
        torch.set_num_threads(threads)
    # Whoever made the configuration has read the task before.
    data = load_task(config.task, config.glue, cached=True)
    if data.fingerprint() != config.data_fingerprint:
        raise InvalidInputError(f"the examples of {config.task} have changed. Start again.")
    files = {
        "config.yaml": str(yaml.safe_dump(config.as_dict(), sort_keys=False)),
        "command.txt": f"{command}\n",
        "versions.json": to_json(
            {**json.loads(versions()), "model": config.model, "glue": config.glue}
        ),
    }
    folder = RunFolder.ensure(path, files)
    folder.remove_leftovers()
    console = Console(quiet=quiet)
    checkpoints = folder.path / "checkpoints"
    with stop_on_interrupt() as asked:
        try:
            found = fine_tune(
                data,
                config.model,
                config.settings,
                config.method,
                seed=config.seed,
                folder=checkpoints,
                device=config.device,
                workers=config.workers,
                keep=folder.path / MODEL if config.keep else None,
                stopped=lambda: asked.is_set() or (stopped is not None and stopped()),
            )
        except StoppedTrainingError:
            return False
    summary = {**config.as_dict(), "metric": data.task.metric, **found}
    folder.write_json(SUMMARY, summary)
    shutil.rmtree(checkpoints, ignore_errors=True)
    console.note(
        f"{config.task}, {METHODS[config.method]}, seed {config.seed}: {data.task.metric} "
        f"{100.0 * found['score']:.1f}, {found['train_seconds']:.0f} s"
    )
    return True

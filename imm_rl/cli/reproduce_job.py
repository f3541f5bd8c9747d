"""What a family of experiments tells `imm-rl reproduce`, and the job that it is handed."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imm_rl.runs import make_folder


class StoppedError(Exception):
    """The experiment was stopped by Ctrl-C; its text says how to go on."""


class Job(NamedTuple):
    """One experiment that was asked for.

    Attributes:
        args: The options, checked where they are common to several experiments.
        device: "cpu" or "cuda".
    """

    args: argparse.Namespace
    device: str

    def folder(self) -> Path:
        """The folder for the files, made where it is not there yet.

        Raises:
            InvalidInputError: It cannot be made, or not be written.
        """
        return make_folder(self.args.out, "figures and tables")

    def command(self, options: Mapping[str, Any]) -> str:
        """The command line with every option that has a say, those that were given alone.

        Args:
            options: The experiment's, with their defaults; `jobs` has none.
        """
        args = self.args
        words = ["imm-rl", "reproduce", args.experiment, "--out", str(args.out)]
        for name, default in options.items():
            given = getattr(args, name)
            if given != default and name != "jobs":
                words.append(f"--{name.replace('_', '-')}")
                words += [] if given is True else [str(given)]
        return shlex.join(words)

    def progress(self, title: str, unit: str) -> Callable[[int, int], None] | None:
        """Shows (done, total) on stderr; None with `--quiet`."""
        return None if self.args.quiet else _Progress(title, unit)


class Family(NamedTuple):
    """Experiments that share a module; the module imports what it needs beyond this within `run`.

    Attributes:
        experiments: Their names, each with a line for `--help`.
        options: By experiment, what it takes beside the options of all, with its defaults.
        add_arguments: Declares the family's own options, each with default None.
        run: Computes and writes; returns the files, in order.
        goes_on: Whether a command that is repeated takes up what is there.
    """

    experiments: Mapping[str, str]
    options: Mapping[str, Mapping[str, Any]]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Job], Sequence[Path]]
    goes_on: bool = False


class _Progress:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, title: str, unit: str) -> None:
        self._title, self._unit, self._tenth = title, unit, -1
        self._bar: Any = None
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self._terminal:
            from tqdm import tqdm

            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._title, unit=self._unit)
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.close()
        elif 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            print(f"{self._title}: {10 * self._tenth} % of {total} {self._unit}s", file=sys.stderr)

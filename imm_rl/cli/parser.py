"""The argument parser of all sub-commands: argparse whose mistakes are one clear line."""

from __future__ import annotations

import argparse
import difflib
import itertools
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from imm_rl.errors import InvalidInputError, unknown_name

NARROWEST, WIDEST = 40, 100
"""Columns of a help text, which follows the terminal in between."""


class Parser(argparse.ArgumentParser):
    """Raises `InvalidInputError` where argparse would print its usage and exit.

    Values stay texts: they are checked together with those of a configuration file, by
    `imm_rl.cli.values`.

    Attributes:
        help_text: What `--help` prints, by the options before it; None: the help of all options.
    """

    help_text: Callable[[argparse.Namespace], str] | None = None

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _formatter)
        super().__init__(allow_abbrev=False, add_help=False, **options)
        self.add_argument(
            *("-h", "--help"),
            action=_Help,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show this help message and exit",
        )

    def error(self, message: str) -> NoReturn:
        """Every mistake of argparse's own."""
        raise InvalidInputError(message.removeprefix("argument "))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Of options with choices: the nearest match is suggested."""
        if action.choices is not None and value not in action.choices:
            name = (action.metavar if action.option_strings else None) or action.dest
            raise unknown_name(str(name), str(value), map(str, action.choices))

    def parsed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options in `arguments`; what is unknown is refused with the nearest match."""
        known, unknown = self.parse_known_args(arguments)
        for text in unknown:
            if text.startswith("-") and text != "--":
                raise self._unknown_option(text)
        if unknown:
            raise InvalidInputError(f"unexpected argument {unknown[0]!r}. See {self.prog} --help.")
        return known

    def _unknown_option(self, text: str) -> InvalidInputError:
        name = text.partition("=")[0]
        shown = [
            option
            for action in self._actions
            if action.help is not argparse.SUPPRESS
            for option in action.option_strings
        ]
        close = difflib.get_close_matches(name, shown, n=1, cutoff=0.5)
        # A name cut short is nearer to what was meant than its letters tell.
        close = [option for option in shown if option.startswith(name)][:1] or close
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return InvalidInputError(f"unknown option {name!r}.{hint} See {self.prog} --help.")


class _Help(argparse.Action):
    """`--help`: prints and exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002  the signature of actions; so is the next
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """See above."""
        told = getattr(parser, "help_text", None)
        print(parser.format_help() if told is None else told(namespace), end="")
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps texts as they are written, but for paragraphs that are too wide for a narrow terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = []
        for is_prose, lines in itertools.groupby(text.splitlines(), _is_prose):
            block = list(lines)
            if is_prose and any(len(indent) + len(line) > width for line in block):
                block = textwrap.wrap(" ".join(block), width - len(indent), break_on_hyphens=False)
            filled += [f"{indent}{line}".rstrip() for line in block]
        return "\n".join(filled)


def _is_prose(line: str) -> bool:
    """Whether a line is of a paragraph; what is indented, such as an example, is to be copied whole."""
    return bool(line.strip()) and not line.startswith(" ")


def _formatter(prog: str) -> argparse.HelpFormatter:
    columns = shutil.get_terminal_size((WIDEST, 24)).columns
    return _Formatter(prog, max_help_position=30, width=max(min(columns, WIDEST), NARROWEST))

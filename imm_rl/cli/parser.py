"""The argument parser of all sub-commands: argparse whose mistakes are one clear line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from imm_rl.errors import InvalidInputError, unknown_name


class Parser(argparse.ArgumentParser):
    """Raises `InvalidInputError` where argparse would print its usage and exit.

    Values stay texts: they are checked together with those of a configuration file, by
    `imm_rl.cli.values`.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _formatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Every mistake of argparse's own."""
        raise InvalidInputError(message.removeprefix("argument "))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Of options with choices: the nearest match is suggested."""
        if action.choices is not None and value not in action.choices:
            raise unknown_name(
                str(action.metavar or action.dest), str(value), map(str, action.choices)
            )

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


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=100)

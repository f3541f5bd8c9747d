"""The command line's options for the fields of one settings class."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_METAVARS = {"int": "N", "float": "X", "bool": "true|false", "str": "NAME"}


def add_fields(
    group: argparse._ArgumentGroup, kind: Any, names: Mapping[str, str] = MappingProxyType({})
) -> None:
    """An option for each field, with its help and default; values stay texts.

    Args:
        group: Where they are listed.
        kind: A dataclass whose fields have a `help`.
        names: Field -> option, where they differ.
    """
    for field in dataclasses.fields(kind):
        told = str(field.metadata["help"])
        told, _, default = told.partition("; default: ")
        default = default or str(field.default).lower()
        group.add_argument(
            f"--{names.get(field.name, field.name).replace('_', '-')}",
            metavar=_METAVARS[str(field.type).partition(" ")[0]],
            help=f"{told} (default: {default})".replace("%", "%%"),
        )

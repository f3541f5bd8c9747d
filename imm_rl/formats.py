"""YAML, JSON and CSV as run folders have them; `imm_rl.runs` and the command line use them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imm_rl.errors import InvalidInputError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        InvalidInputError: It is missing, malformed (with the line) or no mapping of names to values.
    """
    import yaml  # late: `imm-rl --help` needs no YAML

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInputError(f"cannot read {path}: {reason}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise InvalidInputError(f"{path}{where}: malformed YAML: {problem}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InvalidInputError(f"{path} must hold names with values, one `name: value` a line.")
    return found


def to_json(values: Mapping[str, Any]) -> str:
    """JSON text with a final newline; what is not a finite number becomes null."""
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False)
    # Lists of numbers on one line: a curve has hundreds of them. Texts have no bare line ends.
    return (
        re.sub(r'\[\n\s+([^][{}"]*)\n\s+\]', lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"
    )


def to_csv(rows: Iterable[Mapping[str, float]]) -> str:
    """CSV text; columns are all names that occur, in order of their first use.

    What is missing or not finite is left blank.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column, math.nan)) for column in columns])
    return buffer.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return repr(float(value)) if math.isfinite(value) else ""

"""Which columns `restricted_features` means: `feature_columns(wanted, n_features, names)`."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from imm_rl.errors import invalid, unknown_name

NAME = "restricted_features"
_FORMS = "be column numbers, column names or one boolean a column, in a list, tuple or array"


def feature_columns(
    wanted: object, n_features: int, names: npt.NDArray[Any] | None
) -> npt.NDArray[np.intp]:
    """The columns that the restricted model sees, (r,), in the order given.

    Args:
        wanted: Column numbers (negative ones count from the end), column names, or one boolean a
            column.
        n_features: D.
        names: (D,), the column names of a table, None where X has none.

    Raises:
        InvalidInputError: None of these, no column, one of them twice, or one that is not there.
    """
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise invalid(NAME, _FORMS, wanted, f"For one column: ({wanted!r},)")
    given = list(wanted)
    if given and all(isinstance(entry, bool | np.bool_) for entry in given):
        if len(given) != n_features:
            raise invalid(NAME, f"have one boolean for each of {n_features} columns", len(given))
        columns = [i for i, entry in enumerate(given) if entry]
    elif all(isinstance(entry, str) for entry in given):
        columns = [_place(entry, names) for entry in given]
    elif all(_is_number(entry) for entry in given):
        columns = [_counted(int(entry), n_features) for entry in given]
    else:
        raise invalid(NAME, _FORMS, wanted)
    if not columns:
        raise invalid(NAME, "name at least one column", wanted, "The restricted model sees those")
    if len(set(columns)) != len(columns):
        raise invalid(NAME, "name each column once", wanted)
    return np.array(columns, dtype=np.intp)


def _is_number(entry: object) -> bool:
    return isinstance(entry, Integral) and not isinstance(entry, bool)


def _place(name: str, names: npt.NDArray[Any] | None) -> int:
    if names is None:
        remedy = "Pass X as a DataFrame, or give column numbers"
        raise invalid(NAME, "be numbers where X has no column names", name, remedy)
    known = [str(known) for known in names]
    if name not in known:
        raise unknown_name("restricted feature", name, known)
    return known.index(name)


def _counted(column: int, n_features: int) -> int:
    if not -n_features <= column < n_features:
        raise invalid(NAME, f"be in 0..{n_features - 1}, the columns of X", column)
    return column % n_features

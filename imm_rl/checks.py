"""Checks of tensor arguments: rank, shape and dtype always, values where the caller asks for them.

`induced` and `losses` call these first. A check of shapes costs next to nothing; a check of values
reads the tensor back, which on a GPU makes the host wait, so those stand behind each function's
`check=`.
"""

from __future__ import annotations

import numbers

import torch

from imm_rl.errors import InvalidInputError, invalid

SUM_TOLERANCE = 1e-4
"""A row that sums to 1 within this is a distribution: room for float32 and long rows."""


def describe(value: object) -> str:
    """What was received, in one line: dtype and shape of a tensor, the type of anything else."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def _is_float(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float32, torch.float64)


def floats(name: str, value: torch.Tensor, axes: str) -> None:
    """Refuses all but a float32 or float64 tensor that has at least the axes named.

    Args:
        name: The argument's name.
        value: What was given.
        axes: Its index form, e.g. "(..., S, Y)"; "..." stands for any number of axes.
    """
    letters = [letter.strip() for letter in axes.strip("()").split(",") if letter.strip()]
    is_open = "..." in letters
    rank = len(letters) - is_open
    if not _is_float(value) or (value.ndim < rank if is_open else value.ndim != rank):
        raise invalid(name, f"be a float32 or float64 tensor of shape {axes}", describe(value))


def ranked(name: str, value: object, axes: str, rank: int) -> None:
    """Refuses all but a tensor of at least so many axes, of any dtype."""
    if not isinstance(value, torch.Tensor) or value.ndim < rank:
        raise invalid(name, f"be a tensor of shape {axes}", describe(value))


def whole(name: str, value: object) -> None:
    """Refuses all but a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(name, "be a whole number of at least 1", value)


def share(name: str, value: object) -> None:
    """Refuses all but a number in [0, 1]."""
    if not isinstance(value, numbers.Real) or not 0.0 <= float(value) <= 1.0:
        raise invalid(name, "be in [0, 1]", value)


def shaped(
    name: str, value: torch.Tensor, axes: str, runs: tuple[int, ...], own: tuple[int, ...]
) -> None:
    """Refuses all but a float tensor of shape `own` after axes that broadcast to `runs`.

    Args:
        name: The argument's name.
        value: What was given.
        axes: Its index form, e.g. "(..., N, S)".
        runs: The leading axes of the tensor it goes with; shorter ones are shared by the runs.
        own: The sizes of the axes that `axes` names after "...".
    """
    if _is_float(value):
        shape = tuple(value.shape)
        leading = shape[: len(shape) - len(own)]
        pairs = zip(reversed(leading), reversed(runs), strict=False)
        if (
            shape[len(leading) :] == own
            and len(leading) <= len(runs)
            and all(given in (1, size) for given, size in pairs)
        ):
            return
    expected = f"{axes.replace('..., ', '')} = {own}"
    if runs:
        expected = f"{axes}, {expected} after axes that broadcast to {runs}"
    raise invalid(name, f"be a float32 or float64 tensor of shape {expected}", describe(value))


def distributions(name: str, value: torch.Tensor) -> None:
    """Refuses values that are not distributions over the last axis, naming the first bad row."""
    sums = value.sum(-1)
    good = (value >= 0).all(-1) & ((sums - 1).abs() <= SUM_TOLERANCE)
    if not bool(good.all()):
        row = tuple((~good).nonzero()[0].tolist())
        raise InvalidInputError(
            f"{name} must hold distributions over its last axis (entries at least 0, sums 1 within "
            f"{SUM_TOLERANCE:g}); received a row {row} with minimum {float(value[row].min()):.6g} "
            f"and sum {float(sums[row]):.6g}."
        )


def item_weights(name: str, value: torch.Tensor) -> None:
    """Refuses weights that are negative, infinite or NaN. All of them may be zero."""
    good = torch.isfinite(value) & (value >= 0)
    if not bool(good.all()):
        raise invalid(name, "be finite and at least 0", float(value[~good][0]))


def log_weights(name: str, value: torch.Tensor) -> None:
    """Refuses (..., N, K) log-weights that leave an item without completions, NaN and +inf."""
    if value.shape[-1] == 0:
        raise invalid(name, "have at least one completion an item (K)", describe(value))
    top = value.amax(-1)  # NaN and +inf reach the maximum; so does −inf where there is nothing else
    if not bool(torch.isfinite(top).all()):
        item = tuple((~torch.isfinite(top)).nonzero()[0].tolist())
        constraint = "be finite or −inf, and not −inf for all completions of an item"
        raise invalid(name, constraint, f"maximum {float(top[item])} for item {item}")

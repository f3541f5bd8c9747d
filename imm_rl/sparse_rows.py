"""`SparseRows`: weights over a common support that are mostly zeros, and their product with a table.

`completions.SharedSupport` takes them in place of a dense array where the support is large and each
restricted context stands for few of its members: a belief that holds 256 of 12,545 states. Nothing of
size N × S is built.

Index letters: R runs, N items, S full contexts of the common support, Y targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from imm_rl import checks
from imm_rl.device import uploaded
from imm_rl.errors import InvalidInputError, invalid


@dataclass(frozen=True)
class SparseRows:
    """Weights of N items over S full contexts.

    Attributes:
        matrix: (N, S) shared by all runs; or, where `runs` is given, (R·N, S), the items of the first
            run first.
        runs: R, or None.
    """

    matrix: sp.csr_array
    runs: int | None = None

    def check(self, name: str, values: torch.Tensor, *, check: bool) -> None:
        """Refuses weights that do not go with values (..., S, Y).

        Args:
            name: What the error calls the weights.
            values: As above, with one leading axis at most.
            check: Whether the rows are checked to be distributions too.

        Raises:
            InvalidInputError: A size does not fit, or a row is no distribution.
        """
        leading, support = tuple(values.shape[:-2]), values.shape[-2]
        n_rows, columns = self.matrix.shape
        fits = columns == support and len(leading) <= 1
        if self.runs is not None:
            fits = fits and leading == (self.runs,) and n_rows % self.runs == 0
        if not fits:
            wanted = f"have S = {support} columns and the runs {leading} of the log-probabilities"
            raise invalid(name, wanted, f"{self.matrix.shape} for runs {self.runs}")
        if check:
            sums = self.matrix @ np.ones(columns)
            good = np.abs(sums - 1.0) <= checks.SUM_TOLERANCE
            if not (good.all() and self.matrix.data.min(initial=0.0) >= 0.0):
                raise InvalidInputError(
                    f"{name} must hold distributions in its rows (entries at least 0, sums 1 within "
                    f"{checks.SUM_TOLERANCE:g}); received a minimum of "
                    f"{self.matrix.data.min(initial=0.0):.6g} and sums from {sums.min():.6g} to "
                    f"{sums.max():.6g}."
                )

    def product(self, values: torch.Tensor) -> torch.Tensor:
        """Σ_s weights[n, s] values[s, y] (..., N, Y) of float64 values (..., S, Y), with gradients."""
        support, targets = values.shape[-2:]
        if values.ndim == 2:
            return _product(self.matrix, values)
        runs = values.shape[0]
        if self.runs is None:  # the same items for all: the runs stand side by side
            side_by_side = values.transpose(0, 1).reshape(support, runs * targets)
            summed = _product(self.matrix, side_by_side)
            return summed.view(-1, runs, targets).transpose(0, 1)
        matrix = self.matrix
        items = matrix.shape[0] // runs
        counts = np.diff(matrix.indptr[::items]) if items else np.zeros(runs, dtype=np.int64)
        columns = matrix.indices + np.repeat(np.arange(runs) * support, counts)
        blocks = sp.csr_array(  # run r multiplies its own S rows alone
            (matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], runs * support)
        )
        return _product(blocks, values.reshape(runs * support, targets)).view(runs, items, targets)


def _product(matrix: sp.csr_array, values: torch.Tensor) -> torch.Tensor:
    """The product of matrix (N, S) and values (S, Y)."""
    if values.device.type == "cpu":
        summed: torch.Tensor = _OnCpu.apply(values, matrix)  # type: ignore[no-untyped-call]
        return summed
    return _gathered(matrix, values)


def _gathered(matrix: sp.csr_array, values: torch.Tensor) -> torch.Tensor:
    """The same on any device, by gathering a row of the table for each weight."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    rows_on, columns_on, data_on = (
        uploaded(np.array(part), values.device)
        for part in (rows, matrix.indices.astype(np.int64), matrix.data)
    )
    terms = values.index_select(0, columns_on) * data_on.unsqueeze(-1)
    return values.new_zeros(matrix.shape[0], values.shape[1]).index_add(0, rows_on, terms)


class _OnCpu(torch.autograd.Function):
    """SciPy's product, which is up to six times as quick as gathering rows of the table."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, matrix: sp.csr_array) -> torch.Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(np.asarray(matrix @ values.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(np.asarray(ctx.matrix.T @ grads[0].numpy())), None

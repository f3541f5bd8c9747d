"""The probabilities T and O of a Cassandra `.POMDP` file, gathered entry by entry, the later winning.

Entries are kept as (row, column, value, turn) and never as a dense table, so that a file of 10,000
states reads in the memory of its nonzeros. A whole row or matrix clears what its rows held before.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs.cassandra_preamble import ALL
from imm_rl.envs.model import FloatArray

IntArray: TypeAlias = npt.NDArray[np.int64]

MAX_ENTRIES = 20_000_000
"""Entries that one file may set in T or in O, wildcards written out; about 1.5 GB while reading."""


class ProbabilityTable:
    """T (action, s, s') or O (action, s', o) while a file is read.

    Each `set_` call is one turn, an entry of the file; an index may be `ALL`. `n_entries` counts what
    has been set so far, wildcards written out.
    """

    def __init__(self, n_actions: int, n_rows: int, n_columns: int) -> None:
        self.n_actions, self.n_rows, self.n_columns = n_actions, n_rows, n_columns
        self.n_entries = 0
        self._turn = 0
        # The turn that last cleared each row (action * n_rows + row), and the entries in two stores:
        # lists for entry after entry, arrays for what wildcards and matrices bring.
        self._cleared = np.zeros(n_actions * n_rows, dtype=np.int64)
        self._singles: tuple[list[int], list[int], list[float], list[int]] = ([], [], [], [])
        self._blocks: list[tuple[IntArray, IntArray, FloatArray, IntArray]] = []

    def set_entry(self, action: int, row: int, column: int, value: float) -> None:
        """Sets P(column | action, row)."""
        if ALL not in (action, row, column):
            self._turn += 1
            self._add_to_row(action * self.n_rows + row, [column], [value])
        elif column == ALL:
            self.set_rows(action, row, np.full(self.n_columns, value))
        else:
            self._turn += 1
            self._add(self._rows_of(action, row), np.array([column]), np.array([value]))

    def set_rows(self, action: int, row: int, values: FloatArray) -> None:
        """Sets whole rows: values (columns,)."""
        self._turn += 1
        columns = np.flatnonzero(values)
        if ALL not in (action, row):  # the usual case, and the faster way for it
            at = action * self.n_rows + row
            self._cleared[at] = self._turn
            self._add_to_row(at, columns.tolist(), values[columns].tolist())
            return
        rows = self._rows_of(action, row)
        self._cleared[rows] = self._turn
        self._add(rows, columns, values[columns])

    def set_matrix(self, action: int, matrix: sp.coo_array) -> None:
        """Sets all rows of an action (or of all): matrix (rows, columns)."""
        self._turn += 1
        for a in range(self.n_actions) if action == ALL else (action,):
            first = a * self.n_rows
            self._cleared[first : first + self.n_rows] = self._turn
            turns = np.full(matrix.data.size, self._turn)
            rows = matrix.row.astype(np.int64) + first
            self._blocks.append((rows, matrix.col.astype(np.int64), matrix.data, turns))
            self.n_entries += matrix.data.size

    def room_for(self, action: int, row: int, per_row: int) -> bool:
        """Whether setting `per_row` entries in each of these rows stays within MAX_ENTRIES."""
        rows = (self.n_actions if action == ALL else 1) * (self.n_rows if row == ALL else 1)
        return self.n_entries + rows * per_row <= MAX_ENTRIES

    def last_turns(self) -> IntArray:
        """The number, from 1, of the last call that set each row (action * n_rows + row); 0 for none."""
        last: IntArray = self._cleared.copy()
        rows, _, _, turns = self._gathered()
        np.maximum.at(last, rows, turns)
        return last

    def matrices(self) -> tuple[sp.csr_array, ...]:
        """One CSR array (rows, columns) an action, sorted, holding nonzeros only."""
        rows, columns, values, turns = self._gathered()
        keys = rows * self.n_columns + columns
        order = np.lexsort((turns, keys))
        keys, rows, columns, values = keys[order], rows[order], columns[order], values[order]
        last = np.append(keys[1:] != keys[:-1], [True])[: keys.size]
        keep = last & (turns[order] >= self._cleared[rows]) & (values != 0.0)
        # 32-bit indices, as SciPy itself would choose: MAX_ENTRIES keeps them in range.
        rows, columns, values = rows[keep], columns[keep].astype(np.int32), values[keep]
        starts = np.searchsorted(rows, np.arange(self.n_actions * self.n_rows + 1))
        parts = []
        for a in range(self.n_actions):
            pointers = starts[a * self.n_rows : (a + 1) * self.n_rows + 1]
            part = slice(pointers[0], pointers[-1])
            shape = (self.n_rows, self.n_columns)
            data = (values[part], columns[part], (pointers - pointers[0]).astype(np.int32))
            parts.append(sp.csr_array(data, shape=shape))
        return tuple(parts)

    def _rows_of(self, action: int, row: int) -> IntArray:
        actions = np.arange(self.n_actions) if action == ALL else np.array([action])
        rows = np.arange(self.n_rows) if row == ALL else np.array([row])
        return (actions[:, None] * self.n_rows + rows).ravel()

    def _add_to_row(self, row: int, columns: list[int], values: list[float]) -> None:
        """Sets entries of one row (action * n_rows + row)."""
        self.n_entries += len(columns)
        self._singles[0].extend([row] * len(columns))
        self._singles[1].extend(columns)
        self._singles[2].extend(values)
        self._singles[3].extend([self._turn] * len(columns))

    def _add(self, rows: IntArray, columns: IntArray, values: FloatArray) -> None:
        """Sets the same columns to the same values in each of the rows."""
        turns = np.full(rows.size * columns.size, self._turn)
        self.n_entries += turns.size
        self._blocks.append(
            (
                np.repeat(rows, columns.size),
                np.tile(columns, rows.size),
                np.tile(values, rows.size),
                turns,
            )
        )

    def _gathered(self) -> tuple[IntArray, IntArray, FloatArray, IntArray]:
        rows, columns, values, turns = self._singles
        blocks = [
            (
                np.array(rows, dtype=np.int64),
                np.array(columns, dtype=np.int64),
                np.array(values, dtype=np.float64),
                np.array(turns, dtype=np.int64),
            ),
            *self._blocks,
        ]
        parts = list(zip(*blocks, strict=True))
        return tuple(np.concatenate(part) for part in parts)  # type: ignore[return-value]

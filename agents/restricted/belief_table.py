"""`BeliefTablePolicy`: does at any belief what was written down for the nearest of a few hundred.

What `distil` makes of a planner or another slow policy; saved as an `.npz` like any other policy.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from imm_rl.agents.restricted import alpha_checks as checks
from imm_rl.agents.restricted.base import checked_beliefs, greedy_probs, softmax_probs
from imm_rl.agents.solvers.base import IntArray
from imm_rl.envs import options
from imm_rl.envs.belief import check_distributions
from imm_rl.envs.model import FloatArray, TabularPOMDP
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically

FORMAT = "imm-rl belief table 1"
"""First entry of every file; the number rises when an older reader would misread the file."""
TIES = ("split", "first")

_KEEP = object()
_ENTRIES = ("beliefs", "table", "values", "name", "temperature", "ties", "fingerprint", "notes")


class BeliefTablePolicy:
    """A table of action probabilities, one row a belief; the nearest in L1 distance is taken.

    Attributes:
        acts_on: "belief", see `RestrictedPolicy`.
        takes_sparse: It is asked with CSR arrays where beliefs are sparse.
        report: How the table was made, where `distil` made it (`DistilReport`); not saved.

    Args:
        beliefs: (N, S), rows are distributions.
        table: (N, A), table[i, a] = P(a | beliefs[i]).
        values: (N, A) action values there, or None; with them the policy can have a temperature.
        name: What tables and plots call it.
        temperature: Of a softmax over values; None takes the table as it is.
        ties: "split" takes the table as it is; "first" does the first of the likeliest actions.
        fingerprint: Of the model it was made for, where known.
        notes: What a reader should know.

    Raises:
        InvalidInputError: Shapes do not fit, a row is no distribution, or a temperature without values.
    """

    acts_on: ClassVar[str] = "belief"
    takes_sparse: ClassVar[bool] = True

    def __init__(
        self,
        beliefs: npt.ArrayLike,
        table: npt.ArrayLike,
        *,
        values: npt.ArrayLike | None = None,
        name: str = "belief table",
        temperature: float | None = None,
        ties: str = "split",
        fingerprint: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.beliefs = _distributions("beliefs", beliefs)
        self.table = _distributions("table", table)
        if len(self.beliefs) != len(self.table):
            wanted = f"have a row for each of {len(self.beliefs)} beliefs"
            raise invalid("table", wanted, self.table.shape)
        self.values: FloatArray | None = None
        if values is not None:
            self.values = options.floats("values", values).copy()
            if self.values.shape != self.table.shape or not np.isfinite(self.values).all():
                raise invalid("values", f"be numbers {self.table.shape}", self.values.shape)
        self.name = name
        self.ties = checks.choice("ties", ties, TIES)
        self.temperature = self._checked_temperature(temperature)
        self.fingerprint = fingerprint
        self.notes = tuple(notes)
        self.report: Any = None

    @property
    def n_states(self) -> int:
        """S."""
        return int(self.beliefs.shape[1])

    @property
    def n_actions(self) -> int:
        """A."""
        return int(self.table.shape[1])

    def probs(self, context: FloatArray | sp.csr_array) -> FloatArray:
        """Action probabilities (..., A) at beliefs (..., S), or (B, A) at sparse ones (B, S)."""
        nearest, _ = self.nearest(context)
        if self.temperature is not None and self.values is not None:
            return softmax_probs(self.values, self.temperature)[nearest]
        if self.ties == "first":
            return greedy_probs(self.table, "first")[nearest]
        return np.asarray(self.table[nearest])

    def nearest(self, context: FloatArray | sp.csr_array) -> tuple[IntArray, FloatArray]:
        """The nearest row (...,) of each belief (..., S), and its L1 distance (...,) in [0, 2].

        Raises:
            InvalidInputError: Beliefs of another size.
        """
        if isinstance(context, sp.csr_array):
            return self._nearest_sparse(context)
        beliefs = checked_beliefs(context, self.n_states, check=False)
        between = cdist(beliefs.reshape(-1, self.n_states), self.beliefs, "cityblock")
        shape = beliefs.shape[:-1]
        return between.argmin(axis=1).reshape(shape), between.min(axis=1).reshape(shape)

    def _nearest_sparse(self, beliefs: sp.csr_array) -> tuple[IntArray, FloatArray]:
        n_rows, n_states = beliefs.shape
        if n_states != self.n_states:
            raise invalid("belief", f"have {self.n_states} states on its last axis", beliefs.shape)
        rows, distances = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows)
        by_state = np.ascontiguousarray(self.beliefs.T)
        for row in range(n_rows):
            part = slice(beliefs.indptr[row], beliefs.indptr[row + 1])
            # |b − c| = 2 − 2 Σ min(b, c), and outside b's states that adds nothing.
            common = np.minimum(by_state[beliefs.indices[part]], beliefs.data[part, None]).sum(
                axis=0
            )
            rows[row] = common.argmax()
            distances[row] = max(2.0 - 2.0 * float(common.max()), 0.0)
        return rows, distances

    def with_(
        self, *, temperature: float | object | None = _KEEP, ties: str | None = None
    ) -> BeliefTablePolicy:
        """A copy that acts otherwise on the same table."""
        changed = copy.copy(self)
        if temperature is not _KEEP:
            changed.temperature = changed._checked_temperature(temperature)
        if ties is not None:
            changed.ties = checks.choice("ties", ties, TIES)
        return changed

    def save(self, path: str | Path) -> None:
        """Writes an `.npz`, whole or not at all.

        Raises:
            InvalidInputError: Another ending, or no file can be written there.
            RunFailedError: The disk failed or is full.
        """
        if Path(path).suffix.lower() != ".npz":
            raise invalid("a belief table's file", "be named .npz", str(path))
        entries: dict[str, Any] = {
            "format": FORMAT,
            "beliefs": self.beliefs,
            "table": self.table,
            "values": np.empty(0) if self.values is None else self.values,
            "name": self.name,
            "temperature": np.nan if self.temperature is None else self.temperature,
            "ties": self.ties,
            "fingerprint": self.fingerprint or "",
            "notes": np.array(self.notes, dtype=np.str_),
        }
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in entries.items()}
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def from_entries(
        cls, entries: dict[str, Any], path: str | Path, model: TabularPOMDP | None = None
    ) -> BeliefTablePolicy:
        """The policy of the arrays of a file, for a model of its sizes; `stored.load_policy` calls it.

        Raises:
            InvalidInputError: An entry is missing or wrong, or the model has other sizes.
        """
        missing = [name for name in _ENTRIES if name not in entries]
        if missing:
            raise invalid(f"policy file {path}", f"hold the entries {missing}", sorted(entries))
        try:
            temperature = float(entries["temperature"])
            policy = cls(
                entries["beliefs"],
                entries["table"],
                values=entries["values"] if entries["values"].size else None,
                name=str(entries["name"]),
                temperature=None if np.isnan(temperature) else temperature,
                ties=str(entries["ties"]),
                fingerprint=str(entries["fingerprint"]) or None,
                notes=tuple(str(note) for note in entries["notes"].tolist()),
            )
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"policy file {path} has a wrong entry: {error}") from error
        if model is not None and (policy.n_states, policy.n_actions) != (
            model.n_states,
            model.n_actions,
        ):
            raise InvalidInputError(
                f"policy file {path}: the policy is for {policy.n_states} states and "
                f"{policy.n_actions} actions; the model has {model.n_states} states and "
                f"{model.n_actions} actions."
            )
        return policy

    def __repr__(self) -> str:
        return (
            f"BeliefTablePolicy({self.name!r}, beliefs={len(self.beliefs)}, "
            f"states={self.n_states}, actions={self.n_actions})"
        )

    def _checked_temperature(self, value: object) -> float | None:
        found = checks.temperature(value)
        if found is not None and self.values is None:
            raise invalid("temperature", "be None for a table that holds no action values", value)
        return found


def _distributions(name: str, value: npt.ArrayLike) -> FloatArray:
    array: FloatArray = options.floats(name, value).copy()
    if array.ndim != 2 or array.size == 0:
        raise invalid(name, "be a matrix with one row a belief", array.shape)
    check_distributions(name, array)
    array /= array.sum(axis=1, keepdims=True)
    array.setflags(write=False)
    return array

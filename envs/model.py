"""`TabularPOMDP`: a finite POMDP as plain arrays. Environments, filters, solvers are functions of it.

Index letters: S states, A actions, O observations; s before, s' after a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from imm_rl.envs import options
from imm_rl.errors import InvalidInputError, invalid

FloatArray: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = "FloatArray | sp.csr_array"

ROW_SUM_TOLERANCE = 1e-5
"""Rows of real files are off by up to 8e-6; sums within this are accepted and renormalised."""


class TabularPOMDP:
    """A finite POMDP, checked on construction and immutable afterwards.

    Attributes:
        n_states, n_actions, n_observations: S, A, O.
        transition: T, dense (S, A, S): T[s, a, s'] = P(s' | s, a), rows sum to 1; or a tuple of A CSR
            arrays (S, S).
        observation: O, dense (A, S, O): O[a, s', o] = P(o | a, s'), rows sum to 1; or a tuple of A
            CSR arrays (S, O).
        reward: (S, A), the expected reward r(s, a) per step; what solvers use.
        outcome_reward: the reward of an outcome where it depends on more than (s, a): (S, A, S) over
            s' or (S, A, S, O) over s' and o; else None. What environments pay.
        initial: (S,), the start distribution b0.
        discount: γ in (0, 1].
        terminal: (S,) bool; terminal states are absorbing and pay nothing.
        state_names, action_names, observation_names: tuples of str.

    Raises:
        InvalidInputError: A shape, a probability, a row sum (naming its state and action), the
            discount or a terminal state is wrong.
    """

    def __init__(
        self,
        transition: npt.ArrayLike | Sequence[sp.sparray],
        observation: npt.ArrayLike | Sequence[sp.sparray],
        reward: npt.ArrayLike,
        initial: npt.ArrayLike,
        discount: float,
        *,
        terminal: npt.ArrayLike | None = None,
        state_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
        observation_names: Sequence[str] | None = None,
    ) -> None:
        self.discount = _checked_discount(discount)
        self._fingerprint: str | None = None
        initial_array = options.floats("initial", initial)
        if initial_array.ndim != 1 or initial_array.size == 0:
            raise invalid(
                "initial", "be a vector with one probability a state", initial_array.shape
            )
        self.n_states = n_states = initial_array.size

        self.transition = _checked_stack("transition", transition, n_states, actions_first=False)
        self.n_actions = (
            len(self.transition) if isinstance(self.transition, tuple) else self.transition.shape[1]
        )
        self.observation = _checked_stack("observation", observation, n_states, actions_first=True)
        matrices = [self.observation_of(a) for a in range(len(self.observation))]
        if len(matrices) != self.n_actions:
            raise invalid("observation", f"have {self.n_actions} actions (A, S, O)", len(matrices))
        self.n_observations = int(matrices[0].shape[1])

        names = [("state", state_names, self.n_states), ("action", action_names, self.n_actions)]
        names += [("observation", observation_names, self.n_observations)]
        self.state_names, self.action_names, self.observation_names = (
            _checked_names(kind, given, count) for kind, given, count in names
        )
        start = _normalised("initial", initial_array[None, :], lambda _: "the start belief")
        self.initial = start[0]
        self._normalise_rows()
        self.reward, self.outcome_reward = self._checked_reward(options.floats("reward", reward))
        self.terminal = self._checked_terminal(terminal)
        for array in (self.initial, self.reward, self.terminal):
            array.setflags(write=False)

    @property
    def is_sparse(self) -> bool:
        """Whether transitions are CSR arrays, one an action."""
        return isinstance(self.transition, tuple)

    def transition_of(self, action: int) -> Matrix:
        """P(s' | s, action) as (S, S), dense or CSR."""
        if isinstance(self.transition, tuple):
            return self.transition[action]
        return self.transition[:, action, :]

    def observation_of(self, action: int) -> Matrix:
        """P(o | action, s') as (S, O), dense or CSR; row s' is the state arrived in."""
        return self.observation[action]

    def fingerprint(self) -> str:
        """SHA-256 of the numbers that matter to a solver; the key of the cache of solved policies.

        A dense and a sparse model with the same numbers have different fingerprints.
        """
        if self._fingerprint is not None:  # the model cannot change, and checkpoints ask every time
            return self._fingerprint
        digest = hashlib.sha256()
        arrays: list[Any] = [np.float64(self.discount), self.initial, self.reward, self.terminal]
        for stack in (self.transition, self.observation):
            if isinstance(stack, tuple):
                arrays += [part for m in stack for part in (m.indptr, m.indices, m.data)]
            else:
                arrays.append(stack)
        for array in map(np.ascontiguousarray, arrays):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def save(self, path: str | Path) -> None:
        """Writes the model as a Cassandra `.POMDP` file; `load` reads it back exactly."""
        from imm_rl.envs import cassandra  # late: the file format is not part of the model

        cassandra.write(self, path)

    @staticmethod
    def load(path: str | Path) -> TabularPOMDP:
        """Reads a Cassandra `.POMDP` file (grammar: `imm_rl.envs.cassandra`)."""
        from imm_rl.envs import cassandra

        return cassandra.read(path)

    def __repr__(self) -> str:
        return (
            f"TabularPOMDP(states={self.n_states}, actions={self.n_actions}, "
            f"observations={self.n_observations}, discount={self.discount})"
        )

    def _normalise_rows(self) -> None:
        def transition_row(action: int) -> Callable[[int], str]:
            return lambda s: f"T[s={self.state_names[s]}, a={self.action_names[action]}, :]"

        def observation_row(action: int) -> Callable[[int], str]:
            return lambda s: f"O[a={self.action_names[action]}, s'={self.state_names[s]}, :]"

        parts = {
            "transition": [
                _normalised("transition", self.transition_of(a), transition_row(a))
                for a in range(self.n_actions)
            ],
            "observation": [
                _normalised("observation", self.observation_of(a), observation_row(a))
                for a in range(self.n_actions)
            ],
        }
        self.transition = (
            tuple(parts["transition"])
            if isinstance(self.transition, tuple)
            else _frozen(np.stack(parts["transition"], axis=1))
        )
        self.observation = (
            tuple(parts["observation"])
            if isinstance(self.observation, tuple)
            else _frozen(np.stack(parts["observation"], axis=0))
        )

    def _checked_reward(self, reward: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        shape = (self.n_states, self.n_actions, self.n_states, self.n_observations)
        if reward.ndim not in (2, 3, 4) or reward.shape != shape[: reward.ndim]:
            wanted = " or ".join(str(shape[:n]) for n in (2, 3, 4))
            raise invalid(
                "reward", f"have shape (S, A), (S, A, S') or (S, A, S', O): {wanted}", reward.shape
            )
        if not np.isfinite(reward).all():
            s, a = np.argwhere(~np.isfinite(reward))[0][:2]
            where = f"reward at (s={self.state_names[s]}, a={self.action_names[a]})"
            raise invalid(where, "be finite", float(reward[s, a].flat[0]))
        if reward.ndim == 2:
            return reward.copy(), None
        expected = np.empty((self.n_states, self.n_actions))
        for a in range(self.n_actions):
            after = reward[:, a]  # (S, S') or (S, S', O)
            if after.ndim == 3:
                observation = self.observation_of(a)
                dense = observation.toarray() if sp.issparse(observation) else observation
                after = np.einsum("spo,po->sp", after, dense)
            transition = self.transition_of(a)
            product = transition.multiply(after) if sp.issparse(transition) else transition * after
            expected[:, a] = np.asarray(product.sum(axis=1)).reshape(-1)
        return expected, _frozen(reward.copy())

    def _checked_terminal(self, terminal: npt.ArrayLike | None) -> npt.NDArray[np.bool_]:
        if terminal is None:
            return np.zeros(self.n_states, dtype=bool)
        array = np.array(terminal)
        if array.dtype != np.bool_ or array.shape != (self.n_states,):
            raise invalid(
                "terminal",
                f"be a bool for each of {self.n_states} states",
                (array.dtype, array.shape),
            )
        ends = np.flatnonzero(array)
        # The whole diagonal at once: single entries of CSR arrays take seconds where many states end.
        stays = [self.transition_of(a).diagonal()[ends] for a in range(self.n_actions)]
        stay = np.stack(stays, axis=1)
        paid = self.reward[ends]
        if self.outcome_reward is not None:
            paid = np.abs(self.outcome_reward[ends, :, ends])  # (ends, A) or (ends, A, O)
            paid = paid.max(axis=2) if paid.ndim == 3 else paid
        leaves = np.abs(stay - 1.0) > 1e-9  # sums of a few probabilities are off by rounding
        for i, a in np.argwhere(leaves | (paid != 0.0)):  # the first of them is named
            where = (
                f"terminal state {self.state_names[ends[i]]} under action {self.action_names[a]}"
            )
            if leaves[i, a]:
                raise invalid(where, "be absorbing, T[s, a, s] = 1", float(stay[i, a]))
            raise invalid(where, "pay no reward", float(paid[i, a]))
        return array


def _checked_discount(discount: float) -> float:
    try:
        value = float(discount)
    except (TypeError, ValueError):
        raise invalid("discount", "be a number in (0, 1]", discount) from None
    if not 0.0 < value <= 1.0:
        raise invalid("discount", "be in (0, 1]", discount)
    return value


def _checked_stack(
    name: str, value: npt.ArrayLike | Sequence[sp.sparray], n_states: int, *, actions_first: bool
) -> FloatArray | tuple[sp.csr_array, ...]:
    """Brings T or O into its dense or its sparse form and checks its shape."""
    axes = "(A, S, O)" if actions_first else "(S, A, S)"
    if isinstance(value, (list, tuple)) and value and sp.issparse(value[0]):
        parts: list[sp.csr_array] = []
        matrices: list[Any] = list(value)
        columns = matrices[0].shape[-1] if actions_first else n_states
        for action, matrix in enumerate(matrices):
            if matrix.shape != (n_states, columns):
                wanted = f"have shape {(n_states, columns)}"
                raise invalid(f"{name}[{action}]", wanted, matrix.shape)
            parts.append(_canonical(matrix))
        return tuple(parts)
    array = options.floats(name, value)
    state_axes = (1,) if actions_first else (0, 2)
    right = array.ndim == 3 and all(array.shape[axis] == n_states for axis in state_axes)
    if not right or 0 in array.shape:
        raise invalid(name, f"have shape {axes} with S = {n_states}", array.shape)
    return array


def _canonical(matrix: Any) -> Any:
    """A copy with one order, one entry a place and one type of index: equal models look equal."""
    part: Any = sp.csr_array(matrix, dtype=np.float64, copy=True)
    part.sum_duplicates()
    if max(*part.shape, part.nnz) <= np.iinfo(np.int32).max:
        places = (part.indices.astype(np.int32), part.indptr.astype(np.int32))
        part = sp.csr_array((part.data, *places), shape=part.shape)
    return part


def _normalised(name: str, matrix: Any, row_name: Callable[[int], str]) -> Any:
    """Checks that rows are distributions and divides each by its sum (1 ± ROW_SUM_TOLERANCE)."""
    is_dense = isinstance(matrix, np.ndarray)
    values = matrix if is_dense else matrix.data
    if not (np.isfinite(values) & (values >= 0.0)).all():
        dense = matrix if is_dense else matrix.toarray()
        row, column = np.argwhere(~(np.isfinite(dense) & (dense >= 0.0)))[0]
        received = float(dense[row, column])
        raise invalid(f"{name} {row_name(row)} entry {column}", "be a probability ≥ 0", received)
    sums = np.asarray(matrix.sum(axis=1)).reshape(-1)
    wrong = np.abs(sums - 1.0) > ROW_SUM_TOLERANCE
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidInputError(
            f"{name} {row_name(row)} must sum to 1; its sum is {sums[row]:.6g}."
        )
    # A row whose sum is 1 up to rounding is left as it is: dividing it would only move its digits.
    sums = np.where(np.abs(sums - 1.0) > 1e-12, sums, 1.0)
    if is_dense:
        return matrix / sums[:, None]
    # Scaled in place of a product of matrices, which would reorder the entries of a row: samplers
    # take outcomes in the order of their index, so that dense and sparse models draw alike.
    data = matrix.data / np.repeat(sums, np.diff(matrix.indptr))
    for array in (data, matrix.indices, matrix.indptr):
        array.setflags(write=False)
    return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _checked_names(kind: str, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if given is None:
        return tuple(str(i) for i in range(count))
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise invalid(f"{kind}_names", f"be a list of {count} names", given)
    names = tuple(str(n) for n in given)
    if len(names) != count or len(set(names)) != count:
        raise invalid(f"{kind}_names", f"be {count} different names", names)
    return names


def _frozen(array: FloatArray) -> FloatArray:
    array.setflags(write=False)
    return array

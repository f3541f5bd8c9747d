"""Completions by the rows of one data set, for training and for asking the induced model afterwards.

`hidden_completions` says which rows lend with which weights; here they meet a data set, a function of the
user's, and a fitted model.

Index letters: N training rows, M rows asked for, D features, r of them restricted, K completions, Y
classes, V logit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from imm_rl import induced
from imm_rl.errors import invalid
from imm_rl.language import hidden_completions
from imm_rl.language.logistic_batch import Matching, log_probs_of

FloatArray: TypeAlias = npt.NDArray[np.float64]
Sampler: TypeAlias = Callable[[FloatArray, np.random.Generator], npt.ArrayLike]


def bandwidths(
    given: object, seen: FloatArray, weights: FloatArray, name: str = "bandwidth"
) -> FloatArray:
    """The kernel width of each restricted feature, (r,).

    Args:
        given: A positive number for all, one for each, or None for `hidden_completions.bandwidths`.
        seen: (N, r).
        weights: (N,).
        name: For the error.

    Raises:
        InvalidInputError: It is neither.
    """
    r = seen.shape[1]
    if given is None:
        found = hidden_completions.bandwidths(torch.tensor(seen[None]), torch.tensor(weights[None]))
        return np.asarray(found[0].numpy())
    entries = [given] * r if isinstance(given, Real) else given
    widths = list(entries) if isinstance(entries, Iterable) else []
    if len(widths) != r or not all(_positive(width) for width in widths):
        raise invalid(
            name, f"be a positive number, or {r} of them, one a restricted feature", given
        )
    return np.array(widths, dtype=np.float64)


def _positive(width: object) -> bool:
    good = isinstance(width, Real) and not isinstance(width, bool)
    return good and 0 < float(width) < float("inf")  # type: ignore[arg-type]


@dataclass(frozen=True)
class RowCompletions:
    """The rows that complete restricted features, and how.

    Attributes:
        kind: "kernel", "neighbors", or a function of restricted features (M, r) and a NumPy generator that
            gives whole rows (M, K, D).
        count: Most completions of a row for "kernel" and "neighbors".
        features: (N, D), the training rows.
        weights: (N,), positive.
        seen: (r,), the restricted columns.
        bandwidth: (r,), for "kernel".
        seed: Of all draws.
    """

    kind: str | Sampler
    count: int
    features: FloatArray
    weights: FloatArray
    seen: npt.NDArray[np.intp]
    bandwidth: FloatArray
    seed: int

    def matching(
        self, target: FloatArray, weight: float, device: torch.device, *, own: bool = False
    ) -> Matching:
        """The term of one problem with these training rows.

        Args:
            target: (N, Y), P̂ at each row's restricted features.
            weight: λ.
            device: Where its tensors lie.
            own: Whether each row is its own only completion (noising).

        Raises:
            InvalidInputError: The user's function gives wrong rows.
        """
        completions, log_weights = self._own() if own else self._training()
        restricted = torch.zeros(self.features.shape[1], dtype=torch.bool)
        restricted[torch.from_numpy(self.seen)] = True
        return Matching(
            torch.tensor(target[None], device=device),
            torch.tensor([weight], dtype=torch.float64, device=device),
            None if completions is None else completions[None].to(device),
            log_weights[None].to(device),
            restricted[None].to(device),
        )

    def induced(
        self, features: FloatArray, slopes: FloatArray, intercepts: FloatArray
    ) -> FloatArray:
        """Returns log Q̄(y|x̄), (M, Y) in nats, at the restricted features of rows (M, D).

        "kernel" averages over all training rows, however many there are.

        Args:
            features: (M, D).
            slopes: (V, D).
            intercepts: (V,).

        Raises:
            InvalidInputError: The user's function gives wrong rows.
        """
        rows, coefficients = torch.tensor(self.features), torch.tensor(slopes.T)
        asked, bias = torch.tensor(features), torch.tensor(intercepts)
        if callable(self.kind):
            drawn = self._drawn(features)
            log_probs = log_probs_of(drawn @ coefficients + bias)
            return np.asarray(induced.sampled(log_probs, drawn.new_zeros(drawn.shape[:2])).numpy())
        hidden = torch.ones(len(coefficients), 1, dtype=torch.float64)
        hidden[torch.from_numpy(self.seen)] = 0.0
        kept, lent = asked @ (coefficients * (1 - hidden)) + bias, rows @ (coefficients * hidden)
        found = []
        for block in _blocks(len(asked), len(rows) * (kept.shape[1] + 1)):
            which, log_weights = self._lenders(asked[block])
            parts = lent if which is None else lent[which]
            log_probs = log_probs_of(kept[block].unsqueeze(1) + parts)
            found.append(induced.sampled(log_probs, log_weights))
        return np.asarray(torch.cat(found).numpy())

    def _own(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows = len(self.features)
        return torch.arange(rows).unsqueeze(1), torch.zeros(rows, 1, dtype=torch.float64)

    def _training(self) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The completions of the training rows, as `Matching` takes them, and their log-weights."""
        rows = len(self.features)
        if callable(self.kind):
            drawn = self._drawn(self.features)
            return drawn, drawn.new_zeros(drawn.shape[:2])
        if self.kind == "neighbors" or rows <= self.count:
            return self._lenders(torch.tensor(self.features))
        which = hidden_completions.drawn_kernel(
            torch.tensor(self.features[:, self.seen]),
            torch.tensor(self.weights),
            torch.tensor(self.bandwidth),
            self.count,
            torch.Generator().manual_seed(self.seed),
        )
        return which, torch.zeros(rows, self.count, dtype=torch.float64)

    def _lenders(self, asked: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Which rows complete those asked for, (M, K), None for all of them; and their log-weights."""
        rows, weights = torch.tensor(self.features[:, self.seen]), torch.tensor(self.weights)
        at = asked[:, torch.from_numpy(self.seen)]
        if self.kind == "kernel":
            width = torch.tensor(self.bandwidth)
            return None, hidden_completions.kernel(
                rows[None], weights[None], width[None], at[None]
            )[0]
        which = hidden_completions.neighbours(rows, weights, min(self.count, len(rows)), at)
        return which, weights.log()[which]

    def _drawn(self, features: FloatArray) -> torch.Tensor:
        """What the user's function gives for rows (M, D): (M, K, D)."""
        wanted = features[:, self.seen]
        given = self.kind(wanted.copy(), np.random.default_rng(self.seed))  # type: ignore[operator]
        name = "completions(...)"
        try:
            drawn: FloatArray = np.array(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise invalid(name, "be numbers", type(given).__name__) from None
        rows, columns = features.shape
        if not (drawn.ndim == 3 and drawn.shape[::2] == (rows, columns) and drawn.shape[1] > 0):
            constraint = f"be whole rows of the shape ({rows}, completions, {columns})"
            raise invalid(name, constraint, drawn.shape)
        if not np.isfinite(drawn).all():
            raise invalid(name, "be finite", "NaN or an infinite value")
        close = np.isclose(drawn[:, :, self.seen], wanted[:, None], rtol=1e-5, atol=1e-8)
        if not close.all():
            row, draw, column = (int(i) for i in np.argwhere(~close)[0])
            feature = int(self.seen[column])
            raise invalid(
                name,
                "keep the restricted features",
                f"{drawn[row, draw, feature]:.6g} in place of {wanted[row, column]:.6g} "
                f"(row {row}, completion {draw}, feature {feature})",
                "Draw the other features alone",
            )
        return torch.from_numpy(drawn)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, hidden_completions.BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)

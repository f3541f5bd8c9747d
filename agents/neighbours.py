"""Completions without a model: the other states of a batch that a restricted view may stand for.

Where no model says which full states a view x̄ may stand for, the states of a batch that look alike do:
those met with nearly the same view (`Nearest`), or with exactly the same one (`Equal`). It is the
empirical estimate of the induced model (arXiv 2402.12513, section 3): Q averaged over data whose x̄ is
the same, or near under a kernel. `IMMCallback` asks for it at every minibatch, so it is quick: one
matrix product and one partition, whatever the number of features.

What comes out is what `imm_rl.induced.sampled` takes, once Q has been asked at the B states:
`sampled(log_probs[index], log_weights)` with log_probs (B, Y).

How many: more completions are a steadier average, but of views further off. For the estimate to become
exact with B, k must grow with it, slower than B. Index letters: B states of a batch, each with its
view; K completions; r features of a view.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from imm_rl.envs import options
from imm_rl.envs.options import FloatArray, IntArray
from imm_rl.errors import invalid

BLOCK = 1 << 14
"""Distances worked on at a time, half a megabyte: what is read again is still in the cache."""

LARGEST_SQUARE = 1e37
"""Squared distances are compared in float32."""

SMALLEST_SPREAD = 1e-12
"""A column whose std is below this share of its largest entry is constant but for rounding."""


class Completion(NamedTuple):
    """K completions of each of B states.

    Attributes:
        index: (B, K), which states of the batch. Column 0 is the state itself; the others are in the
            order of their distance.
        log_weights: (B, K), unnormalised, nats; −inf drops a completion (its index is then the state's
            own), never the first.
    """

    index: IntArray  # type: ignore[assignment]  # hides tuple.index, of no use here
    log_weights: FloatArray


@dataclass(frozen=True)
class Nearest:
    """The k states whose views are nearest, the state itself among them.

    Equally near ones beyond k are chosen evenly: each state takes others.

    Attributes:
        k: Completions of a state; a smaller batch has no more than its B.
        bandwidth: h of the kernel exp(−d²/2h²) that weights them, d the Euclidean distance of views
            divided by `scale`; None for equal weights.
    """

    k: int = 16
    bandwidth: float | None = None
    forms: ClassVar[str] = "nearest, nearest:k=16,bandwidth=0.2"

    def __post_init__(self) -> None:
        options.whole("k of completions 'nearest'", self.k, at_least=1)
        if self.bandwidth is not None:
            options.positive("bandwidth of completions 'nearest'", self.bandwidth)

    @property
    def text(self) -> str:
        """The form that `parse_completions` reads back."""
        width = "" if self.bandwidth is None else f",bandwidth={float(self.bandwidth)!r}"
        return f"nearest:k={self.k}{width}"


@dataclass(frozen=True)
class Equal:
    """The states with exactly the same view, for views of whole numbers; equal weights.

    Attributes:
        k: Completions of a state at most. Where more states look the same, each takes itself and
            others at even steps through them, so that every one serves equally often.
    """

    k: int = 64
    forms: ClassVar[str] = "equal, equal:k=64"

    def __post_init__(self) -> None:
        options.whole("k of completions 'equal'", self.k, at_least=1)

    @property
    def text(self) -> str:
        """The form that `parse_completions` reads back."""
        return f"equal:k={self.k}"


CompletionKind: TypeAlias = Nearest | Equal

_KINDS: dict[str, type[Nearest] | type[Equal]] = {"nearest": Nearest, "equal": Equal}


def parse_completions(text: str | CompletionKind) -> CompletionKind:
    """Makes a kind of its text, e.g. "nearest:k=16,bandwidth=0.2"; a kind is returned as it is.

    Raises:
        InvalidInputError: The text has none of the forms, or a number in it is out of range.
    """
    if isinstance(text, Nearest | Equal):
        return text
    form: object = text
    name, colon, rest = form.partition(":") if isinstance(form, str) else ("", "", "")
    kind = _KINDS.get(name.strip())
    given = _values(rest.split(",")) if colon else {}
    if kind is None or given is None or not given.keys() <= {f.name for f in fields(kind)}:
        forms = ", ".join(known.forms for known in _KINDS.values())
        raise invalid("completions", f"have one of the forms {forms}", text)
    return kind(**given)  # type: ignore[arg-type]  # _values makes k whole


def view_scale(views: npt.ArrayLike) -> FloatArray:
    """The unit of each column of views (B, r), by which distances are measured: (r,).

    Its standard deviation; 1 for a column that is constant, up to rounding.

    Raises:
        InvalidInputError: views are not (B, r) finite numbers, B and r at least 1.
    """
    rows = _checked_views(views)
    largest = np.abs(rows).max(axis=0)
    largest[largest == 0.0] = 1.0
    spread = (rows / largest).std(axis=0)  # squares of huge or tiny entries would leave the range
    scale = spread * largest
    # Below the smallest normal number a scale has lost its digits, and dividing by it may overflow.
    constant = (spread <= SMALLEST_SPREAD) | (scale < np.finfo(np.float64).tiny)
    return np.where(constant, 1.0, scale)


def complete(
    kind: CompletionKind, views: npt.ArrayLike, scale: npt.ArrayLike | None = None
) -> Completion:
    """Finds each state's completions among the states of its batch.

    Args:
        kind: `Nearest` or `Equal`.
        views: (B, r), the restricted view of each state. For restricted policies that remember, their
            answers may stand beside it as further columns.
        scale: (r,), units of the columns, above 0; `view_scale` of these views where not given. `Equal`
            views are equal in any unit.

    Returns:
        Completions (B, K). Of `Nearest`, K is the smaller of k and B; of `Equal`, the smaller of k and
        the largest number of states that look the same, −inf where a state has fewer.

    Raises:
        InvalidInputError: A shape is wrong, a view is not finite, or a scale is not above 0.
    """
    rows = _checked_views(views)
    units = view_scale(rows) if scale is None else _checked_scale(scale, rows)
    if isinstance(kind, Equal):
        return _equal(rows, kind.k)
    points = (rows - rows.mean(axis=0)) / units
    index = _nearest(points, min(kind.k, len(rows)))
    if kind.bandwidth is None:
        return Completion(index, np.zeros(index.shape))
    apart = (points[index] - points[:, None, :]) / kind.bandwidth
    return Completion(index, -0.5 * (apart * apart).sum(axis=2))


def _nearest(points: FloatArray, k: int) -> IntArray:
    """The k nearest of points (B, r) to each, itself first: (B, k).

    Distance and place go into one whole number, so that one partition sorts both: floats that are not
    negative are ordered as their bits are, and the place takes the last bits. float32 leaves the
    distance 15 bits at B = 256, and halves the time. A place is written as place ^ own place: 0 for the
    state itself, and for each state another order of the others, so that ties are spread.
    """
    n, r = points.shape
    with np.errstate(over="ignore"):  # said below
        norms = (points * points).sum(axis=1)
    if not norms.max() < LARGEST_SQUARE:
        raise invalid(
            "views", "be finite numbers when centred and divided by scale", float(norms.max())
        )
    # Rounding of the product below: views this near are the same, and so exactly tied.
    same = 4.0 * (r + 2) * np.finfo(np.float64).eps * norms.max()
    # |a − b|² = −2 a·b + |a|² + |b|², less `same`, as one product.
    ones = np.ones((n, 1))
    left = np.concatenate([-2.0 * points, norms[:, None] - same, ones], axis=1)
    right = np.ascontiguousarray(np.concatenate([points, ones, norms[:, None]], axis=1).T)
    places = np.arange(n, dtype=np.int32)
    place_bits = (1 << (n - 1).bit_length()) - 1
    step = min(max(BLOCK // n, 1), n)
    squares, packed = np.empty((step, n)), np.empty((step, n), dtype=np.int32)
    keys = np.empty((n, k), dtype=np.int32)
    for start in range(0, n, step):
        own, block = places[start : start + step, None], packed[: n - start]
        np.matmul(left[start : start + step], right, out=squares[: n - start])
        block.view(np.float32)[:] = squares[: n - start]
        np.maximum(block, 0, out=block)  # a float below 0 is a whole number below 0
        block &= ~place_bits
        block |= own ^ places
        block.partition(k - 1, axis=1)
        keys[start : start + step] = block[:, :k]
    keys.sort(axis=1)
    found: IntArray = ((keys & place_bits) ^ places[:, None]).astype(np.int64)
    return found


def _equal(rows: FloatArray, k: int) -> Completion:
    n, r = rows.shape
    data, width = (rows + 0.0).tobytes(), 8 * r  # + 0.0: −0 is 0
    numbers: dict[bytes, int] = {}
    groups = np.array(
        [numbers.setdefault(data[i : i + width], len(numbers)) for i in range(0, n * width, width)]
    )
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n) - starts[groups[order]]
    size, start = counts[groups][:, None], starts[groups][:, None]
    taken = np.minimum(size, k)
    column = np.arange(min(k, int(counts.max())))
    # Even steps through the group from the state's own place in it: every shift is another.
    shift = np.where(column < taken, column * size // taken, 0)
    index = order[start + (rank[:, None] + shift) % size]
    return Completion(index, np.where(column < taken, 0.0, -np.inf))


def _values(parts: list[str]) -> dict[str, int | float] | None:
    """The numbers of "key=value" texts, or None where one is no such text or stands twice."""
    values: dict[str, int | float] = {}
    for part in parts:
        key, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or key in values or "_" in number:  # int() takes 1_000 for a number
            return None
        try:
            values[key] = int(number) if key == "k" else float(number)
        except ValueError:
            return None
    return values


def _checked_views(views: npt.ArrayLike) -> FloatArray:
    rows: FloatArray = options.floats("views", views)
    if rows.ndim != 2 or rows.size == 0:
        raise invalid("views", "have shape (B, r), B and r at least 1", rows.shape)
    if not np.isfinite(rows).all():
        b, column = np.argwhere(~np.isfinite(rows))[0].tolist()
        raise invalid(f"views[{b}, {column}]", "be finite", float(rows[b, column]))
    return rows


def _checked_scale(scale: npt.ArrayLike, rows: FloatArray) -> FloatArray:
    units: FloatArray = options.floats("scale", scale)
    if units.shape != (rows.shape[1],):
        raise invalid("scale", f"have one entry a column, shape ({rows.shape[1]},)", units.shape)
    if not ((units > 0.0) & np.isfinite(units)).all():
        raise invalid("scale", "be finite and above 0", units.tolist())
    return units

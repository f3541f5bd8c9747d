"""The settings of `IMMLogisticRegression`, checked: `Settings.of(estimator)`.

A setting that would have no effect is refused: whoever gives it expects one.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch

from imm_rl.device import torch_device
from imm_rl.errors import InvalidInputError, invalid, unknown_name
from imm_rl.language.restricted_classifier import Kind, kind_of
from imm_rl.schedules import Constant, Ratio, parse

METHODS = ("imm", "noising", "interpolation", "none")
COMPLETIONS = ("kernel", "neighbors")
N_COMPLETIONS = 100


class Settings(NamedTuple):
    """What a fit is about.

    Attributes:
        method: One of `METHODS`.
        weight: λ, 0 without a restricted model.
        kind: The form of the restricted model, None without one.
        device: Where the fit runs.
    """

    method: str
    weight: float
    kind: Kind | None
    device: torch.device

    @property
    def ratio(self) -> float:
        """λ/(1+λ) for interpolation, else 0: the share of P̂ in the predictions."""
        return self.weight / (1 + self.weight) if self.method == "interpolation" else 0.0

    @classmethod
    def of(cls, estimator: Any) -> Settings:
        """Checks the parameters of an estimator that do not depend on the data.

        Raises:
            InvalidInputError: One is out of range, or would have no effect.
        """
        _check_numbers(estimator)
        _check_completions(estimator)
        device = torch_device(estimator.device)
        method = _method(estimator)
        if not isinstance(estimator.fit_restricted, bool):
            raise invalid("fit_restricted", "be True or False", estimator.fit_restricted)
        if method == "none":
            _check_nothing_ignored(estimator)
            return cls(method, 0.0, None, device)
        kind = kind_of(estimator.restricted)
        if estimator.fit_restricted and kind != "classifier":
            remedy = "Only a scikit-learn classifier can be fitted"
            raise invalid("fit_restricted", f"be False for a restricted {kind}", True, remedy)
        if kind == "array" and method == "interpolation":
            raise invalid(
                "method",
                "be 'imm' or 'noising' where restricted is an array",
                method,
                "The array has probabilities for the training rows alone, and interpolation needs those "
                "of the rows to be predicted: give a function or a classifier",
            )
        return cls(method, _weight(estimator.imm_lambda), kind, device)


def _method(estimator: Any) -> str:
    method, given = estimator.method, estimator.restricted is not None
    if method is None:
        return "imm" if given else "none"
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if method != "none" and not given:
        remedy = "Give restricted=, or leave method at None for plain logistic regression"
        raise invalid("restricted", f"be given for method {method!r}", None, remedy)
    return str(method)


def _check_nothing_ignored(estimator: Any) -> None:
    """Refuses what only a restricted model gives a meaning to."""
    if estimator.restricted is not None:
        raise invalid(
            "restricted",
            "be None for method 'none'",
            estimator.restricted,
            "For a plain fit with all else as it is, set imm_lambda=0",
        )
    remedy = "Give restricted=, the model that sees the restricted features"
    if estimator.imm_lambda is not None:
        constraint = "be None without a restricted model"
        raise invalid("imm_lambda", constraint, estimator.imm_lambda, remedy)
    if estimator.fit_restricted:
        raise invalid("fit_restricted", "be False without a restricted model", True, remedy)


def _weight(given: object) -> float:
    """λ of a number or a text."""
    if given is None:
        return 1.0
    try:
        schedule = parse(given)  # type: ignore[arg-type]
    except InvalidInputError as error:
        raise InvalidInputError(f"imm_lambda: {error}") from None
    if not isinstance(schedule, Constant | Ratio):
        raise invalid(
            "imm_lambda",
            "stay the same, as the fit has no steps along which it could change",
            given,
            "Give a number of at least 0, or a text such as '0.25' or 'ratio:0.2'",
        )
    return schedule(0.0)


def _check_numbers(estimator: Any) -> None:
    if not (_is_number(estimator.C) and estimator.C > 0):
        raise invalid("C", "be a number above 0, or numpy.inf for no penalty", estimator.C)
    if not (_is_number(estimator.tol) and 0 <= estimator.tol < math.inf):
        raise invalid("tol", "be a number of at least 0", estimator.tol)
    for name in ("max_iter", "n_completions"):
        value: Any = getattr(estimator, name)
        if not (_is_number(value) and isinstance(value, Integral) and int(value) >= 1):
            raise invalid(name, "be a whole number of at least 1", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_completions(estimator: Any) -> None:
    given = estimator.completions
    if not callable(given) and given not in COMPLETIONS:
        raise unknown_name("completions", given, COMPLETIONS)
    if given != "kernel" and estimator.bandwidth is not None:
        shown = "a function" if callable(given) else repr(given)
        remedy = "The bandwidth is that of completions='kernel'"
        raise invalid("bandwidth", f"be None for completions {shown}", estimator.bandwidth, remedy)
    if callable(given) and estimator.n_completions != N_COMPLETIONS:
        remedy = "The function itself says how many"
        constraint = f"be left at {N_COMPLETIONS} where completions is a function"
        raise invalid("n_completions", constraint, estimator.n_completions, remedy)

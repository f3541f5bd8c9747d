"""The restricted model of `IMMLogisticRegression`: what users give, as one thing that gives P̂.

Users give a function of the restricted features, a scikit-learn classifier, or the probabilities of each
training row. Whatever it is, its output is checked and its columns are put in the order of the full model's
classes.

Index letters: N rows, r restricted features, C classes.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from imm_rl.checks import SUM_TOLERANCE
from imm_rl.errors import InvalidInputError, invalid

FloatArray: TypeAlias = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["function", "classifier", "array"]

_FORMS = "be a function, a scikit-learn classifier or an array of probabilities"


def kind_of(restricted: object) -> Kind:
    """Which of the three forms a restricted model has.

    Raises:
        InvalidInputError: None of them.
    """
    if isinstance(restricted, type):
        raise invalid("restricted", _FORMS, restricted, "Give an instance of the class")
    if hasattr(restricted, "predict_proba"):
        return "classifier"
    if hasattr(restricted, "fit"):
        remedy = "SVC(probability=True) or sklearn.calibration.CalibratedClassifierCV have one"
        raise invalid("restricted", "have a method predict_proba", restricted, remedy)
    if callable(restricted):
        return "function"
    if isinstance(restricted, str) or not hasattr(restricted, "__len__"):
        raise invalid("restricted", _FORMS, restricted)
    return "array"


def fitted_classifier(
    restricted: Any, seen: FloatArray, y: npt.NDArray[Any], sample_weight: FloatArray | None
) -> Any:
    """A clone of the classifier, fitted on the restricted features (N, r) of the training rows.

    Args:
        restricted: The classifier; it stays as it is.
        seen: (N, r).
        y: (N,), class labels.
        sample_weight: (N,), handed on where its `fit` takes weights; None for none.

    Raises:
        InvalidInputError: It is a FrozenEstimator, which `fit` would leave as it is.
    """
    if isinstance(restricted, FrozenEstimator):
        remedy = "Leave fit_restricted at False, or give the classifier without FrozenEstimator"
        raise invalid("fit_restricted", "be False for a FrozenEstimator", True, remedy)
    found = clone(restricted)
    weighted = sample_weight is not None and has_fit_parameter(found, "sample_weight")
    return found.fit(seen, y, **({"sample_weight": sample_weight} if weighted else {}))


def check_fitted(classifier: Any) -> None:
    """Refuses a scikit-learn classifier that has learned nothing yet.

    Raises:
        InvalidInputError: It is not fitted.
    """
    try:
        check_is_fitted(classifier)
    except NotFittedError:
        raise invalid(
            "restricted",
            "be fitted already",
            classifier,
            "clone(), which GridSearchCV, cross_val_score and others call, forgets what a classifier "
            "has learned: wrap the fitted one in sklearn.frozen.FrozenEstimator, or pass "
            "fit_restricted=True to fit it on the restricted features of the training rows",
        ) from None
    except TypeError:  # no fit method: nothing to be fitted
        return


@dataclass(frozen=True)
class RestrictedModel:
    """P̂ as a function of the restricted features.

    Attributes:
        source: A function (N, r) -> (N, C), or a fitted classifier.
        columns: (C,), the classifier's column of each class of the full model, −1 for a class that it has
            not seen; None for a function.
        names: The names under which a classifier was fitted on a table, None where it was not.
    """

    source: Any
    classes: npt.NDArray[Any]
    columns: npt.NDArray[np.intp] | None = None
    names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, source: Any, classes: npt.NDArray[Any], width: int, names: tuple[str, ...] | None
    ) -> RestrictedModel:
        """Wraps a function or a fitted classifier.

        Args:
            source: The function or classifier.
            classes: (C,), of the full model.
            width: r.
            names: Of the restricted features, None where X has none.

        Raises:
            InvalidInputError: The classifier is not fitted, or it is about other classes or features.
        """
        if not hasattr(source, "predict_proba"):
            return cls(source, classes)
        check_fitted(source)
        theirs = getattr(source, "feature_names_in_", None)
        seen = None if theirs is None else tuple(str(name) for name in theirs)
        _check_features(source, width, seen, names)
        return cls(source, classes, _columns(source, classes), seen)

    def probs(self, seen: FloatArray) -> FloatArray:
        """P̂(y|x̄), (N, C), at restricted features (N, r).

        Raises:
            InvalidInputError: The output is no (N, C) array of distributions.
        """
        if self.columns is None:
            return checked_probs("restricted(...)", self.source(seen), len(seen), self.classes)
        given = checked_probs(
            "restricted.predict_proba(...)", self._asked(seen), len(seen), self.source.classes_
        )
        found = np.zeros((len(seen), len(self.classes)))
        known = self.columns >= 0
        found[:, known] = given[:, self.columns[known]]
        return found

    def _asked(self, seen: FloatArray) -> Any:
        if self.names is None:
            return self.source.predict_proba(seen)
        try:
            frame = importlib.import_module("pandas").DataFrame(seen, columns=list(self.names))
        except ImportError:  # fitted on a table of another library
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "X does not have valid feature names")
                return self.source.predict_proba(seen)
        return self.source.predict_proba(frame)


def checked_probs(
    name: str, values: object, rows: int, classes: npt.NDArray[Any] | list[Any]
) -> FloatArray:
    """Probabilities (N, C) as float64; rows that sum to 1 but for rounding are made to.

    Args:
        name: What they are, for the error.
        values: An array or what NumPy makes one of.
        rows: N.
        classes: (C,).

    Raises:
        InvalidInputError: The shape is wrong or a row is no distribution.
    """
    try:
        array: FloatArray = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise invalid(name, "be numbers", type(values).__name__) from None
    wanted = (rows, len(classes))
    if array.shape != wanted:
        order = ", ".join(str(label) for label in np.asarray(classes).tolist())
        raise invalid(
            name,
            f"be of the shape (rows, classes) = {wanted}",
            array.shape,
            f"One row of probabilities for each row; the columns are the classes {order}",
        )
    sums = array.sum(1)
    good = (array >= 0).all(1) & (np.abs(sums - 1) <= SUM_TOLERANCE)  # False for NaN
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        constraint = "have rows of numbers of at least 0 that sum to 1"
        raise invalid(name, constraint, f"{array[row].tolist()} in row {row}")
    found: FloatArray = array / sums[:, None]
    return found


def _check_features(
    source: Any, width: int, seen: tuple[str, ...] | None, names: tuple[str, ...] | None
) -> None:
    expected = getattr(source, "n_features_in_", width)
    if expected != width:
        raise invalid(
            "restricted",
            f"take the {width} feature(s) of restricted_features",
            f"a classifier fitted on {expected}",
            "Name the features that it sees in restricted_features, in its order",
        )
    if seen is not None and names is not None and seen != names:
        raise invalid(
            "restricted_features",
            f"be those that the restricted classifier was fitted on, {list(seen)}, in this order",
            list(names),
        )


def _columns(source: Any, classes: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    theirs = getattr(source, "classes_", None)
    if theirs is None:
        remedy = "A function of the restricted features needs none"
        raise invalid("restricted", "have an attribute classes_", source, remedy)
    place = {label: i for i, label in enumerate(np.asarray(theirs).tolist())}
    ours = classes.tolist()
    extra = [label for label in place if label not in ours]
    if extra:
        raise InvalidInputError(
            f"restricted must know no class that the training rows lack; received a classifier of "
            f"{', '.join(map(repr, extra))} besides {', '.join(map(repr, ours))}. Give it rows of those "
            "classes too, or a restricted model of the classes at hand."
        )
    return np.array([place.get(label, -1) for label in ours], dtype=np.intp)

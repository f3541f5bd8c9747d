"""`IMMLogisticRegression`: scikit-learn's logistic regression with the help of a model that sees less.

    model = IMMLogisticRegression(restricted=probs_given_the_first_column, restricted_features=(0,))
    model.fit(X, y).predict_proba(X_new)

The fit minimises, over the rows n with weights w[n],

    Σ_n w[n] CE(y[n], Q(·|x[n])) / Σ_n w[n]  +  λ · IMM  +  |coef|² / (2 C Σ_n w[n]),

IMM the cross-entropy of the induced model, Q averaged over completions of the hidden features, under the
restricted model. Without a restricted model this is scikit-learn's LogisticRegression.

Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv 2402.12513), section on logistic regression.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, validate_data
except ImportError:
    raise ImportError(
        "IMMLogisticRegression needs scikit-learn 1.6 or newer: pip install 'imm-rl[language]'"
    ) from None

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.language.feature_columns import feature_columns
from imm_rl.language.logistic_batch import Matching, Problems, fit
from imm_rl.language.logistic_predictions import LogisticPredictions
from imm_rl.language.logistic_settings import N_COMPLETIONS, Settings
from imm_rl.language.restricted_classifier import (
    RestrictedModel,
    checked_probs,
    fitted_classifier,
)
from imm_rl.language.row_completions import RowCompletions, bandwidths

FloatArray: TypeAlias = npt.NDArray[np.float64]

_LARGEST = 1e100
"""Beyond it squares of gradients overflow."""


class IMMLogisticRegression(ClassifierMixin, LogisticPredictions, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with Induced Model Matching, a scikit-learn classifier.

    Index letters: N rows, D features, r restricted features, C classes.

    Attributes:
        classes_: (C,), the class labels.
        coef_: (1, D) for two classes, else (C, D).
        intercept_: (1,) or (C,).
        n_iter_: (1,), accepted steps of L-BFGS.
        n_features_in_: D.
        feature_names_in_: (D,), where X is a table with column names.
        restricted_classifier_: The restricted classifier, where `fit_restricted` had it fitted.

    Args:
        restricted: The model that sees the restricted features alone. A function (N, r) -> (N, C) of
            probabilities, columns in the order of `classes_`; or a fitted scikit-learn classifier (wrap it
            in `sklearn.frozen.FrozenEstimator` where the estimator is cloned); or an array (N, C) for the
            training rows. None: plain logistic regression.
        restricted_features: What it sees: column numbers, column names, or one boolean a column.
        method: "imm"; "noising", each row its own only completion; "interpolation", a plain fit that is
            mixed with the restricted model at prediction; "none". None: "imm" where `restricted` is given,
            else "none".
        imm_lambda: λ, the weight of the term: a number of at least 0, or "0.25", or "ratio:0.2" for
            λ/(1+λ), which is also the share of the restricted model in an interpolation. None: 1.
        completions: What the hidden features of a row may be: those of rows with near restricted features,
            weighted by a Gaussian "kernel" or of the nearest "neighbors"; or a function (restricted
            features (N, r), NumPy generator) -> whole rows (N, K, D). `induced_log_proba` uses them
            with every method, the fit with "imm".
        n_completions: Most completions of a row. "kernel" takes all rows where there are no more than
            that, else draws so many of them for each row.
        bandwidth: Width of the kernel, a positive number or one a restricted feature. None: by the
            spread and number of rows (`hidden_completions.bandwidths`).
        fit_restricted: Whether `restricted`, a classifier, is cloned and fitted on the restricted
            features of the training rows, with their weights where it takes weights.
        C: Inverse strength of the penalty, as in LogisticRegression; `numpy.inf` for none.
        max_iter: Most steps of L-BFGS.
        tol: The fit ends where no entry of the gradient is larger.
        device: "cpu", "cuda", or "auto": where the fit runs.
        random_state: Of all draws: a number, a `numpy.random.RandomState` or None.
    """

    def __init__(
        self,
        *,
        restricted: Any = None,
        restricted_features: Any = (0,),
        method: str | None = None,
        imm_lambda: float | str | None = None,
        completions: Any = "kernel",
        n_completions: int = N_COMPLETIONS,
        bandwidth: Any = None,
        fit_restricted: bool = False,
        C: float = 1.0,
        max_iter: int = 100,
        tol: float = 1e-4,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.restricted = restricted
        self.restricted_features = restricted_features
        self.method = method
        self.imm_lambda = imm_lambda
        self.completions = completions
        self.n_completions = n_completions
        self.bandwidth = bandwidth
        self.fit_restricted = fit_restricted
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> IMMLogisticRegression:
        """Fits the model.

        Args:
            X: (N, D), numbers.
            y: (N,), class labels, at least two different ones.
            sample_weight: (N,), at least 0. A weight of 2 counts as the row twice, 0 as no row.

        Returns:
            The estimator itself.

        Raises:
            InvalidInputError: A parameter is wrong or would have no effect, the restricted model gives
                no probabilities, or there is one class alone. It is a ValueError, as are the errors that
                scikit-learn raises for X and y.
        """
        settings = Settings.of(self)
        X, y = validate_data(self, X, y, dtype=np.float64, order="C")
        check_classification_targets(y)
        if np.abs(X).max() > _LARGEST:
            remedy = "Scale the features, e.g. with sklearn.preprocessing.StandardScaler"
            raise invalid("X", f"be within ±{_LARGEST:g}", float(np.abs(X).max()), remedy)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        kept = _kept(weights)
        self.classes_, labels = np.unique(y[kept], return_inverse=True)
        if len(self.classes_) < 2:
            raise InvalidInputError(
                "y must have at least 2 classes among the rows with a positive weight; received one "
                f"class, {self.classes_.tolist()[0]!r}. Give rows of another class too."
            )
        names = getattr(self, "feature_names_in_", None)
        seen = feature_columns(self.restricted_features, X.shape[1], names)
        lenders = self._lenders(settings, X[kept], weights[kept], seen)
        passed = None if sample_weight is None else weights[kept]
        target = self._target(settings, lenders, y[kept], passed, kept)
        matching = None
        # A weight of 0 must be the plain fit, to the last bit.
        if target is not None and settings.weight > 0 and settings.method != "interpolation":
            own = settings.method == "noising"
            matching = lenders.matching(target, settings.weight, settings.device, own=own)
        self._ratio, self._lending = settings.ratio, lenders
        self._solve(lenders, labels, matching, settings.device)
        return self

    def _lenders(
        self, settings: Settings, X: FloatArray, weights: FloatArray, seen: npt.NDArray[np.intp]
    ) -> RowCompletions:
        width = bandwidths(self.bandwidth, X[:, seen], weights)
        drawn = callable(self.completions) or (
            settings.method == "imm"
            and self.completions == "kernel"
            and len(X) > self.n_completions
        )
        random = check_random_state(self.random_state)
        # Where nothing is drawn, NumPy's global random numbers stay as they are.
        seed = int(random.randint(np.iinfo(np.int32).max)) if drawn else 0
        return RowCompletions(
            self.completions, int(self.n_completions), X, weights, seen, width, seed
        )

    def _target(
        self,
        settings: Settings,
        lenders: RowCompletions,
        y: npt.NDArray[Any],
        sample_weight: FloatArray | None,
        kept: npt.NDArray[np.bool_],
    ) -> FloatArray | None:
        """P̂ of the training rows, (N, C); also keeps the restricted model for predictions."""
        self._restricted = None
        if hasattr(self, "restricted_classifier_"):
            delattr(self, "restricted_classifier_")
        if settings.kind is None:
            return None
        if settings.kind == "array":
            return checked_probs("restricted", self.restricted, len(kept), self.classes_)[kept]
        source, at = self.restricted, lenders.features[:, lenders.seen]
        if self.fit_restricted:
            source = fitted_classifier(source, at, y, sample_weight)
            self.restricted_classifier_ = source
        names = getattr(self, "feature_names_in_", None)
        seen_names = None if names is None else tuple(str(names[i]) for i in lenders.seen)
        self._restricted = RestrictedModel.of(source, self.classes_, at.shape[1], seen_names)
        return self._restricted.probs(at)

    def _solve(
        self,
        lenders: RowCompletions,
        labels: npt.NDArray[np.intp],
        matching: Matching | None,
        device: torch.device,
    ) -> None:
        ridge = 1 / (float(self.C) * lenders.weights.sum())
        problem = Problems(
            torch.tensor(lenders.features[None], device=device),
            torch.tensor(labels[None], device=device),
            torch.tensor(lenders.weights[None], device=device),
            len(self.classes_),
            torch.tensor([ridge], dtype=torch.float64, device=device),
            matching,
        )
        fitted = fit(problem, max_iter=int(self.max_iter), tol=float(self.tol))
        self.coef_ = fitted.coefficients[0].cpu().numpy()
        self.intercept_ = fitted.intercepts[0].cpu().numpy()
        self.n_iter_ = fitted.iterations.cpu().numpy().astype(np.int32)
        if not bool(fitted.converged.all()):
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_[0]} steps (max_iter={self.max_iter}, "
                f"tol={self.tol}). Increase max_iter, or scale the features, e.g. with "
                "sklearn.preprocessing.StandardScaler.",
                ConvergenceWarning,
                stacklevel=3,
            )


def _kept(weights: FloatArray) -> npt.NDArray[np.bool_]:
    if not (weights >= 0).all():
        raise invalid("sample_weight", "be at least 0", float(weights.min()))
    if not (weights > 0).any():
        raise invalid("sample_weight", "have a weight that is not zero", "zeros alone")
    return np.asarray(weights > 0)

"""What a fitted `IMMLogisticRegression` says of rows: `LogisticPredictions`, its base class.

Index letters: N rows, D features, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, log_softmax
from sklearn.utils.validation import check_is_fitted, validate_data

from imm_rl.language.restricted_classifier import RestrictedModel
from imm_rl.language.row_completions import RowCompletions

FloatArray: TypeAlias = npt.NDArray[np.float64]


class LogisticPredictions:
    """Predictions of a linear model, mixed with the restricted model's where it is an interpolation.

    Attributes:
        classes_: (C,), the class labels.
        coef_: (1, D) for two classes, else (C, D).
        intercept_: (1,) or (C,).
    """

    classes_: npt.NDArray[Any]
    coef_: FloatArray
    intercept_: FloatArray
    _lending: RowCompletions
    _restricted: RestrictedModel | None
    _ratio: float

    def decision_function(self, X: Any) -> FloatArray:
        """Log-odds of the second of two classes, (N,); else a score a class, (N, C)."""
        log_probs = self.predict_log_proba(X) if self._mixes() else None
        if log_probs is None:
            logits = self._logits(self._checked(X))
            return logits[:, 0] if logits.shape[1] == 1 else logits
        return log_probs[:, 1] - log_probs[:, 0] if log_probs.shape[1] == 2 else log_probs

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The likeliest class of each row, (N,)."""
        scores = self.decision_function(X)
        which = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(1)
        return np.asarray(self.classes_[which])

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each class, (N, C), in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Its logarithm, (N, C), in nats."""
        X = self._checked(X)
        return self._mixed(_log_probs(self._logits(X)), X)

    def induced_log_proba(self, X: Any) -> FloatArray:
        """The fitted model for one who sees the restricted features alone.

        The average of Q over the completions of each row's restricted features by the training rows: all
        of them for "kernel", the nearest, or what the `completions` function gives. Compared with the
        restricted model it shows how well the two match.

        Args:
            X: (N, D); only the restricted features count.

        Returns:
            (N, C), log-probabilities in nats.
        """
        X = self._checked(X)
        return self._mixed(self._lending.induced(X, self.coef_, self.intercept_), X)

    def _checked(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float64, order="C", reset=False))

    def _logits(self, X: FloatArray) -> FloatArray:
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def _mixes(self) -> bool:
        check_is_fitted(self)
        return self._ratio > 0

    def _mixed(self, log_probs: FloatArray, X: FloatArray) -> FloatArray:
        """The interpolation with the restricted model, where the method is that; else as given."""
        if not self._mixes() or self._restricted is None:
            return log_probs
        other = self._restricted.probs(X[:, self._lending.seen])
        with np.errstate(divide="ignore"):  # a class that both rule out
            return np.asarray(np.log((1 - self._ratio) * np.exp(log_probs) + self._ratio * other))


def _log_probs(logits: FloatArray) -> FloatArray:
    if logits.shape[1] > 1:
        return np.asarray(log_softmax(logits, axis=1))
    return np.asarray(log_expit(np.hstack([-logits, logits])))

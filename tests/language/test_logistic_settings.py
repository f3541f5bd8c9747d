"""Every setting of `IMMLogisticRegression` that is refused, and data that it cannot fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from imm_rl.errors import InvalidInputError
from imm_rl.language.logistic import IMMLogisticRegression
from imm_rl.language.logistic_settings import Settings

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2
HALF = np.full((20, 2), 0.5)


def half(seen: Any) -> Any:
    return np.full((len(seen), 2), 0.5)


def own(seen: Any, _: Any) -> Any:
    return np.concatenate([seen, seen, seen], 1)[:, None]


WITH = {"restricted": half}
MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"method": "imm"},
        "restricted must be given for method 'imm'; received None. Give restricted=",
    ),
    ({"method": "noising"}, "restricted must be given for method 'noising'"),
    ({"method": "matching"}, "unknown method 'matching'.*Known: imm, interpolation, noising, none"),
    (
        {"imm_lambda": 0.5},
        "imm_lambda must be None without a restricted model; .* Give restricted=",
    ),
    ({"fit_restricted": True}, "fit_restricted must be False without a restricted model"),
    ({"fit_restricted": 1, **WITH}, "fit_restricted must be True or False; received 1"),
    ({"fit_restricted": True, **WITH}, "False for a restricted function; .*Only a scikit-learn"),
    ({"fit_restricted": True, "restricted": HALF}, "be False for a restricted array"),
    ({"method": "none", **WITH}, "restricted must be None for method 'none'.* set imm_lambda=0"),
    (
        {"method": "interpolation", "restricted": HALF},
        "method must be 'imm' or 'noising' where restricted is an array.*rows to be predicted",
    ),
    ({"imm_lambda": -1, **WITH}, "imm_lambda: λ schedule '-1' must have weights .*at least 0"),
    ({"imm_lambda": np.nan, **WITH}, "imm_lambda: λ schedule 'nan' must"),
    ({"imm_lambda": True, **WITH}, "imm_lambda: a λ schedule must be a number or"),
    ({"imm_lambda": "much", **WITH}, "imm_lambda: a λ schedule must"),
    ({"imm_lambda": "linear:1->0@0.5", **WITH}, "imm_lambda must stay the same.*'ratio:0.2'"),
    ({"imm_lambda": "paper", **WITH}, "imm_lambda must stay the same"),
    ({"imm_lambda": "target-kl:0.1", **WITH}, "imm_lambda must stay the same"),
    ({"completions": "knn"}, "unknown completions 'knn'.*Known: kernel, neighbors"),
    ({"completions": 3}, "unknown completions 3"),
    ({"bandwidth": 1.0, "completions": "neighbors"}, "be None for completions 'neighbors'"),
    ({"bandwidth": 1.0, "completions": own}, "bandwidth must be None for completions a function"),
    ({"bandwidth": [1.0, 2.0]}, "bandwidth must be a positive number, or 1 of them"),
    ({"n_completions": 5, "completions": own}, "n_completions must be left at 100 .*how many"),
    ({"n_completions": 0}, "n_completions must be a whole number of at least 1; received 0"),
    ({"n_completions": 2.0}, "n_completions must be a whole number"),
    ({"max_iter": 0}, "max_iter must be a whole number of at least 1; received 0"),
    ({"max_iter": True}, "max_iter must be a whole number"),
    ({"C": 0.0}, "C must be a number above 0, or numpy.inf for no penalty; received 0.0"),
    ({"C": -1}, "C must be a number above 0"),
    ({"C": np.nan}, "C must be a number above 0"),
    ({"C": "1"}, "C must be a number above 0"),
    ({"tol": -1e-4}, "tol must be a number of at least 0; received -0.0001"),
    ({"tol": np.inf}, "tol must be a number of at least 0"),
    ({"device": "gpu"}, "unknown device 'gpu'"),
    ({"restricted_features": (3,), **WITH}, r"restricted_features must be in 0\.\.2"),
    ({"restricted_features": (3,)}, r"restricted_features must be in 0\.\.2"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES)
def test_fit_refuses_a_wrong_or_idle_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IMMLogisticRegression(**settings).fit(X, Y)


def test_fit_refuses_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match="finds no CUDA device here"):
        IMMLogisticRegression(device="cuda").fit(X, Y)
    auto = IMMLogisticRegression(device="auto").fit(X, Y)
    assert np.array_equal(auto.coef_, IMMLogisticRegression().fit(X, Y).coef_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.where(Y > 0, -1.0, 1.0), "sample_weight must be at least 0; received -1.0"),
        (Y * 0, "zero"),
        (Y, "at least 2 classes among the rows with a positive weight; received one class, 1"),
    ],
)
def test_fit_refuses_wrong_weights(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IMMLogisticRegression().fit(X, Y, weights)


def test_fit_refuses_numbers_whose_squares_overflow() -> None:
    with pytest.raises(InvalidInputError, match=r"X must be within ±1e\+100; .*StandardScaler"):
        IMMLogisticRegression().fit(X * 1e150, Y)


@pytest.mark.parametrize("scale", [1e90, 1e12, 1e-12, 1e-90])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_stays_finite_at_every_scale(scale: float) -> None:
    fitted = IMMLogisticRegression(restricted=half).fit(X * scale, Y)
    assert np.isfinite(fitted.coef_).all()
    assert np.isfinite(fitted.predict_proba(X * scale)).all()


@pytest.mark.parametrize("method", ["imm", "noising", "interpolation"])
def test_settings_fill_in_what_is_left_open(method: str) -> None:
    found = Settings.of(IMMLogisticRegression(restricted=half, method=method))
    assert (found.method, found.weight, found.kind) == (method, 1.0, "function")
    assert found.ratio == (0.5 if method == "interpolation" else 0.0)
    assert Settings.of(IMMLogisticRegression()).method == "none"
    assert Settings.of(IMMLogisticRegression(restricted=HALF)).method == "imm"


def failures() -> list[Any]:
    broken, endless = X.copy(), X.copy()
    broken[3, 1], endless[3, 1] = np.nan, np.inf
    return [
        pytest.param(X, np.zeros(len(X)), "one class", id="constant-label"),
        pytest.param(X[:1], Y[:1], "one class", id="one-row"),
        pytest.param(X[:0], Y[:0], "0 sample", id="no-row"),
        pytest.param(broken, Y, "NaN", id="nan"),
        pytest.param(endless, Y, "infinity", id="inf"),
        pytest.param(X, Y[:-1], "inconsistent numbers of samples", id="lengths"),
        pytest.param(X, X[:, 0], "Unknown label type", id="regression-target"),
        pytest.param(X[:, 0], Y, "Expected 2D array", id="one-dimension"),
    ]


@pytest.mark.parametrize(("rows", "labels", "message"), failures())
def test_fit_fails_as_logistic_regression_does(rows: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError) as expected:  # noqa: PT011, RUF100
        LogisticRegression().fit(rows, labels)
    with pytest.raises(ValueError, match=message) as found:
        IMMLogisticRegression().fit(rows, labels)
    assert isinstance(found.value, type(expected.value))


def test_predictions_fail_as_those_of_logistic_regression_do() -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        IMMLogisticRegression().predict(X)
    fitted = IMMLogisticRegression().fit(X, Y)
    for name in ("predict", "predict_proba", "decision_function", "induced_log_proba"):
        with pytest.raises(ValueError, match="X has 2 features, but IMMLogisticRegression is exp"):
            getattr(fitted, name)(X[:, :2])


def test_without_scikit_learn_the_error_says_so_alone() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from imm_rl.language import IMMLogisticRegression"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: IMMLogisticRegression needs")
    assert done.stderr.count("Traceback") == 1

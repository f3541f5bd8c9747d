"""`IMMLogisticRegression` against scikit-learn's LogisticRegression and against the method's definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from imm_rl.errors import InvalidInputError
from imm_rl.language import cube
from imm_rl.language.logistic import IMMLogisticRegression

Array = NDArray[Any]


def data(n_classes: int = 2, rows: int = 60, seed: int = 1) -> tuple[Array, Array]:
    """Rows of five features that no plane separates."""
    found: tuple[Array, Array] = make_classification(
        rows, 5, n_informative=4, n_redundant=0, n_classes=n_classes, flip_y=0.3, random_state=seed
    )
    return found


def by_first(n_classes: int = 2) -> Callable[[Array], Array]:
    """A restricted model that sees one feature."""

    def probs(seen: Array) -> Array:
        scores = np.exp(seen[:, :1] * np.arange(n_classes))
        return np.asarray(scores / scores.sum(1, keepdims=True))

    return probs


# --- plain logistic regression --------------------------------------------------------------------


@pytest.mark.parametrize("C", [0.1, 1.0, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_plain_fit_equals_logistic_regression(n_classes: int, weighted: bool, C: float) -> None:
    X, y = data(n_classes)
    weights = np.random.default_rng(0).uniform(0.1, 3, len(X)) if weighted else None
    expected = LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(X, y, weights)

    found = IMMLogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(X, y, weights)

    assert found.coef_.shape == expected.coef_.shape
    assert found.coef_ == pytest.approx(expected.coef_, abs=1e-5)
    assert found.intercept_ == pytest.approx(expected.intercept_, abs=1e-5)
    new = data(n_classes, seed=2)[0]
    for name in ("decision_function", "predict_proba", "predict_log_proba"):
        assert getattr(found, name)(new) == pytest.approx(getattr(expected, name)(new), abs=1e-4)
    assert (found.predict(new) == expected.predict(new)).all()
    assert found.score(X, y) == expected.score(X, y)


def test_fit_takes_float32_and_computes_in_float64() -> None:
    X, y = data()
    single = IMMLogisticRegression().fit(X.astype(np.float32), y)
    double = IMMLogisticRegression().fit(X.astype(np.float32).astype(np.float64), y)
    assert single.coef_.dtype == np.float64
    assert np.array_equal(single.coef_, double.coef_)
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float64


def test_fit_without_penalty_goes_far_on_separable_rows() -> None:
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    found = IMMLogisticRegression(C=np.inf).fit(X, [0, 0, 1, 1])
    assert found.coef_[0, 0] > 5.0
    assert found.predict(X).tolist() == [0, 0, 1, 1]


def test_fit_warns_where_it_has_not_converged() -> None:
    X, y = data()
    with pytest.warns(ConvergenceWarning, match=r"after 2 steps \(max_iter=2.*StandardScaler"):
        found = IMMLogisticRegression(max_iter=2).fit(X, y)
    assert found.n_iter_.tolist() == [2]


def test_score_counts_rows_of_unseen_classes_as_wrong() -> None:
    X, y = data(3)
    fitted = IMMLogisticRegression().fit(X[y < 2], y[y < 2])
    assert fitted.score(X[y == 2], y[y == 2]) == 0.0


# --- with a restricted model ----------------------------------------------------------------------


def cube_accuracies(**settings: Any) -> Array:
    """Accuracy on fresh points of 30 fits on 10 points each."""
    generator = torch.Generator().manual_seed(5)
    tests, truth = cube.sample(1, 2000, generator)
    points, labels = cube.sample(30, 10, generator)
    model = IMMLogisticRegression(C=100.0, max_iter=300, **settings)
    return np.array(
        [
            model.fit(x.numpy(), y.numpy()).score(tests[0].numpy(), truth[0].numpy())
            for x, y in zip(points, labels, strict=True)
        ]
    )


def test_imm_gains_accuracy_on_few_points_of_the_cube() -> None:
    def exact(seen: Array) -> Array:
        return np.asarray(cube.restricted_probs(torch.from_numpy(seen[:, 0])).numpy())

    gains = cube_accuracies(restricted=exact) - cube_accuracies()

    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(9999, len(gains)))
    as_large = (signs * gains).mean(1) >= gains.mean()
    assert (1 + as_large.sum()) / 10_000 < 0.01
    assert gains.mean() > 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
def test_imm_pulls_the_induced_model_towards_the_restricted_one(n_classes: int) -> None:
    X, y = data(n_classes)
    target = by_first(n_classes)(X[:, :1])

    def gap(strength: float) -> float:
        model = IMMLogisticRegression(
            restricted=by_first(n_classes), imm_lambda=strength, max_iter=500
        )
        found = model.fit(X, y).induced_log_proba(X)
        assert np.exp(found).sum(1) == pytest.approx(1.0)
        return float((target * (np.log(target) - found)).sum(1).mean())

    gaps = [gap(strength) for strength in (0.0, 1.0, 100.0)]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


@pytest.mark.parametrize("method", ["imm", "noising", "interpolation"])
def test_lambda_zero_is_the_plain_fit_to_the_last_bit(method: str) -> None:
    X, y = data(3)
    plain = IMMLogisticRegression().fit(X, y)
    model = IMMLogisticRegression(restricted=by_first(3), method=method, imm_lambda=0).fit(X, y)
    assert np.array_equal(plain.coef_, model.coef_)
    assert np.array_equal(plain.intercept_, model.intercept_)
    assert np.array_equal(plain.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("text", ["ratio:0.2", "0.25", 0.25, np.float32(0.25)])
def test_lambda_may_be_a_number_or_a_text(text: Any) -> None:
    X, y = data()
    found = IMMLogisticRegression(restricted=by_first(), imm_lambda=text).fit(X, y)
    expected = IMMLogisticRegression(restricted=by_first(), imm_lambda=0.25).fit(X, y)
    assert np.array_equal(found.coef_, expected.coef_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_interpolation_mixes_a_plain_fit_with_the_restricted_model(n_classes: int) -> None:
    X, y = data(n_classes)
    plain = IMMLogisticRegression().fit(X, y)
    mixed = IMMLogisticRegression(
        restricted=by_first(n_classes), method="interpolation", imm_lambda="ratio:0.3"
    ).fit(X, y)
    assert np.array_equal(plain.coef_, mixed.coef_)
    expected = 0.7 * plain.predict_proba(X) + 0.3 * by_first(n_classes)(X[:, :1])
    assert mixed.predict_proba(X) == pytest.approx(expected)
    assert (mixed.predict(X) == expected.argmax(1)).all()
    scores = mixed.decision_function(X)
    assert (np.exp(scores) if n_classes > 2 else 1 / (1 + np.exp(-scores))) == pytest.approx(
        expected if n_classes > 2 else expected[:, 1]
    )
    of_induced = 0.7 * np.exp(plain.induced_log_proba(X)) + 0.3 * by_first(n_classes)(X[:, :1])
    assert np.exp(mixed.induced_log_proba(X)) == pytest.approx(of_induced)


def test_noising_is_matching_with_each_row_as_its_own_completion() -> None:
    X, y = data()
    noising = IMMLogisticRegression(restricted=by_first(), method="noising", tol=1e-8).fit(X, y)
    own = IMMLogisticRegression(
        restricted=by_first(), restricted_features=range(5), completions=lambda x, _: x[:, None]
    )
    own.set_params(restricted=lambda seen: by_first()(seen[:, :1]), tol=1e-8).fit(X, y)
    assert noising.coef_ == pytest.approx(own.coef_, abs=1e-6)


@pytest.mark.parametrize("completions", ["kernel", "neighbors"])
@pytest.mark.parametrize("method", ["imm", "noising", "interpolation"])
def test_integer_weights_equal_repeated_rows(method: str, completions: str) -> None:
    X, y = data(3, rows=30)
    weights = np.arange(30) % 4
    model = IMMLogisticRegression(
        restricted=by_first(3), method=method, completions=completions, tol=1e-9, max_iter=500
    )
    weighted = model.fit(X, y, weights).predict_proba(X)
    asked = model.induced_log_proba(X)
    repeated = model.fit(X.repeat(weights, 0), y.repeat(weights)).predict_proba(X)
    assert weighted == pytest.approx(repeated, abs=1e-7)
    assert asked == pytest.approx(model.induced_log_proba(X), abs=1e-6)


def test_more_rows_than_completions_are_drawn_by_random_state() -> None:
    X, y = data()
    model = IMMLogisticRegression(restricted=by_first(), n_completions=5)

    def coefficients(random_state: Any) -> Array:
        return np.asarray(model.set_params(random_state=random_state).fit(X, y).coef_)

    assert np.array_equal(coefficients(1), coefficients(1))
    assert np.array_equal(coefficients(1), coefficients(np.random.RandomState(1)))
    assert not np.array_equal(coefficients(1), coefficients(2))
    whole = IMMLogisticRegression(restricted=by_first(), n_completions=60).fit(X, y)
    many = IMMLogisticRegression(restricted=by_first(), n_completions=59, random_state=0).fit(X, y)
    assert many.coef_ == pytest.approx(whole.coef_, abs=0.05)


def test_fit_leaves_the_global_random_numbers_alone_where_nothing_is_drawn() -> None:
    before = np.random.get_state()[2]  # noqa: NPY002
    X, y = data()
    IMMLogisticRegression(restricted=by_first()).fit(X, y)
    assert np.random.get_state()[2] == before  # noqa: NPY002


def test_fit_with_an_unseen_class_gives_it_no_probability() -> None:
    X, y = data(3)
    seen = GaussianNB().fit(X[y < 2][:, :1], y[y < 2])
    model = IMMLogisticRegression(restricted=seen, imm_lambda=100.0, max_iter=500).fit(X, y)
    assert np.exp(model.induced_log_proba(X))[:, 2].mean() < 0.1
    with pytest.raises(InvalidInputError, match="no class that the training rows lack.*'?1'? besi"):
        model.fit(X[y != 1], y[y != 1])

"""The forms of a restricted model, and the columns that it sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from imm_rl.errors import InvalidInputError
from imm_rl.language.feature_columns import feature_columns
from imm_rl.language.logistic import IMMLogisticRegression
from imm_rl.language.restricted_classifier import RestrictedModel, kind_of

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X.sum(1) + RNG.normal(size=40) > 0).astype(int)
BOTH = np.array([0, 1])
HALF = np.full((40, 2), 0.5)


def half(seen: Array) -> Array:
    return np.full((len(seen), 2), 0.5)


# --- forms ----------------------------------------------------------------------------------------


def test_function_classifier_and_array_give_one_fit() -> None:
    classifier = GaussianNB().fit(X[:, [2, 0]], Y)
    table = classifier.predict_proba(X[:, [2, 0]])
    forms = [classifier, FrozenEstimator(classifier), classifier.predict_proba, table]
    fits = [
        IMMLogisticRegression(restricted=form, restricted_features=[2, 0]).fit(X, Y).coef_
        for form in [*forms, table.tolist()]
    ]
    for other in fits[1:]:
        assert other == pytest.approx(fits[0], abs=1e-12)


def test_array_belongs_to_the_rows_before_those_of_weight_zero_go() -> None:
    table, weights = RNG.dirichlet([1, 1], size=40), np.arange(40) % 3
    kept = weights > 0
    found = IMMLogisticRegression(restricted=table).fit(X, Y, weights)
    expected = IMMLogisticRegression(restricted=table[kept]).fit(X[kept], Y[kept], weights[kept])
    assert np.array_equal(found.coef_, expected.coef_)


def test_restricted_model_gets_its_own_float64_rows() -> None:
    def restricted(seen: Array) -> Array:
        assert seen.dtype == np.float64
        seen[:] = np.nan
        return half(seen)

    given = X.astype(np.float32)
    model = IMMLogisticRegression(restricted=restricted, method="interpolation").fit(given, Y)
    assert np.isfinite(model.predict_proba(given)).all()


def test_columns_of_a_classifier_follow_our_classes() -> None:
    seen, labels = X[:, :1], np.array(["b", "a"])[Y]
    model = LogisticRegression().fit(seen, labels)
    ours = np.array(["a", "b", "c"])
    found = RestrictedModel.of(model, ours, 1, None).probs(seen)
    assert found[:, :2] == pytest.approx(model.predict_proba(seen))
    assert (found[:, 2] == 0).all()
    back = RestrictedModel.of(model, ours[::-1], 1, None).probs(seen)
    assert np.array_equal(back, found[:, ::-1])


def test_rows_that_sum_to_one_but_for_rounding_are_made_to() -> None:
    single = np.array([[0.3, 0.7]], dtype=np.float32)
    found = RestrictedModel.of(lambda _: single, BOTH, 1, None).probs(X[:1, :1])
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("weights", [None, np.arange(40) % 3])
def test_fit_restricted_hands_on_weights_where_they_are_taken(weights: Array | None) -> None:
    kept = slice(None) if weights is None else weights > 0
    for model in (
        GaussianNB(),
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), GaussianNB()),
    ):
        found = IMMLogisticRegression(restricted=model, fit_restricted=True).fit(X, Y, weights)
        handed = isinstance(model, GaussianNB) and weights is not None
        arguments = {"sample_weight": weights[kept]} if handed and weights is not None else {}
        expected = model.fit(X[kept][:, :1], Y[kept], **arguments).predict_proba(X[:, :1])
        assert found.restricted_classifier_.predict_proba(X[:, :1]) == pytest.approx(expected)


def test_classifier_without_a_fit_counts_as_fitted() -> None:
    class Ready:
        classes_ = np.array([0, 1])

        def predict_proba(self, seen: Array) -> Array:
            return half(seen)

    found = IMMLogisticRegression(restricted=Ready()).fit(X, Y)
    assert np.array_equal(found.coef_, IMMLogisticRegression(restricted=half).fit(X, Y).coef_)


# --- errors ---------------------------------------------------------------------------------------


class Nameless:
    def predict_proba(self, seen: Array) -> Array:
        return half(seen)


def gives(values: Any) -> dict[str, Callable[[Array], Any]]:
    return {"restricted": lambda _: values}


def wrong_row(*entries: float) -> Array:
    table = HALF.copy()
    table[7] = entries
    return table


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"restricted": GaussianNB}, "be a function, .*Give an instance of the class"),
    ({"restricted": "tree"}, "restricted must be a function, a .*; received 'tree'"),
    ({"restricted": 0.5}, "restricted must be a function, a .*; received 0.5"),
    ({"restricted": LinearSVC()}, r"have a method predict_proba; received LinearSVC\(\)\. SVC"),
    (
        {"restricted": GaussianNB()},
        r"be fitted already; received GaussianNB\(\)\. clone\(\), which",
    ),
    ({"restricted": FrozenEstimator(GaussianNB())}, "restricted must be fitted already"),
    ({"restricted": GaussianNB().fit(X, Y)}, r"take the 1 feature\(s\).*fitted on 3.\. Name the"),
    ({"restricted": Nameless()}, "restricted must have an attribute classes_"),
    (
        {"restricted": GaussianNB().fit(X[:, :1], Y + 5)},
        "no class that the training rows lack; received a classifier of 5, 6 besides 0, 1",
    ),
    (
        {"restricted": FrozenEstimator(GaussianNB().fit(X[:, :1], Y)), "fit_restricted": True},
        "fit_restricted must be False for a FrozenEstimator",
    ),
    (gives(HALF[:, 0]), r"\(rows, classes\) = \(40, 2\); received \(40,\).*the classes 0, 1"),
    (gives(HALF[:3]), r"restricted\(...\) must be of the shape .*received \(3, 2\)"),
    (gives("no"), r"restricted\(...\) must be numbers; received 'str'"),
    (gives(None), r"restricted\(...\) must be"),
    (gives(wrong_row(0.5, 0.6)), r"that sum to 1; received '\[0.5, 0.6\] in row 7'"),
    (gives(wrong_row(1.5, -0.5)), r"of at least 0 .*received '\[1.5, -0.5\] in row 7'"),
    (gives(wrong_row(np.nan, 0.5)), r"received '\[nan, 0.5\] in row 7'"),
    ({"restricted": HALF[:9]}, r"restricted must be of the shape .*\(40, 2\); received \(9, 2\)"),
    ({"restricted": np.full((40, 3), 1 / 3)}, r"received \(40, 3\)"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES)
def test_restricted_models_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        IMMLogisticRegression(**settings).fit(X, Y)


def test_probabilities_of_new_rows_are_checked_too() -> None:
    def restricted(seen: Array) -> Array:
        return half(seen) * (1.0 if len(seen) == 40 else 2.0)

    model = IMMLogisticRegression(restricted=restricted, method="interpolation").fit(X, Y)
    with pytest.raises(InvalidInputError, match="sum to 1"):
        model.predict(X[:3])


def test_kind_of_tells_the_forms_apart() -> None:
    assert kind_of(half) == "function"
    assert kind_of(GaussianNB()) == kind_of(Nameless()) == "classifier"
    assert kind_of(HALF) == kind_of(HALF.tolist()) == "array"


# --- columns --------------------------------------------------------------------------------------

NAMES = np.array(["age", "height", "weight"], dtype=object)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((0,), [0]),
        ([2, 0], [2, 0]),
        (np.array([-1, 1]), [2, 1]),
        (range(3), [0, 1, 2]),
        ([False, True, True], [1, 2]),
        (np.array([True, False, False]), [0]),
        (["weight", "age"], [2, 0]),
        (NAMES[1:], [1, 2]),
    ],
)
def test_feature_columns_are_numbers_names_or_a_mask(wanted: Any, expected: list[int]) -> None:
    assert feature_columns(wanted, 3, NAMES).tolist() == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (0, r"restricted_features must be column numbers.*received 0. For one column: \(0,\)"),
        ("age", r"received 'age'. For one column: \('age',\)"),
        (None, "must be column numbers"),
        ([], "must name at least one column"),
        ([False] * 3, "must name at least one column"),
        ([True, False], "must have one boolean for each of 3 columns; received 2"),
        ([0, -3], "must name each column once"),
        ([3], r"must be in 0\.\.2, the columns of X; received 3"),
        ([-4], r"must be in 0\.\.2"),
        ([0, "age"], "must be column numbers"),
        ([True, 1], "must be column numbers"),
        ([0.0], "must be column numbers"),
        (["hight"], "unknown restricted feature 'hight'. Did you mean 'height'"),
    ],
)
def test_feature_columns_refuse_others(wanted: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        feature_columns(wanted, 3, NAMES)


def test_feature_columns_need_a_table_for_names() -> None:
    with pytest.raises(
        InvalidInputError, match="no column names; received 'age'. Pass X as a Data"
    ):
        feature_columns(["age"], 3, None)

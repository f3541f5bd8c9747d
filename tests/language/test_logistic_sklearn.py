"""`IMMLogisticRegression` among scikit-learn's tools, and its page of documentation."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from imm_rl.errors import InvalidInputError
from imm_rl.language.logistic import IMMLogisticRegression

Array = NDArray[Any]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "logistic.md"
X, Y = make_classification(80, 5, n_informative=4, n_redundant=0, flip_y=0.3, random_state=1)


def with_tree(**settings: Any) -> IMMLogisticRegression:
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    return IMMLogisticRegression(restricted=tree, fit_restricted=True, **settings)


CHECKED = [
    IMMLogisticRegression(),
    with_tree(),
    with_tree(completions="neighbors"),
    with_tree(method="noising"),
    with_tree(method="interpolation"),
    IMMLogisticRegression(restricted=GaussianNB(), fit_restricted=True),
]


def expected_failures(estimator: IMMLogisticRegression) -> dict[str, str]:
    if isinstance(estimator.restricted, GaussianNB):
        reason = (
            "GaussianNB adds a share of the largest variance of the rows, and ignores weights there"
        )
        return {"check_sample_weight_equivalence_on_dense_data": reason}
    return {}


CHECKS = parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures).mark


# scikit-learn's LogisticRegression needs more than 100 steps on unscaled irises, too.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# Releases for Python 3.10 give a generator, which pytest 9 warns of.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_estimator_passes_the_checks_of_scikit_learn(
    estimator: IMMLogisticRegression, check: Callable[[Any], None]
) -> None:
    check(estimator)


def fitted_tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=2, random_state=0).fit(X[:, :1], Y)


def first_feature(seen: Array) -> Array:
    positive = 1 / (1 + np.exp(-seen[:, :1]))
    return np.hstack([1 - positive, positive])


def test_pipeline_scales_what_the_restricted_model_sees() -> None:
    moved = X * 10 + 3
    seen: list[Array] = []

    def restricted(part: Array) -> Array:
        seen.append(part)
        return first_feature(part)

    model = IMMLogisticRegression(restricted=restricted)
    pipeline = make_pipeline(StandardScaler(), model).fit(moved, Y)

    assert seen[0] == pytest.approx(StandardScaler().fit_transform(moved)[:, :1])
    direct = IMMLogisticRegression(restricted=restricted).fit(StandardScaler().fit_transform(X), Y)
    assert pipeline.predict_proba(moved) == pytest.approx(
        direct.predict_proba(StandardScaler().fit_transform(X)), abs=1e-6
    )


def test_grid_search_chooses_lambda_with_a_frozen_classifier() -> None:
    frozen = FrozenEstimator(fitted_tree())
    model = IMMLogisticRegression(restricted=frozen)
    grid = {"imm_lambda": [0.0, 0.5, "ratio:0.5"], "n_completions": np.array([20, 200])}

    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=3).fit(X, Y)

    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) > 3
    assert search.best_estimator_.restricted is frozen


def test_cross_validation_fits_the_restricted_classifier_in_each_fold() -> None:
    scores = cross_val_score(with_tree(), X, Y, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.5


def test_clone_of_a_fitted_classifier_is_told_to_be_frozen() -> None:
    model = IMMLogisticRegression(restricted=fitted_tree()).fit(X, Y)
    with pytest.raises(InvalidInputError, match=r"clone\(\).*FrozenEstimator.*fit_restricted=True"):
        clone(model).fit(X, Y)
    frozen = IMMLogisticRegression(restricted=FrozenEstimator(fitted_tree())).fit(X, Y)
    assert np.array_equal(clone(frozen).fit(X, Y).coef_, model.coef_)


def test_parameters_are_stored_as_given_and_can_be_set() -> None:
    model = IMMLogisticRegression(restricted=GaussianNB(), imm_lambda="ratio:0.2", C=3)
    parameters = model.get_params()
    assert parameters["imm_lambda"] == "ratio:0.2"
    assert parameters["restricted__var_smoothing"] == 1e-9
    assert clone(model).get_params(deep=False).keys() == model.get_params(deep=False).keys()
    model.set_params(restricted__var_smoothing=0.1, method="noising")
    assert model.restricted.var_smoothing == 0.1
    assert model.method == "noising"


@pytest.mark.parametrize("method", ["imm", "interpolation"])
def test_pickle_keeps_a_fitted_model(method: str) -> None:
    for restricted in (first_feature, FrozenEstimator(fitted_tree())):
        model = IMMLogisticRegression(restricted=restricted, method=method).fit(X, Y)
        again = pickle.loads(pickle.dumps(model))
        for name in ("predict_proba", "induced_log_proba", "decision_function"):
            assert np.array_equal(getattr(model, name)(X), getattr(again, name)(X))


def test_refit_forgets_the_classifier_of_the_fit_before() -> None:
    model = with_tree().fit(X, Y)
    assert model.restricted_classifier_ is not model.restricted
    model.set_params(restricted=None, fit_restricted=False).fit(X, Y)
    assert not hasattr(model, "restricted_classifier_")
    assert np.array_equal(model.coef_, IMMLogisticRegression().fit(X, Y).coef_)


def test_predictions_are_those_of_the_fit_whatever_is_set_afterwards() -> None:
    model = IMMLogisticRegression(restricted=first_feature, method="interpolation").fit(X, Y)
    before = model.predict_proba(X)
    model.set_params(restricted=None, method=None, imm_lambda=5.0)
    assert np.array_equal(model.predict_proba(X), before)


def test_data_frames_name_the_restricted_features() -> None:
    pandas = pytest.importorskip("pandas")
    names = ["age", "height", "weight", "pulse", "sugar"]
    table = pandas.DataFrame(X, columns=names)
    columns = IMMLogisticRegression(restricted=first_feature, restricted_features=[2]).fit(X, Y)
    model = IMMLogisticRegression(restricted=first_feature, restricted_features=["weight"])
    assert model.fit(table, Y).coef_ == pytest.approx(columns.coef_)
    assert model.feature_names_in_.tolist() == names
    assert model.predict_proba(table) == pytest.approx(columns.predict_proba(X))
    with pytest.raises(InvalidInputError, match=r"unknown restricted feature 'wight'.*'weight'\?"):
        model.set_params(restricted_features=["wight"]).fit(table, Y)

    # A classifier that was fitted on a table gets one, and must know the columns by these names.
    known = LogisticRegression().fit(table[["weight", "age"]], Y)
    model = IMMLogisticRegression(restricted=known, method="interpolation")
    model.set_params(restricted_features=["weight", "age"]).fit(table, Y).predict(table)
    with pytest.raises(InvalidInputError, match="be those that the restricted classifier"):
        model.set_params(restricted_features=["age", "weight"]).fit(table, Y)


def test_import_without_scikit_learn_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try: import imm_rl.language.logistic\n"
        "except ImportError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'imm-rl[language]'" in found.stdout


def test_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    found = capsys.readouterr().out
    assert [float(x) for x in re.findall(r"\d\.\d+", found)] == pytest.approx(
        [float(x) for x in re.findall(r"\d\.\d+", printed)], abs=0.0011
    )
    assert re.sub(r"[\d.]+", "", found) == re.sub(r"[\d.]+", "", printed)


def test_page_names_every_parameter_with_its_default() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, value in IMMLogisticRegression().get_params().items():
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        assert f"| `{name}` | `{shown}` |" in text, name

"""scikit-learn's estimators by skops: what each gives, and what is refused."""

from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from tests.runtimes.conftest import X, Y

from sill.core.errors import InvalidValue, Refused
from sill.runtimes.skops_model import SkopsModel


@pytest.mark.parametrize(
    ("estimator", "output", "task", "method"),
    [
        (KNeighborsClassifier(3), "probabilities", "classification", "predict_proba"),
        (LinearSVC(), "label", "other", "predict"),
        (Ridge(), "output", "regression", "predict"),
        (KMeans(3, n_init=1, random_state=0), "output", "other", "predict"),
        (StandardScaler(), "output", "other", "transform"),
    ],
)
def test_an_estimator_answers_as_the_library_does(estimator: Any, output: str, task: str, method: str) -> None:
    fitted, runtime = estimator.fit(X, Y), SkopsModel()

    runtime.load(skops.io.dumps(fitted))

    said = runtime.signature()
    assert (said.outputs[0].name, said.task) == (output, task)
    given = runtime.infer({"input": X[:5]})[output]
    np.testing.assert_allclose(given, getattr(fitted, method)(X[:5]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [SelectKBest(k=2), FunctionTransformer(np.log1p)])
def test_a_file_that_names_a_function_is_refused(step: Any) -> None:
    model = make_pipeline(step, LogisticRegression()).fit(np.abs(X), Y)

    with pytest.raises(InvalidValue, match="not on our list"):
        SkopsModel().load(skops.io.dumps(model))


def test_what_was_never_fitted_is_refused() -> None:
    with pytest.raises(Refused, match="no fitted estimator"):
        SkopsModel().load(skops.io.dumps(LogisticRegression()))

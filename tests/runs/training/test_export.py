"""scikit-learn, XGBoost and Torch models answer in ONNX as they do themselves."""

from typing import Any

import numpy as np
import pytest

from sill.core.errors import InvalidValue, Refused
from sill.runs.training.export import export, signature
from sill.runs.training.families import family_of, predict
from sill.runs.training.parity import answer, check_parity
from sill.runtimes.onnx_runtime import OnnxRuntime

FEATURES = ("a", "b", "c", "d")


def parity(model: Any, x: Any, classes: tuple[str, ...]) -> tuple[float, OnnxRuntime]:
    task = "classification" if classes else "regression"
    runtime = OnnxRuntime()
    runtime.load(export(model, signature(FEATURES, classes, task)))
    return check_parity(predict(model, x, task), answer(runtime, x), 1e-4, task), runtime


def sklearn_classifiers() -> list[Any]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    mlp = MLPClassifier((8,), solver="lbfgs", max_iter=500, alpha=1.0)
    return [LogisticRegression(), RandomForestClassifier(10), GradientBoostingClassifier(n_estimators=10), mlp]


@pytest.mark.parametrize("model", sklearn_classifiers(), ids=lambda model: type(model).__name__)
def test_sklearn_pipelines_that_fill_missing_values_keep_their_answers(model: Any, x: Any, y: Any) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x[::7, 1] = np.nan
    fitted = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model).fit(x, y)
    difference, runtime = parity(fitted, x, ("benign", "malignant"))

    assert difference < 1e-5
    assert runtime.signature() == signature(FEATURES, ("benign", "malignant"), "classification")


@pytest.mark.parametrize("name", ["LinearRegression", "GradientBoostingRegressor"])
def test_regressors_give_one_output(name: str, x: Any) -> None:
    from sklearn import ensemble, linear_model

    kind = getattr(linear_model, name, None) or getattr(ensemble, name)
    model = kind().fit(x, x[:, 0] * 2)
    difference, runtime = parity(model, x, ())

    assert difference < 1e-4
    assert set(runtime.infer({"input": x[:3]})) == {"output"}


@pytest.mark.parametrize("classes", [2, 3])
def test_xgboost_classifiers_keep_their_answers_also_with_missing_values(classes: int, x: Any) -> None:
    import xgboost

    y = np.digitize(x[:, 0], [-0.4, 0.4][: classes - 1])
    x[::5, 2] = np.nan
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(x, y)
    difference, runtime = parity(model, x, tuple("abc"[:classes]))

    assert difference < 1e-5
    assert np.array_equal(runtime.infer({"input": x})["label"], model.predict(x))


def test_xgboost_inside_a_pipeline_and_as_a_regressor(x: Any, y: Any) -> None:
    import xgboost
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    piped = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=5)).fit(x, y)
    regressor = xgboost.XGBRegressor(n_estimators=5).fit(x, x[:, 0])

    assert parity(piped, x, ("0", "1"))[0] < 1e-5
    assert parity(regressor, x, ())[0] < 1e-5


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_torch_modules_give_logits_and_become_probabilities(outputs: int, x: Any) -> None:
    import torch

    model = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 2, 2)), torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(3, outputs)
    )
    classes = tuple("abc"[: max(2, outputs)])
    difference, runtime = parity(model, x, classes)

    assert difference < 1e-5
    assert runtime.infer({"input": x[:7]})["probabilities"].shape == (7, len(classes))


def test_a_torch_regressor_gives_one_output(x: Any) -> None:
    import torch

    assert parity(torch.nn.Linear(4, 1), x, ())[0] < 1e-5


def test_the_family_is_told_from_the_class() -> None:
    import torch
    import xgboost
    from sklearn.linear_model import LogisticRegression

    models = [xgboost.XGBClassifier(), torch.nn.Linear(1, 1), LogisticRegression()]

    assert [family_of(model) for model in models] == ["xgboost", "torch", "sklearn"]


def test_what_is_no_model_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"returned a builtins\.dict"):
        export({}, signature(FEATURES, (), "regression"))


def test_a_part_that_cannot_be_converted_is_refused_by_name(x: Any, y: Any) -> None:
    from sklearn.base import BaseEstimator

    class Own(BaseEstimator):  # type: ignore[misc]
        """Unknown to any converter."""

    with pytest.raises(Refused, match="Own cannot be exported"):
        export(Own(), signature(FEATURES, ("0", "1"), "classification"))


def test_an_export_that_answers_otherwise_is_refused() -> None:
    with pytest.raises(Refused, match=r"differs from the original by 0\.2"):
        check_parity(np.array([[0.5, 0.5]]), np.array([[0.7, 0.3]]), 1e-3, "classification")


def test_an_export_that_loses_a_value_is_refused() -> None:
    with pytest.raises(Refused, match="which answers are numbers"):
        check_parity(np.array([1.0]), np.array([np.nan]), 1e-3, "regression")

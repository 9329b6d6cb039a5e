"""Logs, registers and promotes models with MLflow's own client and prints what each would answer, as JSON.

Run in the environment `mlflow-models`, with MLFLOW_TRACKING_URI set.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import mlflow
import numpy as np
import xgboost
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def sklearn(name: str) -> Any:
    model = LogisticRegression().fit(X, Y)
    mlflow.sklearn.log_model(model, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def pickled(name: str) -> Any:
    model = LogisticRegression().fit(X, Y)
    mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def boosted(name: str) -> Any:
    model = xgboost.XGBClassifier(n_estimators=3).fit(X, Y)
    mlflow.xgboost.log_model(model, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def light(name: str) -> Any:
    model = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 3)
    mlflow.lightgbm.log_model(model, name="model", registered_model_name=name)
    return model.predict(X[:2])


def onnx(name: str) -> Any:
    model = LogisticRegression().fit(X, Y)
    made = to_onnx(model, X[:1], options={"zipmap": False})
    mlflow.onnx.log_model(made, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


MAKERS: dict[str, Callable[[str], Any]] = {
    "sklearn": sklearn,
    "xgboost": boosted,
    "lightgbm": light,
    "onnx": onnx,
    "pickled": pickled,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    client, told = mlflow.MlflowClient(), {}
    for name, make in MAKERS.items():
        told[name] = np.asarray(make(name)).tolist()
        if name == "onnx":
            client.transition_model_version_stage(name, "1", "Production")
        else:
            client.set_registered_model_alias(name, "champion", "1")
    print(json.dumps({"rows": X[:2].tolist(), "yes": told}))

"""Logs, registers and promotes models with MLflow's own client and prints what each would answer, as JSON.

    python client.py FOLDER NAME ...     with MLFLOW_TRACKING_URI set; FOLDER/saved_model is TensorFlow's

Run in an environment that has MLflow and the libraries of these models.
"""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def sklearn(name: str) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, Y)
    mlflow.sklearn.log_model(model, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def pickled(name: str) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, Y)
    mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def boosted(name: str) -> Any:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=3).fit(X, Y)
    mlflow.xgboost.log_model(model, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def light(name: str) -> Any:
    import lightgbm

    model = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 3)
    mlflow.lightgbm.log_model(model, name="model", registered_model_name=name)
    return model.predict(X[:2])


def onnx(name: str) -> Any:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, Y)
    made = to_onnx(model, X[:1], options={"zipmap": False})
    mlflow.onnx.log_model(made, name="model", registered_model_name=name)
    return model.predict_proba(X[:2])[:, 1]


def pytorch(name: str) -> Any:
    import torch

    rows = torch.from_numpy(X)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
    mlflow.pytorch.log_model(
        net,
        name="model",
        serialization_format="pt2",
        input_example=X[:2],
        registered_model_name=name,
    )
    return net(rows[:2]).detach().numpy().ravel()


def tensorflow(name: str) -> None:
    """What `mlflow.tensorflow.log_model` of a tf.Module writes; the SavedModel was made where TensorFlow is."""
    folder = Path(sys.argv[1]) / "logged"
    shutil.copytree(Path(sys.argv[1]) / "saved_model", folder / "tf2model")
    described = mlflow.models.Model(artifact_path="model")
    described.add_flavor("tensorflow", code=None, saved_model_dir="tf2model", model_type="tf2-module")
    described.save(folder / "MLmodel")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    mlflow.register_model(f"runs:/{run.info.run_id}/model", name)


MAKERS: dict[str, Callable[[str], Any]] = {
    "sklearn": sklearn,
    "xgboost": boosted,
    "lightgbm": light,
    "onnx": onnx,
    "pickled": pickled,
    "pytorch": pytorch,
    "tensorflow": tensorflow,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    client, told = mlflow.MlflowClient(), {}
    for name in sys.argv[2:]:
        told[name] = np.asarray(MAKERS[name](name)).tolist()
        if name == "onnx":
            client.transition_model_version_stage(name, "1", "Production")
        else:
            client.set_registered_model_alias(name, "champion", "1")
    print(json.dumps({"rows": X[:2].tolist(), "yes": told}))

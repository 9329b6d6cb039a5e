"""The `MLmodel` file of a version of ours, so that `mlflow.pyfunc.load_model` and `mlflow.onnx.load_model` take it."""

from typing import Any

from sill.core.clock import iso
from sill.models.types import MODEL_FILE, ModelVersion

MLMODEL_FILE = "MLmodel"
_FLAVORS: dict[str, dict[str, Any]] = {
    "onnx": {
        "onnx": {"code": None, "data": MODEL_FILE, "providers": ["CPUExecutionProvider"]},
        "python_function": {"data": MODEL_FILE, "loader_module": "mlflow.onnx"},
    },
    "xgboost": {
        "xgboost": {"code": None, "data": "model.ubj", "model_class": "xgboost.core.Booster", "model_format": "ubj"},
        "python_function": {"data": "model.ubj", "loader_module": "mlflow.xgboost"},
    },
}


def describe(version: ModelVersion) -> bytes:
    """The file's text: an ONNX or XGBoost model, to be loaded by MLflow's own flavour of it; others have none.

    The same for the same version always.
    """
    import yaml  # tens of milliseconds, needed by those who download for MLflow only

    described = {
        "artifact_path": version.model,
        "flavors": _FLAVORS.get(version.spec.runtime, {"sill": {"runtime": version.spec.runtime}}),
        "run_id": version.spec.run_id or None,
        "utc_time_created": iso(version.created_us).replace("T", " ").removesuffix("Z"),
    }
    text: str = yaml.safe_dump(described, sort_keys=True)
    return text.encode()

"""The `MLmodel` file of a version of ours, so that `mlflow.pyfunc.load_model` and `mlflow.onnx.load_model` take it."""

from sill.core.clock import iso
from sill.models.types import MODEL_FILE, ModelVersion

MLMODEL_FILE = "MLmodel"


def describe(version: ModelVersion) -> bytes:
    """The file's text: an ONNX model, to be loaded by MLflow's own ONNX flavour. The same for the same version always."""
    import yaml  # tens of milliseconds, needed by those who download for MLflow only

    onnx = {"code": None, "data": MODEL_FILE, "providers": ["CPUExecutionProvider"]}
    described = {
        "artifact_path": version.model,
        "flavors": {"onnx": onnx, "python_function": {"data": MODEL_FILE, "loader_module": "mlflow.onnx"}},
        "run_id": version.spec.run_id or None,
        "utc_time_created": iso(version.created_us).replace("T", " ").removesuffix("Z"),
    }
    text: str = yaml.safe_dump(described, sort_keys=True)
    return text.encode()

"""XGBoost's own model files (`.ubj`, or JSON under the same name) behind the port, in a process of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import Refused
from sill.runtimes.drivers import Held, cannot_load, check_format, library, read_model
from sill.runtimes.fitting import fit
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import ModelFormat, Source

MODEL_FILE = "model.ubj"
FORMATS = (ModelFormat.XGBOOST_UBJ, ModelFormat.XGBOOST_JSON)
_NOT_NEEDED = ("sklearn", "pandas", "pyarrow", "matplotlib", "graphviz", "dask", "torch", "cudf", "cupy")
"""What XGBoost imports if it is there, to train with; seconds and 70 MB."""


class XgboostModel(Held):
    """One booster. Classifiers give `probabilities`, one column for each class; others `output`."""

    model_file = MODEL_FILE

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`."""
        library("xgboost", "xgboost", without=_NOT_NEEDED)

    @staticmethod
    def look(file: Source) -> None:
        """See `Held`."""
        check_format(file, MODEL_FILE, *FORMATS)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        data = read_model(bundle, MODEL_FILE)
        self.look(data)
        xgboost = library("xgboost", "xgboost", without=_NOT_NEEDED)
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(data))
            booster.set_param({"nthread": 1, "device": device})
        except xgboost.core.XGBoostError as broken:
            raise cannot_load("XGBoost", broken) from broken
        self._signature = _signature(booster)
        self._model, self._size_bytes = booster, len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. A missing value is NaN, as the library has it."""
        import numpy as np

        signature = self.signature()
        answer = self._model.inplace_predict(fit(signature.inputs, inputs)["input"], validate_features=False)
        if signature.task != "classification":
            return {"output": np.asarray(answer, np.float32)}
        if answer.ndim == 1:
            answer = np.stack([1 - answer, answer], axis=1)
        return {"probabilities": np.asarray(answer, np.float32)}


def _signature(booster: Any) -> Signature:
    """What the file says. Classes are their places, `0` to `k - 1`: it has no names."""
    learner = msgspec.json.decode(booster.save_config())["learner"]
    objective = learner["learner_train_param"]["objective"]
    if objective in ("multi:softmax", "binary:hinge"):
        raise Refused(f"the objective {objective!r} gives no probabilities.", fix="Train with multi:softprob.")
    classes = max(2, int(learner["learner_model_param"]["num_class"]))
    width = booster.num_features()
    given = TensorSpec(name="input", datatype="FP32", shape=(-1, width))
    features = tuple(booster.feature_names or ())
    if objective in ("multi:softprob", "binary:logistic"):
        made = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, classes))
        names = tuple(str(place) for place in range(classes))
        return Signature(inputs=(given,), outputs=(made,), features=features, classes=names)
    targets = int(learner["learner_model_param"].get("num_target", "1"))
    shape = (-1,) if targets == 1 else (-1, targets)
    made = TensorSpec(name="output", datatype="FP32", shape=shape)
    return Signature(inputs=(given,), outputs=(made,), features=features, task="regression")
